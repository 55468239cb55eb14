"""What a user types on the first day, as the documentation gives it."""

import json
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from tests.e2e.desk import PYTHON, Desk, Run, approve, finished, until_url
from tests.standin import CLIENT_ID, CLIENT_SECRET

AGENT = """
import os, urllib.request
request = urllib.request.Request(
    "https://discord.com/api/v10/users/@me",
    headers={"Authorization": "Bearer " + os.environ["DISCORD_ACCESS_TOKEN"]},
)
print(urllib.request.urlopen(request).status, os.environ["DISCORD_ACCESS_TOKEN"])
"""


def shell(desk: Desk, line: str) -> Run:
    """A line as typed, in a shell whose `python` is the one of these tests."""
    folder = desk.folder / "bin"
    folder.mkdir(exist_ok=True)
    if not (folder / "python").exists():
        (folder / "python").symlink_to(PYTHON)
    environ = desk.environ()
    environ["PATH"] = f"{folder}{os.pathsep}{environ['PATH']}"
    return subprocess.run(
        ["sh", "-c", line],
        env=environ,
        cwd=desk.work,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


@pytest.fixture
def seated(desk: Desk) -> Desk:
    """A desk whose browser is a script that knows what to enter and what to press."""
    desk.extra = {
        "BROWSER": f"{PYTHON} {Path(__file__).with_name('human.py')} %s",
        "HUMAN_CA": str(desk.standin.ca_file),
        "HUMAN_PORT": str(desk.standin.https_port),
        "HUMAN_LOG": str(desk.folder / "visited"),
    }
    return desk


def visited(desk: Desk) -> list[str]:
    return (desk.folder / "visited").read_text().splitlines()


def test_the_first_login_asks_for_the_client_and_later_ones_do_not(seated: Desk) -> None:
    done = shell(seated, "authsome login discord")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert re.search(r"log in at http://127\.0\.0\.1:7998/[\w-]{43}\n", done.stderr)
    assert "logged in to Discord as nelly" in done.stderr
    again = shell(seated, "authsome login discord")
    assert again.returncode == 0, again.stderr
    assert len(visited(seated)) == 2
    assert all(url.startswith("https://discord.com/oauth2/authorize?") for url in visited(seated))
    assert CLIENT_SECRET not in done.stderr + again.stderr


def test_scopes_and_connections_at_login(seated: Desk) -> None:
    for line in (
        'authsome login discord --scopes "identify,guilds"',
        "authsome login discord --connection personal",
        "authsome login discord --connection work",
    ):
        assert shell(seated, line).returncode == 0
    assert "scope=identify%20guilds" in visited(seated)[0]
    assert shell(seated, "authsome get discord --field scopes").stdout == "identify,guilds\n"
    listed = json.loads(shell(seated, "authsome list --json").stdout)
    assert "personal" in json.dumps(listed)
    assert "work" in json.dumps(listed)


def test_unknown_scopes_and_those_that_need_approval_warn(desk: Desk) -> None:
    line = "authsome login discord --scopes identify,rpc,telepathy --no-browser --timeout 1"
    done = shell(desk, line)
    assert done.returncode == 1
    warned = [text for text in done.stderr.splitlines() if "warning" in text]
    assert len(warned) == 2
    assert "'rpc'" in warned[0]
    assert "approved" in warned[0]
    assert "'telepathy'" in warned[1]


def test_verify(desk: Desk) -> None:
    before = shell(desk, "authsome get discord --field status")
    assert before.returncode == 3
    assert "authsome login discord" in before.stderr
    desk.login()
    done = shell(desk, "authsome get discord --field status")
    assert (done.returncode, done.stdout, done.stderr) == (0, "connected\n", "")


def test_custom_scopes_are_stored_as_granted(desk: Desk) -> None:
    desk.login("--scopes", "identify,guilds")
    shown = json.loads(shell(desk, "authsome get discord --json").stdout)
    assert shown["scopes"] == ["identify", "guilds"]
    assert "identify" in shell(desk, "authsome get discord").stdout


def test_several_accounts_side_by_side(desk: Desk) -> None:
    desk.login("--connection", "personal")
    desk.login("--connection", "work")
    for name in ("personal", "work"):
        done = shell(desk, f"authsome get discord --connection {name} --field status")
        assert done.stdout == "connected\n"
    assert desk.access_token("personal") != desk.access_token("work")
    (desk.work / "my_agent.py").write_text(AGENT)
    desk.standin.forget()
    done = shell(desk, "authsome run --connection work -- python my_agent.py")
    assert done.stdout == "200 authsome-proxy-managed\n", done.stderr
    assert desk.standin.wire_contains(desk.access_token("work").encode())
    assert not desk.standin.wire_contains(b"Bearer " + desk.access_token("personal").encode())


def test_run_the_agent_under_the_proxy(desk: Desk) -> None:
    desk.login()
    (desk.work / "my_agent.py").write_text(AGENT)
    done = shell(desk, "authsome run -- python my_agent.py")
    assert (done.returncode, done.stdout) == (0, "200 authsome-proxy-managed\n"), done.stderr


def test_export_to_the_environment(desk: Desk) -> None:
    desk.login()
    tokens = desk.tokens()
    assert tokens.refresh_token
    done = shell(desk, 'eval "$(authsome export discord --format env)"; env')
    assert f"DISCORD_ACCESS_TOKEN={tokens.access_token.get_secret_value()}\n" in done.stdout
    assert tokens.refresh_token.get_secret_value() not in done.stdout
    for form in ("env", "json", "dotenv"):
        out = shell(desk, f"authsome export discord --format {form}").stdout
        assert tokens.access_token.get_secret_value() in out
        assert tokens.refresh_token.get_secret_value() not in out


def test_export_is_refused_inside_of_a_run(desk: Desk) -> None:
    desk.login()
    done = desk.run("authsome", "export", "discord", "--format", "env")
    assert done.returncode != 0
    assert desk.access_token() not in done.stdout + done.stderr


def test_override_the_bundled_definition(desk: Desk) -> None:
    desk.login()
    assert "bundled" in shell(desk, "authsome list").stdout
    line = "authsome inspect discord > ~/.authsome/providers/discord.json"
    assert shell(desk, line).returncode == 0
    written = desk.home / "providers" / "discord.json"
    bundled = Path(__file__).parents[2] / "oauth" / "providers" / "discord.json"
    assert written.read_bytes() == bundled.read_bytes()
    assert shell(desk, line).returncode == 0, "writing it twice gives the same"
    assert written.read_bytes() == bundled.read_bytes()
    assert "custom" in shell(desk, "authsome list").stdout
    edited = json.loads(written.read_text())
    edited["auth"]["scopes"] = ["identify"]
    written.write_text(json.dumps(edited))
    desk.login()
    assert desk.tokens().scopes == ("identify",)


def test_a_broken_override_is_named_and_hides_nothing(desk: Desk) -> None:
    desk.login()
    (desk.home / "providers" / "discord.json").write_text('{"schema": 1, "nmae": "discord"}')
    done = shell(desk, "authsome run -- true")
    assert done.returncode != 0
    assert "discord.json" in done.stderr
    assert "nmae" in done.stderr
    assert stat.S_IMODE((desk.home / "vault.db").stat().st_mode) == 0o600


def test_deny_in_the_browser_is_told_in_the_terminal_too(desk: Desk) -> None:
    process = desk.start(
        "login", "discord", "--no-browser", "--client-id", CLIENT_ID, "--client-secret-file", "-"
    )
    with finished(process):
        _, url = until_url(process, CLIENT_SECRET)
        page = approve(desk.standin, url, "deny")
        _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert page.status_code == 400
    assert "Not connected" in page.text
    assert "authsome: error: " in err
    assert "authsome: hint: " in err


def test_the_audit_tells_each_decision(desk: Desk) -> None:
    desk.login()
    auth = '-H "Authorization: Bearer $DISCORD_ACCESS_TOKEN"'
    desk.run("sh", "-c", f"curl -sS -o /dev/null {auth} 'https://discord.com/api/v10/users/@me?secret=x'")
    desk.run("sh", "-c", f"curl -sS -o /dev/null {auth} http://discord.com/")
    desk.run("sh", "-c", "curl -sS -o /dev/null https://evil.example/standin/echo")
    lines = [json.loads(line) for line in shell(desk, "authsome audit --json").stdout.splitlines()]
    decisions = [
        {
            name: line[name]
            for name in ("connection", "host", "method", "path", "decision", "reason", "status")
        }
        for line in lines
        if "host" in line
    ]
    assert {
        "connection": "default", "host": "discord.com", "method": "GET", "path": "/api/v10/users/@me",
        "decision": "inject", "reason": None, "status": 200,
    } in decisions  # fmt: skip
    assert [(d["decision"], d["reason"]) for d in decisions] == [
        ("inject", None), ("refuse", "cleartext"), ("tunnel", None),
    ]  # fmt: skip
    assert all(line["run"] and line["time"] for line in lines)


def test_a_run_can_be_limited_to_methods_and_paths(desk: Desk) -> None:
    desk.login()
    ask = (
        'for method in GET DELETE; do curl -sS -o /dev/null -w "%{http_code} " -X $method '
        '-H "Authorization: Bearer $DISCORD_ACCESS_TOKEN" https://discord.com$0; done'
    )

    def statuses(path: str, *options: str) -> list[str]:
        return desk.run("sh", "-c", ask, path, options=options).stdout.split()

    assert statuses("/standin/echo") == ["200", "200"]
    assert statuses("/standin/echo", "--read-only") == ["200", "403"]
    assert statuses("/standin/echo", "--allow", "DELETE /standin/*") == ["403", "200"]
    assert statuses("/standin/echo", "--allow", "* /standin/*", "--read-only") == ["200", "403"]
    assert statuses("/api/v10/users/@me", "--allow", "* /standin/*") == ["403", "403"]
    wrong = desk.run("true", options=["--allow", "GET"])
    assert wrong.returncode == 2
    assert "METHOD /path" in wrong.stderr
