"""Token answers whose framing is wrong: an answer that holds the only living tokens is not thrown away.

What is read of a connection is kept until the exchange is over, so that tokens are found though the length
that was announced, or another part of the framing, makes it no message of HTTP/1.1 (RFC 9112 section 6.3).
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Buffer, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from oauth.answer import read_object, read_tokens

MAX_HEARD: Final = 2 * 1024 * 1024
"""Bytes of an exchange that are kept; more than any answer that is read."""

_HEARD: ContextVar[bytearray | None] = ContextVar("heard", default=None)
_HEAD = re.compile(rb"HTTP/1\.[01] +(?P<status>[0-9]{3})\b.*?\r?\n\r?\n", re.DOTALL)


class Overheard(ssl.SSLObject):
    """TLS whose plaintext is kept as well where the exchange that reads it asks for that."""

    def read(self, len: int = 1024, buffer: Buffer | None = None) -> bytes:
        data = super().read(len, buffer)
        _keep(data)
        return data


def _keep(data: bytes | int) -> None:
    heard = _HEARD.get()
    if heard is not None and isinstance(data, bytes) and len(heard) < MAX_HEARD:
        heard += data


def overheard(context: ssl.SSLContext) -> ssl.SSLContext:
    """Let `overhearing` hear what comes over connections of this context."""
    context.sslobject_class = Overheard
    return context


@contextmanager
def overhearing() -> Iterator[bytearray]:
    """What this task reads from now on; holds secrets."""
    heard = bytearray()
    token = _HEARD.set(heard)
    try:
        yield heard
    finally:
        _HEARD.reset(token)


def is_whole(body: bytes | bytearray) -> bool:
    """Whether a body is a complete JSON object, so that nothing that matters can follow."""
    return body.rstrip().endswith(b"}") and read_object(bytes(body)) is not None


def tokens_in(heard: bytes | bytearray) -> tuple[int, bytes] | None:
    """Status and body of an answer of any framing, if it succeeded and has tokens in JSON.

    In a form their end could not be told from where the connection broke.
    """
    head = next((found for found in _HEAD.finditer(heard) if not found["status"].startswith(b"1")), None)
    if head is None or not head["status"].startswith(b"2"):
        return None
    body = bytes(heard[head.end() :])
    return (int(head["status"]), body) if b"{" in body and read_tokens(body) is not None else None
