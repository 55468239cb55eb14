"""Opens the one-time address of a login in the user's browser, without telling it to the whole machine.

A browser is told an address by its arguments, which every user of the machine can read while it starts,
and be there first (RFC 8252 section 8.9). So it is told the name of a file that only its user can read, in
a folder that is hidden from runs, and the file sends it on.
"""

from __future__ import annotations

import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Final

from vault.files import new_file

LETTER: Final = "login.html"
"""One at a time: the port of the login page is one login's alone."""


@contextmanager
def opening(folder: Path, *, wanted: bool) -> Iterator[Callable[[str], bool]]:
    """A function that opens an address, and says whether it did; its file in `folder` is gone at the end."""
    letter = folder / LETTER
    try:
        yield (lambda url: _open(letter, url)) if wanted else (lambda _url: False)
    finally:
        letter.unlink(missing_ok=True)


def _open(letter: Path, url: str) -> bool:
    letter.unlink(missing_ok=True)  # of a login that was killed
    try:
        with new_file(letter) as file:
            file.write_text(_forwarding(url))
    except OSError:  # the address is on the terminal, too
        return False
    return webbrowser.open(letter.as_uri())


def _forwarding(url: str) -> str:
    link = escape(url)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>authsome</title>'
        '<meta name="referrer" content="no-referrer">'
        f'<meta http-equiv="refresh" content="0; url={link}"></head>'
        f'<body><a href="{link}">Go on to the login</a></body></html>\n'
    )
