"""A passphrase that is typed, on a real terminal."""

from __future__ import annotations

import os
import pty
import select
import signal
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.launcher.cli import PROGRAM, Program

PHRASE = "CANARY-correct-horse"


class Typist:
    """A program on a terminal of its own, and who sits before it."""

    def __init__(self, pid: int, terminal: int) -> None:
        self.pid = pid
        self.terminal = terminal
        self.seen = ""

    def sees(self, text: str) -> None:
        """Wait until the program has shown a text."""
        deadline = time.monotonic() + 30
        while text not in self.seen:
            assert select.select([self.terminal], [], [], max(0.0, deadline - time.monotonic()))[0], self.seen
            self.seen += os.read(self.terminal, 4096).decode()

    def types(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def interrupts(self) -> None:
        """Press ^C, and again where nothing came of it: Python misses one just before it reads a line."""
        deadline = time.monotonic() + 30
        while "interrupted" not in self.seen:
            self.types("\x03")
            again = time.monotonic() + 3
            while "interrupted" not in self.seen and self._reads(again):
                pass
            assert time.monotonic() < deadline, self.seen

    def _reads(self, deadline: float) -> bool:
        """Read what comes; whether anything came."""
        try:
            if not select.select([self.terminal], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return False
            data = os.read(self.terminal, 4096)
        except OSError:  # Linux reports a terminal that nobody has open any more so
            data = b""
        self.seen += data.decode()
        return bool(data)

    def ends(self) -> int:
        """Read to the end; the exit status."""
        deadline = time.monotonic() + 30
        while self._reads(deadline):
            pass
        assert time.monotonic() < deadline, self.seen
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    @property
    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self.terminal)[3] & termios.ECHO)


@contextmanager
def typist(program: Program, *words: str) -> Iterator[Typist]:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(PROGRAM[0], [*PROGRAM, *words], program.environ)  # noqa: S606
    try:
        yield Typist(pid, terminal)
    finally:
        os.close(terminal)
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


def set_passphrase(program: Program) -> None:
    with typist(program, "vault", "rekey", "--key-source", "passphrase") as person:
        person.sees("New passphrase: ")
        person.types(f"{PHRASE}\r")
        person.sees("The same again: ")
        person.types(f"{PHRASE}\r")
        assert person.ends() == 0
        assert "CANARY" not in person.seen


def test_a_passphrase_is_typed_twice_when_it_is_chosen_and_once_later(authsome: Program) -> None:
    authsome.connect()
    set_passphrase(authsome)

    with typist(authsome, "get", "discord", "--field", "status") as person:
        person.sees("Passphrase of the vault: ")
        assert not person.echoes
        person.types(f"{PHRASE}\r")
        assert person.ends() == 0
        assert person.seen.splitlines()[-1] == "connected"
        assert "CANARY" not in person.seen


def test_two_passphrases_that_differ_change_nothing(authsome: Program) -> None:
    authsome.connect()
    with typist(authsome, "vault", "rekey", "--key-source", "passphrase") as person:
        person.sees("New passphrase: ")
        person.types(f"{PHRASE}\r")
        person.sees("The same again: ")
        person.types(f"{PHRASE}x\r")
        assert person.ends() == 1
        assert "authsome: error: the two passphrases differ" in person.seen
    assert authsome("get", "discord", "--field", "status").out == "connected\n"


@pytest.mark.parametrize(
    ("keys", "status"),
    [
        (f"wrong{PHRASE}\r", 1),
        (f"x\x7f{PHRASE}\r", 0),
        (f"ü\x7f{PHRASE}\r", 0),
        (f"rubbish\x15{PHRASE}\n", 0),
        ("\r", 1),
        ("\x04", 1),
        (f"{PHRASE[:5]}\x03", 130),
    ],
)
def test_the_line_can_be_edited_and_given_up(authsome: Program, keys: str, status: int) -> None:
    authsome.connect()
    set_passphrase(authsome)

    with typist(authsome, "get", "discord", "--field", "status") as person:
        person.sees("Passphrase of the vault: ")
        person.types(keys)
        assert person.ends() == status
        assert ("the passphrase is wrong" in person.seen) is (status == 1)


@pytest.mark.parametrize(("keys", "status"), [(f"{PHRASE}\r", 7), ("\x03", 130)])
def test_a_run_asks_before_its_program_starts_and_can_be_given_up(
    authsome: Program, keys: str, status: int
) -> None:
    authsome.connect()
    set_passphrase(authsome)

    with typist(authsome, "run", "--", "sh", "-c", "test -t 0 && echo started && exit 7") as person:
        person.sees("Passphrase of the vault: ")
        assert "started" not in person.seen
        person.types(keys)
        assert person.ends() == status
        assert ("started" in person.seen) is (status == 7)


def test_the_terminal_is_as_it_was_after_the_question(authsome: Program) -> None:
    authsome.connect()
    set_passphrase(authsome)
    with typist(authsome, "run", "--", "sh", "-c", "echo ready; read line; echo got $line") as person:
        before = termios.tcgetattr(person.terminal)
        person.sees("Passphrase of the vault: ")
        person.types(f"{PHRASE}\r")
        person.sees("ready")
        assert termios.tcgetattr(person.terminal) == before
        person.types("it\r")
        person.sees("got it")
        assert person.ends() == 0


def test_an_interrupt_at_a_question_leaves_the_line_of_the_question(authsome: Program) -> None:
    authsome.connect()
    authsome.widen_discord()
    with typist(authsome, "confirm", "discord") as user:
        user.sees("is that wanted? [y/N]: ")
        user.interrupts()
        assert user.ends() == 130
    assert "[y/N]: " in user.seen
    assert "\nauthsome: error: interrupted\r\n" in user.seen
