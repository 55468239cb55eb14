"""A store in memory and a provider in memory that keep the rules of the real ones."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs

import httpx
from pydantic import SecretStr

from oauth.client import OAuthClient
from oauth.keeper import Keeper
from oauth.provider import OAuth2, Provider
from vault.errors import Conflict, LockTimeout, VaultError
from vault.model import ClientRegistration, Connection, ConnectionKey, OAuthTokens, Versioned

KEY = ConnectionKey("default", "acme", "default")

PROVIDER = Provider.model_validate(
    {
        "schema": 1,
        "name": "acme",
        "display_name": "Acme",
        "auth": OAuth2(
            type="oauth2",
            flow="pkce",
            pkce=False,
            authorization_url="https://acme.example/authorize",
            token_url="https://acme.example/token",
            client_auth="client_secret_post",
            scopes=("a",),
        ),
        "proxy": {"hosts": ("acme.example",)},
        "env": {},
    }
)


class Clock:
    """Seconds since the epoch, as a test sets them."""

    def __init__(self, seconds: float = 1_000_000.0) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds


class MemoryStore:
    """Compare-and-set and one lock a connection, as the vault has them."""

    def __init__(self) -> None:
        self.records: dict[ConnectionKey, Versioned[Connection]] = {}
        self.registered: ClientRegistration | None = ClientRegistration(
            client_id="id", client_secret=SecretStr("canary-secret")
        )
        self.reads = 0
        self.before_put: Callable[[], None] = lambda: None
        self.damage: VaultError | None = None
        self._version = 0
        self._mutex = threading.Lock()
        self._locks: dict[ConnectionKey, threading.Lock] = {}

    def connection(self, key: ConnectionKey) -> Versioned[Connection] | None:
        self.reads += 1
        if self.damage:
            raise self.damage
        return self.records.get(key)

    def put_connection(self, key: ConnectionKey, connection: Connection, *, expected: int | None) -> int:
        self.before_put()
        with self._mutex:
            stored = self.records.get(key)
            if (stored.generation if stored else None) != expected:
                raise Conflict("another process was first")
            generation = (expected or 0) + 1
            self.records[key] = Versioned(connection, generation)
            self._version += 1
            return generation

    def delete(self, key: ConnectionKey) -> None:
        with self._mutex:
            del self.records[key]
            self._version += 1

    def client(self, profile: str, provider: str) -> Versioned[ClientRegistration] | None:
        return Versioned(self.registered, 1) if self.registered else None

    @contextmanager
    def lock(self, key: ConnectionKey, timeout: float) -> Iterator[None]:
        with self._mutex:
            lock = self._locks.setdefault(key, threading.Lock())
        if not lock.acquire(timeout=timeout):
            raise LockTimeout("another process is busy", "try again")
        try:
            yield
        finally:
            lock.release()

    def version(self) -> int:
        return self._version

    def tokens(self, key: ConnectionKey = KEY) -> OAuthTokens:
        """The stored token set."""
        credential = self.records[key].value.credential
        assert isinstance(credential, OAuthTokens)
        return credential


class Rotating:
    """A token endpoint that kills a refresh token at its use; answers queued in `instead` come first."""

    def __init__(self) -> None:
        self.alive = "refresh-0"
        self.lifetime: float | None = 3600
        self.rotates = True
        self.asked = 0
        self.refused = 0
        self.instead: list[httpx.Response | httpx.TransportError] = []
        self.gate: asyncio.Event | None = None
        """Answers wait for it; the token is rotated before."""
        self.arrived = asyncio.Event()
        self.on_rotate: Callable[[], None] = lambda: None
        self._mutex = threading.Lock()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        with self._mutex:
            self.asked += 1
            answer = self._answer(parse_qs(request.content.decode()))
        self.arrived.set()
        self.on_rotate()
        if self.gate:
            await self.gate.wait()
        return answer

    def _answer(self, form: dict[str, list[str]]) -> httpx.Response:
        if self.instead:
            scripted = self.instead.pop(0)
            if isinstance(scripted, httpx.TransportError):
                raise scripted
            return scripted
        if form["refresh_token"] != [self.alive]:
            self.refused += 1
            return httpx.Response(400, json={"error": "invalid_grant"})
        answer: dict[str, object] = {"access_token": f"access-{self.asked}", "token_type": "Bearer"}
        if self.rotates:
            self.alive = f"refresh-{self.asked}"
            answer["refresh_token"] = self.alive
        if self.lifetime is not None:
            answer["expires_in"] = self.lifetime
        return httpx.Response(200, json=answer)


def http_of(endpoint: Rotating) -> httpx.AsyncClient:
    """A client whose every request `endpoint` answers."""
    return httpx.AsyncClient(transport=httpx.MockTransport(endpoint))


def keeper_of(
    store: MemoryStore,
    endpoint: Rotating,
    clock: Clock,
    *,
    lock_wait: float = 5.0,
    provider: Provider = PROVIDER,
) -> Keeper:
    """A keeper as one process would have it."""
    return Keeper(
        store, lambda _: provider, OAuthClient(http_of(endpoint), clock), clock, lock_wait=lock_wait
    )
