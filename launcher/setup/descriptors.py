"""File descriptors through which the user gives authsome a secret."""

from __future__ import annotations

import os
from collections.abc import Mapping

from launcher.errors import UsageProblem
from launcher.setup.settings import KEY_FD_VARIABLE, PASSPHRASE_FD_VARIABLE, descriptor


def key_descriptors(environ: Mapping[str, str]) -> tuple[int, ...]:
    """Those that the environment names. No child may have them.

    To be called before any file is opened: a number that is free now would soon be one of our own.

    Raises: UsageProblem for one that is not open.
    """
    named = {name: descriptor(environ, name) for name in (KEY_FD_VARIABLE, PASSPHRASE_FD_VARIABLE)}
    given = [require_open(number, name) for name, number in named.items() if number is not None]
    return tuple(dict.fromkeys(given))  # one of them can be closed only once


def require_open(number: int, named_by: str) -> int:
    """The number, if it is a descriptor that this process was given. Raises: UsageProblem."""
    try:
        os.fstat(number)
    except OSError as error:
        raise UsageProblem(
            f"{named_by}: file descriptor {number} is not open",
            f"open it for authsome, as in '{number}<FILE'",
        ) from error
    return number
