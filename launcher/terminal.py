"""A secret typed on the terminal, without an echo."""

from __future__ import annotations

import os
import termios
from typing import Final

from launcher.errors import LauncherError

_ENTER: Final = b"\r\n"
_END: Final = b"\x04"
_INTERRUPT: Final = b"\x03"
_ERASE: Final = b"\x08\x7f"
_KILL: Final = b"\x15"


def ask_secret(question: str, hint: str) -> str:
    """Ask on the terminal of this process, whatever standard input and output are.

    ^C is read as a character: `run` has its signals passed on to a child that does not run yet.

    Raises: KeyboardInterrupt; LauncherError with `hint` where there is no terminal.
    """
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError as error:
        raise LauncherError("there is no terminal to ask for the passphrase on", hint) from error
    try:
        return _asked(terminal, question)
    finally:
        os.close(terminal)


def _asked(terminal: int, question: str) -> str:
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
