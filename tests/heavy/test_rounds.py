"""Sixteen processes that ask at once for a token that is due: one refresh, in every round."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.heavy.forks import Ask, Forks
from tests.heavy.home import WEEK, make_home
from tests.standin import Mishap, StandIn

pytestmark = pytest.mark.heavy

ROUNDS = 200
PROCESSES = 16


def _nothing(standin: StandIn) -> None:
    pass


def _slow(standin: StandIn) -> None:
    standin.discord.token_faults.append(Mishap(delay=0.15))


@pytest.mark.parametrize(
    ("before", "die_at"),
    [(_nothing, ""), (_slow, ""), (_nothing, "locked"), (_nothing, "asking"), (_nothing, "stored")],
    ids=[
        "at once",
        "slow endpoint",
        "holder killed before it reads",
        "holder killed before it asks",
        "holder killed once stored",
    ],
)
def test_sixteen_processes_cost_one_refresh_in_every_round(
    tmp_path: Path, standin: StandIn, before: Callable[[StandIn], None], die_at: str
) -> None:
    discord = standin.discord
    with Forks(make_home(tmp_path / "home", standin)) as forks:
        for number in range(1, ROUNDS + 1):
            before(standin)
            done = forks.do(Ask(number * 2 * WEEK, PROCESSES, die_at))
            assert (discord.refresh_count, discord.refused_refreshes) == (number, 0)
            assert set(done.said) == {discord.issued[-1].access_token}
            assert (len(done.said), done.killed) == (PROCESSES - bool(die_at), bool(die_at))
    tokens = [seen for seen in standin.seen if seen.target == "/api/oauth2/token"]
    print(
        f"\n{ROUNDS} rounds of {PROCESSES} processes ({die_at or 'none'} killed):"
        f" {len(tokens)} requests to the token endpoint, {discord.refresh_count} refreshes"
    )
    assert len(tokens) == ROUNDS
