"""Real clients in a real run: each gets its answer from Discord, none holds the token."""

import json
import subprocess

import pytest

from tests.e2e.desk import PYTHON, Desk

URL = "https://discord.com/api/v10/users/@me"

LOOK_AROUND = """
import json, os, sys
seen = {
    "environ": dict(os.environ),
    "proc": open("/proc/self/environ", errors="replace").read() if sys.platform == "linux" else "",
    "argv": sys.orig_argv,
}
token = os.environ["DISCORD_ACCESS_TOKEN"]
url, headers = sys.argv[1], {"Authorization": f"Bearer {token}"}
"""

REPORT = """
print(json.dumps({"status": status, "body": body, **seen}))
"""

CLIENTS = {
    "requests": """
import requests
answer = requests.get(url, headers=headers)
status, body = answer.status_code, answer.json()
""",
    "httpx": """
import httpx
answer = httpx.get(url, headers=headers)
status, body = answer.status_code, answer.json()
""",
    "urllib": """
from urllib.request import Request, urlopen
answer = urlopen(Request(url, headers=headers))
status, body = answer.status, json.load(answer)
""",
    "aiohttp": """
import aiohttp, asyncio
async def main():
    async with aiohttp.ClientSession(trust_env=True) as http, http.get(url, headers=headers) as answer:
        return answer.status, await answer.json()
status, body = asyncio.run(main())
""",
    "curl": """
import subprocess
command = ["curl", "-sS", "-w", "\\n%{http_code}", "-H", "Authorization: Bearer " + token, url]
out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
text, _, code = out.rpartition("\\n")
status, body = int(code), json.loads(text)
""",
}


@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
def test_a_client_is_served_and_sees_the_placeholder_only(connected: Desk, client: str) -> None:
    done = connected.python(LOOK_AROUND + client + REPORT, URL)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["status"] == 200
    assert seen["body"]["username"]
    assert seen["environ"]["DISCORD_ACCESS_TOKEN"] == "authsome-proxy-managed"
    assert "DISCORD_REFRESH_TOKEN" not in seen["environ"]
    tokens = connected.tokens()
    assert tokens.refresh_token
    for secret in (tokens.access_token.get_secret_value(), tokens.refresh_token.get_secret_value()):
        assert secret not in done.stdout + done.stderr
    arrived = [dict(seen.headers) for seen in connected.standin.seen]
    real = f"Bearer {tokens.access_token.get_secret_value()}".encode()
    assert [headers.get(b"Authorization", headers.get(b"authorization")) for headers in arrived] == [real]


def test_without_a_run_the_same_child_gets_a_401(connected: Desk) -> None:
    """The negative twin: the placeholder by itself is worth nothing."""
    environ = connected.environ() | {"DISCORD_ACCESS_TOKEN": "authsome-proxy-managed"}
    address = f"discord.com:443:127.0.0.1:{connected.standin.https_port}"
    command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--connect-to", address]
    command += ["-H", "Authorization: Bearer authsome-proxy-managed", URL]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == "401"


def test_a_client_without_the_placeholder_is_not_authenticated(connected: Desk) -> None:
    done = connected.run("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", URL)
    assert done.stdout == "401"


def test_a_real_token_in_the_users_environment_does_not_reach_the_child(connected: Desk) -> None:
    extra = {"DISCORD_ACCESS_TOKEN": "CANARY-one", "DISCORD_REFRESH_TOKEN": "CANARY-two"}
    done = connected.authsome("run", "--", PYTHON, "-c", "import os; print(dict(os.environ))", extra=extra)
    assert done.returncode == 0
    assert "CANARY" not in done.stdout
    assert "AUTHSOME_CONNECT_TO" not in done.stdout
