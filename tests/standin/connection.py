"""One connection: HTTP/1.1 with keep-alive over a stream, bodies streamed both ways."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from email.utils import formatdate
from urllib.parse import urlsplit

import h11

from tests.standin.http import Answer, Ending, Request, Route
from tests.standin.seen import BODY_KEPT, WIRE_KEPT, Kept, Seen, SeenLog

READ_SIZE = 64 * 1024
"""Bytes per read: memory stays flat however long a body is."""

_BODILESS = frozenset({204, 304})


@dataclass(frozen=True, slots=True)
class Peer:
    """What the transport says about the client."""

    tls: bool
    sni: str | None
    alpn: str | None
    client: str | None


def host_name(authority: str) -> str:
    """The host of `host:port`, as compared: lower case, no port, no final dot."""
    return (urlsplit(f"//{authority.strip()}").hostname or "").removesuffix(".")


class Connection:
    """Serves requests until the peer or an answer ends it."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        peer: Peer,
        log: SeenLog,
        route: Route,
    ) -> None:
        self._reader, self._writer = reader, writer
        self._peer, self._log, self._route = peer, log, route
        self._http = h11.Connection(h11.SERVER)
        self._wire = Kept(WIRE_KEPT)
        self._body = Kept(BODY_KEPT)

    async def serve(self) -> None:
        """Until the connection ends; a peer that breaks off or talks nonsense is no error of ours."""
        try:
            with suppress(ConnectionError, ssl.SSLError, h11.RemoteProtocolError):
                while await self._one():
                    pass
        finally:
            self._writer.close()

    async def _one(self) -> bool:
        """One request and its answer; false when the connection is over."""
        try:
            event = await self._next()
        except h11.RemoteProtocolError:
            await self._malformed()
            return False
        if not isinstance(event, h11.Request):
            self._keep_unparsed()
            return False
        seen = self._seen(event)
        self._log.add(seen)
        try:
            answer = await self._route(self._request(event, seen))
        finally:
            self._log.answered(seen)
        await asyncio.sleep(answer.delay)
        if not await self._send(event, answer):
            return False
        return await self._start_over()

    async def _next(self) -> object:
        """The next HTTP event; keeps all that is read."""
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                await self._write(h11.InformationalResponse(status_code=100, headers=[]))
            data = await self._reader.read(READ_SIZE)
            self._wire.add(data)
            self._http.receive_data(data)
        return event

    async def _chunks(self) -> AsyncGenerator[bytes]:
        while self._http.their_state is h11.SEND_BODY:
            event = await self._next()
            if isinstance(event, h11.Data):
                self._body.add(bytes(event.data))
                yield bytes(event.data)

    async def _send(self, request: h11.Request, answer: Answer) -> bool:
        if answer.ending is Ending.RESET:
            self._reset()
            return False
        headers = [("Date", formatdate(usegmt=True)), *answer.headers]
        names = {name.lower() for name, _ in headers}
        if (
            isinstance(answer.body, bytes)
            and "content-length" not in names
            and answer.status not in _BODILESS
        ):
            headers.append(("Content-Length", str(len(answer.body))))
        if answer.ending is not Ending.WHOLE:
            headers.append(("Connection", "close"))
        await self._write_head(answer.status, headers)
        if request.method != b"HEAD" and answer.status not in _BODILESS:
            await self._send_body(answer)
        if answer.ending is Ending.TRUNCATED:
            self._writer.transport.abort()
            return False
        await self._write(h11.EndOfMessage())
        return True

    async def _write_head(self, status: int, headers: list[tuple[str, str]]) -> None:
        head = self._http.send(h11.Response(status_code=max(status, 200), headers=headers)) or b""
        # h11 writes no status that is none.
        self._writer.write(head.replace(b" 200 ", b" %03d " % status, 1) if status < 200 else head)
        await self._writer.drain()

    async def _send_body(self, answer: Answer) -> None:
        if isinstance(answer.body, bytes):
            half = answer.ending is Ending.TRUNCATED
            await self._write(h11.Data(data=answer.body[: len(answer.body) // 2] if half else answer.body))
            return
        async with aclosing(answer.body) as stream:
            async for chunk in stream:
                await self._write(h11.Data(data=chunk))

    async def _write(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            self._writer.write(data)
            await self._writer.drain()

    async def _start_over(self) -> bool:
        async with aclosing(self._chunks()) as rest:
            async for _ in rest:
                pass
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        self._wire, self._body = Kept(WIRE_KEPT), Kept(BODY_KEPT)
        self._wire.add(self._http.trailing_data[0])
        return True

    def _reset(self) -> None:
        """RST instead of FIN: a linger time of nought (socket(7))."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def _malformed(self) -> None:
        self._keep_unparsed()
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            headers = [("Content-Length", "0"), ("Connection", "close")]
            await self._write(h11.Response(status_code=400, headers=headers))
            await self._write(h11.EndOfMessage())

    def _keep_unparsed(self) -> None:
        """Keep bytes that never became a request: a token could be in them."""
        if self._wire.data:
            seen = self._record("", "", "", ())
            self._log.add(seen)
            self._log.answered(seen)

    def _seen(self, event: h11.Request) -> Seen:
        target = event.target.decode("latin-1")
        hosts = [value for name, value in event.headers if name == b"host"]
        authority = urlsplit(target).netloc if "://" in target else b"".join(hosts).decode("latin-1")
        raw = tuple((bytes(name), bytes(value)) for name, value in event.headers.raw_items())
        return self._record(host_name(authority), event.method.decode("latin-1"), target, raw)

    def _record(self, host: str, method: str, target: str, headers: tuple[tuple[bytes, bytes], ...]) -> Seen:
        peer = self._peer
        return Seen(
            host, peer.sni, peer.tls, peer.alpn, peer.client, method, target, headers, self._body, self._wire
        )

    def _request(self, event: h11.Request, seen: Seen) -> Request:
        head = seen.wire.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        return Request(seen.method, seen.target, seen.headers, seen.host, seen.tls, head, self._chunks)
