"""Which methods and paths a rule is limited to. Pure.

`GET /api/*/users/@me` permits one method at one path; `*` stands for one segment, `**` at the end for
any number of them, `*` as method for all, and `GET,POST` for two.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

READ_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that ask for no change (RFC 9110 section 9.2.1), less TRACE."""

OVERRIDING_METHOD: Final = frozenset(
    {b"x-http-method-override", b"x-http-method", b"x-method-override", b"x-method"}
)
"""With one of these some servers run another method than the request line says."""

OVERRIDING_PATH: Final = frozenset({b"x-original-url", b"x-rewrite-url", b"x-original-method"})
"""With one of these some servers, behind a gateway that rewrites requests, serve what it says instead."""

_TEXT = re.compile(r"(?P<methods>\*|[A-Z]+(?:,[A-Z]+)*) (?P<path>/[!-~]*)")


@dataclass(frozen=True, slots=True)
class Permit:
    """One combination of methods and paths."""

    text: str
    """As the user wrote it; named in refusals."""
    methods: frozenset[str] | None
    """None for all."""
    segments: tuple[str, ...]
    open_ended: bool
    """Whether more segments may follow."""

    def covers(self, method: str, path: str) -> bool:
        """Whether a request is permitted; `path` as `policy.comparable_path` gives it."""
        if self.methods is not None and method not in self.methods:
            return False
        given = _split(path)
        return _fit(self.segments, given[: len(self.segments)] if self.open_ended else given)


def parse_permit(text: str) -> Permit:
    """Parse `METHOD[,METHOD] /path`. Raises: ValueError, with what is wrong."""
    match = _TEXT.fullmatch(text)
    if not match:
        raise ValueError("is not 'METHOD /path', such as 'GET /api/*/users/@me'")
    path = match["path"]
    if re.search(r"[?#%\\;]|//|/\.{1,2}(/|$)", path):
        raise ValueError("has a path with a query, an escape or a dot segment")
    segments = _split(path)
    open_ended = segments[-1:] == ("**",)
    segments = segments[:-1] if open_ended else segments
    if any("*" in segment and segment != "*" for segment in segments):
        raise ValueError("has a '*' that is not a whole segment of the path")
    methods = None if match["methods"] == "*" else frozenset(match["methods"].split(","))
    return Permit(text, methods, segments, open_ended)


READ_ONLY: Final = Permit("read-only", READ_METHODS, (), open_ended=True)


def fits(pattern: str, path: str) -> bool:
    """Whether a path is the one that `pattern` names, in which `*` stands for one segment."""
    return _fit(_split(pattern), _split(path))


def has_header(headers: Iterable[tuple[bytes, bytes]], names: frozenset[bytes]) -> bool:
    """Whether one of these headers is there. CGI and its kin take `_` for `-` (RFC 3875 section 4.1.18)."""
    return any(name.lower().replace(b"_", b"-") in names for name, _ in headers)


def _fit(wanted: tuple[str, ...], given: tuple[str, ...]) -> bool:
    return len(wanted) == len(given) and all(
        want in ("*", have) for want, have in zip(wanted, given, strict=True)
    )


def _split(path: str) -> tuple[str, ...]:
    return tuple(path.strip("/").split("/")) if path.strip("/") else ()


def permitted(permits: Iterable[tuple[Permit, ...]], method: str, path: str) -> bool:
    """Whether every non-empty set of permits has one that covers the request.

    The sets are the provider's, the user's and so on: each can only narrow what the others leave.
    """
    return all(not group or any(permit.covers(method, path) for permit in group) for group in permits)
