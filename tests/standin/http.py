"""The values that pass between the connection and the routes."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import parse_qs, urlsplit

Headers = tuple[tuple[str, str], ...]
type Json = Mapping[str, Json] | Sequence[Json] | str | int | float | None


class Ending(Enum):
    """How an answer ends."""

    WHOLE = "whole"
    CLOSE = "the answer is whole, then the connection closes"
    TRUNCATED = "half of the promised body, then the connection breaks"
    RESET = "no answer at all: the connection is reset"


@dataclass(frozen=True, slots=True)
class Answer:
    """One response. A streamed body needs its own Content-Length, or it is sent in chunks."""

    status: int = 200
    headers: Headers = ()
    body: bytes | AsyncGenerator[bytes] = b""
    delay: float = 0.0
    """Seconds before the first byte."""
    ending: Ending = Ending.WHOLE


@dataclass(frozen=True, slots=True)
class Mishap:
    """The request is carried out as ever, but its answer comes late or not whole."""

    delay: float = 0.0
    ending: Ending = Ending.WHOLE


Fault = Answer | Mishap
"""An `Answer` is given instead of carrying the request out."""

ReadBody = Callable[[], AsyncGenerator[bytes]]


@dataclass(frozen=True, slots=True)
class Request:
    """One request, routed: `host` is the tenant that Host names, whatever the SNI was."""

    method: str
    target: str
    headers: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    host: str
    tls: bool
    head: bytes = field(repr=False)
    """Request line and fields as they came over the wire."""
    chunks: ReadBody = field(repr=False)

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def raw_query(self) -> str:
        return urlsplit(self.target).query

    def query(self, name: str, default: str = "") -> str:
        """The first value of a query parameter."""
        return parse_qs(self.raw_query, keep_blank_values=True).get(name, [default])[0]

    def header(self, name: bytes) -> str:
        """The first value of a field, or nothing."""
        for key, value in self.headers:
            if key.lower() == name:
                return value.decode("latin-1")
        return ""

    async def body(self, limit: int = 1 << 20) -> bytes:
        """The body, as far as `limit` bytes."""
        whole = bytearray()
        async for chunk in self.chunks():
            whole += chunk[: limit - len(whole)]
        return bytes(whole)


Route = Callable[[Request], Awaitable[Answer]]


def json_answer(status: int, value: Json, headers: Headers = ()) -> Answer:
    """JSON with the spacing of Python's `json.dumps`, which is Discord's."""
    return Answer(status, (("Content-Type", "application/json"), *headers), json.dumps(value).encode())


def html_answer(status: int, text: str) -> Answer:
    """A page."""
    return Answer(status, (("Content-Type", "text/html; charset=utf-8"),), text.encode())


def redirect(url: str, status: int = 302) -> Answer:
    """Send the client to `url`."""
    return Answer(status, (("Location", url), ("Cache-Control", "no-store")))
