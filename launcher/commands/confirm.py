"""`authsome confirm`."""

from __future__ import annotations

import os
import sys

import click

from launcher.actions.confirm import confirm, to_confirm
from launcher.commands import options
from launcher.commands.invocation import Invocation
from launcher.errors import LauncherError, UsageProblem
from launcher.setup.settings import RUN_VARIABLE
from launcher.text import report


@click.command("confirm")
@options.provider
@options.connection
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def command(invocation: Invocation, provider: str, name: str, yes: bool) -> None:
    """Agree to a changed definition of a provider.

    A login agrees to where the definition sends its token. If it would later send it to more places, the
    connection is not used until this command says that this is wanted.
    """
    if RUN_VARIABLE in os.environ:
        raise LauncherError("nothing is agreed to inside of a run", "call this outside of 'authsome run'")
    with invocation.app() as app:
        key = app.key(provider, name)
        ways = to_confirm(app, key)
        if not ways:
            report.note(f"{key}: there is nothing to confirm")
            return
        report.note(f"the definition of {provider} would now send, for {key}:")
        for way in ways:
            report.note(f"  {way}")
        if not yes:
            if not sys.stdin.isatty():
                raise UsageProblem("there is no terminal to ask at", "read the lines above, then add --yes")
            if not options.is_wanted():
                raise LauncherError(f"{key} stays unused", f"see 'authsome inspect {provider}'")
        confirm(app, key)
    report.note(f"{key} is used again")
