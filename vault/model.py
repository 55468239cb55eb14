"""The values a vault holds.

Pure data: nothing here reads a clock, a file or the network. Fields that hold a secret are
`SecretStr`, so that neither `repr` nor a log line can show them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, Literal, assert_never

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

DEFAULT_NAME: Final = "default"
"""The name of a profile or connection when the user gives none."""

NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""What a profile, provider or connection may be called.

Narrow on purpose: names become file names, environment words and terminal output.
"""


@dataclass(frozen=True, slots=True, order=True)
class ConnectionKey:
    """Which account is meant: `discord/work` in the profile `default`."""

    profile: str
    provider: str
    name: str

    def __post_init__(self) -> None:
        for word in (self.profile, self.provider, self.name):
            if not NAME.fullmatch(word):
                raise ValueError(f"{word!r} is not a valid name")

    def __str__(self) -> str:
        return f"{self.provider}/{self.name}"


class Status(StrEnum):
    """Whether a connection's credential can still be used."""

    CONNECTED = "connected"
    EXPIRED = "expired"
    """The provider refused the refresh token; only a new login helps. Nothing is wiped."""


class _Stored(BaseModel):
    """Written to disk inside a sealed record: an unknown field is an error, never dropped."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class OAuthTokens(_Stored):
    """An OAuth token set (RFC 6749 section 5.1)."""

    kind: Literal["oauth_tokens"] = "oauth_tokens"
    access_token: SecretStr
    refresh_token: SecretStr | None = None
    token_type: str = "Bearer"  # noqa: S105  (a scheme, not a password)
    scopes: tuple[str, ...] = ()
    """The scopes the provider granted, which need not be those that were asked for."""
    issued_at: float
    """Seconds since the epoch, by this machine's clock, when the answer arrived."""
    expires_at: float | None = None
    """Seconds since the epoch; None where the provider did not say."""


class ApiKey(_Stored):
    """A static key that never expires."""

    kind: Literal["api_key"] = "api_key"
    value: SecretStr


Credential = Annotated[OAuthTokens | ApiKey, Field(discriminator="kind")]
"""A tagged union; a tag is never reused for another shape."""


def tokens_of(credential: Credential) -> OAuthTokens | None:
    """None where it is no token set."""
    match credential:
        case OAuthTokens():
            return credential
        case ApiKey():
            return None
        case never:
            assert_never(never)


def scopes_of(credential: Credential) -> tuple[str, ...]:
    """What was granted; a static key has no scopes."""
    match credential:
        case OAuthTokens(scopes=scopes):
            return scopes
        case ApiKey():
            return ()
        case never:
            assert_never(never)


class Health(StrEnum):
    """What the last look at a connection has shown."""

    HEALTHY = "healthy"
    UNVERIFIED = "unverified"
    """The provider cannot be asked."""
    EXPIRING = "expiring"
    """Good, but soon at its end, and it cannot be refreshed."""
    EXPIRED = "expired"
    REVOKED = "revoked"
    """The provider refuses it."""
    SCOPES_LOST = "scopes-lost"
    WRONG_CLIENT = "wrong-client"
    """It belongs to another application than the client registration, or that is refused."""
    UNREACHABLE = "unreachable"
    UNCONFIRMED = "unconfirmed"
    """Its provider's definition sends it to more places than its user agreed to."""
    DAMAGED = "damaged"
    """It, or the definition of its provider, cannot be read."""


class Checked(_Stored):
    """The last look at a connection."""

    health: Health
    at: float
    """Seconds since the epoch."""


class ReachedSlot(_Stored):
    """One header of one host that the token may be put into."""

    host: str
    """With its port, unless that is 443."""
    header: str
    scheme: str | None = None
    """The word before the token in that header."""

    @model_validator(mode="before")
    @classmethod
    def _from_words(cls, stored: object) -> object:
        """Records of payload 1 had a sentence: `discord.com in 'Authorization: Bearer'`."""
        if not isinstance(stored, str):
            return stored
        found = _SLOT_IN_WORDS.fullmatch(stored)
        if found is None:
            raise ValueError("not a slot in words")
        return found.groupdict()


_SLOT_IN_WORDS: Final = re.compile(r"(?P<host>\S+) in '(?P<header>[^:']+)(?:: (?P<scheme>[^']+))?'")


class Reach(_Stored):
    """Where the secrets of a connection may go; by default nowhere."""

    slots: tuple[ReachedSlot, ...] = ()
    endpoints: tuple[str, ...] = ()
    """URLs that get a token, a key or the client's secret."""
    never_paths: tuple[str, ...] = ()
    """Paths of the hosts that get nothing."""
    allow: tuple[str, ...] = ()
    """The only methods and paths that get the token; empty for all."""


class Connection(_Stored):
    """One account at one provider, as stored."""

    credential: Credential
    reach: Reach = Reach()
    """What the user has agreed to, by the login or later."""
    status: Status = Status.CONNECTED
    requested_scopes: tuple[str, ...] = ()
    account: str | None = None
    """How the provider names the account (Discord: the username); shown to the user, trusted for nothing."""
    created_at: float
    """Seconds since the epoch."""
    updated_at: float
    """Seconds since the epoch."""
    checked: Checked | None = None
    """None since the login."""

    def current_status(self, now: float) -> Status:
        """The status, by the clock as well: without a refresh token the end of the access token is the end.

        `now` is in seconds since the epoch.
        """
        match self.credential:
            case OAuthTokens(refresh_token=None, expires_at=float() as end) if end <= now:
                return Status.EXPIRED
            case _:
                return self.status


class ClientRegistration(_Stored):
    """The OAuth application the user registered with a provider (RFC 6749 section 2)."""

    client_id: str
    client_secret: SecretStr | None = None
    token_url: str = ""
    """The endpoint that issues its tokens; a login sends the secret to no other."""
    refused: bool = False
    """The provider refused it at the last login, so the next one asks for another."""


@dataclass(frozen=True, slots=True)
class Versioned[T]:
    """A stored value with the generation it was read at, for compare-and-set."""

    value: T
    generation: int
    """1 for the first write of a record, one more for each later write."""
