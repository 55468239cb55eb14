"""What the keeper hands out: a credential, or why there is none and what the user can do. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from pydantic import SecretStr

from oauth.errors import ClientRefused, OAuthError
from vault.model import ConnectionKey


class Why(StrEnum):
    """Why there is no usable credential."""

    NOT_CONNECTED = "not-connected"
    LOGIN_NEEDED = "login-needed"
    DEAD = "dead"
    """The provider refuses the credential: not worth another request until it changes."""
    UNAVAILABLE = "unavailable"
    """Perhaps later: the provider or the vault cannot be reached."""
    UNCONFIRMED = "unconfirmed"
    """The definition of the provider sends the credential to more places than the user agreed to."""
    VOUCHED = "vouched"
    """The provider answered 401 and yet says that the credential is good: the request was at fault."""


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
    """The action of the hint alone, where there is one."""
    body: bytes | None = None
    """For DEAD: the body of the provider's own last 401, where a client could be told the same."""
    proven: bool = False
    """For DEAD: the provider refused the refresh token too, so that only a login helps."""


Outcome = FreshCredential | NotUsable


def generation_of(outcome: Outcome) -> int | None:
    """Which write of the record is handed out; None where nothing is."""
    match outcome:
        case FreshCredential(generation=generation):
            return generation
        case NotUsable():
            return None
        case never:
            assert_never(never)


def log_in(key: ConnectionKey, *inputs: str) -> str:
    """The action that brings a connection a new credential, as messages name it: `<login KEY INPUT...>`."""
    return f"<{' '.join(['login', _named(key), *inputs])}>"


def agree_to(key: ConnectionKey) -> str:
    """The action by which the user agrees to a wider definition, likewise."""
    return f"<confirm {_named(key)}>"


def _named(key: ConnectionKey) -> str:
    return f"{key.profile}/{key.provider}/{key.name}"


def nothing_stored(key: ConnectionKey) -> NotUsable:
    """Nothing is stored: never logged in, or logged out."""
    command = log_in(key)
    return NotUsable(Why.NOT_CONNECTED, f"{key} is not connected", f"run {command}", command)


def login_needed(key: ConnectionKey, message: str) -> NotUsable:
    """Only the user, in a browser, can bring a new credential."""
    command = log_in(key)
    return NotUsable(Why.LOGIN_NEEDED, message, f"run {command}", command)


def dead(key: ConnectionKey, message: str, body: bytes | None = None, *, proven: bool = True) -> NotUsable:
    """The provider refused the credential for good; the user must log in, or enter another key."""
    command = log_in(key)
    return NotUsable(Why.DEAD, message, f"run {command}", command, body, proven)


def unconfirmed(key: ConnectionKey, ways: Sequence[str]) -> NotUsable:
    """`ways` are those in which the definition became wider (`oauth.reach`)."""
    command = agree_to(key)
    others = f", and {len(ways) - 1} more" if len(ways) > 1 else ""
    return NotUsable(
        Why.UNCONFIRMED,
        f"{key} is not used: the definition of {key.provider} would now send {ways[0]}{others}",
        f"if that is your doing, run {command}",
        command,
    )


@dataclass(frozen=True, slots=True)
class Loss:
    """What the user must hear when a process ends, and what helps."""

    message: str
    hint: str


def cut_off(key: ConnectionKey) -> Loss:
    """The process ends before the answer to a refresh is known."""
    message = f"the login of {key} may be lost: a refresh was cut off before the provider's answer came"
    return Loss(message, f"if it no longer works, run {log_in(key)}")


def lost(key: ConnectionKey, why: str) -> Loss:
    """The process ends with the only copy of new tokens."""
    message = f"the login of {key} is lost: the provider has replaced its tokens, which could not be stored"
    return Loss(f"{message}: {why}", f"run {log_in(key)}")


def aside(key: ConnectionKey, why: str, hint: str) -> Loss:
    """The process ends with new tokens that wait beside the store."""
    message = f"the new tokens of {key} could not be stored, and wait sealed beside the vault: {why}"
    return Loss(message, f"{hint}; the next command stores them" if hint else "")


def refused(key: ConnectionKey) -> Loss:
    """The provider refused the refresh token while the process ran."""
    message = f"the login of {key} is lost: the provider refused its refresh token"
    return Loss(message, f"run {log_in(key)}")


def vouched(key: ConnectionKey) -> NotUsable:
    """A 401 for another reason than the credential: a wrong kind of token, a missing right."""
    message = f"the provider refused the request and not {key}"
    return NotUsable(Why.VOUCHED, message, "check whether the endpoint takes this kind of credential")


def refresh_failed(key: ConnectionKey, error: OAuthError) -> NotUsable:
    """A refresh that says nothing about the refresh token itself."""
    message = f"could not refresh {key}: {error}"
    if isinstance(error, ClientRefused):
        command = log_in(key, "new_application")
        return NotUsable(Why.LOGIN_NEEDED, message, f"run {command}", command)
    return NotUsable(Why.UNAVAILABLE, message, error.hint)
