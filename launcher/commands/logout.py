"""`authsome logout`."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

import click

from launcher.actions.application import forget
from launcher.commands import options
from launcher.commands.invocation import Invocation
from launcher.errors import LauncherError, NotConfirmed, UnknownConnection, UsageProblem
from launcher.setup.app import LOCK_SECONDS, App
from launcher.setup.consent import require_confirmed
from launcher.setup.settings import PROGRAM
from launcher.text import report
from oauth.errors import OAuthError, ProviderInvalid, ProviderUnknown
from oauth.login.flows import revoke
from oauth.provider import OAuth2
from vault.errors import RecordDamaged, VaultError
from vault.model import Checked, ConnectionKey, Health, Versioned


@click.command("logout")
@options.provider
@options.connection
@click.option(
    "--force", is_flag=True, help="Forget the connection here even if the provider does not revoke it."
)
@click.option(
    "--application", is_flag=True, help="Forget the provider's OAuth application instead of a connection."
)
@click.option("--yes", is_flag=True, help="Do not ask, also where other connections end with it.")
@options.connect_to
@click.pass_obj
def command(
    invocation: Invocation,
    provider: str,
    name: str,
    force: bool,
    application: bool,
    yes: bool,
    connect_to: tuple[str, ...],
) -> None:
    """Revoke a connection and forget it.

    If the provider does not confirm, the connection is kept, so that logging out can be tried again:
    a token that is only forgotten here stays good. Where other connections end with it, it asks first.
    Where the provider cannot be asked, as without the application, the connection is forgotten here alone.
    """
    with invocation.app(connect_to) as app:
        if application:
            source = click.get_current_context().get_parameter_source("name")
            if source is not click.core.ParameterSource.DEFAULT:
                raise UsageProblem("--application and --connection exclude each other", "give one of them")

            forget(app, provider)
            return
        key = app.stored_key(provider, name)
        if not app.has_vault:
            raise _nothing(key)
        if not yes:
            _require_wanted(app, key)
        with app.vault.lock(key, LOCK_SECONDS):  # a refresh in between would leave a token that nobody knows
            try:
                revoked, ended = asyncio.run(_revoke(app, key))
            except (OAuthError, RecordDamaged, NotConfirmed) as error:
                if isinstance(error, NotConfirmed) and not force:
                    raise
                if not force:
                    kind = UnknownConnection if isinstance(error, ProviderUnknown) else LauncherError
                    undefined = isinstance(error, ProviderUnknown | ProviderInvalid)
                    remedy = "put its provider file in order" if undefined else "try again"
                    raise kind(
                        f"{key} was not revoked and is kept: {error}",
                        f"{remedy}, or forget it here alone with --force",
                    ) from error
                report.warning(f"{key} was not revoked and stays valid at the provider: {error}")
                revoked, ended = False, []
            app.vault.delete_connection(key)
        for other in ended:  # without that lock: two logouts would wait for each other
            _mark_ended(app, other)
    report.note(f"{key} is logged out" if revoked else f"{key} is forgotten on this machine")


def _nothing(key: ConnectionKey) -> UnknownConnection:
    return UnknownConnection(f"{key} is not connected", "see 'authsome list'")


def _require_wanted(app: App, key: ConnectionKey) -> None:
    """Ask where other connections would end as well. Raises: UsageProblem where nobody can be asked."""
    try:
        found = app.vault.connection(key)
    except RecordDamaged:
        return  # which cannot be revoked
    note = _revocation_note(app, key)
    ended = _same_account(app, key, found.value.account) if found and note else []
    if not ended:
        return
    report.warning(f"{note}: here {', '.join(map(str, ended))}")
    if not sys.stdin.isatty():
        raise UsageProblem(
            f"{key} is kept: other connections would end with it", "if that is wanted, add --yes"
        )
    try:
        wanted = click.confirm(f"{PROGRAM}: is that wanted?", err=True)
    except click.Abort:
        click.echo(err=True)
        raise
    if not wanted:
        raise LauncherError(f"{key} is kept", "see 'authsome list'")


def _revocation_note(app: App, key: ConnectionKey) -> str | None:
    try:
        auth = app.registry.get(key.provider).provider.auth
    except (ProviderInvalid, ProviderUnknown):
        return None  # which cannot be revoked
    can_revoke = (
        isinstance(auth, OAuth2) and auth.revocation_url and app.vault.client(key.profile, key.provider)
    )
    return auth.revocation_note if isinstance(auth, OAuth2) and can_revoke else None


async def _revoke(app: App, key: ConnectionKey) -> tuple[bool, list[ConnectionKey]]:
    """Whether it was revoked, and the connections that ended with it."""
    found = app.vault.connection(key)
    if found is None:
        raise _nothing(key)
    provider = app.registry.get(key.provider).provider
    require_confirmed(key, found.value, provider)
    client = app.vault.client(key.profile, key.provider)
    async with app.oauth() as oauth:
        revoked = await revoke(provider, found.value, client.value if client else None, oauth=oauth)
    if not revoked:
        no_client = isinstance(provider.auth, OAuth2) and provider.auth.revocation_url and not client
        report.warning(
            "the provider was not asked to revoke the credential"
            + (", as no application is stored" if no_client else ""),
            "revoke it in the provider's settings",
        )
    elif isinstance(provider.auth, OAuth2) and provider.auth.revocation_note:
        ended = _same_account(app, key, found.value.account)
        here = f": here {', '.join(map(str, ended))}" if ended else ""
        hint = "log in to what ended with it again, where it is still needed" if ended else ""
        report.warning(f"{provider.auth.revocation_note}{here}", hint)
        return revoked, ended
    return revoked, []


def _same_account(app: App, key: ConnectionKey, account: str | None) -> list[ConnectionKey]:
    """The other connections of an account; those of one profile share their application."""
    return [
        other
        for other, record in app.vault.connections(key.profile)
        if other.provider == key.provider
        and other != key
        and isinstance(record, Versioned)
        and account is not None
        and record.value.account == account
    ]


def _mark_ended(app: App, key: ConnectionKey) -> None:
    """Its tokens are revoked, as far as is known: the next check or request will tell for certain."""
    with suppress(VaultError), app.vault.lock(key, LOCK_SECONDS):  # the logout is done, whatever comes
        current = app.vault.connection(key)
        if current is not None:
            checked = Checked(health=Health.REVOKED, at=app.now())
            changed = current.value.model_copy(update={"checked": checked})
            app.vault.put_connection(key, changed, expected=current.generation)
