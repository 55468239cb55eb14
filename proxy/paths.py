"""What servers may take the path of a request for. Pure.

Gateways, frameworks and file systems decode, fold, cut and trim paths each in its own way. So a credential
goes with no path that has no certain reading, with none of which any reading is barred, and under limits with
none of which any reading is not permitted.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final
from urllib.parse import unquote_to_bytes

_NO_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_AMBIGUOUS: Final = re.compile(
    r"""[\\\x00-\x1f\x7f-\x9f\u2028\u2029]
    |/\.[^/A-Za-z0-9]*?(?=[/;?\#]|$)  # a dot segment, with what a server may drop behind it
    |%(?:[Uu][0-9A-Fa-f]{2})?[0-9A-Fa-f]{2}  # an escape is left; `%u0074` is one to IIS""",
    re.VERBOSE,
)
_BEGINNING: Final = re.compile(r"[^a-z0-9_-]+")
"""What may stand before a name that a server is to find all the same."""

_GOES_ON: Final = re.compile(r"[a-z0-9_-]")
"""With one of these behind it a name is another name."""


def readings(target: str) -> tuple[str, ...]:
    """Every path that a server may take a request target for; none where that is not certain.

    Percent-decoded; also with other forms of letters made ASCII (Unicode NFKC); also cut at a `?` or `#` that
    came encoded; also without parameters, and without spaces at the ends of segments.

    None for a path with an encoded slash, a percent sign that begins no escape, an escape that is left
    after decoding, bytes that are no UTF-8 (an overlong slash is none), a backslash, a dot segment, an empty
    segment or a control character.
    """
    raw = target.encode(errors="surrogateescape").partition(b"?")[0]
    try:
        decoded = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        return ()
    whole = (decoded, unicodedata.normalize("NFKC", decoded))
    in_doubt = b"#" in raw or _NO_ESCAPE.search(raw) is not None
    if in_doubt or any(_is_ambiguous(text) or text.count("/") != raw.count(b"/") for text in whole):
        return ()
    ended = [*whole, *(re.split("[?#]", text, maxsplit=1)[0] for text in whole)]
    return tuple(dict.fromkeys([*ended, *map(_plain, ended)]))


def _plain(text: str) -> str:
    return "/".join(segment.partition(";")[0].strip() for segment in text.split("/"))


def _is_ambiguous(text: str) -> bool:
    return _AMBIGUOUS.search(text) is not None or "//" in _plain(text)


def is_barred(never: str, path: str) -> bool:
    """Whether a path is the one that `never` names, in which `*` stands for one segment, or near to it.

    The last two segments of `never` are enough, wherever they stand: a gateway may have put other ones before
    them, or take them away. One alone could be that of any path, so then all of them count. A segment that
    begins like one of `never` is that one, unless it goes on as a longer name: servers drop `.json`, dots,
    and what they take for spaces.
    """
    wanted = tuple("*" if segment == "*" else _folded(segment) for segment in split(never))
    given = tuple(map(_folded, split(path)))
    tail = wanted[-2:]
    if len(tail) < 2 or "*" in tail:
        return len(wanted) == len(given) and _alike(wanted, given)
    return any(_alike(tail, given[at : at + 2]) for at in range(len(given) - 1))


def _alike(wanted: tuple[str, ...], given: tuple[str, ...]) -> bool:
    return all(want == "*" or _begins(have, want) for want, have in zip(wanted, given, strict=True))


def _begins(have: str, want: str) -> bool:
    return have.startswith(want) and not _GOES_ON.match(have, len(want))


def _folded(segment: str) -> str:
    """In small ASCII letters, without accents and marks nobody sees, from its first letter on."""
    if not segment.isascii():
        segment = unicodedata.normalize("NFKD", segment).encode("ascii", "ignore").decode()
    text = segment.lower()
    begun = _BEGINNING.match(text)
    return text[begun.end() :] if begun else text


def split(path: str) -> tuple[str, ...]:
    """The segments of a path; a slash at its end means nothing."""
    return tuple(path.strip("/").split("/")) if path.strip("/") else ()
