"""What a stored connection is good for at a given time: hand it out, refresh it, or say why not. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from pydantic import SecretStr

from oauth.keeper.freshness import is_alive, is_due
from oauth.outcome import FreshCredential, Outcome, dead, login_needed, nothing_stored, unconfirmed
from oauth.reach import widened
from vault.model import ApiKey, Connection, ConnectionKey, OAuthTokens, Reach, Status, Versioned, tokens_of

Record = Versioned[Connection]


@dataclass(frozen=True, slots=True)
class Due:
    """The tokens can be refreshed, and should be."""

    record: Record
    tokens: OAuthTokens
    refresh_token: SecretStr


Judgement = Outcome | Due
"""What a record is good for."""


@dataclass(frozen=True, slots=True)
class Demand:
    """How much a refresh is wanted."""

    ahead: float = 0.0
    """Margins before the token is due."""
    rejected: int | None = None
    """Refresh this generation though it looks alive: the provider answered 401 to it."""
    unsaved: SecretStr | None = None
    """The refresh token that was used already, for tokens that are still to be stored."""


def judge(key: ConnectionKey, record: Record | None, wanted: Reach, now: float, demand: Demand) -> Judgement:
    """What to do with a record at `now`, in seconds since the epoch; `wanted` is where it would be sent."""
    if record is None:
        return nothing_stored(key)
    if ways := widened(record.value.reach, wanted):
        return unconfirmed(key, ways)
    used = refresh_token_of(record.value)
    # Who refused it may not know that it was used already, and that its successor is still to be stored.
    if record.value.status is Status.EXPIRED and (used is None or used != demand.unsaved):
        return dead(key, f"{key} has expired: the provider refused its refresh token")
    match record.value.credential:
        case ApiKey() as api_key:
            return FreshCredential(api_key.value, record.generation, None)
        case OAuthTokens() as tokens:
            return _judge_tokens(key, record, tokens, now, demand)
        case never:
            assert_never(never)


def _judge_tokens(
    key: ConnectionKey, record: Record, tokens: OAuthTokens, now: float, demand: Demand
) -> Judgement:
    if tokens.refresh_token is None:
        if is_alive(tokens, now):
            return as_it_is(record, tokens)
        return login_needed(key, f"{key} has expired and has no refresh token")
    wanted = demand.rejected == record.generation or demand.unsaved == tokens.refresh_token
    if wanted or is_due(tokens, now, demand.ahead):
        return Due(record, tokens, tokens.refresh_token)
    return as_it_is(record, tokens)


def as_it_is(record: Record, tokens: OAuthTokens) -> FreshCredential:
    """The stored token, unchanged."""
    return FreshCredential(tokens.access_token, record.generation, tokens.expires_at)


def living(record: Record | None, now: float) -> FreshCredential | None:
    """The stored OAuth token while it lives, for when it could not be refreshed."""
    tokens = tokens_of(record.value.credential) if record else None
    return as_it_is(record, tokens) if record and tokens and is_alive(tokens, now) else None


def value_of(connection: Connection) -> SecretStr:
    """What is sent to the provider."""
    match connection.credential:
        case OAuthTokens(access_token=value) | ApiKey(value=value):
            return value
        case never:
            assert_never(never)


def refresh_token_of(connection: Connection) -> SecretStr | None:
    """The refresh token, where the connection has one."""
    tokens = tokens_of(connection.credential)
    return tokens.refresh_token if tokens else None
