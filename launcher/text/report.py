"""Lines for the user on standard error. Standard output carries data only."""

from __future__ import annotations

import sys
from contextlib import suppress

from launcher.text.render import printable
from launcher.text.words import PROGRAM, words

__all__ = ["error", "note", "warning", "words"]


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
    lines = [f"{PROGRAM}: {kind}{printable(words(message))}"]
    if hint:
        lines.append(f"{PROGRAM}: hint: {printable(words(hint))}")
    if sys.stderr is not None:  # closed by the caller; print would take standard output instead
        with suppress(OSError):  # that it cannot be told must not change how a command ends
            print("\n".join(lines), file=sys.stderr)
