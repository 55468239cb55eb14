"""What a look at a connection has shown, and what the user can do about it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from pydantic import TypeAdapter, ValidationError

from oauth.outcome import NotUsable, Why, login_command
from oauth.provider import OAuth2, Provider, StaticKey
from vault.model import ApiKey, Connection, ConnectionKey, Health, OAuthTokens

EXPIRING: Final = 24 * 3600.0
"""Seconds before the end of a token that cannot be refreshed from which on it is worth a warning: a check
that runs daily must give it once, and somebody must have time to log in."""

_JSON_OBJECT = TypeAdapter(dict[str, object])


@dataclass(frozen=True, slots=True)
class Finding:
    """The health of a connection; the texts are empty where there is nothing to say."""

    health: Health
    message: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the provider's answer is compared with."""

    client_id: str | None
    """None where no client registration is stored."""
    scopes: Sequence[str]
    """Those that were granted, as stored before the check."""


def check_url(provider: Provider) -> str | None:
    """Where to ask about a credential; None where the provider cannot be asked."""
    match provider.auth:
        case OAuth2(check_url=url, userinfo_url=userinfo_url):
            return url or userinfo_url
        case StaticKey(check_url=url):
            return url
        case never:
            assert_never(never)


def from_outcome(outcome: NotUsable, connection: Connection) -> Finding:
    """The health of a connection whose credential the keeper would not hand out."""
    return Finding(_health(outcome.why, connection), outcome.message, outcome.hint)


def from_answer(
    key: ConnectionKey,
    provider: Provider,
    connection: Connection,
    expected: Expected,
    status: int,
    body: bytes,
) -> Finding:
    """The health that the provider's answer to a credential tells of, but for when that ends."""
    if status == 401:
        return Finding(Health.REVOKED, f"the provider answers 401 to {key}", _run(login_command(key)))
    if status != 200:
        return Finding(
            Health.UNREACHABLE, f"could not check {key}: the provider answered {status}", "try again later"
        )
    match provider.auth:
        case OAuth2() as auth:
            return _compared(key, auth, connection, expected, body)
        case StaticKey():
            return Finding(Health.HEALTHY)
        case never:
            assert_never(never)


def unverified(key: ConnectionKey) -> Finding:
    """Nothing is known, for or against."""
    return Finding(Health.UNVERIFIED, f"{key} was not checked: its provider file names no check_url")


def unless_expiring(key: ConnectionKey, finding: Finding, connection: Connection, now: float) -> Finding:
    """`finding`, save where the credential is good and its end is near; `now` in seconds since the epoch."""
    match connection.credential:
        case OAuthTokens(refresh_token=None, expires_at=float() as end) if end - now < EXPIRING:
            if finding.health in (Health.HEALTHY, Health.UNVERIFIED):
                message = f"{key} ends in {_hours(end - now)} and cannot be refreshed"
                return Finding(Health.EXPIRING, message, _run(login_command(key)))
    return finding


def _health(why: Why, connection: Connection) -> Health:
    match why:
        case Why.UNAVAILABLE:
            return Health.UNREACHABLE
        case Why.UNCONFIRMED:
            return Health.UNCONFIRMED
        case Why.VOUCHED:
            return Health.UNVERIFIED
        case Why.DEAD | Why.NOT_CONNECTED:
            return Health.REVOKED
        case Why.LOGIN_NEEDED:
            return Health.WRONG_CLIENT if _can_refresh(connection) else Health.EXPIRED
        case never:
            assert_never(never)


def _can_refresh(connection: Connection) -> bool:
    """Where it can, and a login is needed all the same, it is the client that was refused."""
    match connection.credential:
        case OAuthTokens(refresh_token=refresh_token):
            return refresh_token is not None
        case ApiKey():
            return False
        case never:
            assert_never(never)


def _compared(
    key: ConnectionKey, auth: OAuth2, connection: Connection, expected: Expected, body: bytes
) -> Finding:
    """What the answer says, as far as the provider file tells where; what it should say and does not, is
    never taken for good."""
    if auth.check_client_field is not None:
        client_id = _member(body, auth.check_client_field)
        if not isinstance(client_id, str):
            return _unusable(key)
        if client_id != expected.client_id:
            message = f"{key} belongs to another application than the client id that is stored"
            return Finding(Health.WRONG_CLIENT, message, _run(login_command(key)))
    if auth.check_scopes_field is not None:
        scopes = _scopes(_member(body, auth.check_scopes_field))
        if scopes is None:
            return _unusable(key)
        lost = [scope for scope in expected.scopes if scope not in scopes]
        if lost:
            message = f"{key} has lost the scopes {', '.join(lost)}"
            return Finding(Health.SCOPES_LOST, message, _run(_same_login(key, auth, connection)))
    return Finding(Health.HEALTHY)


def _unusable(key: ConnectionKey) -> Finding:
    message = f"could not check {key}: the provider's answer lacks what its provider file says it has"
    return Finding(Health.UNREACHABLE, message, f"see 'authsome inspect {key.provider}'")


def _member(body: bytes, path: str) -> object:
    """What stands at `path` in a JSON object; None where nothing does."""
    try:
        found: object = _JSON_OBJECT.validate_json(body)
    except ValidationError:
        return None
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _scopes(found: object) -> frozenset[str] | None:
    match found:
        case str():
            return frozenset(found.split())  # as in RFC 6749 section 3.3
        case list() if all(isinstance(scope, str) for scope in found):
            return frozenset(found)
        case _:
            return None


def _same_login(key: ConnectionKey, auth: OAuth2, connection: Connection) -> str:
    """The command of a login that asks for the same scopes as the last one."""
    command = login_command(key)
    if connection.requested_scopes in ((), auth.scopes):
        return command
    return f"{command} --scopes {','.join(connection.requested_scopes)}"


def _run(command: str) -> str:
    return f"run '{command}'"


def _hours(seconds: float) -> str:
    hours = int(seconds // 3600)
    return {0: "less than an hour", 1: "1 hour"}.get(hours, f"{hours} hours")
