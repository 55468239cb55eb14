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

OVERRIDING_HEADERS: Final = frozenset(
    {b"x-http-method-override", b"x-http-method", b"x-method-override", b"x-method"}
)
"""With one of these some servers run another method than the request line says."""

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
        if len(given) < len(self.segments) or (len(given) > len(self.segments) and not self.open_ended):
            return False
        return all(
            want in ("*", have) for want, have in zip(self.segments, given[: len(self.segments)], strict=True)
        )


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


def _split(path: str) -> tuple[str, ...]:
    return tuple(path.strip("/").split("/")) if path.strip("/") else ()


def permitted(permits: Iterable[tuple[Permit, ...]], method: str, path: str) -> bool:
    """Whether every non-empty set of permits has one that covers the request.

    The sets are the provider's, the user's and so on: each can only narrow what the others leave.
    """
    return all(not group or any(permit.covers(method, path) for permit in group) for group in permits)
