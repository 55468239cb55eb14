"""`authsome get`."""

from __future__ import annotations

import json

import click

from launcher.actions.describe import FIELDS, as_text, describe
from launcher.commands import options
from launcher.commands.invocation import Invocation
from launcher.errors import UsageProblem, not_connected
from launcher.text.render import printable
from oauth.reach import reach_of


@click.command("get")
@options.provider
@options.connection
@click.option("--field", metavar="FIELD", help="Print the value of one field alone, such as 'status'.")
@options.as_json
@click.pass_obj
def command(invocation: Invocation, provider: str, name: str, field: str | None, as_json: bool) -> None:
    """Show a connection, never its credential."""
    if field is not None and field not in FIELDS:
        raise UsageProblem(f"there is no field {field!r}", f"choose one of {', '.join(FIELDS)}")
    with invocation.app() as app:
        key = app.key(provider, name)
        found = app.vault.connection(key) if app.has_vault else None
        if found is None:
            raise not_connected(key)
        wanted = reach_of(app.registry.get(provider).provider)
        shown = describe(key, found.value, app.now(), wanted)
    if field is not None:
        value = shown[field]
        click.echo(json.dumps(value) if as_json else printable(as_text(value)))
    elif as_json:
        click.echo(json.dumps(shown, indent=2))
    else:
        width = max(map(len, FIELDS)) + 2
        for member in FIELDS:
            click.echo(f"{member + ':':{width}}{printable(as_text(shown[member])) or '-'}")
