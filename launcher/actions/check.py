"""What `authsome check` does once its options are read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from launcher.errors import ExitCode, LoginNeeded, UnknownConnection, not_connected
from launcher.setup.app import LOCK_SECONDS, App
from oauth import health
from oauth.errors import OAuthError, ProviderInvalid, ProviderUnknown
from oauth.health import Examined, Expected, Probed
from oauth.outcome import FreshCredential, NotUsable, Outcome, generation_of
from oauth.provider import Provider
from vault.errors import FormatTooNew, RecordDamaged, VaultError
from vault.model import DEFAULT_NAME, Checked, Connection, ConnectionKey, Health, scopes_of

if TYPE_CHECKING:
    from oauth.client import OAuthClient
    from oauth.keeper.keeper import Keeper

_Unreadable = (RecordDamaged, FormatTooNew, ProviderUnknown, ProviderInvalid)


@dataclass(frozen=True, slots=True)
class Checkup:
    """The result for one connection."""

    key: ConnectionKey
    finding: Examined
    at: float
    """Seconds since the epoch."""


def selected(
    present: Iterable[ConnectionKey], profile: str, provider: str | None, name: str | None, everything: bool
) -> list[ConnectionKey]:
    """The connections that the options name. Raises: LoginNeeded, UnknownConnection."""
    keys = [key for key in present if provider in (None, key.provider)]
    if not everything:
        keys = [key for key in keys if key.name == (name or DEFAULT_NAME)]
    if keys:
        return sorted(keys)
    if provider is not None and not everything:
        raise not_connected(ConnectionKey(profile, provider, name or DEFAULT_NAME))
    if name is not None:
        raise UnknownConnection(f"no provider has a connection {name!r}", "see <list>")
    raise LoginNeeded("there is no connection to check", "see <list>")


def check(app: App, keys: Sequence[ConnectionKey]) -> list[Checkup]:
    """Ask the providers about all of them at once, and keep the results. Raises: VaultError."""
    return asyncio.run(_check_all(app, keys))


def exit_code(findings: Iterable[Examined]) -> ExitCode:
    """A needed login comes first: it is certain, and nothing but the user can help."""
    codes = {_meaning(finding.health) for finding in findings}
    for code in (ExitCode.LOGIN_NEEDED, ExitCode.FAILED):
        if code in codes:
            return code
    return ExitCode.DONE


def _meaning(found: Health) -> ExitCode:
    match found:
        case Health.HEALTHY | Health.UNVERIFIED:
            return ExitCode.DONE
        case Health.EXPIRING | Health.EXPIRED | Health.REVOKED | Health.SCOPES_LOST | Health.WRONG_CLIENT:
            return ExitCode.LOGIN_NEEDED
        case Health.UNREACHABLE | Health.UNCONFIRMED | Health.DAMAGED:
            return ExitCode.FAILED
        case _:
            assert_never(found)


async def _check_all(app: App, keys: Sequence[ConnectionKey]) -> list[Checkup]:
    async with app.oauth() as oauth, app.keeper() as keeper:
        return await asyncio.gather(*(_check_one(app, oauth, keeper, key) for key in keys))


async def _check_one(app: App, oauth: OAuthClient, keeper: Keeper, key: ConnectionKey) -> Checkup:
    try:
        found = app.vault.connection(key)
        if found is None:  # logged out a moment ago
            return Checkup(key, Examined(Health.REVOKED, f"{key} is not connected"), app.now())
        finding = await _find(app, oauth, keeper, key, found.value)
    except _Unreadable as error:
        return Checkup(key, Examined(Health.DAMAGED, f"{key}: {error}", error.hint), app.now())
    checkup = Checkup(key, finding, app.now())
    try:
        await asyncio.to_thread(_keep, app, checkup, found.value)
    except VaultError as error:
        app.notices.warning(f"the result for {key} could not be kept: {error}", error.hint)
    return checkup


async def _find(
    app: App, oauth: OAuthClient, keeper: Keeper, key: ConnectionKey, connection: Connection
) -> Examined:
    provider = app.registry.get(key.provider).provider
    client = app.vault.client(key.profile, key.provider)
    expected = Expected(client.value.client_id if client else None, scopes_of(connection.credential))
    outcome, probed = await _ask(oauth, keeper, key, provider)
    match outcome:
        case NotUsable():
            return health.from_outcome(outcome, connection)
        case FreshCredential():
            pass
        case never:
            assert_never(never)
    match probed:
        case None:
            finding = health.unverified(key)
        case Probed():
            finding = health.from_answer(key, provider, connection, expected, probed)
        case OAuthError():
            return Examined(Health.UNREACHABLE, f"could not check {key}: {probed}", probed.hint)
        case unknown:
            assert_never(unknown)
    return health.unless_expiring(key, finding, connection, app.now())


async def _ask(
    oauth: OAuthClient, keeper: Keeper, key: ConnectionKey, provider: Provider
) -> tuple[Outcome, Probed | OAuthError | None]:
    """The credential, and what the provider says to it, once more after a 401 that a refresh may cure."""
    url = health.check_url(provider)
    outcome = await keeper.fresh(key)
    if url is None:
        return outcome, None
    try:
        probed = await _probed(oauth, provider, url, outcome)
        generation = generation_of(outcome)
        if generation is not None and probed is not None and health.condemns(provider.auth, probed):
            outcome = await keeper.recovered(key, generation, probed.body)
            probed = await _probed(oauth, provider, url, outcome)
    except OAuthError as error:
        return outcome, error
    return outcome, probed


async def _probed(oauth: OAuthClient, provider: Provider, url: str, outcome: Outcome) -> Probed | None:
    """What the provider says to the credential; None where there is none. Raises: OAuthError."""
    match outcome:
        case FreshCredential(value=value):
            return await oauth.probe(provider, url, value)
        case NotUsable():
            return None
        case never:
            assert_never(never)


def _keep(app: App, checkup: Checkup, checked: Connection) -> None:
    """Store the result, unless there was another login meanwhile.

    Under the lock: after a logout and a login the generation may be the same again, and the old record
    would be written over the new one.
    """
    with app.vault.lock(checkup.key, LOCK_SECONDS):
        current = app.vault.connection(checkup.key)
        if current is None or current.value.created_at != checked.created_at:
            return
        result = Checked(health=checkup.finding.health, at=checkup.at)
        changed = current.value.model_copy(update={"checked": result})
        app.vault.put_connection(checkup.key, changed, expected=current.generation)
