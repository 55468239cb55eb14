"""What the stand-in received, kept so that tests can search it for tokens."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

BODY_KEPT = 64 * 1024
"""Bytes of each body that are kept: tests stream bodies of a gigabyte."""

WIRE_KEPT = 2 * BODY_KEPT
"""Bytes kept of each request as it came, head and framing included."""


@dataclass(slots=True)
class Kept:
    """A byte string that grows up to a limit."""

    limit: int
    data: bytearray = field(default_factory=bytearray)

    def add(self, more: bytes) -> None:
        self.data += more[: self.limit - len(self.data)]


@dataclass(frozen=True, slots=True)
class Seen:
    """One request, kept from the moment its head was read; its body grows while it arrives.

    Bytes that are no HTTP request are kept as well, with an empty method.
    """

    host: str
    """The tenant that the Host field named: lower case, without port."""
    sni: str | None
    tls: bool
    alpn: str | None
    client: str | None
    """Common name of the client's certificate."""
    method: str
    target: str
    headers: tuple[tuple[bytes, bytes], ...]
    kept_body: Kept = field(repr=False)
    kept_wire: Kept = field(repr=False)

    @property
    def body(self) -> bytes:
        """The first 64 KiB of the body."""
        return bytes(self.kept_body.data)

    @property
    def wire(self) -> bytes:
        """The first 128 KiB of the request as it came."""
        return bytes(self.kept_wire.data)

    def values(self, name: str) -> list[str]:
        """Every value of one field."""
        wanted = name.lower().encode()
        return [value.decode("latin-1") for key, value in self.headers if key.lower() == wanted]


class SeenLog:
    """The requests of one stand-in, in order of arrival. Safe to use from every thread."""

    def __init__(self, on_seen: Callable[[Seen], None] | None = None) -> None:
        self._lock = threading.Lock()
        self._seen: list[Seen] = []
        self._on_seen = on_seen

    def add(self, seen: Seen) -> None:
        with self._lock:
            self._seen.append(seen)

    def answered(self, seen: Seen) -> None:
        """Tell the listener, if there is one; called before the answer leaves."""
        if self._on_seen is not None:
            with self._lock:
                self._on_seen(seen)

    def snapshot(self) -> list[Seen]:
        with self._lock:
            return list(self._seen)

    def clear(self) -> None:
        with self._lock:
            self._seen.clear()
