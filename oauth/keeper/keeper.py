"""Hands out a fresh credential for a connection, and finds out what a 401 means.

A refresh is one task a connection, of all tasks, threads and processes (`oauth.keeper.refresh`). During a
run it happens ahead of time, so that no request waits for it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final, assert_never

from pydantic import SecretStr

from oauth.client import OAuthClient
from oauth.errors import OAuthError
from oauth.keeper.circuit import CircuitState
from oauth.keeper.freshness import due_in
from oauth.keeper.judge import Demand, Due, Judgement, judge, living, value_of
from oauth.keeper.recovery import Recovery, remember, said_lately, taken, unexplained
from oauth.keeper.refresh import LOCK_WAIT, ConnectionStore, Refresher
from oauth.keeper.watch import Pace, Unsaved, Watch, demand_of, running
from oauth.outcome import (
    FreshCredential,
    Loss,
    NotUsable,
    Outcome,
    Why,
    aside,
    cut_off,
    generation_of,
    lost,
    refresh_failed,
    refused,
)
from oauth.provider import Provider
from oauth.reach import reach_of
from vault.errors import VaultError
from vault.model import Connection, ConnectionKey, Status, Versioned, tokens_of

__all__ = [
    "CircuitState",
    "ConnectionStore",
    "FreshCredential",
    "Keeper",
    "NotUsable",
    "Outcome",
    "Pace",
    "Why",
]

REQUEST_WAIT: Final = 25.0
"""Seconds that a request waits for a refresh; common HTTP clients give up after 30."""

JITTER: Final = 0.5
"""Margins of life by which a refresh may come earlier still, so that processes do not meet."""

LONGEST_NAP: Final = 30.0
"""Seconds between two looks at a connection that needs nothing: the machine may have slept, its date may
have been set, and another process may have logged in."""

SHORTEST_NAP: Final = 0.25
"""Seconds, for a provider whose tokens are due as soon as they are issued."""


class Keeper:
    """Fresh credentials of connections, for the tasks of one event loop.

    Any number of keepers, in threads and processes, may share a store. `now` gives seconds since the
    epoch. Call `aclose` before the event loop ends: a refresh cut off after the provider has answered
    loses the login.
    """

    def __init__(
        self,
        store: ConnectionStore,
        providers: Callable[[str], Provider],
        client: OAuthClient,
        now: Callable[[], float],
        *,
        pace: Pace | None = None,
        lock_wait: float = LOCK_WAIT,
        request_wait: float = REQUEST_WAIT,
        step: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._providers = providers
        self._client = client
        self._now = now
        self._pace = pace or Pace()
        self._request_wait = request_wait
        self._refresher = Refresher(store, providers, client, now, self._pace, lock_wait, step)
        self._recovery = Recovery(providers, client, self._pace, self._refresh)
        self._watches: dict[ConnectionKey, Watch] = {}

    async def fresh(self, key: ConnectionKey) -> Outcome:
        """The credential of a connection, refreshed when due.

        Waits for nothing while `keep_fresh` looks after the connection and its token lives. Cancelling
        the caller does not stop a refresh that is under way.
        """
        try:
            watch = self._watch(key)
        except OAuthError as error:
            return refresh_failed(key, error)
        if suspicion := running(watch.recovery):
            await self._wait(suspicion)
        try:
            found = self._judge(key, watch)
        except VaultError as error:
            return NotUsable(Why.UNAVAILABLE, str(error), error.hint)
        match found:
            case Due():
                outcome = await self._refreshed(key, watch)
            case FreshCredential() | NotUsable():
                outcome = found
            case never:
                assert_never(never)
        return self._unless_dead(key, watch, outcome)

    async def fresh_once(self, key: ConnectionKey) -> Outcome:
        """As `fresh`, for a request that cannot be sent again, until `ended` is told of it.

        It waits for a refresh that is under way, and the next refresh waits for it, a little (`FLIGHT_WAIT`):
        some providers kill the old token at once.
        """
        watch = self._watches.get(key)
        if watch and watch.holding and (refresh := running(watch.refresh)):
            await self._wait(refresh)
        outcome = await self.fresh(key)
        if (generation := generation_of(outcome)) is not None:
            self._watch(key).flights[generation] += 1
        return outcome

    def ended(self, key: ConnectionKey, generation: int) -> None:
        """Note that such a request has the status of its answer, or will never have one."""
        watch = self._watch(key)
        watch.flights -= Counter({generation: 1})  # drops what comes to nothing
        watch.landed.set()

    def reject(self, key: ConnectionKey, generation: int, body: bytes = b"") -> None:
        """Note that the provider answered 401, with `body`, to this generation.

        A hint and no proof that the credential is dead: it is checked in the background, and the next
        `fresh` waits for the result.
        """
        watch = self._watch(key)
        try:
            record = self._record(key, watch)
        except VaultError:
            return
        if record is not None and record.generation == generation:
            remember(watch, body)
            self._recovery.begin(key, watch, generation)

    async def recovered(self, key: ConnectionKey, generation: int, body: bytes = b"") -> Outcome:
        """Another generation than the one that was answered 401, or why there is none.

        Costs at most one check and one refresh a generation and RECOVERY_PAUSE, however many ask.
        """
        watch = self._watch(key)
        try:
            record = self._record(key, watch)
        except VaultError as error:
            return NotUsable(Why.UNAVAILABLE, str(error), error.hint)
        if record is None or record.generation != generation:
            return await self.fresh(key)
        remember(watch, body)
        recovery = self._recovery.begin(key, watch, generation)
        if recovery is None:
            return said_lately(key, watch, generation)
        outcome = await self._wait(recovery)
        if outcome is None:
            return NotUsable(Why.UNAVAILABLE, f"{key} is still being checked", "try again")
        return outcome

    def version(self) -> int | None:
        """A number that is another one after anything stored has changed; None where it cannot be read."""
        try:
            return self._store.version()
        except VaultError:
            return None

    def stored(self, key: ConnectionKey) -> SecretStr | None:
        """The access token or static key as it is stored now, good or not; None where it cannot be read."""
        try:
            record = self._record(key, self._watch(key))
        except (OAuthError, VaultError):
            return None
        return value_of(record.value) if record else None

    def accept(self, key: ConnectionKey, generation: int) -> None:
        """Note that the provider took this generation: earlier 401s were about something else."""
        if watch := self._watches.get(key):
            watch.circuit.cleared(generation)
            taken(watch, generation)

    @asynccontextmanager
    async def keep_fresh(self, keys: Sequence[ConnectionKey]) -> AsyncIterator[None]:
        """Refresh these connections ahead of time until the block ends."""
        tasks = []
        for key in keys:
            watch = self._watch(key)
            watch.ahead = asyncio.create_task(self._look_after(key, watch))
            tasks.append(watch.ahead)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                raise error

    def circuits(self) -> list[CircuitState]:
        """The connections whose requests are answered locally, or that have come near to it."""
        return [
            state for key, watch in sorted(self._watches.items()) if (state := _state(key, watch)) is not None
        ]

    async def aclose(self) -> None:
        """Let every refresh that is under way finish and be stored; give up those that only wait."""
        self._refresher.close()
        self._recovery.closing = True
        for watch in self._watches.values():
            if watch.recovery:
                watch.recovery.cancel()
        tasks = [t for watch in self._watches.values() for t in (watch.recovery, watch.refresh) if t]
        if tasks:
            await asyncio.wait(tasks)
        for key, watch in self._watches.items():
            if watch.unsaved and not watch.unsaved.aside:  # the last chance: only this process has the login
                await self._refresher.refresh(key, watch, demand_of(watch), last=True)

    def losses(self) -> list[Loss]:
        """The logins that are lost with the end of this process, or may be; call it after `aclose`."""
        return [loss for key, watch in sorted(self._watches.items()) for loss in _losses(key, watch)]

    def refusals(self) -> list[Loss]:
        """The logins that the provider has ended while this process ran."""
        return [refused(key) for key, watch in sorted(self._watches.items()) if watch.refused]

    def _watch(self, key: ConnectionKey) -> Watch:
        if (watch := self._watches.get(key)) is None:
            watch = self._watches[key] = Watch(reach_of(self._providers(key.provider)))
        return watch

    def _record(self, key: ConnectionKey, watch: Watch) -> Versioned[Connection] | None:
        """The record, decrypted anew only after a change: another process's logout is seen at once."""
        version = self._store.version()
        if watch.version != version:
            watch.observe(self._store.connection(key), self._now(), self._pace.steady())
            watch.version = version
        return watch.record

    def _judged_at(self, watch: Watch) -> float:
        return watch.now(self._now(), self._pace.steady())

    def _judge(self, key: ConnectionKey, watch: Watch) -> Judgement:
        record = self._record(key, watch)
        return judge(key, record, watch.reach, self._judged_at(watch), demand_of(watch))

    async def _refreshed(self, key: ConnectionKey, watch: Watch) -> Outcome:
        """The credential of a connection that is due."""
        alive = living(watch.record, self._judged_at(watch))
        if alive and running(watch.ahead):
            return alive
        if failure := watch.pausing(self._pace.steady(), needed=alive is None):
            return alive or failure.answer
        outcome = await self._wait(self._refresh(key, watch, demand_of(watch)))
        if outcome is not None:
            return outcome
        waiting = NotUsable(Why.UNAVAILABLE, f"{key} is still being refreshed", "try again")
        return living(watch.record, self._judged_at(watch)) or waiting

    def _refresh(self, key: ConnectionKey, watch: Watch, demand: Demand) -> asyncio.Task[Outcome]:
        """The one refresh of the connection in this process."""
        task = running(watch.refresh)
        if task is None:
            work = self._end(watch) if self._refresher.closing else None
            task = asyncio.create_task(work or self._refresher.refresh(key, watch, demand))
            watch.refresh = task
        return task

    async def _end(self, watch: Watch) -> Outcome:
        answer = NotUsable(Why.UNAVAILABLE, "the run is ending", "start it again")
        return living(watch.record, self._judged_at(watch)) or answer

    async def _wait[T](self, task: asyncio.Task[T]) -> T | None:
        """The result of a task that others wait for as well; None where it takes too long."""
        done, _ = await asyncio.wait({task}, timeout=self._request_wait)
        return task.result() if done and not task.cancelled() else None

    def _unless_dead(self, key: ConnectionKey, watch: Watch, found: Outcome) -> Outcome:
        """What is handed out, once the circuit had its say."""
        match found:
            case FreshCredential(generation=generation):
                if not watch.circuit.refuses(generation, self._pace.steady()):
                    return found
                found = unexplained(key)
            case NotUsable(why=why):
                if why is not Why.DEAD:
                    return found
            case never:
                assert_never(never)
        watch.circuit.answered += 1
        return replace(found, body=watch.circuit.body)

    async def _look_after(self, key: ConnectionKey, watch: Watch) -> None:
        while not self._refresher.closing:
            await self._pace.sleep(await self._refresh_ahead(key, watch))

    async def _refresh_ahead(self, key: ConnectionKey, watch: Watch) -> float:
        """Refresh where it is time, and say in how many seconds to look again."""
        try:
            record = self._record(key, watch)
        except VaultError:
            return LONGEST_NAP  # a request will tell the user
        if record is not None and watch.jitter[0] != record.generation:
            watch.jitter = (record.generation, JITTER * self._pace.random())
        demand, now = replace(demand_of(watch), ahead=watch.jitter[1]), self._judged_at(watch)
        match judge(key, record, watch.reach, now, demand):
            case Due():
                if failure := watch.pausing(self._pace.steady()):
                    return max(SHORTEST_NAP, failure.until - self._pace.steady())
                await asyncio.wait({self._refresh(key, watch, demand)})
                return SHORTEST_NAP
            case FreshCredential():
                tokens = tokens_of(record.value.credential) if record else None
                wait = due_in(tokens, now, demand.ahead) if tokens else None
                return min(LONGEST_NAP, wait or LONGEST_NAP)
            case NotUsable():
                return LONGEST_NAP
            case never:
                assert_never(never)


def _losses(key: ConnectionKey, watch: Watch) -> list[Loss]:
    answer = watch.failure.answer if watch.failure else NotUsable(Why.UNAVAILABLE, "the process ended", "")
    match watch.unsaved:
        case Unsaved(aside=True):
            return [aside(key, answer.message, answer.hint)]
        case Unsaved():
            return [lost(key, answer.message)]
        case None:
            return [cut_off(key)] if watch.asking else []


def _state(key: ConnectionKey, watch: Watch) -> CircuitState | None:
    circuit, record = watch.circuit, watch.record
    if not (circuit.strikes or circuit.answered) or record is None:
        return None
    refused = record.value.status is Status.EXPIRED
    reason = "the provider refused the refresh token" if refused else "the provider answers 401"
    is_open = refused or circuit.is_open(record.generation)
    return CircuitState(key, is_open, reason, circuit.strikes, circuit.answered)
