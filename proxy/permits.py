"""Which methods and paths a rule is limited to. Pure.

`GET /api/*/users/@me` permits one method at one path; `*` stands for one segment, `**` at the end for
any number of them, `*` as method for all that are known, and `GET,POST` for two.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from proxy.paths import split

READ_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that ask for no change (RFC 9110 section 9.2.1), less TRACE."""

KNOWN_METHODS: Final = READ_METHODS | {"POST", "PUT", "PATCH", "DELETE"}
"""What `*` stands for: with another one nobody has said what it may change."""

OVERRIDING_METHOD: Final = re.compile(rb"x-(?:.*-)?method(?:-.*)?|http-method(?:-.*)?")
"""With one of these headers some servers run another method than the request line says."""

OVERRIDING_TARGET: Final = re.compile(
    rb"""(?:x-)?forwarded(?!-for$).*
    |x-(?:.*-)?(?:original|rewrite)(?:-.*)?
    |x-(?:.*-)?(?:[a-z]*(?:url|uri|path|host|prefix|scheme|proto)|port)(?:-.*)?
    |(?:x-)?(?:script-name|path-info|request-ur[il]|base-ur[il])
    |front-end-https""",
    re.VERBOSE,
)
"""With one of these some servers, behind a gateway that rewrites requests, serve what it says instead.

No list of such names is complete, so these are words. `X-Forwarded-For` says only who asks.
"""

_SIGN: Final = re.compile(rb"[^a-z0-9]")
_TEXT = re.compile(r"(?P<methods>\*|[A-Z]+(?:,[A-Z]+)*) (?P<path>/[!-~]*)")


@dataclass(frozen=True, slots=True)
class Permit:
    """One combination of methods and paths."""

    text: str
    """As the user wrote it; named in refusals."""
    methods: frozenset[str] | None
    """None for all that are known."""
    segments: tuple[str, ...]
    open_ended: bool
    """Whether more segments may follow."""

    def covers(self, method: str, path: str) -> bool:
        """Whether a request is permitted, in one of the `paths.readings` of its path."""
        if method not in (KNOWN_METHODS if self.methods is None else self.methods):
            return False
        given = split(path)
        return _fit(self.segments, given[: len(self.segments)] if self.open_ended else given)


def parse_permit(text: str) -> Permit:
    """Parse `METHOD[,METHOD] /path`. Raises: ValueError, with what is wrong."""
    match = _TEXT.fullmatch(text)
    if not match:
        raise ValueError("is not 'METHOD /path' with the method in capitals")
    path = match["path"]
    if re.search(r"[?#%\\;]|//|/\.{1,2}(/|$)", path):
        raise ValueError("has a path with a query, an escape or a dot segment")
    segments = split(path)
    open_ended = segments[-1:] == ("**",)
    segments = segments[:-1] if open_ended else segments
    if any("*" in segment and segment != "*" for segment in segments):
        raise ValueError("has a '*' that is not a whole segment of the path")
    methods = None if match["methods"] == "*" else frozenset(match["methods"].split(","))
    return Permit(text, methods, segments, open_ended)


READ_ONLY: Final = Permit("read-only", READ_METHODS, (), open_ended=True)


def has_header(headers: Iterable[tuple[bytes, bytes]], names: re.Pattern[bytes]) -> bool:
    """Whether one of these headers is there. CGI and its kin know no signs (RFC 3875 section 4.1.18)."""
    return any(names.fullmatch(_SIGN.sub(b"-", name.lower())) for name, _ in headers)


def _fit(wanted: tuple[str, ...], given: tuple[str, ...]) -> bool:
    return len(wanted) == len(given) and all(
        want in ("*", have) for want, have in zip(wanted, given, strict=True)
    )


def permitted(permits: Iterable[tuple[Permit, ...]], method: str, paths: Collection[str]) -> bool:
    """Whether every non-empty set of permits has one that covers the request, however its path is read.

    The sets are the provider's, the user's and so on: each can only narrow what the others leave.
    """
    return all(
        any(permit.covers(method, path) for permit in group) for group in permits if group for path in paths
    )
