"""The terminal of this process: a secret typed on it without an echo, and who is in its foreground."""

from __future__ import annotations

import os
import stat
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from launcher.child.signals import ending_in_order
from launcher.errors import LauncherError

_ENTER: Final = b"\r\n"
_END: Final = b"\x04"
_INTERRUPT: Final = b"\x03"
_ERASE: Final = b"\x08\x7f"
_KILL: Final = b"\x15"


TERMINAL: Final = "/dev/tty"
"""The terminal of this process, whatever its standard input and output are."""


def is_terminal(path: str) -> bool:
    """Whether a secret that is read from `path` would be typed, and seen: `/dev/stdin` may be one."""
    try:
        if not stat.S_ISCHR(os.stat(path).st_mode):  # another one may not be opened twice
            return False
        with _opened(os.O_RDONLY | os.O_NONBLOCK, path) as device:
            return os.isatty(device)
    except OSError:
        return False


def ask_secret(question: str, hint: str, path: str = TERMINAL) -> str:
    """Ask on a terminal without an echo.

    ^C and ^Z are read as characters: a process that stops leaves the terminal without an echo.

    Raises: KeyboardInterrupt, and SystemExit after a signal; LauncherError with `hint` where there is no
    terminal.
    """
    try:
        with _opened(os.O_RDWR, path) as terminal, ending_in_order():
            return _asked(terminal, question)
    except (OSError, termios.error) as error:
        raise LauncherError("there is no terminal to ask for the passphrase on", hint) from error


def in_foreground() -> bool:
    """Whether this process group is the one that reads the terminal."""
    with suppress(OSError), _opened(os.O_RDONLY) as terminal:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    return False


def take_back() -> None:
    """Bring this process group to the foreground, if the one that is there has ended.

    SIGTTOU must be blocked. A shell in a namespace of process ids cannot do it at its own end: in there
    the group that it was started from has no id.
    """
    with suppress(OSError), _opened(os.O_RDONLY) as terminal:
        try:
            os.killpg(os.tcgetpgrp(terminal), 0)
        except ProcessLookupError:
            os.tcsetpgrp(terminal, os.getpgrp())


@contextmanager
def _opened(flags: int, path: str = TERMINAL) -> Iterator[int]:
    terminal = os.open(path, flags | os.O_NOCTTY)
    try:
        yield terminal
    finally:
        os.close(terminal)


def _asked(terminal: int, question: str) -> str:
    # Stops a job in the background. Its shell is in the foreground, and has set the terminal up for itself.
    termios.tcdrain(terminal)
    before = termios.tcgetattr(terminal)
    quiet = termios.tcgetattr(terminal)
    quiet[3] &= ~(termios.ECHO | termios.ICANON | termios.ISIG)
    termios.tcsetattr(terminal, termios.TCSAFLUSH, quiet)
    try:
        os.write(terminal, question.encode())
        return _line(terminal).decode("utf-8", "surrogateescape")
    finally:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
        os.write(terminal, b"\n")


def _line(terminal: int) -> bytes:
    typed = bytearray()
    while True:
        key = os.read(terminal, 1)
        if not key or key in _ENTER or key == _END:
            return bytes(typed)
        if key == _INTERRUPT:
            raise KeyboardInterrupt
        if key == _KILL:
            typed.clear()
        elif key in _ERASE:
            _erase_character(typed)
        else:
            typed += key


def _erase_character(typed: bytearray) -> None:
    """Remove the last character, which has several bytes in UTF-8 where it is not ASCII."""
    while typed and typed.pop() & 0xC0 == 0x80:
        pass
