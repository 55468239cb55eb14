"""`authsome doctor`."""

from __future__ import annotations

import click

from launcher.actions.doctor import Diagnosis, findings
from launcher.commands import options
from launcher.commands.invocation import Invocation
from launcher.errors import ExitCode, LauncherError
from launcher.isolation.outside.probe import probe
from launcher.text.diagnosis import as_json_text, as_tables


@click.command("doctor")
@options.as_json
@click.pass_obj
def command(invocation: Invocation, as_json: bool) -> int:
    """Say what works on this machine, what does not, and what helps.

    Each level of isolation is really set up, around a program that ends at once.

    The exit status is 0 if 'authsome run' can start and keep its promise here, given a login; 1 if not.
    """
    with invocation.app() as app:
        try:
            probes = probe()  # forks, so before anything that could start a thread
        except OSError as error:
            problem = (error.strerror or "unknown error").lower()
            raise LauncherError(f"cannot try the isolation: {problem}", "check /proc and /tmp") from error
        diagnosis = Diagnosis(tuple(probes), tuple(findings(app)))
    click.echo(as_json_text(diagnosis) if as_json else as_tables(diagnosis))
    return ExitCode.DONE if diagnosis.works else ExitCode.FAILED
