"""What Discord knows: applications, users, codes, tokens. Used by tests directly and by the endpoints."""

from __future__ import annotations

import base64
import secrets
import string
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from tests.standin.http import Fault

REDIRECT_URI = "http://127.0.0.1:7998/auth/callback/oauth"
"""The redirect URI an application registers unless a test names others."""

CLIENT_ID = "1234567890123456789"
CLIENT_SECRET = "standin-client-secret-canary-001"
"""What an application has unless a test names others. The secret is a canary, and worth nothing."""

CODE_LIFETIME = 100.0
"""Seconds an authorization code lives."""

DEFAULT_SCOPES = ("identify", "email", "guilds", "connections")


@dataclass(frozen=True, slots=True)
class Guild:
    """A server the user is in."""

    id: str
    name: str
    owner: bool = False
    members: int = 42


@dataclass(frozen=True, slots=True)
class User:
    """A person with an account."""

    id: str
    username: str
    email: str
    guilds: tuple[Guild, ...] = ()


@dataclass(frozen=True, slots=True)
class App:
    """A registered application."""

    client_id: str
    client_secret: str = field(repr=False)
    redirect_uris: tuple[str, ...]
    name: str
    owner: User
    approved_scopes: frozenset[str] = frozenset()
    """Scopes that need approval and that this application was given."""
    public: bool = False
    """"Public Client" is on: the secret may be left out."""


@dataclass(frozen=True, slots=True)
class Code:
    """An authorization code before its use."""

    value: str
    app: App
    user: User
    scopes: tuple[str, ...]
    redirect_uri: str
    challenge: str
    """PKCE S256 challenge; empty where none was sent."""
    expires_at: float


@dataclass(frozen=True, slots=True)
class Tokens:
    """One grant: what a token answer told, and for whom."""

    access_token: str
    refresh_token: str | None
    """None for client credentials."""
    scopes: tuple[str, ...]
    expires_at: float
    app: App
    user: User

    @property
    def scope(self) -> str:
        return " ".join(self.scopes)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Requests allowed per credential and route in one window."""

    limit: int = 10_000
    window: float = 1.0
    """Seconds."""
    scope: str = "user"
    """`user`, `global` or `shared`."""


def _alnum(length: int) -> str:
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(length))


def _access_token(snowflake: str) -> str:
    """Base64 of the decimal id, a dot, 30 characters: the shape seen since 2025.

    Without x and u, as in one of 25 tokens a part would read like that of an escape: such a token is looked
    for in another way than the others, which has tests of its own.
    """
    secret = _alnum(30).translate(str.maketrans("xu", "yv"))
    return f"{base64.b64encode(snowflake.encode()).decode().rstrip('=')}.{secret}"


class Discord:
    """The state of one stand-in. Every method may be called from every thread."""

    def __init__(self, clock: Callable[[], float] = time.time, token_lifetime: float = 604800.0) -> None:
        self.clock = clock
        self.token_lifetime = token_lifetime
        """Seconds that new access tokens live."""
        self.old_access_token_dies_on_refresh = True
        self.token_faults: deque[Fault] = deque()
        """One is taken for each request to the token endpoint."""
        self.revoke_faults: deque[Fault] = deque()
        self.rest_faults: deque[Fault] = deque()
        """One is taken for each REST request."""
        self.rate_limit = RateLimit()
        self.refresh_count = 0
        """Refreshes that succeeded."""
        self.refused_refreshes = 0
        """Refreshes with a token that was used, revoked or unknown."""
        self.issued: list[Tokens] = []
        """Every grant ever given, for tests that search files for canaries."""
        self._lock = threading.RLock()
        self._serial = 1_100_000_000_000_000_000
        self._apps: dict[str, App] = {}
        self._codes: dict[str, Code] = {}
        self._by_access: dict[str, Tokens] = {}
        self._by_refresh: dict[str, Tokens] = {}
        self._consents: dict[tuple[str, str], set[str]] = {}
        self.logged_in = self.user("nelly", "nelly@example.com")
        """Who sits at the browser that opens the authorize page."""

    def register_app(
        self,
        client_id: str = CLIENT_ID,
        client_secret: str = CLIENT_SECRET,
        redirect_uris: Sequence[str] = (REDIRECT_URI,),
        *,
        approved_scopes: Iterable[str] = (),
        public: bool = False,
    ) -> App:
        """An application, as the developer portal would register it."""
        app = App(
            client_id,
            client_secret,
            tuple(redirect_uris),
            "Stand-in app",
            self.logged_in,
            frozenset(approved_scopes),
            public,
        )
        with self._lock:
            self._apps[client_id] = app
        return app

    def user(self, username: str, email: str = "", guilds: Sequence[Guild] | None = None) -> User:
        """A new user, in two guilds unless others are given."""
        if guilds is None:
            guilds = (
                Guild(self._snowflake(), "Reading circle", owner=True),
                Guild(self._snowflake(), "Chess"),
            )
        return User(self._snowflake(), username, email or f"{username}@example.com", tuple(guilds))

    def app(self, client_id: str) -> App | None:
        with self._lock:
            return self._apps.get(client_id)

    def grant(
        self,
        app: App,
        user: User | None = None,
        scopes: Sequence[str] = DEFAULT_SCOPES,
        *,
        refresh: bool = True,
    ) -> Tokens:
        """New tokens, as a login would give them; beside those the user has already."""
        user = user or self.logged_in
        tokens = Tokens(
            _access_token(user.id),
            _alnum(30) if refresh else None,
            tuple(scopes),
            self.clock() + self.token_lifetime,
            app,
            user,
        )
        with self._lock:
            self._by_access[tokens.access_token] = tokens
            if tokens.refresh_token is not None:
                self._by_refresh[tokens.refresh_token] = tokens
            self._consents.setdefault((app.client_id, user.id), set()).update(scopes)
            self.issued.append(tokens)
        return tokens

    def revoke(self, user: User, app: App) -> None:
        """Kill every token that `user` gave `app`, as a user who removes it or any revocation does."""
        with self._lock:
            for store in (self._by_access, self._by_refresh):
                for token, tokens in list(store.items()):
                    if tokens.user == user and tokens.app.client_id == app.client_id:
                        del store[token]
            self._consents.pop((app.client_id, user.id), None)

    def revoke_token(self, token: str, app: App) -> None:
        """What the revocation endpoint does; an unknown token, or another application's, is no error."""
        with self._lock:
            tokens = self._by_access.get(token) or self._by_refresh.get(token)
            if tokens is not None and tokens.app.client_id == app.client_id:
                self.revoke(tokens.user, tokens.app)

    def expire_access(self, access_token: str) -> None:
        """End an access token's life now; its refresh token lives on."""
        with self._lock:
            tokens = self._by_access[access_token]
            self._by_access[access_token] = replace(tokens, expires_at=self.clock())

    def access(self, access_token: str) -> Tokens | None:
        """The grant of a living access token."""
        with self._lock:
            tokens = self._by_access.get(access_token)
        return tokens if tokens is not None and self.clock() < tokens.expires_at else None

    def refreshable(self, refresh_token: str, app: App) -> Tokens | None:
        """The grant of a living refresh token of `app`."""
        with self._lock:
            tokens = self._by_refresh.get(refresh_token)
            if tokens is not None and tokens.app.client_id == app.client_id:
                return tokens
            self.refused_refreshes += 1
            return None

    def rotate(self, old: Tokens, scopes: Sequence[str]) -> Tokens | None:
        """New tokens for `old`, whose refresh token is dead from here on; None where another was faster."""
        with self._lock:
            if old.refresh_token is None or self._by_refresh.pop(old.refresh_token, None) is None:
                return None
            if self.old_access_token_dies_on_refresh:
                self._by_access.pop(old.access_token, None)
            self.refresh_count += 1
            return self.grant(old.app, old.user, scopes)

    def consented(self, app: App, scopes: Iterable[str]) -> bool:
        """The user at the browser has granted all of `scopes` before, and did not take it back."""
        with self._lock:
            return set(scopes) <= self._consents.get((app.client_id, self.logged_in.id), set())

    def new_code(self, app: App, scopes: Sequence[str], redirect_uri: str, challenge: str = "") -> Code:
        """An authorization code for the user at the browser."""
        expires_at = self.clock() + CODE_LIFETIME
        code = Code(_alnum(30), app, self.logged_in, tuple(scopes), redirect_uri, challenge, expires_at)
        with self._lock:
            self._codes[code.value] = code
        return code

    def code(self, value: str, app: App) -> Code | None:
        """A living, unused code of `app`."""
        with self._lock:
            code = self._codes.get(value)
        if code is None or code.app.client_id != app.client_id or self.clock() >= code.expires_at:
            return None
        return code

    def use_code(self, code: Code) -> bool:
        """Take the code's only use; false where it is gone already."""
        with self._lock:
            return self._codes.pop(code.value, None) is not None

    def _snowflake(self) -> str:
        with self._lock:
            self._serial += 4_194_304
            return str(self._serial)
