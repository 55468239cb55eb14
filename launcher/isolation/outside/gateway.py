"""The launcher's side of a sandbox's network: takes in what the listeners capture."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, assert_never

from launcher.isolation.inside.network import IP_PKTINFO
from launcher.isolation.model import Listen, Use
from launcher.isolation.outside.names import Names, answer
from proxy.accept import accepting
from proxy.relay import relay

_DATAGRAM: Final = 4096
"""Bytes of a question; real ones are below 512."""
_STREAM_TIMEOUT: Final = 30.0
"""Seconds that a client may be silent on a connection for names."""
_LOOPBACK: Final = "127.0.0.1"

Captured = Callable[[Use, str, int, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""Serves one captured connection: what for, and to which host (a name, or an address) and port the program
connected. Of `Use.PROXY`, `Use.TLS` and `Use.HTTP`."""


@asynccontextmanager
async def gateway(
    listeners: Sequence[tuple[Listen, socket.socket]], captured: Captured
) -> AsyncIterator[None]:
    """Answer questions for names, pass forwarded ports on, and hand every other connection to `captured`.

    At the end all of it stops, and the listeners are closed.
    """
    names = Names()
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        for listen, listener in listeners:
            if listen.use is Use.DNS_DATAGRAM:
                loop.add_reader(listener, _answer_datagram, listener, names)
                stack.callback(listener.close)
                stack.callback(loop.remove_reader, listener)
            else:
                await stack.enter_async_context(accepting(listener, partial(_serve, listen, names, captured)))
        yield


async def _serve(
    listen: Listen,
    names: Names,
    captured: Captured,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    host, port, *_ = writer.get_extra_info("sockname")
    try:
        match listen.use:
            case Use.PROXY | Use.TLS | Use.HTTP:
                meant = names.asked_for(host)
                if meant is not None:
                    await captured(listen.use, meant, port, reader, writer)
            case Use.DNS_STREAM:
                await _answer_stream(names, reader, writer)
            case Use.FORWARD:
                await _forward(listen.port, reader, writer)
            case Use.DNS_DATAGRAM:
                pass  # has no connections
            case _:
                assert_never(listen.use)
    except (OSError, EOFError, TimeoutError):
        pass  # one side is gone: there is nobody to tell


def _answer_datagram(listener: socket.socket, names: Names) -> None:
    try:
        query, ancillary, _, sender = listener.recvmsg(_DATAGRAM, socket.CMSG_SPACE(32))
        reply = answer(query, names)
        if reply is not None:
            listener.sendmsg([reply], [_from_where_it_went(*item) for item in ancillary], 0, sender)
    except OSError:
        return  # like a datagram that was lost


def _from_where_it_went(level: int, kind: int, data: bytes) -> tuple[int, int, bytes]:
    """Let the answer come from the address that was asked: clients accept no other. ip(7), ipv6(7)."""
    if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
        asked = data[8:12]
        return level, kind, struct.pack("=i4s4s", 0, asked, b"\0" * 4)
    return level, kind, data[:16] + struct.pack("=i", 0)


async def _answer_stream(names: Names, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Messages with their length before them (RFC 1035 section 4.2.2)."""
    while True:
        async with asyncio.timeout(_STREAM_TIMEOUT):
            length = int.from_bytes(await reader.readexactly(2))
            reply = answer(await reader.readexactly(length), names)
        if reply is None:
            return
        writer.write(len(reply).to_bytes(2) + reply)
        await writer.drain()


async def _forward(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    upstream = await asyncio.open_connection(_LOOPBACK, port)
    try:
        await relay((reader, writer), upstream)
    finally:
        upstream[1].close()
