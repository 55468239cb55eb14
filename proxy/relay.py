"""Copies bytes between two streams, both ways."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final, Protocol

CHUNK: Final = 64 * 1024
"""Bytes read at once."""


class Readable(Protocol):
    """What bytes are read from."""

    async def read(self, limit: int, /) -> bytes:
        """At most `limit` bytes; none at the end. Raises: OSError."""


async def relay(
    client: tuple[Readable, asyncio.StreamWriter], upstream: tuple[Readable, asyncio.StreamWriter]
) -> None:
    """Copy both ways until both ends have said all. An error of one direction ends both."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_copy(client[0], upstream[1]))
            group.create_task(_copy(upstream[0], client[1]))
    except* OSError:
        pass  # a reset on either side is how many connections end


async def _copy(reader: Readable, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    with suppress(OSError):
        writer.write_eof()
