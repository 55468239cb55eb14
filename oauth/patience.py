"""How long to wait for an answer that may be the only copy of a login."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

EXCHANGE_PATIENCE: Final = 180.0
"""Seconds for one exchange with a token endpoint, once it is connected.

A provider that has taken the request may have replaced the tokens, so that giving up loses the login.
Whoever waits for the exchange has a shorter limit of his own.
"""

TICK: Final = 1.0
"""Seconds that are counted at once."""

STALL: Final = 0.5
"""Seconds by which a tick may be late in a process that runs."""


@asynccontextmanager
async def patience(seconds: float, tick: float = TICK) -> AsyncIterator[None]:
    """As `asyncio.timeout`, of the seconds in which this process runs.

    A process that is stopped finds its timers due when it goes on, before it has looked at what has
    arrived meanwhile: the kernel cuts its wait off (epoll_wait(2), EINTR; signal(7)), and Python sees that
    its time is over. So the time is counted in pieces, and never ends with one in which it was stopped.

    Raises: TimeoutError.
    """
    async with asyncio.timeout(None) as limit:
        counting = asyncio.create_task(_count(limit, seconds, tick))
        try:
            yield
        finally:
            counting.cancel()


async def _count(limit: asyncio.Timeout, seconds: float, tick: float) -> None:
    loop = asyncio.get_running_loop()
    stalled = False
    while seconds > 0 or stalled:
        piece = min(tick, seconds) if seconds > 0 else tick
        began = loop.time()
        await asyncio.sleep(piece)
        stalled = loop.time() - began > piece + STALL
        seconds -= piece
    limit.reschedule(loop.time())
