"""One refresh: take the lock that all processes share, read again, ask if still due, store, hand out.

Providers such as Discord rotate the refresh token at every refresh and kill the old one at once, so
that a lost answer, or two refreshes side by side, log the user out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import Final, Protocol, assert_never

from oauth.client import OAuthClient
from oauth.errors import ClientRefused, GrantRefused, OAuthError
from oauth.keeper.judge import Demand, Due, judge, living, refresh_token_of
from oauth.keeper.retry import wait_before_retry
from oauth.keeper.watch import Pace, Unsaved, Watch
from oauth.outcome import FreshCredential, NotUsable, Outcome, Why, dead, refresh_failed
from oauth.provider import Provider, as_oauth2
from vault.errors import Conflict, KeptAside, LockTimeout, VaultError
from vault.model import ClientRegistration, Connection, ConnectionKey, OAuthTokens, Status, Versioned

LOCK_WAIT: Final = 240.0
"""Seconds to wait for another process's refresh; more than one may take (`patience.EXCHANGE_PATIENCE`,
`retry.RETRY_BUDGET`, and the vault's writes). Requests do not wait so long (`keeper.REQUEST_WAIT`)."""

LAST_LOCK_WAIT: Final = 5.0
"""Seconds to wait for it at the end of a process that holds the only copy of a login; who ends a run waits
as long at most for each."""

FLIGHT_WAIT: Final = 3.0
"""Seconds that a refresh waits for answers to requests that cannot be sent again: a small part of the margin
by which it is ahead, and longer than nearly all answers take."""

LOCK_POLL: Final = 0.02
"""Seconds between two tries at the lock; kernel file locks have no queue that an event loop could await."""

STEPS: Final = ("locked", "read", "asking", "answered", "stored", "released")
"""What `step` is told of, in order.

The window begins with `asking`, when the request is sent, and ends when the answer is durable, which
`stored` tells at the latest: it is set aside beside the vault first. The provider rotates the tokens at some
moment between, and its thinking time is part of the window. A process that dies in it loses the login if the
provider has rotated, because the old refresh token is dead and nobody knows the new one; so does one whose
answer is lost on its way. Our own part is the sealing, one write to a file that was made before, and one
SQLite commit with its fsync. tests/heavy/test_kills.py prints how long that takes.
"""


class ConnectionStore(Protocol):
    """Where connections are kept; shaped like the vault. Methods raise the errors of `vault.errors`."""

    def connection(self, key: ConnectionKey) -> Versioned[Connection] | None: ...

    def put_connection(self, key: ConnectionKey, connection: Connection, *, expected: int | None) -> int:
        """Store durably if the stored generation is still `expected`, and return the new one.

        Called in a worker thread. Raises: Conflict; KeptAside within `secured`.
        """
        ...

    def secured(self, key: ConnectionKey) -> AbstractContextManager[None]:
        """Make sure, under the lock, that what is put in the block will be kept; entered in a worker thread.

        Raises: VaultError at the beginning, where it would not be.
        """
        ...

    def recall(self, key: ConnectionKey) -> None:
        """Store, under the lock, what was kept aside earlier; called in a worker thread.

        Raises: VaultError where that is still not possible, and then what is stored is out of date.
        """
        ...

    def is_copy(self, key: ConnectionKey) -> bool:
        """Whether the connection was put back or copied here, so that another copy may have gone on."""
        ...

    def client(self, profile: str, provider: str) -> Versioned[ClientRegistration] | None: ...

    def lock(self, key: ConnectionKey, timeout: float) -> AbstractContextManager[None]:
        """Held by one thread of one process of the machine. Raises: LockTimeout after `timeout` seconds."""
        ...

    def version(self) -> int:
        """Differs after every change by any process; asked for every request, so it must be cheap."""
        ...


class Refresher:
    """Refreshes connections, one at a time each. `step` hears of every step, and may end the process."""

    def __init__(
        self,
        store: ConnectionStore,
        providers: Callable[[str], Provider],
        client: OAuthClient,
        now: Callable[[], float],
        pace: Pace,
        lock_wait: float,
        step: Callable[[str], None],
    ) -> None:
        self._store = store
        self._providers = providers
        self._client = client
        self._now = now
        self._pace = pace
        self._lock_wait = lock_wait
        self._step = step
        self._resting: set[asyncio.Task[object]] = set()
        self.closing = False

    async def refresh(
        self, key: ConnectionKey, watch: Watch, demand: Demand, *, last: bool = False
    ) -> Outcome:
        """What there is to hand out once the connection was refreshed, by us or by another process.

        `last`: there is no later chance, so that it waits for the lock though this is closing.
        """
        try:
            async with self._locked(key, last):
                self._step("locked")
                await asyncio.to_thread(self._store.recall, key)
                watch.observe(self._store.connection(key), self._now(), self._pace.steady())
                found = judge(key, watch.record, watch.reach, self._judged_at(watch), demand)
                self._step("read")
                watch.settle()
                match found:
                    case Due():
                        awaits = demand.rejected != found.record.generation and not self.closing
                        outcome = await self._refresh_locked(key, watch, found, awaits=awaits)
                    case FreshCredential() | NotUsable():
                        outcome = found
                    case never:
                        assert_never(never)
            self._step("released")
        except VaultError as error:
            return self.failed(watch, NotUsable(Why.UNAVAILABLE, str(error), error.hint), error)
        return outcome

    def close(self) -> None:
        """Begin nothing more, and give up what waits for the lock or for another try."""
        self.closing = True
        for task in self._resting:
            task.cancel()

    def failed(self, watch: Watch, answer: NotUsable, error: Exception) -> Outcome:
        """Hand the token out while it lives, whatever became of the refresh; nothing is wiped."""
        watch.fail(answer, error, self._pace.steady())
        return living(watch.record, self._judged_at(watch)) or answer

    def _judged_at(self, watch: Watch) -> float:
        return watch.now(self._now(), self._pace.steady())

    async def _refresh_locked(self, key: ConnectionKey, watch: Watch, due: Due, *, awaits: bool) -> Outcome:
        async with self._secured(key), self._held(watch, due.record.generation, awaits):
            if watch.unsaved is None:
                try:
                    tokens = await self._ask(key, watch, due.tokens)
                except GrantRefused:
                    return await self._expire(key, watch, due)
                except OAuthError as error:
                    return self.failed(watch, refresh_failed(key, error), error)
                watch.unsaved = Unsaved(due.refresh_token, tokens)
            return await self._keep(key, watch, due, watch.unsaved)

    @asynccontextmanager
    async def _secured(self, key: ConnectionKey) -> AsyncIterator[None]:
        """Ask nobody for tokens that could not be kept then."""
        with ExitStack() as held:
            await asyncio.to_thread(held.enter_context, self._store.secured(key))
            yield

    @asynccontextmanager
    async def _held(self, watch: Watch, generation: int, awaits: bool) -> AsyncIterator[None]:
        """Let no request that cannot be sent again be under way with a token whose life ends in the block."""
        watch.holding = True
        try:
            if awaits:
                with suppress(TimeoutError):
                    async with asyncio.timeout(FLIGHT_WAIT):
                        while watch.flights[generation]:
                            watch.landed.clear()
                            await watch.landed.wait()
            yield
        finally:
            watch.holding = False

    async def _ask(self, key: ConnectionKey, watch: Watch, tokens: OAuthTokens) -> OAuthTokens:
        auth = as_oauth2(self._providers(key.provider).auth)
        registered = self._store.client(key.profile, key.provider)
        if auth is None or registered is None:
            raise ClientRefused("no client id and secret are stored for the provider")
        began, tries = self._pace.steady(), 0
        while True:
            self._step("asking")
            watch.asking = True  # and so it stays where this is cut off
            try:
                answered = await self._client.refresh(auth, registered.value, tokens)
            except OAuthError as error:
                watch.asking = False
                tries += 1
                spent = self._pace.steady() - began
                wait = wait_before_retry(error, tries, spent, self._pace.random())
                if wait is None or self.closing:
                    raise
                await self._rest(wait)
            else:
                watch.asking = False
                self._step("answered")
                return answered

    async def _rest(self, seconds: float) -> None:
        """Sleep; only here may a refresh be cancelled, because no request of it is under way."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a refresh runs in a task")
        self._resting.add(task)
        try:
            await self._pace.sleep(seconds)
        finally:
            self._resting.discard(task)

    async def _keep(self, key: ConnectionKey, watch: Watch, due: Due, unsaved: Unsaved) -> Outcome:
        tokens = unsaved.tokens
        # Until this returns, the only copy of the login is `watch.unsaved`, or what was kept aside.
        try:
            generation = await self._replace(key, due, tokens, Status.CONNECTED)
        except KeptAside:
            watch.unsaved = replace(unsaved, aside=True)
            raise
        self._step("stored")
        watch.unsaved = watch.failure = None
        if generation is None:
            return self._settle(key, watch)
        return FreshCredential(tokens.access_token, generation, tokens.expires_at)

    async def _expire(self, key: ConnectionKey, watch: Watch, due: Due) -> Outcome:
        """The refresh token was refused: a dead login, unless somebody stored another one meanwhile."""
        copied = self._store.is_copy(key)
        if await self._replace(key, due, due.tokens, Status.EXPIRED) is None:
            return self._settle(key, watch)
        watch.refused = True
        why = "; this vault is a copy, and another one may have used it" if copied else ""
        return dead(key, f"could not refresh {key}: the provider refused the refresh token{why}")

    async def _replace(self, key: ConnectionKey, due: Due, tokens: OAuthTokens, status: Status) -> int | None:
        """Store tokens and status over a record that still holds the refresh token that was used.

        None where it no longer does: after a logout or another login nothing of ours may be written.
        """
        # Read again: a logout and a login meanwhile may have brought back the same generation.
        record = self._store.connection(key)
        while record is not None and refresh_token_of(record.value) == due.refresh_token:
            changes = {"credential": tokens, "status": status, "updated_at": self._now()}
            connection = record.value.model_copy(update=changes)
            try:
                return await asyncio.to_thread(
                    self._store.put_connection, key, connection, expected=record.generation
                )
            except Conflict:
                record = self._store.connection(key)
        return None

    def _settle(self, key: ConnectionKey, watch: Watch) -> Outcome:
        """What somebody else stored while we asked the provider: a race that was lost, not a dead login."""
        watch.observe(self._store.connection(key), self._now(), self._pace.steady())
        found = judge(key, watch.record, watch.reach, self._judged_at(watch), Demand())
        match found:
            case FreshCredential() | NotUsable():
                return found
            case Due():
                changed = LockTimeout(f"{key} was changed meanwhile", "try again")
                return self.failed(watch, NotUsable(Why.UNAVAILABLE, str(changed), changed.hint), changed)
            case never:
                assert_never(never)

    @asynccontextmanager
    async def _locked(self, key: ConnectionKey, last: bool) -> AsyncIterator[None]:
        """Hold the lock of a connection; waiting blocks neither the event loop nor a worker thread."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (min(LAST_LOCK_WAIT, self._lock_wait) if last else self._lock_wait)
        with ExitStack() as held:
            while True:
                try:
                    held.enter_context(self._store.lock(key, 0.0))
                    break
                except LockTimeout:
                    if (self.closing and not last) or loop.time() >= deadline:
                        raise
                await asyncio.sleep(LOCK_POLL)
            yield
