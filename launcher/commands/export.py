"""`authsome export`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import assert_never

import click

from launcher.commands import options
from launcher.commands.invocation import Invocation
from launcher.errors import LauncherError, LoginNeeded, UsageProblem, not_connected
from launcher.run.audit_log import AuditLog
from launcher.setup.app import App
from launcher.setup.settings import RUN_VARIABLE
from launcher.text import report
from launcher.text.render import dotenv_quoted, shell_quoted
from oauth.keeper.keeper import FreshCredential, NotUsable, Why
from proxy.audit import DECISION_EXPORT
from proxy.model import Event
from vault.files import private_folders
from vault.model import ConnectionKey


@click.command("export")
@options.provider
@options.connection
@click.option(
    "--format",
    "style",
    type=click.Choice(["env", "json", "dotenv"]),
    default="env",
    show_default=True,
    help="A shell's export command, a JSON object, or a line of a dotenv file.",
)
@options.connect_to
@click.pass_obj
def command(
    invocation: Invocation, provider: str, name: str, style: str, connect_to: tuple[str, ...]
) -> None:
    """Print the access token, refreshed when due.

    For programs that cannot run under the proxy: whatever reads it holds the real token. A refresh
    token is never printed.
    """
    if RUN_VARIABLE in os.environ:
        raise LauncherError(
            "credentials are not exported inside of a run", "call this outside of 'authsome run'"
        )
    with invocation.app(connect_to) as app:
        key = app.key(provider, name)
        variable = app.registry.get(provider).provider.env_name
        if variable is None:
            raise UsageProblem(
                f"the provider {provider!r} names no environment variable",
                f"add one under 'env' in its file; see 'authsome inspect {provider}'",
            )
        credential = asyncio.run(_fresh(app, key))
        _record(app, key, style)  # before anybody has it
    if sys.stdout.isatty():
        report.warning(
            "the token is now on your screen and in the terminal's history",
            f'use: eval "$(authsome export {provider} --format env)"',
        )
    click.echo(_formatted(style, variable, credential.value.get_secret_value()))


async def _fresh(app: App, key: ConnectionKey) -> FreshCredential:
    if not app.has_vault:
        raise not_connected(key)
    async with app.keeper() as keeper:
        outcome = await keeper.fresh(key)
    match outcome:
        case FreshCredential():
            return outcome
        case NotUsable(why=Why.NOT_CONNECTED):
            raise not_connected(key)
        case NotUsable(why=Why.UNAVAILABLE | Why.UNCONFIRMED):
            raise LauncherError(outcome.message, outcome.hint)
        case NotUsable():
            raise LoginNeeded(outcome.message, outcome.hint)
        case _:
            assert_never(outcome)


def _record(app: App, key: ConnectionKey, style: str) -> None:
    """Tell the audit, by which one can see later what was handed out. Raises: LauncherError, VaultError."""
    folder = app.settings.audit_folder
    private_folders(app.settings.home, folder)
    event = Event("", "", "", DECISION_EXPORT, connection=str(key), reason=style)
    try:
        AuditLog(folder, "", key.profile, app.now)(event)
    except OSError as error:
        problem = (error.strerror or "not possible").lower()
        raise LauncherError(
            f"{key} is not exported: cannot write to the audit in {folder}: {problem}",
            "check its permissions and the space on its disk",
        ) from error


def _formatted(style: str, variable: str, value: str) -> str:
    match style:
        case "env":
            return f"export {variable}={shell_quoted(value)}"
        case "dotenv":
            return f"{variable}={dotenv_quoted(value)}"
        case _:
            return json.dumps({variable: value})
