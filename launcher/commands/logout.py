"""`authsome logout`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from launcher.actions.application import forget
from launcher.actions.logout import log_out, with_names
from launcher.commands import options
from launcher.commands.invocation import Invocation
from launcher.errors import LauncherError, UsageProblem
from launcher.text import report
from vault.model import ConnectionKey


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

        def agree(note: str, ended: Sequence[ConnectionKey]) -> None:
            report.warning(with_names(note, ended))
            if not sys.stdin.isatty():
                raise UsageProblem(
                    f"{key} is kept: other connections would end with it", "if that is wanted, add --yes"
                )
            if not options.is_wanted():
                raise LauncherError(f"{key} is kept", "see <list>")

        revoked = log_out(app, key, force=force, agree=None if yes else agree)
    report.note(f"{key} is logged out" if revoked else f"{key} is forgotten on this machine")
