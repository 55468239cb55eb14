"""`accepting()`: one task for each connection of a listener."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""Serves one connection. It need not close the writer."""


@asynccontextmanager
async def accepting(listener: socket.socket, serve: Serve) -> AsyncIterator[None]:
    """Serve what connects to `listener` until the block ends; then close it and every connection."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve(reader, writer)

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not server.is_serving():  # accepted before the end, told of after it
            writer.close()
            return
        task = loop.create_task(served(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        # Not in the task: one that is cancelled before its first step closes nothing.
        task.add_done_callback(lambda _: writer.close())

    server = await asyncio.start_server(accepted, sock=listener, start_serving=False)
    await server.start_serving()
    try:
        yield
    finally:
        # asyncio loses a connection that it accepted, but has no transport for, when the server is closed.
        loop.remove_reader(listener)
        await asyncio.sleep(0)
        server.close()
        left = list(tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
