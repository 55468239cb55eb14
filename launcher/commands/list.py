"""`authsome list`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from launcher import options, report
from launcher.session import Session

if TYPE_CHECKING:
    from launcher.app import App
    from launcher.describe import Shown
    from vault.model import ConnectionKey


@click.command("list")
@options.as_json
@click.pass_obj
def command(session: Session, as_json: bool) -> None:
    """Show the providers and their connections."""
    from launcher.render import table

    with session.app() as app:
        sources = _sources(app)
        connections = _connections(app)
    for name in {key.provider for key, _ in connections} - sources.keys():
        sources[name] = "missing"
    if as_json:
        listed = [
            {
                "provider": name,
                "source": source,
                "connections": [shown for key, shown in connections if key.provider == name],
            }
            for name, source in sorted(sources.items())
        ]
        click.echo(json.dumps(listed, indent=2))
        return
    rows = [row for name, source in sorted(sources.items()) for row in _rows(name, source, connections)]
    click.echo(table(("PROVIDER", "SOURCE", "CONNECTION", "STATUS", "ACCOUNT", "EXPIRES"), rows))


def _sources(app: App) -> dict[str, str]:
    """Where each provider's definition comes from; a file that is wrong hides no other."""
    from oauth.registry import Registered

    sources: dict[str, str] = {}
    for found in app.registry.all():
        if isinstance(found, Registered):
            sources[found.provider.name] = found.source
        else:
            report.warning(str(found), found.hint)
    return sources


def _connections(app: App) -> list[tuple[ConnectionKey, Shown]]:
    from launcher.describe import describe, describe_damaged
    from vault.model import Versioned

    shown: list[tuple[ConnectionKey, Shown]] = []
    stored = app.vault.connections(app.settings.profile) if app.has_vault else []
    for key, record in stored:
        if isinstance(record, Versioned):
            shown.append((key, describe(key, record.value, app.now())))
        else:
            report.warning(f"{key}: {record}", record.hint)
            shown.append((key, describe_damaged(key)))
    return shown


def _rows(name: str, source: str, connections: list[tuple[ConnectionKey, Shown]]) -> list[tuple[str, ...]]:
    from launcher.describe import as_text

    columns = ("connection", "status", "account", "expires_at")
    mine = [shown for key, shown in connections if key.provider == name]
    if not mine:
        return [(name, source, "", "", "", "")]
    return [(name, source, *(as_text(shown[column]) for column in columns)) for shown in mine]
