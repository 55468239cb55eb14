"""`accepting()`: one task for each connection of a listener."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

PAUSE: Final = 0.1
"""Seconds without accepting when there are no descriptors left."""

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""Serves one connection. It need not close the writer."""


@asynccontextmanager
async def accepting(listener: socket.socket, serve: Serve) -> AsyncIterator[None]:
    """Serve what connects to `listener` until the block ends; then close it and every connection.

    asyncio's own server loses connections that come while it is closed, and writes a traceback for each one
    that finds no descriptor.
    """
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()
    again: asyncio.TimerHandle | None = None

    async def served(accepted: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=accepted)
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    def accept() -> None:
        nonlocal again
        try:
            accepted, _ = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:
            loop.remove_reader(listener)
            again = loop.call_later(PAUSE, loop.add_reader, listener, accept)
            return
        # Eager: a task that is cancelled before its first step would leave the socket open.
        task = asyncio.Task(served(accepted), loop=loop, eager_start=True)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    loop.add_reader(listener, accept)
    try:
        yield
    finally:
        loop.remove_reader(listener)
        if again:
            again.cancel()
        listener.close()
        left = list(tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
