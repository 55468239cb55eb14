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
from oauth.keeper.keeper import ConnectionStore, Keeper
from oauth.keeper.watch import Pace
from oauth.provider import OAuth2, Provider
from oauth.reach import reach_of
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
        "proxy": {"hosts": ("acme.example",), "scheme": "Bearer"},
        "env": {},
    }
)


CHECKED = PROVIDER.model_copy(
    update={"auth": PROVIDER.auth.model_copy(update={"userinfo_url": "https://acme.example/me"})}
)
"""The same provider, where a token can be checked."""

REACH = reach_of(CHECKED)
"""What a login at either has agreed to."""

UNAUTHORIZED = b'{"message": "401: Unauthorized", "code": 0}'


class Clock:
    """Seconds since the epoch, as a test sets them; `seconds += n` is time that passes."""

    def __init__(self, seconds: float = 1_000_000.0) -> None:
        self.seconds = seconds
        self._set_by = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.seconds

    def steady(self) -> float:
        """The clock that nobody sets."""
        return self.seconds - self._set_by

    def set_by(self, seconds: float) -> None:
        """Somebody sets the date; no time passes."""
        self.seconds += seconds
        self._set_by += seconds

    async def sleep(self, seconds: float) -> None:
        """Time passes at once."""
        self.slept.append(seconds)
        self.seconds += seconds
        await asyncio.sleep(0)

    @property
    def pace(self) -> Pace:
        """How time passes for a keeper, without chance."""
        return Pace(self.steady, self.sleep, lambda: 0.0)


class MemoryStore:
    """Compare-and-set and one lock a connection, as the vault has them."""

    def __init__(self) -> None:
        self.records: dict[ConnectionKey, Versioned[Connection]] = {}
        self.registered: ClientRegistration | None = ClientRegistration(
            client_id="id", client_secret=SecretStr("canary-secret")
        )
        self.reads = 0
        self.before_put: Callable[[], None] = lambda: None
        self.before_read: Callable[[], None] = lambda: None
        self.before_secure: Callable[[], None] = lambda: None
        self.damage: VaultError | None = None
        self._version = 0
        self._mutex = threading.Lock()
        self._locks: dict[ConnectionKey, threading.Lock] = {}

    def connection(self, key: ConnectionKey) -> Versioned[Connection] | None:
        self.reads += 1
        self.before_read()
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

    @contextmanager
    def secured(self, key: ConnectionKey) -> Iterator[None]:
        self.before_secure()
        yield

    def is_copy(self, key: ConnectionKey) -> bool:
        return False

    def recall(self, key: ConnectionKey) -> None:
        pass

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
        self.access: object = "access-0"
        self.lifetime: object = 3600
        self.rotates = True
        self.asked = 0
        self.refused = 0
        self.instead: list[httpx.Response | httpx.TransportError] = []
        self.down: httpx.Response | httpx.TransportError | None = None
        """The answer to every request while it is set."""
        self.knows: int | None = None
        """The status for who asks `/me` with a token; None where only the living token is known."""
        self.front: httpx.Response | None = None
        """What a front answers to who asks `/me`, in the place of the API."""
        self.probes: list[str] = []
        """What `/me` was asked with."""
        self.gate: asyncio.Event | None = None
        """Answers wait for it; the token is rotated before."""
        self.arrived = asyncio.Event()
        self.on_rotate: Callable[[], None] = lambda: None
        self._mutex = threading.Lock()

    @property
    def probed(self) -> int:
        """How often `/me` was asked."""
        return len(self.probes)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/me":
            return self._me(request.headers["Authorization"])
        with self._mutex:
            self.asked += 1
            answer = self._answer(parse_qs(request.content.decode()))
        self.arrived.set()
        self.on_rotate()
        if self.gate:
            await self.gate.wait()
        return answer

    def _answer(self, form: dict[str, list[str]]) -> httpx.Response:
        scripted = self.instead.pop(0) if self.instead else self.down
        if isinstance(scripted, httpx.TransportError):
            raise scripted
        if scripted:
            return httpx.Response(scripted.status_code, headers=scripted.headers, content=scripted.content)
        if form["refresh_token"] != [self.alive]:
            self.refused += 1
            return httpx.Response(400, json={"error": "invalid_grant"})
        answer: dict[str, object] = {"access_token": f"access-{self.asked}", "token_type": "Bearer"}
        if self.rotates:
            self.alive = f"refresh-{self.asked}"
            answer["refresh_token"] = self.alive
        if self.lifetime is not None:
            answer["expires_in"] = self.lifetime
        self.access = answer["access_token"]
        return httpx.Response(200, json=answer)

    def _me(self, authorization: str) -> httpx.Response:
        self.probes.append(authorization)
        if self.front:
            return httpx.Response(
                self.front.status_code, headers=self.front.headers, content=self.front.content
            )
        status = self.knows or (200 if authorization == f"Bearer {self.access}" else 401)
        body = UNAUTHORIZED if status == 401 else b"{}"
        return httpx.Response(status, content=body)


def http_of(endpoint: Rotating) -> httpx.AsyncClient:
    """A client whose every request `endpoint` answers."""
    return httpx.AsyncClient(transport=httpx.MockTransport(endpoint))


def keeper_of(
    store: ConnectionStore,
    endpoint: Rotating,
    clock: Clock,
    *,
    lock_wait: float = 5.0,
    request_wait: float = 10.0,
    provider: Provider = PROVIDER,
    pace: Pace | None = None,
) -> Keeper:
    """A keeper as one process would have it."""
    return Keeper(
        store,
        lambda _: provider,
        OAuthClient(http_of(endpoint), clock),
        clock,
        pace=pace or clock.pace,
        lock_wait=lock_wait,
        request_wait=request_wait,
    )


class Naps:
    """Sleepers that wake when a test lets time pass."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    @property
    def pace(self) -> Pace:
        """How time passes for a keeper, without chance."""
        return Pace(self._clock.steady, self._sleep, lambda: 0.5)

    async def _sleep(self, seconds: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._clock.steady() + seconds, woken))
        await woken

    async def _settled(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        for _ in range(20):
            if self._sleepers:
                return
            await asyncio.sleep(0.001)  # whoever is awake stores something in a thread

    async def let_pass(self, seconds: float) -> None:
        """Time passes, and everybody wakes when it is time."""
        end = self._clock.steady() + seconds
        while True:
            await self._settled()
            due = [sleeper for sleeper in self._sleepers if sleeper[0] <= end]
            if not due:
                break
            wakes_at, woken = first = min(due, key=lambda sleeper: sleeper[0])
            self._sleepers.remove(first)
            self._clock.seconds += max(0.0, wakes_at - self._clock.steady())
            if not woken.done():
                woken.set_result(None)
        self._clock.seconds += end - self._clock.steady()
