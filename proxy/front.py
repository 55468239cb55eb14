"""The listening side: checks the run's proxy credentials, tunnels what no rule names, hands on the rest.

Knows no mitmproxy. A host that no rule names is relayed as raw bytes, never decrypted and never
buffered, so client certificates, pinning and any protocol go through.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from typing import Final, assert_never

import h11

from proxy.audit import DECISION_REFUSE, DECISION_TUNNEL
from proxy.dial import Dialer
from proxy.errors import DialFailed
from proxy.hosts import canonical_host, parse_authority
from proxy.model import AuditSink, Event, Origin, Reason
from proxy.relay import CHUNK, relay

MAX_HEAD: Final = 64 * 1024
"""Bytes of a request head to the proxy itself; real ones are below 1 KiB."""

HEAD_TIMEOUT: Final = 60.0
"""Seconds a client may take to say what it wants."""

EMPTY_LINES: Final = b"\r\n"
"""What their ends are made of: they mean nothing before a message (RFC 9112 section 2.2)."""

USER: Final = "authsome"
"""The user name in the proxy URL; the password is what counts."""


class Prefixed:
    """A reader that gives back bytes already read before it reads on."""

    def __init__(self, head: bytes, reader: asyncio.StreamReader) -> None:
        self._head = head
        self._reader = reader

    async def read(self, limit: int) -> bytes:
        """At most `limit` bytes, as `asyncio.StreamReader.read`; empty at the end."""
        if self._head:
            data, self._head = self._head[:limit], self._head[limit:]
            return data
        return await self._reader.read(limit)


Terminate = Callable[[Prefixed, asyncio.StreamWriter, Origin | None], Awaitable[None]]
"""Ends the TLS of a rule's origin, or, without an origin, forwards cleartext requests.

The seam between the front and whatever takes HTTP apart.
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client wants of the proxy."""

    tunnel: Origin | None
    """The CONNECT target; None for a cleartext request in absolute form."""
    pending: bytes
    """Bytes that belong to the tunnel, or the whole cleartext request as received."""


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """An answer of the proxy's own, before anything was dialled."""

    status: int
    message: str
    reason: str = ""
    challenge: bool = False
    fix: str = ""


class Front:
    """Serves one client connection at a time; one instance a run."""

    def __init__(
        self,
        *,
        password: str,
        origins: Collection[Origin],
        dialer: Dialer,
        terminate: Terminate,
        audit: AuditSink,
    ) -> None:
        self._password = password.encode()
        self._origins = frozenset(origins)
        self._dialer = dialer
        self._terminate = terminate
        self._audit = audit

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One accepted connection, from first to last byte. Who accepted it closes `writer`."""
        try:
            async with asyncio.timeout(HEAD_TIMEOUT):
                asked = await self._ask(reader, writer)
            if asked is None:
                return
            if asked.tunnel is None:
                await self._terminate(Prefixed(asked.pending, reader), writer, None)
            elif asked.tunnel in self._origins:
                writer.write(_established())
                await self._terminate(Prefixed(asked.pending, reader), writer, asked.tunnel)
            else:
                await self._tunnel(asked.tunnel, Prefixed(asked.pending, reader), writer)
        except (OSError, TimeoutError):
            pass  # the client is gone or never spoke: there is nobody to tell

    async def capture(
        self, host: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """A connection that never asked for a proxy. It needs no credentials: only the run can make it."""
        name = canonical_host(f"[{host}]" if ":" in host else host)
        try:
            if name is None:
                return
            origin = Origin(name, port)
            if origin in self._origins:
                await self._terminate(Prefixed(b"", reader), writer, origin)
            else:
                await self._tunnel(origin, Prefixed(b"", reader), writer, asked=False)
        except OSError:
            pass  # the client is gone

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Asked | None:
        """Read heads until one is acceptable. A client without credentials may try once more."""
        for _ in range(2):
            http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
            raw = b""
            try:
                while (event := http.next_event()) is h11.NEED_DATA:
                    data = await reader.read(CHUNK)
                    if data and not raw and not (data := data.lstrip(EMPTY_LINES)):
                        continue
                    raw += data
                    http.receive_data(data)
            except h11.RemoteProtocolError as error:
                writer.write(_answer(TurnedAway(error.error_status_hint, "not an HTTP request")))
                return None
            if not isinstance(event, h11.Request):
                return None
            asked = self._read(event, http, raw)
            match asked:
                case Asked():
                    return asked
                case TurnedAway(challenge=challenge):
                    keep = challenge and event.method == b"CONNECT"
                    writer.write(_answer(asked, keep=keep))
                    if not keep:
                        return None
                case never:
                    assert_never(never)
        return None

    def _read(self, request: h11.Request, http: h11.Connection, raw: bytes) -> Asked | TurnedAway:
        if not self._authorised(request):
            return TurnedAway(407, "this proxy belongs to one run of authsome", challenge=True)
        target = request.target.decode("latin-1")
        if request.method == b"CONNECT":
            origin = parse_authority(target)
            if origin is None:
                return TurnedAway(400, "the CONNECT target is not a host and port")
            return Asked(origin, http.trailing_data[0])
        if target.lower().startswith("http://"):
            return Asked(None, raw)
        return TurnedAway(400, "this is a forward proxy: use CONNECT for https, absolute form for http")

    def _authorised(self, request: h11.Request) -> bool:
        given = [value for name, value in request.headers if name == b"proxy-authorization"]
        if len(given) != 1:
            return False
        scheme, _, encoded = given[0].partition(b" ")
        try:
            user, _, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        except binascii.Error:
            return False
        # Both are compared whatever the first says, in constant time.
        known = hmac.compare_digest(user, USER.encode()) & hmac.compare_digest(password, self._password)
        return scheme.lower() == b"basic" and known

    async def _tunnel(
        self, origin: Origin, reader: Prefixed, writer: asyncio.StreamWriter, *, asked: bool = True
    ) -> None:
        """Relay; `asked` with CONNECT, whose answers belong to the proxy."""
        event = Event(method="CONNECT", host=str(origin), path="", decision=DECISION_TUNNEL)
        try:
            upstream_reader, upstream_writer = await self._dialer.dial(origin)
        except DialFailed as error:
            reason = Reason.UPSTREAM_UNREACHABLE
            self._audit(replace(event, decision=DECISION_REFUSE, reason=reason, status=502))
            if asked:
                writer.write(_answer(TurnedAway(502, str(error), reason, fix=error.hint)))
            return
        try:
            self._audit(event)
            if asked:
                writer.write(_established())
            await relay((reader, writer), (upstream_reader, upstream_writer))
        finally:
            upstream_writer.close()


def _established() -> bytes:
    return b"HTTP/1.1 200 Connection established\r\n\r\n"


def _answer(denial: TurnedAway, *, keep: bool = False) -> bytes:
    said = {"error": "authsome_proxy", "message": denial.message}
    if denial.fix:
        said["fix"] = denial.fix
    body = json.dumps(said).encode()
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("Connection", "keep-alive" if keep else "close"),
    ]
    if denial.challenge:
        headers.append(("Proxy-Authenticate", 'Basic realm="authsome"'))
    if denial.reason:
        headers.append(("X-Authsome-Refused", denial.reason))
    http = h11.Connection(h11.SERVER)
    head = http.send(h11.Response(status_code=denial.status, headers=headers))
    return (head or b"") + body
