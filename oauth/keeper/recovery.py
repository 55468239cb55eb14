"""What a 401 means: a dead token, one that a refresh replaces, or a request that was at fault.

A 401 is a hint and no proof. A good token of the wrong kind gets one as well, so the provider is asked
first, where it can be asked; and nothing is asked twice, because a client may retry in a loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from oauth.client import OAuthClient
from oauth.errors import OAuthError
from oauth.health import check_url, vouches
from oauth.keeper.judge import Demand, value_of
from oauth.keeper.watch import Pace, Watch, demand_of, running
from oauth.outcome import NotUsable, Outcome, dead, generation_of, vouched
from oauth.provider import Provider
from vault.model import ConnectionKey

RECOVERY_PAUSE: Final = 60.0
"""Seconds between two recoveries of a generation: some endpoints answer 401 to good tokens, for ever."""

FIRST_PAUSE: Final = 1.0
"""Seconds between the first two, doubled up to RECOVERY_PAUSE while they do not help: some tokens live for
seconds, whatever their provider says."""

AGE: Final = 2.0
"""Seconds after which a new token that is refused may have died of its age."""


class Recovery:
    """Looks into 401s, once a generation and RECOVERY_PAUSE.

    `refresh` is the one refresh of a connection in this process.
    """

    def __init__(
        self,
        providers: Callable[[str], Provider],
        client: OAuthClient,
        pace: Pace,
        refresh: Callable[[ConnectionKey, Watch, Demand], asyncio.Task[Outcome]],
    ) -> None:
        self._providers = providers
        self._client = client
        self._pace = pace
        self._refresh = refresh
        self.closing = False

    def begin(self, key: ConnectionKey, watch: Watch, generation: int) -> asyncio.Task[Outcome] | None:
        """The one recovery from a 401 to `generation`; None where there was one a moment ago."""
        watch.doubted = generation
        if (task := running(watch.recovery)) is not None:
            return task
        busy = running(watch.refresh)
        if busy is None and (self._was_tried(watch, generation) or self.closing):
            if watch.brought == generation:
                watch.brought = None
            if watch.vouched != generation:
                watch.circuit.struck(generation, self._pace.steady())
            return None
        watch.recovery = asyncio.create_task(self._recover(key, watch, generation, busy))
        return watch.recovery

    def _was_tried(self, watch: Watch, generation: int) -> bool:
        lately = self._pace.steady() - watch.recovered_at < watch.recovery_pause
        return lately and generation in watch.tried

    async def _recover(
        self, key: ConnectionKey, watch: Watch, generation: int, busy: asyncio.Task[Outcome] | None
    ) -> Outcome:
        if busy is not None:
            # It may be this very refresh that ended the old token's life.
            outcome = await asyncio.shield(busy)
            if generation_of(outcome) != generation:
                return outcome
            if self._was_tried(watch, generation):
                return said_lately(key, watch, generation)
        now = self._pace.steady()
        watch.recovery_pause = _next_pause(watch, generation, now - watch.recovered_at)
        watch.recovered_at, watch.tried = now, frozenset({generation})
        watch.brought = watch.vouched = None
        if await self._is_vouched_for(key, watch):
            watch.vouched = generation
            watch.circuit.cleared(generation)
            return vouched(key)
        if watch.pausing(self._pace.steady(), needed=True) is None:
            # Shielded: the refresh outlives whoever asked for it.
            refresh = self._refresh(key, watch, replace(demand_of(watch), rejected=generation))
            outcome = await asyncio.shield(refresh)
            brought = generation_of(outcome)
            if brought is None:
                return outcome
            if brought != generation:
                watch.tried |= {brought}
                watch.brought = brought
                return outcome
        watch.circuit.struck(generation, self._pace.steady())
        failure = watch.pausing(self._pace.steady(), needed=True)
        return failure.answer if failure else unexplained(key)

    async def _is_vouched_for(self, key: ConnectionKey, watch: Watch) -> bool:
        """Whether the provider says, where it can be asked, that the credential is good."""
        if watch.record is None:
            return False
        value = value_of(watch.record.value)
        try:
            provider = self._providers(key.provider)
            url = check_url(provider)
            if url is None:
                return False
            probed = await self._client.probe(provider, url, value)
        except OAuthError:
            return False  # nothing is known; the refresh that follows will tell
        return vouches(provider.auth, probed)


def _next_pause(watch: Watch, generation: int, since: float) -> float:
    """Seconds until what is tried now may be tried again, `since` seconds after the last time."""
    if since >= 2 * RECOVERY_PAUSE:
        return FIRST_PAUSE
    if watch.brought == generation and since > AGE:
        return watch.recovery_pause
    return min(RECOVERY_PAUSE, 2 * watch.recovery_pause or FIRST_PAUSE)


def taken(watch: Watch, generation: int) -> None:
    """The provider takes what the last recovery has brought: a later 401 to it is another matter.

    Where it takes what it has just answered with 401, the request was at fault, and no recovery will help.
    """
    if watch.doubted == generation and watch.record and watch.record.generation == generation:
        watch.recovery_pause = RECOVERY_PAUSE
    elif watch.brought == generation:
        watch.tried -= {generation}
        watch.brought, watch.recovery_pause = None, 0.0


def said_lately(key: ConnectionKey, watch: Watch, generation: int) -> NotUsable:
    """What the last recovery has shown, for a 401 that comes soon after it."""
    return vouched(key) if watch.vouched == generation else unexplained(key)


def unexplained(key: ConnectionKey) -> NotUsable:
    """A 401 for which neither the check nor the refresh has a remedy."""
    return dead(key, f"the provider answers 401 to {key}, and a refresh does not help", proven=False)


def remember(watch: Watch, body: bytes) -> None:
    """Keep the body of a 401 to a request of the child, to repeat it, unless it quotes the credential.

    It may do so in another spelling: the proxy searches it for every credential that it has sent. The answer
    to a check of our own is never kept, because its credential may be one that the proxy does not know yet.
    """
    if watch.record and value_of(watch.record.value).get_secret_value().encode() not in body:
        watch.circuit.remember(body)
