"""What the keeper hands out: a credential, or why there is none and what the user can do. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pydantic import SecretStr

from oauth.errors import ClientRefused, OAuthError
from vault.model import DEFAULT_NAME, ConnectionKey


class Why(StrEnum):
    """Why there is no usable credential."""

    NOT_CONNECTED = "not-connected"
    LOGIN_NEEDED = "login-needed"
    UNAVAILABLE = "unavailable"
    """Perhaps later: the provider or the vault cannot be reached."""


@dataclass(frozen=True, slots=True)
class FreshCredential:
    """A credential that is good now."""

    value: SecretStr
    generation: int
    """Which write of the record it came from; handed back in `Keeper.reject`."""
    expires_at: float | None
    """Seconds since the epoch; None where unknown or never."""


@dataclass(frozen=True, slots=True)
class NotUsable:
    """There is no credential to hand out, and what to do about it."""

    why: Why
    message: str
    hint: str
    command: str = ""
    """The command of the hint alone, where there is one."""


Outcome = FreshCredential | NotUsable


def login_command(key: ConnectionKey) -> str:
    """What the user types to log in to a connection again."""
    words = ["authsome"]
    if key.profile != DEFAULT_NAME:
        words += ["--profile", key.profile]
    words += ["login", key.provider]
    if key.name != DEFAULT_NAME:
        words += ["--connection", key.name]
    return " ".join(words)


def not_connected(key: ConnectionKey) -> NotUsable:
    """Nothing is stored: never logged in, or logged out."""
    command = login_command(key)
    return NotUsable(Why.NOT_CONNECTED, f"{key} is not connected", f"run '{command}'", command)


def login_needed(key: ConnectionKey, message: str) -> NotUsable:
    """Only the user, in a browser, can bring a new credential."""
    command = login_command(key)
    return NotUsable(Why.LOGIN_NEEDED, message, f"run '{command}'", command)


def refresh_failed(key: ConnectionKey, error: OAuthError) -> NotUsable:
    """A refresh that says nothing about the refresh token itself."""
    message = f"could not refresh {key}: {error}"
    if isinstance(error, ClientRefused):
        command = f"{login_command(key)} --client-id ID --client-secret-file PATH"
        return NotUsable(Why.LOGIN_NEEDED, message, f"run '{command}'", command)
    return NotUsable(Why.UNAVAILABLE, message, error.hint)
