"""`authsome check`."""

from __future__ import annotations

import json

import click

from launcher.actions.check import Checkup, check, exit_code, selected
from launcher.commands import options
from launcher.commands.invocation import Invocation
from launcher.errors import UsageProblem
from launcher.text import report
from launcher.text.render import table
from launcher.times import utc
from vault.model import DEFAULT_NAME


@click.command("check")
@click.argument("provider", required=False)
@click.option("--connection", "name", metavar="NAME", help="Which account; 'default' where it is not given.")
@click.option("--all", "everything", is_flag=True, help="Every connection, whatever its name.")
@options.as_json
@options.connect_to
@click.pass_obj
def command(
    invocation: Invocation,
    provider: str | None,
    name: str | None,
    everything: bool,
    as_json: bool,
    connect_to: tuple[str, ...],
) -> int:
    """Ask the providers whether connections still work.

    The connections are those of PROVIDER, or of every provider. What is due is refreshed. The result is
    kept for 'authsome list'.

    The exit status is 0 if all is well, 3 if a connection needs a login, 1 if there is another problem.
    """
    if everything and name is not None:
        raise UsageProblem("--all and --connection exclude each other", "give one of them")
    with invocation.app(connect_to) as app:
        profile = app.settings.profile
        if provider is not None:
            app.key(provider, name or DEFAULT_NAME)  # both must be possible
        stored = app.vault.connections(profile) if app.has_vault else []
        keys = selected([key for key, _ in stored], profile, provider, name, everything)
        checkups = check(app, keys)
    if as_json:
        click.echo(json.dumps([_member(checkup) for checkup in checkups], indent=2))
    else:
        _print(checkups)
    return exit_code(checkup.finding for checkup in checkups)


def _member(checkup: Checkup) -> dict[str, str | None]:
    return {
        "provider": checkup.key.provider,
        "connection": checkup.key.name,
        "health": checkup.finding.health,
        "message": report.words(checkup.finding.message) or None,
        "hint": report.words(checkup.finding.hint) or None,
        "checked_at": utc(checkup.at),
    }


def _print(checkups: list[Checkup]) -> None:
    click.echo(table(("CONNECTION", "HEALTH"), [(str(c.key), c.finding.health) for c in checkups]))
    for checkup in checkups:
        if checkup.finding.message:
            report.warning(checkup.finding.message, checkup.finding.hint)
