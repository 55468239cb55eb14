"""What is shown of a connection: never a credential. Pure."""

from __future__ import annotations

from typing import Final, assert_never

from launcher.times import age, utc
from oauth.reach import widened
from vault.model import ApiKey, Connection, ConnectionKey, Health, OAuthTokens, Reach, Status

Shown = dict[str, str | list[str] | None]
"""A description, in the order in which it is printed; as JSON it is one object."""

FIELDS: Final = (
    "provider",
    "connection",
    "status",
    "account",
    "scopes",
    "requested_scopes",
    "expires_at",
    "created_at",
    "updated_at",
    "health",
    "checked_at",
)
"""The names in a description."""


def describe(key: ConnectionKey, connection: Connection, now: float, wanted: Reach | None = None) -> Shown:
    """Everything about a connection but its credential; times are RFC 3339.

    `wanted` is where the definition of its provider would send it, if there is one.
    """
    credential, checked = connection.credential, connection.checked
    scopes: list[str] | None = None
    expires_at: float | None = None
    match credential:
        case OAuthTokens():
            scopes, expires_at = list(credential.scopes), credential.expires_at
        case ApiKey():
            scopes = []
        case _:
            assert_never(credential)
    status = str(connection.current_status(now))
    if wanted is not None and widened(connection.reach, wanted):
        status = Health.UNCONFIRMED.value
    elif _was_revoked(connection):
        status = Health.REVOKED.value
    return {
        "provider": key.provider,
        "connection": key.name,
        "status": status,
        "account": connection.account,
        "scopes": scopes,
        "requested_scopes": list(connection.requested_scopes),
        "expires_at": None if expires_at is None else utc(expires_at),
        "created_at": utc(connection.created_at),
        "updated_at": utc(connection.updated_at),
        "health": str(checked.health) if checked else None,
        "checked_at": utc(checked.at) if checked else None,
    }


def describe_damaged(key: ConnectionKey) -> Shown:
    """A connection whose record cannot be opened."""
    unknown: Shown = dict.fromkeys(FIELDS)
    return unknown | {"provider": key.provider, "connection": key.name, "status": "damaged"}


def last_check(connection: Connection, now: float) -> str:
    """The result of the last check and its age; empty where there was none since the login."""
    checked = connection.checked
    return f"{checked.health} {age(now - checked.at)} ago" if checked else ""


def _was_revoked(connection: Connection) -> bool:
    """Whether a look at it, or the logout of another connection, has shown so since its last refresh."""
    checked = connection.checked
    if connection.status is Status.EXPIRED or checked is None or checked.health is not Health.REVOKED:
        return False
    match connection.credential:
        case OAuthTokens(issued_at=issued_at):
            return checked.at >= issued_at
        case ApiKey():
            return True
        case _:
            assert_never(connection.credential)


def as_text(value: str | list[str] | None) -> str:
    """One value for people and for shells; scopes as `login --scopes` takes them."""
    return ",".join(value) if isinstance(value, list) else value or ""
