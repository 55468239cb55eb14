"""A run with many connections: each has its credential, and none sees it."""

from tests.e2e.desk import Desk
from tests.keyed import add_keyed

ECHO = """
import os, httpx
token = os.environ["DISCORD_ACCESS_TOKEN"]
for _ in range(3):
    print(httpx.get("https://discord.com/standin/echo", headers={"Authorization": "Bearer " + token}).text)
"""


def test_with_many_connections_the_program_does_not_see_its_own_credential(desk: Desk) -> None:
    desk.login()
    keys = add_keyed(desk.home, 40)
    done = desk.python(ECHO)
    assert done.returncode == 0, done.stderr
    token = desk.access_token()
    assert desk.standin.wire_contains(token.encode()), "the negative twin: it was sent, and echoed"
    assert token not in done.stdout + done.stderr
    assert not any(key in done.stdout + done.stderr for key in keys)
    assert done.stdout.count("authsome-proxy-managed") >= 3
