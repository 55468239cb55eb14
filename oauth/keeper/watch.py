"""What a keeper remembers of one connection between two requests."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import SystemRandom
from typing import Final

from pydantic import SecretStr

from oauth.keeper.circuit import Circuit
from oauth.keeper.judge import Demand, refresh_token_of
from oauth.keeper.retry import patience_after, pause_after
from oauth.outcome import NotUsable, Outcome
from vault.model import Connection, OAuthTokens, Reach, Versioned

NEVER: Final = float("-inf")


@dataclass(frozen=True, slots=True)
class Pace:
    """How time passes in this process, whatever becomes of the date."""

    steady: Callable[[], float] = time.monotonic
    """Seconds of a clock that nobody sets."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = SystemRandom().random
    """A number of [0, 1)."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A refresh of this generation failed, and nobody tries again before `until` on the steady clock.

    A request that cannot do without tries again from `patience` on.
    """

    generation: int
    until: float
    patience: float
    count: int
    answer: NotUsable


@dataclass(frozen=True, slots=True)
class Unsaved:
    """Tokens the provider issued for `used` and that could not be stored yet."""

    used: SecretStr
    tokens: OAuthTokens
    aside: bool = False
    """They wait, sealed, beside the store, so that the end of this process does not lose them."""


@dataclass(slots=True)
class Watch:
    """Mutable; belongs to the tasks of one event loop."""

    reach: Reach
    """Where the definition of the provider sends the credential."""
    version: int | None = None
    """The store's version at which `record` was read."""
    record: Versioned[Connection] | None = None
    refresh: asyncio.Task[Outcome] | None = None
    recovery: asyncio.Task[Outcome] | None = None
    ahead: asyncio.Task[None] | None = None
    """Refreshes before anybody must wait, while a run lasts."""
    failure: Failure | None = None
    unsaved: Unsaved | None = None
    asking: bool = False
    """A refresh was sent, and what it brings is not known; for good, where the process ends meanwhile."""
    refused: bool = False
    """The provider refused the refresh token of this connection in this process."""
    holding: bool = False
    """A refresh is about to end the life of the token: what cannot be sent again waits for it."""
    flights: Counter[int] = field(default_factory=Counter)
    """Requests under way that cannot be sent again, by the generation that they carry."""
    landed: asyncio.Event = field(default_factory=asyncio.Event)
    """One of them has been answered."""
    circuit: Circuit = field(default_factory=Circuit)
    recovered_at: float = NEVER
    """When a 401 last led to a check and a refresh, on the steady clock."""
    tried: frozenset[int] = frozenset()
    """The generation that was answered 401 then, and the one that the refresh brought."""
    brought: int | None = None
    """The latter, until the provider has taken or refused it."""
    recovery_pause: float = 0.0
    """Seconds from then until what was tried may be looked into again; 0 where the last time helped."""
    doubted: int | None = None
    """The generation that was answered 401 last."""
    vouched: int | None = None
    """The generation that the provider then called good."""
    jitter: tuple[int, float] = (0, 0.0)
    """A generation, and how many margins ahead it is refreshed."""
    _wall: float = 0.0
    _steady: float = 0.0

    def observe(self, record: Versioned[Connection] | None, wall: float, steady: float) -> None:
        """Note what is stored now. `wall` is in seconds since the epoch, `steady` on the steady clock."""
        if record != self.record:
            self.record, self._wall, self._steady = record, wall, steady

    def now(self, wall: float, steady: float) -> float:
        """The time by which the record is judged, in seconds since the epoch.

        Whichever clock ran further since the record was first seen: a date that was set back does not
        keep a dead token in use, and the steady clock may stand still while the machine sleeps.
        """
        return max(wall, self._wall + steady - self._steady) if self.record else wall

    def settle(self) -> None:
        """Forget unsaved tokens that are no successors of what is stored now: somebody stored others."""
        used = refresh_token_of(self.record.value) if self.record else None
        if self.unsaved is not None and self.unsaved.used != used:
            self.unsaved = None

    def fail(self, answer: NotUsable, error: Exception, steady: float) -> None:
        """Begin, or prolong, the pause after a failed refresh."""
        generation = self.record.generation if self.record else 0
        earlier = self.failure.count if self.failure and self.failure.generation == generation else 0
        until = steady + pause_after(error, earlier + 1)
        patience = steady + patience_after(error, earlier + 1)
        self.failure = Failure(generation, until, patience, earlier + 1, answer)

    def pausing(self, steady: float, *, needed: bool = False) -> Failure | None:
        """The failure because of which nobody is to ask the provider now; `needed`: a request waits."""
        failure = self.failure
        if failure is None or self.record is None or failure.generation != self.record.generation:
            return None
        return failure if steady < (failure.patience if needed else failure.until) else None


def demand_of(watch: Watch) -> Demand:
    """What is wanted of a refresh in any case: that tokens which could not be stored are."""
    return Demand(unsaved=watch.unsaved.used if watch.unsaved else None)


def running[T](task: asyncio.Task[T] | None) -> asyncio.Task[T] | None:
    """The task, unless it is over."""
    return None if task is None or task.done() else task
