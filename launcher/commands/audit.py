"""`authsome audit`."""

from __future__ import annotations

import json

import click

from launcher.commands import options
from launcher.commands.invocation import Invocation
from launcher.errors import LauncherError
from launcher.run.audit_log import read_audit
from launcher.text.render import table


@click.command("audit")
@options.as_json_lines
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=50,
    show_default=True,
    help="How many of the latest decisions; 0 for all that are kept.",
)
@click.pass_obj
def command(invocation: Invocation, as_json: bool, limit: int) -> None:
    """Show what the proxy decided about each request."""
    with invocation.app() as app:
        folder = app.settings.audit_folder
    try:
        lines = read_audit(folder, app.notices)[-limit:]
    except OSError as error:
        problem = (error.strerror or "unreadable").lower()
        raise LauncherError(
            f"cannot read the audit in {folder}: {problem}", "check its permissions"
        ) from error
    if as_json:
        for line in lines:
            click.echo(line)
        return
    head = ("TIME", "RUN", "CONNECTION", "METHOD", "HOST", "PATH", "DECISION", "REASON", "STATUS")
    click.echo(table(head, [_row(json.loads(line)) for line in lines]))


def _row(entry: dict[str, object]) -> tuple[str, ...]:
    connection = f"{entry['provider']}/{entry['connection']}" if entry.get("provider") else ""
    if count := entry.get("count"):
        entry = {**entry, "path": f"({count} requests)"}
    rest = ("method", "host", "path", "decision", "reason", "status")
    return (
        str(entry["time"]),
        str(entry["run"])[:8],
        connection,
        *("" if entry.get(name) is None else str(entry[name]) for name in rest),
    )
