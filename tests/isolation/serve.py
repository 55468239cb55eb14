"""The launcher's side of a sandbox's network, in a thread: says to each connection what was captured."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Sequence

from launcher.isolation.model import Plan, Use
from launcher.isolation.outside.gateway import gateway


async def _say(use: Use, host: str, port: int, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(json.dumps([use.name, host, port]).encode() + b"\n")
    await writer.drain()


def start(plan: Plan, sockets: Sequence[socket.socket]) -> Callable[[], None]:
    """Begin; the returned function ends it."""
    loop = asyncio.new_event_loop()
    done = asyncio.Event()

    async def serve() -> None:
        async with gateway(list(zip(plan.listeners, sockets, strict=True)), _say):
            await done.wait()

    def run() -> None:
        loop.run_until_complete(serve())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()

    def end() -> None:
        loop.call_soon_threadsafe(done.set)
        thread.join()

    return end
