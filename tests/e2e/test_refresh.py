"""A token that expires or is revoked during a run."""

import subprocess
import time

import pytest

from tests.e2e.desk import PYTHON, Desk, finished, wait_until
from tests.standin import Answer, StandIn

AGENT = """
import json, os, sys, urllib.request as u, urllib.error
def ask():
    request = u.Request("https://discord.com/api/v10/users/@me",
        headers={"Authorization": "Bearer " + os.environ["DISCORD_ACCESS_TOKEN"]})
    try:
        with u.urlopen(request) as answer:
            return answer.status, dict(answer.headers), answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read().decode()
for line in sys.stdin:
    print(json.dumps(ask()), flush=True)
"""


def agent(desk: Desk) -> subprocess.Popen[str]:
    return desk.start("run", "--", PYTHON, "-c", AGENT)


def ask(process: subprocess.Popen[str]) -> str:
    assert process.stdin
    assert process.stdout
    process.stdin.write("go\n")
    process.stdin.flush()
    return process.stdout.readline()


def test_a_token_about_to_expire_is_refreshed_without_the_agent_noticing(desk: Desk) -> None:
    desk.standin.discord.token_lifetime = 5.0
    desk.login()
    first = desk.tokens()
    with finished(process := agent(desk)):
        assert ask(process).startswith("[200, ")
        time.sleep(4.5)  # inside the margin, which is a fifth of the lifetime
        assert ask(process).startswith("[200, ")
        process.communicate(timeout=30)
    second = desk.tokens()
    assert first.access_token != second.access_token
    assert first.refresh_token != second.refresh_token
    assert desk.standin.discord.refresh_count >= 1
    seen = [dict(s.headers).get(b"Authorization") for s in desk.standin.seen if s.target.endswith("/@me")]
    tokens = [t.access_token.get_secret_value() for t in (first, second)]
    assert seen[-2:] == [f"Bearer {token}".encode() for token in tokens]


def test_a_revoked_login_gives_the_child_a_403_that_names_the_fix(desk: Desk) -> None:
    desk.login()
    assert desk.status() == "connected"
    discord = desk.standin.discord
    with finished(process := agent(desk)):
        assert ask(process).startswith("[200, ")
        app = discord.app("1234567890123456789")
        assert app
        discord.revoke(discord.logged_in, app)
        assert ask(process).startswith("[401, ")  # Discord's own answer: a hint, not proof
        refused = ask(process)
        process.communicate(timeout=30)
    assert refused.startswith("[403, ")
    assert "login-needed" in refused
    assert "authsome login discord" in refused
    assert desk.status() == "expired"
    told = [line for line in desk.authsome("audit", "--json").stdout.splitlines() if '"circuit"' in line]
    assert "answered locally" in told[-1]
    assert desk.tokens().refresh_token, "nothing is wiped"


def test_after_logout_a_running_proxy_injects_no_more(desk: Desk) -> None:
    desk.login()
    with finished(process := agent(desk)):
        assert ask(process).startswith("[200, ")
        done = desk.authsome("logout", "discord")
        assert done.returncode == 0, done.stderr
        assert "every token" in done.stderr
        assert ask(process).startswith("[403, ")
        process.communicate(timeout=30)


def test_a_login_during_a_run_is_used_at_once(desk: Desk) -> None:
    desk.login()
    with finished(process := agent(desk)):
        assert ask(process).startswith("[200, ")
        desk.login()
        assert ask(process).startswith("[200, ")
        process.communicate(timeout=30)
    real = desk.access_token().encode()
    assert desk.standin.wire_contains(real)


@pytest.mark.slow
def test_a_token_endpoint_that_is_down_leaves_the_login_alone(standin: StandIn, desk: Desk) -> None:
    standin.discord.token_lifetime = 2.0
    desk.login()
    time.sleep(2.1)
    standin.discord.token_faults.extend([Answer(503)] * 3)
    with finished(process := agent(desk)):
        refused = ask(process)
        standin.discord.token_faults.clear()
        wait_until(lambda: ask(process).startswith("[200, "))
        process.communicate(timeout=30)
    assert refused.startswith("[403, ")
    assert "credential-unavailable" in refused
    assert desk.status() == "connected"
