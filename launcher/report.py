"""Lines for the user on standard error. Standard output carries data only."""

from __future__ import annotations

import sys

from launcher.render import printable
from launcher.settings import PROGRAM


def error(message: str, hint: str = "") -> None:
    """What went wrong, and what to do."""
    _lines("error: ", message, hint)


def warning(message: str, hint: str = "") -> None:
    """What the user should know although the command goes on."""
    _lines("warning: ", message, hint)


def note(message: str) -> None:
    """How it goes."""
    _lines("", message, "")


def _lines(kind: str, message: str, hint: str) -> None:
    print(f"{PROGRAM}: {kind}{printable(message)}", file=sys.stderr)
    if hint:
        print(f"{PROGRAM}: hint: {printable(hint)}", file=sys.stderr)
