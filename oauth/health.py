"""What a look at a connection has shown, and what the user can do about it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, assert_never

from oauth.answer import read_json, read_object
from oauth.outcome import NotUsable, Why, log_in
from oauth.provider import Auth, OAuth2, Provider, StaticKey
from vault.model import ApiKey, Connection, ConnectionKey, Health, OAuthTokens

EXPIRING: Final = 24 * 3600.0
"""Seconds before the end of a token that cannot be refreshed from which on it is worth a warning: a check
that runs daily must give it once, and somebody must have time to log in."""

_Object = Mapping[str, object]


_NO_RIGHT: Final = re.compile(r"\berror\s*=\s*\"?insufficient_scope\b")
"""Of a WWW-Authenticate header: the API knows the token, which lacks a right (RFC 6750 section 3.1)."""


@dataclass(frozen=True, slots=True)
class Probed:
    """What an API, or what stands before it, said to a credential."""

    status: int
    body: bytes = field(repr=False)
    challenge: str = ""
    """The header WWW-Authenticate."""


@dataclass(frozen=True, slots=True)
class Examined:
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


def from_outcome(outcome: NotUsable, connection: Connection) -> Examined:
    """The health of a connection whose credential the keeper would not hand out."""
    return Examined(_health(outcome.why, connection), outcome.message, outcome.hint)


def vouches(auth: Auth, probed: Probed) -> bool:
    """Whether the API itself says that it knows the credential.

    A front, a portal or an inspecting proxy answers with any status and a page of its own, and knows no
    credentials: for what is not of the API's own shape, nothing is proven.
    """
    if probed.status == 403:
        return bool(_NO_RIGHT.search(probed.challenge))
    return 200 <= probed.status < 300 and _is_own(auth, probed.body)


def condemns(auth: Auth, probed: Probed) -> bool:
    """Whether the API itself says that it does not know the credential."""
    if probed.status != 401:
        return False
    answer = read_object(probed.body)
    if answer is None:
        return not auth.error_fields and not probed.body.strip()
    return all(_at(answer, name) is not None for name in auth.error_fields)


def from_answer(
    key: ConnectionKey, provider: Provider, connection: Connection, expected: Expected, probed: Probed
) -> Examined:
    """The health that the provider's answer to a credential tells of, but for when that ends."""
    if condemns(provider.auth, probed):
        return Examined(Health.REVOKED, f"the provider answers 401 to {key}", _run(log_in(key)))
    if probed.status != 200:
        return Examined(
            Health.UNREACHABLE,
            f"could not check {key}: the provider answered {probed.status}",
            "try again later",
        )
    if not _is_own(provider.auth, probed.body):
        message = f"could not check {key}: the provider's answer lacks what its provider file says it has"
        return Examined(Health.UNREACHABLE, message, f"see <inspect {key.provider}>")
    match provider.auth:
        case OAuth2() as auth:
            return _compared(key, auth, connection, expected, read_object(probed.body) or {})
        case StaticKey():
            return Examined(Health.HEALTHY)
        case never:
            assert_never(never)


def unverified(key: ConnectionKey) -> Examined:
    """Nothing is known, for or against."""
    return Examined(Health.UNVERIFIED, f"{key} was not checked: its provider file names no check_url")


def unless_expiring(key: ConnectionKey, finding: Examined, connection: Connection, now: float) -> Examined:
    """`finding`, save where the credential is good and its end is near; `now` in seconds since the epoch."""
    match connection.credential:
        case OAuthTokens(refresh_token=None, expires_at=float() as end) if end - now < EXPIRING:
            if finding.health in (Health.HEALTHY, Health.UNVERIFIED):
                message = f"{key} ends in {_hours(end - now)} and cannot be refreshed"
                return Examined(Health.EXPIRING, message, _run(log_in(key)))
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
    key: ConnectionKey, auth: OAuth2, connection: Connection, expected: Expected, answer: _Object
) -> Examined:
    """What the answer says, as far as the provider file tells where."""
    if auth.check_client_field and _at(answer, auth.check_client_field) != expected.client_id:
        message = (
            f"no application is stored for {key}, which cannot be refreshed without it"
            if expected.client_id is None
            else f"{key} belongs to another application than the client id that is stored"
        )
        return Examined(Health.WRONG_CLIENT, message, _run(log_in(key)))
    if auth.check_scopes_field:
        scopes = _scopes(_at(answer, auth.check_scopes_field)) or frozenset()
        lost = [scope for scope in expected.scopes if scope not in scopes]
        if lost:
            message = f"{key} has lost the scopes {', '.join(lost)}"
            return Examined(Health.SCOPES_LOST, message, _run(_same_login(key, auth, connection)))
    return Examined(Health.HEALTHY)


def _is_own(auth: Auth, body: bytes) -> bool:
    """Whether an answer is what the provider file says that a good credential gets.

    Where it says nothing, anything that is JSON, or nothing at all, and no error with status 200.
    """
    answer = read_object(body)
    if answer is None:
        empty_or_list = not body.strip() or read_json(body) is not None
        return empty_or_list and not _names_members(auth)
    if answer.get("error") or answer.get("errors") or answer.get("ok") is False:
        return False
    match auth:
        case OAuth2():
            return _has_members(auth, answer)
        case StaticKey(check_field=name):
            return name is None or _at(answer, name) is not None
        case never:
            assert_never(never)


def _names_members(auth: Auth) -> bool:
    match auth:
        case OAuth2():
            account = auth.check_url is None and auth.account_field
            return bool(account or auth.check_client_field or auth.check_scopes_field)
        case StaticKey():
            return auth.check_field is not None
        case never:
            assert_never(never)


def _has_members(auth: OAuth2, answer: _Object) -> bool:
    if auth.check_client_field and not isinstance(_at(answer, auth.check_client_field), str):
        return False
    if auth.check_scopes_field and _scopes(_at(answer, auth.check_scopes_field)) is None:
        return False
    is_account = auth.check_url is None and auth.account_field is not None
    return not is_account or auth.account_field in answer


def _at(answer: _Object, path: str) -> object:
    """What stands at `path`; None where nothing does."""
    found: object = answer
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
    """A login that asks for the same scopes as the last one."""
    if connection.requested_scopes in ((), auth.scopes):
        return log_in(key)
    return log_in(key, f"scopes={','.join(connection.requested_scopes)}")


def _run(command: str) -> str:
    return f"run {command}"


def _hours(seconds: float) -> str:
    hours = int(seconds // 3600)
    return {0: "less than an hour", 1: "1 hour"}.get(hours, f"{hours} hours")
