"""Hands out a fresh credential for a connection: one refresh at a time, stored before it is used.

Providers such as Discord rotate the refresh token at every refresh and kill the old one at once, so
that a lost answer, or two refreshes side by side, log the user out. Hence the order: take the lock that
all processes share, read again, refresh only if still due, store, and only then hand out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol, assert_never

from pydantic import SecretStr

from oauth.client import OAuthClient
from oauth.errors import ClientRefused, GrantRefused, OAuthError
from oauth.freshness import is_alive, is_due
from oauth.outcome import (
    FreshCredential,
    NotUsable,
    Outcome,
    Why,
    login_needed,
    not_connected,
    refresh_failed,
)
from oauth.provider import OAuth2, Provider
from vault.errors import Conflict, LockTimeout, VaultError
from vault.model import (
    ApiKey,
    ClientRegistration,
    Connection,
    ConnectionKey,
    OAuthTokens,
    Status,
    Versioned,
)

__all__ = ["ConnectionStore", "FreshCredential", "Keeper", "NotUsable", "Outcome", "Why"]

LOCK_WAIT: Final = 45.0
"""Seconds to wait for another process's refresh; more than one exchange may take (`client.TOTAL_TIMEOUT`)."""

LOCK_POLL: Final = 0.02
"""Seconds between two tries at the lock; kernel file locks have no queue that an event loop could await."""

FAILURE_PAUSE: Final = 10.0
"""Seconds after a failed refresh in which requests do not try again, so that none of them waits for it."""

REJECTED_PAUSE: Final = 60.0
"""Seconds between two refreshes for a 401: some endpoints answer 401 to good tokens, for ever."""


class ConnectionStore(Protocol):
    """Where connections are kept; shaped like the vault. Methods raise the errors of `vault.errors`."""

    def connection(self, key: ConnectionKey) -> Versioned[Connection] | None: ...

    def put_connection(self, key: ConnectionKey, connection: Connection, *, expected: int | None) -> int:
        """Store durably if the stored generation is still `expected`, and return the new one.

        Called in a worker thread. Raises: Conflict.
        """
        ...

    def client(self, profile: str, provider: str) -> Versioned[ClientRegistration] | None: ...

    def lock(self, key: ConnectionKey, timeout: float) -> AbstractContextManager[None]:
        """Held by one thread of one process of the machine. Raises: LockTimeout after `timeout` seconds."""
        ...

    def version(self) -> int:
        """Differs after every change by any process; asked for every request, so it must be cheap."""
        ...


@dataclass(frozen=True, slots=True)
class _Due:
    """The tokens can be refreshed, and should be."""

    record: Versioned[Connection]
    tokens: OAuthTokens
    refresh_token: SecretStr


@dataclass(frozen=True, slots=True)
class _Failure:
    """A refresh of this generation failed; `at` is in seconds since the epoch."""

    generation: int
    at: float
    answer: NotUsable


@dataclass(frozen=True, slots=True)
class _Unsaved:
    """Tokens the provider issued for `used` and that could not be stored yet."""

    used: SecretStr
    tokens: OAuthTokens


@dataclass(slots=True)
class _Watch:
    """What a keeper remembers of one connection."""

    version: int | None = None
    record: Versioned[Connection] | None = None
    refresh: asyncio.Task[Outcome] | None = None
    rejected: int | None = None
    """The generation that the provider answered 401."""
    forced_at: float = field(default=float("-inf"))
    """When a 401 last caused a refresh, in seconds since the epoch."""
    failure: _Failure | None = None
    unsaved: _Unsaved | None = None


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
        lock_wait: float = LOCK_WAIT,
    ) -> None:
        self._store = store
        self._providers = providers
        self._client = client
        self._now = now
        self._lock_wait = lock_wait
        self._watches: dict[ConnectionKey, _Watch] = {}
        self._closing = False

    async def fresh(self, key: ConnectionKey) -> Outcome:
        """The credential of a connection, refreshed when due.

        Cancelling the caller does not stop a refresh that is under way.
        """
        watch = self._watches.setdefault(key, _Watch())
        try:
            found = self._judge(key, watch, self._record(key, watch))
        except VaultError as error:
            return NotUsable(Why.UNAVAILABLE, str(error), error.hint)
        if not isinstance(found, _Due):
            return found
        if watch.refresh is None or watch.refresh.done():
            if self._closing:
                return self._failed(watch, NotUsable(Why.UNAVAILABLE, "the run is ending", "start it again"))
            watch.refresh = asyncio.create_task(self._refresh(key, watch))
        return await asyncio.shield(watch.refresh)

    def reject(self, key: ConnectionKey, generation: int) -> None:
        """Note that the provider answered 401 to this generation: the next `fresh` refreshes it.

        A hint and no proof that the token is dead, so that it never costs more than a refresh in
        REJECTED_PAUSE seconds.
        """
        self._watches.setdefault(key, _Watch()).rejected = generation

    async def aclose(self) -> None:
        """Let every refresh that is under way finish and be stored; give up those that wait for the lock."""
        self._closing = True
        running = [watch.refresh for watch in self._watches.values() if watch.refresh]
        if running:
            await asyncio.wait(running)

    def _record(self, key: ConnectionKey, watch: _Watch) -> Versioned[Connection] | None:
        """The record, decrypted anew only after a change: another process's logout is seen at once."""
        version = self._store.version()
        if watch.version != version:
            watch.record = self._store.connection(key)
            watch.version = version
        return watch.record

    def _judge(
        self, key: ConnectionKey, watch: _Watch, record: Versioned[Connection] | None
    ) -> Outcome | _Due:
        if record is None:
            return not_connected(key)
        if record.value.status is Status.EXPIRED:
            return login_needed(key, f"{key} has expired")
        match record.value.credential:
            case ApiKey() as api_key:
                return FreshCredential(api_key.value, record.generation, None)
            case OAuthTokens() as tokens:
                return self._judge_tokens(key, watch, record, tokens)
            case never:
                assert_never(never)

    def _judge_tokens(
        self, key: ConnectionKey, watch: _Watch, record: Versioned[Connection], tokens: OAuthTokens
    ) -> Outcome | _Due:
        now = self._now()
        as_it_is = FreshCredential(tokens.access_token, record.generation, tokens.expires_at)
        if tokens.refresh_token is None:
            if is_alive(tokens, now):
                return as_it_is
            return login_needed(key, f"{key} has expired and has no refresh token")
        rejected = watch.rejected == record.generation and abs(now - watch.forced_at) >= REJECTED_PAUSE
        unsaved = watch.unsaved is not None and watch.unsaved.used == tokens.refresh_token
        if not (rejected or unsaved or is_due(tokens, now)):
            return as_it_is
        failure = watch.failure
        # abs: a clock that was set back must not make the pause last for ever.
        if failure and failure.generation == record.generation and abs(now - failure.at) < FAILURE_PAUSE:
            return as_it_is if is_alive(tokens, now) else failure.answer
        return _Due(record, tokens, tokens.refresh_token)

    async def _refresh(self, key: ConnectionKey, watch: _Watch) -> Outcome:
        """The task that all callers of one connection wait for."""
        try:
            async with self._locked(key):
                found = self._judge(key, watch, self._store.connection(key))
                if not isinstance(found, _Due):
                    return found
                return await self._refresh_locked(key, watch, found)
        except VaultError as error:
            return self._failed(watch, NotUsable(Why.UNAVAILABLE, str(error), error.hint))

    async def _refresh_locked(self, key: ConnectionKey, watch: _Watch, due: _Due) -> Outcome:
        watch.record = due.record
        if watch.rejected == due.record.generation:
            watch.rejected, watch.forced_at = None, self._now()
        if watch.unsaved is None or watch.unsaved.used != due.refresh_token:
            try:
                tokens = await self._ask(key, due.tokens)
            except GrantRefused:
                return await self._expire(key, watch, due)
            except OAuthError as error:
                return self._failed(watch, refresh_failed(key, error))
            watch.unsaved = _Unsaved(due.refresh_token, tokens)
        return await self._keep(key, watch, due, watch.unsaved.tokens)

    async def _ask(self, key: ConnectionKey, tokens: OAuthTokens) -> OAuthTokens:
        auth = self._providers(key.provider).auth
        registered = self._store.client(key.profile, key.provider)
        if not isinstance(auth, OAuth2) or registered is None:
            raise ClientRefused("no client id and secret are stored for the provider")
        return await self._client.refresh(auth, registered.value, tokens)

    async def _keep(self, key: ConnectionKey, watch: _Watch, due: _Due, tokens: OAuthTokens) -> Outcome:
        # Until this returns, the only copy of the login is `watch.unsaved`.
        generation = await self._replace(key, due, tokens, Status.CONNECTED)
        watch.unsaved = None
        if generation is None:
            return self._settle(key, watch)
        return FreshCredential(tokens.access_token, generation, tokens.expires_at)

    async def _expire(self, key: ConnectionKey, watch: _Watch, due: _Due) -> Outcome:
        """The refresh token was refused: a dead login, unless somebody stored another one meanwhile."""
        if await self._replace(key, due, due.tokens, Status.EXPIRED) is None:
            return self._settle(key, watch)
        return login_needed(key, f"could not refresh {key}: the provider refused the refresh token")

    async def _replace(
        self, key: ConnectionKey, due: _Due, tokens: OAuthTokens, status: Status
    ) -> int | None:
        """Store tokens and status over a record that still holds the refresh token that was used.

        None where it no longer does: after a logout or another login nothing of ours may be written.
        """
        # Read again: a logout and a login meanwhile may have brought back the same generation.
        record = self._store.connection(key)
        while record is not None and _refresh_token(record.value) == due.refresh_token:
            changes = {"credential": tokens, "status": status, "updated_at": self._now()}
            connection = record.value.model_copy(update=changes)
            try:
                return await asyncio.to_thread(
                    self._store.put_connection, key, connection, expected=record.generation
                )
            except Conflict:
                record = self._store.connection(key)
        return None

    def _settle(self, key: ConnectionKey, watch: _Watch) -> Outcome:
        """What somebody else stored while we asked the provider."""
        found = self._judge(key, watch, self._store.connection(key))
        if isinstance(found, _Due):
            watch.record = found.record
            return self._failed(
                watch, NotUsable(Why.UNAVAILABLE, f"{key} was changed meanwhile", "try again")
            )
        return found

    def _failed(self, watch: _Watch, answer: NotUsable) -> Outcome:
        """Hand the token out while it lives, whatever became of the refresh; nothing is wiped."""
        record = watch.record
        if record is None or not isinstance(record.value.credential, OAuthTokens):
            return answer
        watch.failure = _Failure(record.generation, self._now(), answer)
        tokens = record.value.credential
        if not is_alive(tokens, self._now()):
            return answer
        return FreshCredential(tokens.access_token, record.generation, tokens.expires_at)

    @asynccontextmanager
    async def _locked(self, key: ConnectionKey) -> AsyncIterator[None]:
        """Hold the lock of a connection; waiting blocks neither the event loop nor a worker thread."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._lock_wait
        with ExitStack() as held:
            while True:
                try:
                    held.enter_context(self._store.lock(key, 0.0))
                    break
                except LockTimeout:
                    if self._closing or loop.time() >= deadline:
                        raise
                await asyncio.sleep(LOCK_POLL)
            yield


def _refresh_token(connection: Connection) -> SecretStr | None:
    match connection.credential:
        case OAuthTokens() as tokens:
            return tokens.refresh_token
        case ApiKey():
            return None
        case never:
            assert_never(never)
