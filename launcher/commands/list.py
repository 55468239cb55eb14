"""`authsome list`."""

from __future__ import annotations

import json

import click

from launcher.actions.application import Application
from launcher.actions.describe import as_text
from launcher.actions.overview import Listing, overview
from launcher.commands import options
from launcher.commands.invocation import Invocation
from launcher.text.render import table


@click.command("list")
@options.as_json
@click.pass_obj
def command(invocation: Invocation, as_json: bool) -> None:
    """Show the providers and their connections."""
    with invocation.app() as app:
        listings = overview(app)
    if as_json:
        members = [
            {
                "provider": listing.provider,
                "source": listing.source,
                "application": listing.application,
                "connections": [listed.shown for listed in listing.connections],
            }
            for listing in listings
        ]
        click.echo(json.dumps(members, indent=2))
        return
    columns = ["PROVIDER", "SOURCE", "CONNECTION", "STATUS", "ACCOUNT", "EXPIRES", "CHECKED"]
    rows = [(listing, [*row]) for listing in listings for row in _rows(listing)]
    if any(listing.application for listing in listings):
        columns.insert(2, "APPLICATION")
        for listing, row in rows:
            row.insert(2, _named(listing.application))
    click.echo(table(columns, [row for _, row in rows]))


def _named(application: Application | None) -> str:
    if application is None:
        return ""
    return f"{application['client_id']}{' (refused)' if application['refused'] else ''}"


def _rows(listing: Listing) -> list[tuple[str, ...]]:
    name, source = listing.provider, listing.source
    if not listing.connections:
        return [(name, source, "", "", "", "", "")]
    columns = ("connection", "status", "account", "expires_at")
    return [
        (name, source, *(as_text(listed.shown[column]) for column in columns), listed.checked)
        for listed in listing.connections
    ]
