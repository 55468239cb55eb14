"""`authsome logout`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from launcher import options, report
from launcher.errors import LauncherError
from launcher.session import Session

if TYPE_CHECKING:
    from launcher.app import App
    from vault.model import ConnectionKey


@click.command("logout")
@options.provider
@options.connection
@click.option(
    "--force", is_flag=True, help="Forget the connection here even if the provider does not revoke it."
)
@options.connect_to
@click.pass_obj
def command(session: Session, provider: str, name: str, force: bool, connect_to: tuple[str, ...]) -> None:
    """Revoke a connection and forget it.

    If the provider does not confirm, the connection is kept, so that logging out can be tried again:
    a token that is only forgotten here stays good.
    """
    from launcher.app import LOCK_SECONDS, not_connected
    from launcher.errors import NotConfirmed
    from oauth.errors import OAuthError
    from vault.errors import RecordDamaged

    with session.app(connect_to) as app:
        key = app.key(provider, name)
        if not app.has_vault:
            raise not_connected(key)
        with app.vault.lock(key, LOCK_SECONDS):  # a refresh in between would leave a token that nobody knows
            try:
                revoked = asyncio.run(_revoke(app, key))
            except (OAuthError, RecordDamaged, NotConfirmed) as error:
                if isinstance(error, NotConfirmed) and not force:
                    raise
                if not force:
                    raise LauncherError(
                        f"{key} was not revoked and is kept: {error}",
                        "try again, or forget it here alone with --force",
                    ) from error
                report.warning(f"{key} was not revoked and stays valid at the provider: {error}")
                revoked = False
            app.vault.delete_connection(key)
    report.note(f"{key} is logged out" if revoked else f"{key} is forgotten on this machine")


async def _revoke(app: App, key: ConnectionKey) -> bool:
    from launcher.app import not_connected
    from launcher.confirm import require_confirmed
    from oauth.flows import revoke
    from oauth.provider import OAuth2

    found = app.vault.connection(key)
    if found is None:
        raise not_connected(key)
    provider = app.registry.get(key.provider).provider
    require_confirmed(key, found.value, provider)
    client = app.vault.client(key.profile, key.provider)
    async with app.oauth() as oauth:
        revoked = await revoke(provider, found.value, client.value if client else None, oauth=oauth)
    if not revoked:
        report.warning(
            "the provider was not asked to revoke the credential", "revoke it in the provider's settings"
        )
    elif isinstance(provider.auth, OAuth2) and provider.auth.revocation_note:
        report.warning(provider.auth.revocation_note)
    return revoked
