"""The socket of the login page: who may hold the port, how long a connection may take, how it ends."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, assert_never

from oauth.errors import LoginFailed
from oauth.login.page_html import STYLE_SOURCE, notice
from oauth.login.page_http import (
    MAX_HEAD,
    Nothing,
    Page,
    Refused,
    Request,
    Response,
    body_length,
    encode,
    is_unasked,
    parse_fields,
    parse_head,
    refuse_stranger,
)

LOOPBACK: Final = "127.0.0.1"
"""The address and not `localhost`, which may resolve to another one (RFC 8252 section 8.3)."""

_READ_SECONDS: Final = 10.0
"""For a whole request; browsers open spare connections and leave them idle."""

_FINISH_SECONDS: Final = 5.0
"""For answers that are being written when the login ends."""

_DISCARD_SECONDS: Final = 1.0
"""For the rest of a refused request."""

Answer = Callable[[Request], Awaitable[Response]]


def listen(port: int) -> socket.socket:
    """A listening socket that nobody else can share; port 0 lets the system choose.

    Raises: LoginFailed where the port is taken.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # Only so that the closed connections of an earlier login do not hold the port for a minute;
        # it shares nothing, as SO_REUSEPORT would.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
        listener.listen(16)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise LoginFailed(
                f"port {port} of {LOOPBACK} is in use by another program, perhaps another login",
                f"find it with 'lsof -nP -iTCP:{port}' or 'ss -ltnp', end it, and log in again",
            ) from error
        raise LoginFailed(
            f"could not listen on port {port} of {LOOPBACK}: {(error.strerror or 'refused').lower()}",
            "the browser must be able to reach this address; check the system's network settings",
        ) from error
    return listener


@asynccontextmanager
async def serving(listener: socket.socket, answer: Answer) -> AsyncIterator[None]:
    """Answer on `listener` until the block ends, and close it then.

    Requests that were read completely when the block ends still get their answer.
    """
    authority = f"{LOOPBACK}:{listener.getsockname()[1]}"
    loop = asyncio.get_running_loop()
    reading: set[asyncio.Task[None]] = set()
    answering: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (`accepted` runs every connection in a task)
        try:
            request = await _read(reader, authority)
            reading.discard(task)
            answering.add(task)
            writer.write(await _respond(request, answer))
            await writer.drain()
            if isinstance(request, Refused):
                await _discard(reader, writer)
        except (OSError, EOFError):  # the browser went away, or took too long
            pass
        finally:
            reading.discard(task)
            answering.discard(task)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not server.is_serving():  # accepted before the end, told of after it
            writer.close()
            return
        task = loop.create_task(connected(reader, writer))
        reading.add(task)
        # Once more here: a task that is cancelled before its first step closes nothing.
        task.add_done_callback(lambda _: writer.close())

    server = await asyncio.start_server(accepted, sock=listener, limit=MAX_HEAD, start_serving=False)
    await server.start_serving()
    try:
        yield
    finally:
        # asyncio loses a connection that it accepted, but has no transport for, when the server is closed.
        loop.remove_reader(listener)
        await asyncio.sleep(0)
        server.close()
        idle = list(reading)
        for task in idle:
            task.cancel()
        if pending := [*idle, *answering]:
            _, late = await asyncio.wait(pending, timeout=_FINISH_SECONDS)
            for task in late:
                task.cancel()


async def _read(reader: asyncio.StreamReader, authority: str) -> Request | Refused | Nothing:
    """One request, after all checks that need no knowledge of the login.

    Raises: OSError (a timeout is one) or EOFError where no whole request came.
    """
    async with asyncio.timeout(_READ_SECONDS):
        try:
            head = parse_head(await reader.readuntil(b"\r\n\r\n"))
        except asyncio.LimitOverrunError:
            return Refused(431, "the request is too large")
        if isinstance(head, Refused):
            return head
        if is_unasked(head):
            return Nothing()
        if refused := refuse_stranger(head, authority):
            return refused
        if head.method not in ("GET", "POST"):
            return Refused(405, "this page takes GET and POST")
        length = body_length(head)
        if isinstance(length, Refused):
            return length
        return parse_fields(head, await reader.readexactly(length))


async def _discard(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read what is left of a refused request: closing with bytes unread would reset the connection, and
    the browser might never show the answer (RFC 9112 section 9.6)."""
    writer.write_eof()
    async with asyncio.timeout(_DISCARD_SECONDS):
        while await reader.read(MAX_HEAD):
            pass


async def _respond(request: Request | Refused | Nothing, answer: Answer) -> bytes:
    match request:
        case Refused(status, message):
            page = notice("Not available", message, "start again from the terminal", good=False)
            return encode(Page(page, status), STYLE_SOURCE)
        case Request():
            return encode(await answer(request), STYLE_SOURCE)
        case Nothing():
            return encode(request, STYLE_SOURCE)
        case _:
            assert_never(request)
