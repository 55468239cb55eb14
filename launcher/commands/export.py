"""`authsome export`."""

from __future__ import annotations

import json
import sys

import click

from launcher.actions.export import export
from launcher.commands import options
from launcher.commands.invocation import Invocation
from launcher.text import report
from launcher.text.render import dotenv_quoted, shell_quoted


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
    with invocation.app(connect_to) as app:
        exported = export(app, app.key(provider, name), style)
    if sys.stdout.isatty():
        report.warning(
            "the token is now on your screen and in the terminal's history",
            f'use: eval "$(authsome export {provider} --format env)"',
        )
    click.echo(_formatted(style, exported.variable, exported.value.get_secret_value()))


def _formatted(style: str, variable: str, value: str) -> str:
    match style:
        case "env":
            return f"export {variable}={shell_quoted(value)}"
        case "dotenv":
            return f"{variable}={dotenv_quoted(value)}"
        case _:
            return json.dumps({variable: value})
