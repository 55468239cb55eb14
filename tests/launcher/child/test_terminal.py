"""The question for a passphrase and the rest of the terminal: signals, jobs of a shell, no way to ask."""

from __future__ import annotations

import os
import pty
import shlex
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.launcher.cli import PROGRAM, Program
from tests.launcher.test_vault_terminal import PHRASE, Typist, set_passphrase, typist


@contextmanager
def shell(program: Program) -> Iterator[Typist]:
    """Somebody at the prompt of a shell with job control."""
    pid, terminal = pty.fork()
    if pid == 0:
        environ = {**program.environ, "PS1": "$ ", "HISTFILE": "", "TERM": "dumb"}
        os.execve("/bin/bash", ["bash", "--norc", "--noprofile", "-i"], environ)  # noqa: S606
    try:
        yield Typist(pid, terminal)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.close(terminal)
        os.waitpid(pid, 0)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("words", [("list",), ("run", "--", "true")], ids=lambda words: words[0])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_at_the_question_ends_the_command_and_brings_the_echo_back(
    authsome: Program, words: tuple[str, ...], number: signal.Signals
) -> None:
    authsome.connect()
    set_passphrase(authsome)
    with typist(authsome, *words) as person:
        person.sees("Passphrase of the vault: ")
        assert not person.echoes
        os.kill(person.pid, number)
        wait_for(lambda: person.echoes)
        assert person.ends() == 128 + number
        assert "Traceback" not in person.seen


@pytest.mark.parametrize(
    ("words", "last"), [(("list",), "connected"), (("run", "--", "echo", "it", "ran"), "it ran")]
)
def test_a_job_in_the_background_stops_at_the_question_and_asks_in_the_foreground(
    authsome: Program, words: tuple[str, ...], last: str
) -> None:
    authsome.connect()
    set_passphrase(authsome)
    with shell(authsome) as person:
        person.sees("$ ")
        person.types(f"{shlex.join([*PROGRAM, *words])} &\r")
        person.types('while [ -z "$(jobs -s)" ]; do sleep 0.05; done; echo stop""ped\r')
        person.sees("stopped\r")
        assert "Passphrase" not in person.seen
        person.types('fg; echo "without: $(stty -a | grep -c -e "-echo ")"\r')
        person.sees("Passphrase of the vault: ")
        wait_for(lambda: not person.echoes)
        person.types(f"{PHRASE}\r")
        person.sees("without: 0")
        assert last in person.seen
        assert "CANARY" not in person.seen


def test_a_job_that_no_shell_can_continue_is_told_that_there_is_no_terminal(authsome: Program) -> None:
    authsome.connect()
    set_passphrase(authsome)
    said = authsome.home.parent / "said"
    with shell(authsome) as person:
        person.sees("$ ")
        command = shlex.join([*PROGRAM, "list"])
        # The parent of what is in the background ends at once, so that the system stops it no more.
        person.types(f"( {{ {command}; echo status=$?; }} >{said} 2>&1 & )\r")
        wait_for(lambda: said.exists() and "status=" in said.read_text())
    assert said.read_text().splitlines() == [
        "authsome: error: there is no terminal to ask for the passphrase on",
        "authsome: hint: give it through a file descriptor and set AUTHSOME_PASSPHRASE_FD to its number",
        "status=1",
    ]
