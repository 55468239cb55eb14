"""`authsome list`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import click

from launcher.actions.application import Application, application
from launcher.commands import options
from launcher.commands.invocation import Invocation
from launcher.setup.app import App
from launcher.text import report
from launcher.text.describe import Shown, as_text, describe, describe_damaged, last_check
from launcher.text.render import table
from oauth.errors import ProviderInvalid, ProviderUnknown
from oauth.reach import reach_of
from oauth.registry import Registered
from vault.model import ConnectionKey, Versioned


@dataclass(frozen=True, slots=True)
class _Listed:
    key: ConnectionKey
    shown: Shown
    checked: str
    """The last check, as text."""


@click.command("list")
@options.as_json
@click.pass_obj
def command(invocation: Invocation, as_json: bool) -> None:
    """Show the providers and their connections."""
    with invocation.app() as app:
        definitions = app.registry.all()
        connections = _connections(app, definitions)  # first: a vault that is refused is said once, and alone
        sources = _sources(definitions)
        for name in {listed.key.provider for listed in connections} - sources.keys():
            sources[name] = _why_not(app, name)
        applications = {name: application(app, name) for name in sources}
    if as_json:
        members = [
            {
                "provider": name,
                "source": source,
                "application": applications[name],
                "connections": [listed.shown for listed in connections if listed.key.provider == name],
            }
            for name, source in sorted(sources.items())
        ]
        click.echo(json.dumps(members, indent=2))
        return
    columns = ["PROVIDER", "SOURCE", "CONNECTION", "STATUS", "ACCOUNT", "EXPIRES", "CHECKED"]
    rows = [[*row] for name, source in sorted(sources.items()) for row in _rows(name, source, connections)]
    if any(applications.values()):
        for row in (columns, *rows):
            row.insert(2, "APPLICATION" if row is columns else _named(applications[row[0]]))
    click.echo(table(columns, rows))


def _named(application: Application | None) -> str:
    if application is None:
        return ""
    return f"{application['client_id']}{' (refused)' if application['refused'] else ''}"


def _sources(definitions: Sequence[Registered | ProviderInvalid]) -> dict[str, str]:
    """Where each provider's definition comes from; a file that is wrong hides no other."""
    sources: dict[str, str] = {}
    for found in definitions:
        if isinstance(found, Registered):
            sources[found.provider.name] = found.source
        else:
            report.warning(str(found), found.hint)
    return sources


def _why_not(app: App, name: str) -> str:
    """What stands in the place of a source that was not found."""
    try:
        return app.registry.get(name).source
    except ProviderUnknown:
        return "missing"
    except ProviderInvalid:
        return "invalid"


def _connections(app: App, definitions: Sequence[Registered | ProviderInvalid]) -> list[_Listed]:
    found = []
    wanted = {r.provider.name: reach_of(r.provider) for r in definitions if isinstance(r, Registered)}
    stored = app.vault.connections(app.settings.profile) if app.has_vault else []
    for key, record in stored:
        if isinstance(record, Versioned):
            now = app.now()
            shown = describe(key, record.value, now, wanted.get(key.provider))
            found.append(_Listed(key, shown, last_check(record.value, now)))
        else:
            report.warning(f"{key}: {record}", record.hint)
            found.append(_Listed(key, describe_damaged(key), ""))
    return found


def _rows(name: str, source: str, connections: list[_Listed]) -> list[tuple[str, ...]]:
    columns = ("connection", "status", "account", "expires_at")
    mine = [listed for listed in connections if listed.key.provider == name]
    if not mine:
        return [(name, source, "", "", "", "", "")]
    return [
        (name, source, *(as_text(listed.shown[column]) for column in columns), listed.checked)
        for listed in mine
    ]
