"""What `logout` does: a connection is revoked at its provider, and forgotten here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import assert_never

from launcher.errors import LauncherError, NotConfirmed, UnknownConnection
from launcher.setup.app import LOCK_SECONDS, App
from launcher.setup.consent import require_confirmed
from oauth.errors import OAuthError, ProviderInvalid, ProviderUnknown
from oauth.login.flows import revoke
from oauth.provider import Auth, OAuth2, StaticKey
from vault.errors import FormatTooNew, RecordDamaged, VaultError
from vault.model import Checked, ConnectionKey, Health, Versioned
from vault.vault import StoredConnection

Agree = Callable[[str, Sequence[ConnectionKey]], None]
"""Called with why other connections would end as well, and which. Raises where that is not wanted."""


@dataclass(frozen=True, slots=True)
class _Revoked:
    """What became of it at the provider."""

    done: bool
    ended: Sequence[ConnectionKey] = ()
    """The connections that ended with it."""


def log_out(app: App, key: ConnectionKey, *, force: bool, agree: Agree | None) -> bool:
    """Revoke a connection and forget it. Returns whether it was revoked.

    `force`: forget it here even if the provider does not revoke it. `agree` is None where nobody is asked.

    Raises: UnknownConnection, LauncherError, NotConfirmed, VaultError, what `agree` raises; it is kept then.
    """
    if not app.has_vault:
        raise _nothing(key)
    if agree is not None:
        _require_wanted(app, key, agree)
    with app.vault.lock(key, LOCK_SECONDS):  # a refresh in between would leave a token that nobody knows
        revoked = _revoked(app, key, force=force)
        app.vault.delete_connection(key)
    for other in revoked.ended:  # without that lock: two logouts would wait for each other
        _mark_ended(app, other)
    return revoked.done


def _nothing(key: ConnectionKey) -> UnknownConnection:
    return UnknownConnection(f"{key} is not connected", "see <list>")


def _require_wanted(app: App, key: ConnectionKey, agree: Agree) -> None:
    try:
        found = app.vault.connection(key)
    except RecordDamaged:
        return  # which cannot be revoked
    note = _revocation_note(app, key)
    if found and note and (ended := _same_account(app, key, found.value.account)):
        agree(note, ended)


def _revocation_note(app: App, key: ConnectionKey) -> str | None:
    """What ends with a connection, where it can be revoked at all."""
    try:
        auth = app.registry.get(key.provider).provider.auth
    except (ProviderInvalid, ProviderUnknown):
        return None
    return _note_of(auth) if _is_revoked(auth) and app.vault.client(key.profile, key.provider) else None


def _is_revoked(auth: Auth) -> bool:
    match auth:
        case OAuth2(revocation_url=url):
            return url is not None
        case StaticKey():
            return False
        case never:
            assert_never(never)


def _note_of(auth: Auth) -> str | None:
    match auth:
        case OAuth2(revocation_note=note):
            return note
        case StaticKey():
            return None
        case never:
            assert_never(never)


def _revoked(app: App, key: ConnectionKey, *, force: bool) -> _Revoked:
    try:
        return asyncio.run(_revoke(app, key))
    except NotConfirmed as error:
        if not force:
            raise
        problem: Exception = error
    except (OAuthError, RecordDamaged) as error:
        if not force:
            kind = UnknownConnection if isinstance(error, ProviderUnknown) else LauncherError
            undefined = isinstance(error, ProviderUnknown | ProviderInvalid)
            remedy = "put its provider file in order" if undefined else "try again"
            raise kind(
                f"{key} was not revoked and is kept: {error}",
                f"{remedy}, or forget it here alone with <set force>",
            ) from error
        problem = error
    app.notices.warning(f"{key} was not revoked and stays valid at the provider: {problem}")
    return _Revoked(done=False)


async def _revoke(app: App, key: ConnectionKey) -> _Revoked:
    found = app.vault.connection(key)
    if found is None:
        raise _nothing(key)
    provider = app.registry.get(key.provider).provider
    require_confirmed(key, found.value, provider)
    client = app.vault.client(key.profile, key.provider)
    async with app.oauth() as oauth:
        done = await revoke(provider, found.value, client.value if client else None, oauth=oauth)
    if not done:
        no_client = ", as no application is stored" if _is_revoked(provider.auth) and not client else ""
        app.notices.warning(
            f"the provider was not asked to revoke the credential{no_client}",
            "revoke it in the provider's settings",
        )
        return _Revoked(done=False)
    note = _note_of(provider.auth)
    if not note:
        return _Revoked(done=True)
    ended = _same_account(app, key, found.value.account)
    hint = "log in to what ended with it again, where it is still needed" if ended else ""
    app.notices.warning(with_names(note, ended), hint)
    return _Revoked(True, ended)


def with_names(note: str, ended: Sequence[ConnectionKey]) -> str:
    """What ends with a connection, and what that is on this machine."""
    return f"{note}: here {', '.join(map(str, ended))}" if ended else note


def _same_account(app: App, key: ConnectionKey, account: str | None) -> list[ConnectionKey]:
    """The other connections of an account; those of one profile share their application."""
    return [
        other
        for other, record in app.vault.connections(key.profile)
        if other.provider == key.provider
        and other != key
        and account is not None
        and _account_of(record) == account
    ]


def _account_of(record: StoredConnection) -> str | None:
    match record:
        case Versioned(value=connection):
            return connection.account
        case RecordDamaged() | FormatTooNew():
            return None
        case never:
            assert_never(never)


def _mark_ended(app: App, key: ConnectionKey) -> None:
    """Its tokens are revoked, as far as is known: the next check or request will tell for certain."""
    with suppress(VaultError), app.vault.lock(key, LOCK_SECONDS):  # the logout is done, whatever comes
        current = app.vault.connection(key)
        if current is not None:
            checked = Checked(health=Health.REVOKED, at=app.now())
            changed = current.value.model_copy(update={"checked": checked})
            app.vault.put_connection(key, changed, expected=current.generation)
