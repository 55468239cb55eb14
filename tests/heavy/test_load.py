"""Load over twenty lifetimes of a token: nobody waits for a refresh, nobody meets a dead token.

LOAD_SECONDS is how long it lasts; `make load` takes ten minutes.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.heavy.home import WEEK, add_provider, make_home, put_tokens
from tests.heavy.live import Live, get, live
from tests.oauth.process import KEY
from tests.standin import HOSTS, StandIn
from vault.model import ConnectionKey

pytestmark = pytest.mark.heavy

SECONDS = float(os.environ.get("LOAD_SECONDS", "40"))
LIFETIMES = 20
CLIENTS = 4
PAUSE = 0.01
"""Seconds between two requests of one client."""

STEADY = ConnectionKey("default", "steady", "default")
STEADY_HOST = "acme.example"
"""A connection whose token outlives the test, asked in turn with the other one, for comparison."""


@dataclass
class Measured:
    """What the clients of one connection met."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def p99(self) -> float:
        return statistics.quantiles(self.seconds, n=100)[98]


async def _client(run: Live, until: float, host: str, measured: Measured) -> None:
    connection = await run.client(host)
    while time.monotonic() < until:
        began = time.monotonic()
        reply = await get(connection, host)
        measured.seconds.append(time.monotonic() - began)
        measured.statuses[reply.status] += 1
        await asyncio.sleep(PAUSE)
    connection.close()


@pytest.mark.parametrize("old_dies", [False, True], ids=["old token lives on", "old token dies at once"])
async def test_no_request_of_twenty_lifetimes_waits_for_a_refresh_or_meets_a_401(
    tmp_path: Path, old_dies: bool
) -> None:
    lifetime = SECONDS / LIFETIMES
    home = tmp_path / "home"
    with StandIn(hosts=HOSTS, apis=("discord.com", STEADY_HOST), token_lifetime=WEEK) as standin:
        discord = standin.discord
        discord.old_access_token_dies_on_refresh = old_dies
        make_home(home, standin)
        add_provider(home, STEADY.provider, STEADY_HOST)
        put_tokens(home, standin, STEADY, lifetime=WEEK)
        discord.token_lifetime = lifetime
        put_tokens(home, standin, KEY, lifetime=lifetime)
        refreshed, steady = Measured(), Measured()
        async with live(home, standin, [KEY, STEADY]) as run:
            until = time.monotonic() + SECONDS
            async with asyncio.TaskGroup() as group:
                for _ in range(CLIENTS):
                    group.create_task(_client(run, until, "discord.com", refreshed))
                    group.create_task(_client(run, until, STEADY_HOST, steady))
            waited = run.source.waited
        upstream = discord.refresh_count
    print(
        f"\n{SECONDS:.0f} s, tokens of {lifetime:.1f} s, {upstream} refreshes:"
        f" {run.source.asked} requests, {len(waited)} waited for a credential,"
        f" answers {dict(refreshed.statuses)}"
    )
    print(
        f"p99 with refreshes {refreshed.p99 * 1e3:.2f} ms, without {steady.p99 * 1e3:.2f} ms:"
        f" ratio {refreshed.p99 / steady.p99:.2f}"
    )
    assert upstream >= LIFETIMES
    assert discord.refused_refreshes == 0
    assert set(steady.statuses) == {200}
    assert set(refreshed.statuses) == {200}
    if not old_dies:
        # Otherwise what was on its way while the provider rotated the tokens is sent again.
        assert waited == []
