"""Reads the body of a provider's answer. Pure.

Strict where an answer may condemn a login: one JSON text and nothing else. Lenient where it holds tokens,
because a refresh has killed the earlier ones, and what is not read then is a login lost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import parse_qsl

MAX_STARTS: Final = 64
"""Places of a body at which an object is looked for behind junk; each costs a look at the rest of it."""

_BOMS: Final = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\0\0", "utf-32-le"),  # before UTF-16, whose mark it begins with
    (b"\0\0\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)

_ZEROS: Final = {
    (True, True, True, False): "utf-32-be",
    (False, True, True, True): "utf-32-le",
    (True, False, True, False): "utf-16-be",
    (False, True, False, True): "utf-16-le",
}
"""The charset by which of the first four bytes are zero: JSON begins with ASCII (RFC 4627 section 3)."""

_TOKEN: Final = re.compile(r"[\x21-\x7e]+")  # RFC 6749 appendix A.12, without the space
_FORM: Final = re.compile(r"[\w.%-]+=[^\s<>{}\"]*")
_BLANK: Final = " \t\r\n\v\f\0\xa0\ufeff"


def read_json(body: bytes) -> object:
    """The one JSON text of a body, in any Unicode charset; None where there is anything else."""
    text = _text(body)
    value, end = _decoded(text, 0)
    return value if end == len(text) else None


def read_object(body: bytes) -> dict[str, object] | None:
    """As `read_json`, where that is an object."""
    value = read_json(body)
    return value if isinstance(value, dict) else None


def read_tokens(body: bytes) -> Mapping[str, object] | None:
    """The members of a token answer, with an `access_token` that a header can carry.

    What stands before or after it, its charset and the way it is written do not matter. Within another
    object or a list it is taken only if it is the only one there.
    """
    text = _text(body)
    starts = (found.start() for found in re.finditer(r'[{\["]', text))
    for start, _ in zip(starts, range(MAX_STARTS), strict=False):
        value, _ = _decoded(text, start)
        if holders := _holders(value):
            return holders[0] if len(holders) == 1 else None
        if start == 0 and isinstance(value, dict):
            return None  # a whole object without: what may follow it is not the answer
    if not _FORM.fullmatch(text):
        return None
    form = _object(parse_qsl(text))
    return form if _carries(form) else None


def member(members: Mapping[str, object], name: str) -> object:
    """The member of that name, or else of the same name in another spelling, such as `accessToken`."""
    if name in members:
        return members[name]
    return next((value for key, value in members.items() if _plain(key) == _plain(name)), None)


def token(value: object) -> str | None:
    """A token as a header can carry it; blanks around it are none of it."""
    text = value.strip(" \t\r\n") if isinstance(value, str) else ""
    return text if _TOKEN.fullmatch(text) else None


def _carries(members: Mapping[str, object]) -> bool:
    return token(member(members, "access_token")) is not None


def _holders(value: object) -> list[dict[str, object]]:
    """The objects with an access token: the outermost alone where it has one."""
    if isinstance(value, dict) and (_carries(value) or value.get("error")):
        return [value] if _carries(value) else []
    found, rest = [], [value]
    while rest:
        match rest.pop():
            case dict() as inner if _carries(inner):
                found.append(inner)
            case dict() as inner:
                rest += inner.values()
            case list() as inner:
                rest += inner
            case str() as inner if "{" in inner:
                rest.append(_decoded(inner, 0)[0])
    return found


def _text(body: bytes) -> str:
    """The text of a body; tokens are ASCII, so that it does not matter which charset of bytes it is in."""
    for bom, charset in _BOMS:
        if body.startswith(bom):
            return body.decode(charset, "replace").strip(_BLANK)
    charset = next((name for zeros, name in _ZEROS.items() if _begins(body, zeros)), "utf-8")
    try:
        return body.decode(charset).strip(_BLANK)
    except UnicodeDecodeError:
        return body.decode("latin-1").strip(_BLANK)


def _begins(body: bytes, zeros: tuple[bool, ...]) -> bool:
    return len(body) >= len(zeros) and all((b == 0) is zero for b, zero in zip(body, zeros, strict=False))


def _decoded(text: str, start: int) -> tuple[object, int]:
    """The JSON value at `start`, and where it ends; None and -1 where there is none."""
    try:
        return _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None, -1


def _object(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    """Of members with the same name the last that says something."""
    members: dict[str, object] = {}
    for name, value in pairs:
        if name not in members or value not in (None, ""):
            members[name] = value
    return members


def _integer(digits: str) -> int | float:
    """Python refuses to read an integer of more than 4300 digits."""
    return int(digits) if len(digits) < 400 else float(digits)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, strict=False)
