"""What a program sees of rotations while its requests cannot be sent again."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from pathlib import Path

import pytest

from proxy.model import Fresh, Unavailable
from tests.heavy.home import make_home, put_tokens
from tests.heavy.live import Live, Watched, live
from tests.oauth.process import KEY
from tests.proxy.wire import AUTH
from tests.standin import StandIn

pytestmark = pytest.mark.heavy

SECONDS = float(os.environ.get("FLIGHT_SECONDS", "30"))
CLIENTS = 8
LIFETIME = 1.0
HOST = "discord.com"
BODY = f"GET /api/v10/users/@me HTTP/1.1\r\nHost: {HOST}\r\n{AUTH}Content-Length: 2\r\n\r\n{{}}"


class Heedless(Watched):
    """Lets the token of a request that is under way be replaced."""

    async def fresh_once(self, connection: str) -> Fresh | Unavailable:
        return await self.fresh(connection)

    def ended(self, connection: str, generation: int) -> None:
        pass


async def _send(run: Live, until: float, seen: Counter[int]) -> None:
    client = await run.client(HOST)
    while time.monotonic() < until:
        seen[(await client.ask(BODY)).status] += 1
    client.close()


@pytest.mark.parametrize("source", [Watched, Heedless])
async def test_requests_with_a_body_get_no_401_from_a_rotation_of_ours(
    tmp_path: Path, source: type[Watched]
) -> None:
    home, seen = tmp_path / "home", Counter[int]()
    with StandIn() as standin:
        make_home(home, standin)
        standin.discord.token_lifetime = LIFETIME
        put_tokens(home, standin, KEY, lifetime=LIFETIME)
        async with live(home, standin, [KEY], source) as run:
            until = time.monotonic() + SECONDS
            await asyncio.gather(*(_send(run, until, seen) for _ in range(CLIENTS)))
        rotations = standin.discord.refresh_count
    print(f"\n{source.__name__}: {rotations} rotations, requests with a body answered {dict(seen)}")
    assert rotations > SECONDS / 3
    assert seen[200] > 100
    if source is Watched:
        assert set(seen) == {200}
