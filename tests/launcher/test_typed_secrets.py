"""Secrets that options and variables have read from what turns out to be a terminal: nobody sees them."""

from __future__ import annotations

import base64
import os
import pty
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.launcher.child.test_terminal import wait_for
from tests.launcher.cli import PROGRAM, ROOT, Program
from tests.launcher.test_vault_terminal import PHRASE, Typist, set_passphrase
from vault.model import ApiKey, ConnectionKey

pytestmark = pytest.mark.usefixtures("alone_at_the_login_port")

KEY = "CANARY-api-key"
PLACES = ["-", "/dev/stdin", "/dev/tty", "/dev/fd/0", "/proc/self/fd/0"]


@contextmanager
def typist(program: Program, *words: str, variable: str = "") -> Iterator[Typist]:
    """As for a passphrase; `variable` names descriptor 3, which is the terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.dup2(0, 3, inheritable=True)
        environ = program.environ | ({variable: "3"} if variable else {})
        os.execve(PROGRAM[0], [*PROGRAM, *words], environ)  # noqa: S606
    try:
        yield Typist(pid, terminal)
    finally:
        os.close(terminal)
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


@pytest.fixture
def keyed(authsome: Program) -> Program:
    """A home with a provider that takes an API key."""
    folder = authsome.home / "providers"
    folder.mkdir(parents=True, mode=0o700)
    authsome.home.chmod(0o700)
    shutil.copy(ROOT / "examples" / "providers" / "keyed.json", folder / "keyed.json")
    (folder / "keyed.json").chmod(0o600)
    return authsome


def stored_key(program: Program) -> str:
    with program.vault() as vault:
        found = vault.connection(ConnectionKey("default", "keyed", "default"))
    assert found
    assert isinstance(found.value.credential, ApiKey)
    return found.value.credential.value.get_secret_value()


@pytest.mark.parametrize("place", PLACES)
def test_a_key_is_typed_unseen(keyed: Program, place: str) -> None:
    with typist(keyed, "login", "keyed", "--key-file", place) as person:
        person.sees("API key: ")
        assert not person.echoes
        person.types(f"{KEY}\r")
        assert person.ends() == 0
        assert "CANARY" not in person.seen
    assert stored_key(keyed) == KEY


@pytest.mark.parametrize("place", PLACES)
def test_a_client_secret_is_typed_unseen(authsome: Program, place: str) -> None:
    words = ("--client-id", "1", "--client-secret-file", place, "--no-browser", "--timeout", "1")
    with typist(authsome, "login", "discord", *words) as person:
        person.sees("Client secret: ")
        assert not person.echoes
        person.types("CANARY-client-secret\r")
        person.sees("log in at ")
        assert person.echoes
        person.ends()
        assert "CANARY" not in person.seen


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_brings_the_echo_back(keyed: Program, number: signal.Signals) -> None:
    with typist(keyed, "login", "keyed", "--key-file", "-") as person:
        person.sees("API key: ")
        person.types("CANARY")
        os.kill(person.pid, number)
        wait_for(lambda: person.echoes)
        assert person.ends() == 128 + number
        assert "CANARY" not in person.seen
        assert "Traceback" not in person.seen


def test_a_passphrase_whose_descriptor_is_a_terminal_is_typed_unseen(authsome: Program) -> None:
    authsome.connect()
    set_passphrase(authsome)
    words = ("get", "discord", "--field", "status")
    with typist(authsome, *words, variable="AUTHSOME_PASSPHRASE_FD") as person:
        person.sees("Passphrase of the vault: ")
        assert not person.echoes
        person.types(f"{PHRASE}\r")
        assert person.ends() == 0
        assert "CANARY" not in person.seen


def test_a_key_whose_descriptor_is_a_terminal_is_typed_unseen(authsome: Program) -> None:
    authsome.connect()
    key = (authsome.home / "master.key").read_text().strip()
    base64.b64decode(key.rpartition(":")[2] + "==")
    words = ("get", "discord", "--field", "status")
    with typist(authsome, *words, variable="AUTHSOME_KEY_FD") as person:
        person.sees("Key of the vault: ")
        assert not person.echoes
        person.types(f"{key}\r")
        assert person.ends() == 0
        assert key not in person.seen


def test_what_is_no_terminal_is_read_as_it_was(keyed: Program, tmp_path: Path) -> None:
    for place in ("-", "/dev/stdin"):
        said = keyed("login", "keyed", "--key-file", place, stdin=f"{KEY}{place}\n")
        assert (said.status, "API key: " in said.err) == (0, False)
        assert stored_key(keyed) == f"{KEY}{place}"
