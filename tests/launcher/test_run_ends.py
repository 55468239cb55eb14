"""Runs before their program starts and after it has ended, and with closed standard streams."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.launcher.cli import PROGRAM, Program, connected
from tests.launcher.run.test_run import family
from tests.standin import CLIENT_ID, Mishap, StandIn
from vault.model import ClientRegistration, ConnectionKey, OAuthTokens, Status

pytestmark = pytest.mark.usefixtures("alone_at_the_login_port")


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGTERM, ""),
        (signal.SIGHUP, ""),
        (signal.SIGQUIT, ""),
        (signal.SIGUSR1, ""),
        (signal.SIGINT, "authsome: error: interrupted"),
    ],
)
def test_a_signal_while_the_run_waits_for_its_key_ends_it_and_everything_of_it(
    authsome: Program, number: signal.Signals, said: str
) -> None:
    authsome.connect()
    key, never = os.pipe()
    command = [*PROGRAM, "run", "--", "true"]
    environ = {**authsome.environ, "AUTHSOME_KEY_FD": str(key)}
    with subprocess.Popen(command, env=environ, pass_fds=[key], stderr=subprocess.PIPE, text=True) as run:
        try:
            wait_for(lambda: len(family(run.pid)) > 1)
            time.sleep(0.3)  # most likely it waits by now; what is tested holds from the fork on
            run.send_signal(number)
            _, problems = run.communicate(timeout=20)
        finally:
            run.kill()
            os.close(key)
            os.close(never)
    assert (run.returncode, problems.strip()) == (128 + number, said)
    assert [path.name for path in (authsome.home / "runs").iterdir()] == [".lock"]


def stored_refresh_token(authsome: Program) -> str:
    with authsome.vault() as vault:
        found = vault.connection(ConnectionKey("default", "discord", "default"))
    assert found
    assert isinstance(found.value.credential, OAuthTokens)
    assert found.value.credential.refresh_token
    return found.value.credential.refresh_token.get_secret_value()


CUT_OFF = [
    "authsome: waiting for a refresh to be finished: it may hold the only copy of a login",
    "authsome: warning: the login of discord/default may be lost: a refresh was cut off before the "
    "provider's answer came",
    "authsome: hint: if it no longer works, run 'authsome login discord'",
]


@pytest.mark.parametrize(
    ("delay", "kept"), [(1.0, True), (60.0, False)], ids=["answer on its way", "no answer"]
)
def test_a_signal_after_the_programs_end_ends_the_wait_for_a_refresh_but_loses_no_answer(
    tmp_path: Path, standin: StandIn, delay: float, kept: bool
) -> None:
    app = standin.discord.register_app()
    tokens = standin.discord.grant(app)
    assert tokens.refresh_token
    way = {"AUTHSOME_CONNECT_TO": ",".join(standin.connect_to), "SSL_CERT_FILE": str(standin.ca_file)}
    authsome = Program(tmp_path / "home", way)
    registration = ClientRegistration(client_id=app.client_id, client_secret=SecretStr(app.client_secret))
    authsome.connect(refresh=tokens.refresh_token, lifetime=-5.0, client=registration)
    standin.discord.token_faults.append(Mishap(delay=delay))
    script = f"while [ ! -e {tmp_path}/done ]; do sleep 0.05; done; exit 7"
    with authsome.started("run", "--", "sh", "-c", script) as run:
        wait_for(lambda: bool(standin.seen))
        (tmp_path / "done").touch()
        wait_for(lambda: family(run.pid) == [run.pid])
        run.send_signal(signal.SIGTERM)
        # Without the signal it would wait for minutes.
        _, problems = run.communicate(timeout=12)
    assert run.returncode == 7
    assert problems.splitlines() == ([] if kept else CUT_OFF)
    assert (stored_refresh_token(authsome) != tokens.refresh_token) is kept
    assert [path.name for path in (authsome.home / "runs").iterdir()] == [".lock"]


def test_a_login_that_the_provider_ended_is_said_to_be_lost_at_the_end(
    tmp_path: Path, standin: StandIn
) -> None:
    authsome, tokens = connected(tmp_path / "home", standin)
    app = standin.discord.app(CLIENT_ID)
    assert app
    standin.discord.revoke(tokens.user, app)
    said = authsome("run", "--", sys.executable, "-c", f"{FAILING}sys.exit(7)")
    assert said.status == 7
    assert said.err.splitlines()[-2:] == [
        "authsome: warning: the login of discord/default is lost: the provider refused its refresh token",
        "authsome: hint: run 'authsome login discord'",
    ]


FAILING = """
import os, sys, urllib.request
request = urllib.request.Request("https://discord.com/api/v10/users/@me")
request.add_header("Authorization", "Bearer " + os.environ["DISCORD_ACCESS_TOKEN"])
try:
    urllib.request.urlopen(request)
except OSError as error:
    print(error)
"""


def test_an_audit_that_cannot_be_written_at_the_end_leaves_the_programs_status(
    tmp_path: Path, standin: StandIn
) -> None:
    way = {"AUTHSOME_CONNECT_TO": ",".join(standin.connect_to), "SSL_CERT_FILE": str(standin.ca_file)}
    authsome = Program(tmp_path / "home", way)
    authsome.connect(status=Status.EXPIRED)
    audit = authsome.home / "audit" / "audit.jsonl"
    script = f"{FAILING}os.unlink({str(audit)!r}); os.mkdir({str(audit)!r}); sys.exit(7)"
    said = authsome("run", "--no-sandbox", "--", sys.executable, "-c", script)
    assert said.status == 7
    assert said.err.splitlines()[-1] == "authsome: warning: cannot write to the audit: is a directory"


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-"])
@pytest.mark.parametrize("level", [(), ("--sandbox",), ("--no-sandbox",)], ids=str)
def test_a_closed_standard_stream_is_closed_for_the_program_and_changes_nothing_else(
    authsome: Program, level: tuple[str, ...], closed: str
) -> None:
    authsome.connect()
    show = "import sys; print(sys.stdin is None, sys.stderr is None); sys.exit(7)"
    usual = authsome("run", *level, "--", sys.executable, "-c", show)
    command = shlex.join([*PROGRAM, "run", *level, "--", sys.executable, "-c", show])
    done = subprocess.run(
        ["sh", "-c", f"{command} {closed}"], env=authsome.environ, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == usual.status
    assert done.stderr == ("" if "2>" in closed else usual.err)
    if usual.out:  # where there is no sandbox there is nothing more to see
        assert (usual.out, done.stdout) == ("False False\n", f"{'<' in closed} {'2>' in closed}\n")


def test_doctor_finds_what_works_with_a_closed_standard_input_too(authsome: Program) -> None:
    command = f"{shlex.join([*PROGRAM, 'doctor', '--json'])}"
    told = [
        json.loads(
            subprocess.run(["sh", "-c", text], env=authsome.environ, capture_output=True, timeout=60).stdout
        )
        for text in (command, f"{command} <&-")
    ]
    assert told[0]["levels"] == told[1]["levels"]


def test_a_program_without_a_name_is_told_of_and_gives_127(authsome: Program) -> None:
    authsome.connect()
    said = authsome("run", "--", "")
    assert (said.status, said.err.splitlines()[0]) == (
        127,
        "authsome: error: cannot run '': no such file or directory",
    )
