"""A process killed at any moment of a refresh loses no login, save inside the documented window."""

from __future__ import annotations

import random
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from oauth.keeper.refresh import STEPS
from tests.heavy.forks import Done, Forks, Once
from tests.heavy.home import WEEK, log_in, make_home, stored_tokens
from tests.standin import Seen, StandIn

pytestmark = pytest.mark.heavy

KILLS = 1200
"""In all, about half of them at the steps and half at random moments."""

WINDOW = ("asking", "answered")
"""The steps after which the provider may have rotated tokens that are not stored yet."""


@dataclass
class Tally:
    """What became of the kills of one kind."""

    kind: str
    at: Counter[str] = field(default_factory=Counter)
    """Kills by the last step that the process came past."""
    hits: int = 0
    """Kills after the provider had rotated the tokens and before the process knew them to be stored."""
    lost_inside: int = 0
    lost_outside: int = 0

    def __str__(self) -> str:
        return (
            f"{self.at.total()} kills {self.kind} {dict(sorted(self.at.items()))}:"
            f" {self.hits} hit the window,"
            f" connections lost: {self.lost_inside} inside it, {self.lost_outside} outside"
        )


class Hunt:
    """Kills one process after the other, and looks whether the next one still gets a working token."""

    def __init__(self, home: Path, standin: StandIn, forks: Forks, answers: list[float]) -> None:
        self._home = home
        self._standin = standin
        self._forks = forks
        self._answers = answers
        """When the token endpoint answered, by the steady clock."""
        self._offset = 0.0
        self.ours: list[float] = []
        """Seconds from a parsed answer to its durable write."""
        self.whole: list[float] = []
        """Seconds from the provider's rotation to the durable write."""

    def spare(self) -> float:
        """One whole refresh; the seconds that it took."""
        self._offset += 2 * WEEK
        done = self._forks.do(Once(self._offset))
        self._survived(done)
        return done.trail[-1][1] - done.trail[0][1]

    def kill(self, tally: Tally, die_at: str = "", kill_after: float = 0.0) -> None:
        """One process killed, unless it ended before."""
        self._offset += 2 * WEEK
        discord = self._standin.discord
        before = discord.refresh_count
        done = self._forks.do(Once(self._offset, die_at, kill_after))
        if not done.killed:
            self._survived(done)
            return
        last = done.trail[-1][0]
        stored_tokens(self._home)
        after = self._forks.do(Once(self._offset))
        (said,) = after.said
        rotated = discord.refresh_count - before - ("answered" in dict(after.trail))
        tally.at[last] += 1
        tally.hits += last in WINDOW and rotated == 1
        if discord.access(said) is None:
            assert said.startswith("dead: "), said
            tally.lost_inside += last in WINDOW
            tally.lost_outside += last not in WINDOW
            log_in(self._home, self._standin, self._offset)
        self._measure(after)

    def _survived(self, done: Done) -> None:
        assert done.said == [self._standin.discord.issued[-1].access_token]
        self._measure(done)

    def _measure(self, done: Done) -> None:
        at = dict(done.trail)
        if "answered" in at:
            self.ours.append(at["stored"] - at["answered"])
            self.whole.append(at["stored"] - self._answers[-1])


def test_a_thousand_kills_lose_nothing_outside_the_window(tmp_path: Path) -> None:
    chance = random.Random(7998)  # the same moments at every run
    answers: list[float] = []

    def seen(request: Seen) -> None:
        if request.target == "/api/oauth2/token":
            answers.append(time.monotonic())

    at_steps, at_random = Tally("at a step"), Tally("at random")
    with StandIn(on_seen=seen) as standin:
        home = tmp_path / "home"
        with Forks(make_home(home, standin)) as forks:
            hunt = Hunt(home, standin, forks, answers)
            lives = statistics.median(hunt.spare() for _ in range(9))
            for number in range(KILLS // 2):
                hunt.kill(at_steps, die_at=STEPS[number % len(STEPS)])
            while at_random.at.total() < KILLS // 2:
                hunt.kill(at_random, kill_after=chance.uniform(0.0001, 1.2 * lives))
    print(f"\n{at_steps}\n{at_random}")
    for name, values in (("answer parsed", hunt.ours), ("rotation at the provider", hunt.whole)):
        middle, p99 = statistics.median(values), statistics.quantiles(values, n=100)[98]
        print(
            f"{name} to durable write: median {middle * 1e3:.2f} ms, p99 {p99 * 1e3:.2f} ms,"
            f" of {len(values)} refreshes"
        )
    assert set(STEPS) <= set(at_steps.at)
    for tally in (at_steps, at_random):
        assert tally.lost_outside == 0
        assert tally.lost_inside <= tally.hits
    assert at_steps.lost_inside > 0, "no kill lost a login: the test could not see a loss"
