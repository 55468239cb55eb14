"""`authsome run`."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import click

from launcher.commands import options
from launcher.commands.invocation import Invocation
from launcher.run.folder import run_folder
from launcher.run.hand_down import Wanted
from launcher.run.identities import mounted
from launcher.run.isolate import IsolationInput, isolated_child
from launcher.run.run import RunInput, run
from launcher.setup.descriptors import key_descriptors
from launcher.startup import load_everything


@click.command(
    "run",
    # From the first word that is no option everything is the child's, options included.
    context_settings={"allow_interspersed_args": False},
)
@click.option(
    "--provider", "providers", metavar="NAME", multiple=True, help="Offer this provider. Repeatable."
)
@click.option(
    "--connection",
    "connections",
    metavar="[PROVIDER/]NAME",
    multiple=True,
    help="Offer this connection instead of 'default'. Repeatable.",
)
@click.option(
    "--allow",
    metavar="'METHOD /PATH'",
    multiple=True,
    help="Use credentials for these requests only; '*' is a path segment, '/**' all below. Repeatable.",
)
@click.option("--read-only", is_flag=True, help="Use credentials for GET, HEAD and OPTIONS only.")
@click.option(
    "--sandbox", is_flag=True, help="Strict: the proxy is the only way out, and nothing is left behind."
)
@click.option("--no-sandbox", is_flag=True, help="No isolation at all.")
@click.option(
    "--home",
    type=click.Choice(["overlay", "ro"]),
    default="overlay",
    show_default=True,
    help="In a sandbox: let changes to the home folder vanish at the end, or refuse them.",
)
@click.option(
    "--rw",
    "writable",
    metavar="PATH",
    multiple=True,
    help="In a sandbox: keep changes to PATH. Repeatable.",
)
@click.option(
    "--allow-port",
    "ports",
    metavar="N",
    type=click.IntRange(1, 65535),
    multiple=True,
    help="In a sandbox: let it reach this port of your machine's loopback. Repeatable.",
)
@click.option(
    "--allow-socket",
    "sockets",
    metavar="PATH",
    multiple=True,
    help="Let it use this unix socket. Repeatable.",
)
@click.option(
    "--keep-env",
    "keep_env",
    metavar="NAME",
    multiple=True,
    help="Pass on this variable, though it may be a secret or the job's identity. Repeatable.",
)
@click.option("--clean-env", is_flag=True, help="Pass on no variable that may be a secret.")
@options.connect_to
@click.argument(
    "program", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] PROGRAM [ARGUMENT]..."
)
@click.pass_obj
def command(
    invocation: Invocation,
    providers: tuple[str, ...],
    connections: tuple[str, ...],
    allow: tuple[str, ...],
    read_only: bool,
    sandbox: bool,
    no_sandbox: bool,
    home: str,
    writable: tuple[str, ...],
    ports: tuple[int, ...],
    sockets: tuple[str, ...],
    keep_env: tuple[str, ...],
    clean_env: bool,
    connect_to: tuple[str, ...],
    program: tuple[str, ...],
) -> int:
    """Run a program that never holds a credential.

    Every connected provider's default connection is offered unless --provider or --connection choose.
    The program finds a placeholder in its environment; the real credential is put into its requests on
    their way to the provider's hosts, and nowhere else.

    The exit status is the program's own, 128+n if signal n ended it, 3 if there is no login to offer,
    125 if the run could not be started, 126 or 127 if the program could not be executed or found.
    """
    secret_descriptors = key_descriptors(os.environ)
    load_everything()
    with invocation.app(connect_to) as app, ExitStack() as stack:
        app.require_outside()
        folder = stack.enter_context(run_folder(app.settings.runs_folder))
        # Before anything else: what the child is forked from must never have held a secret.
        isolated = isolated_child(
            IsolationInput(sandbox, no_sandbox, home, writable, ports, sockets),
            app.settings,
            folder.path,
            app.notices,
            secret_descriptors,
            [Path(path) for path in mounted(os.environ, keep_env)],
        )
        given = RunInput(program, providers, connections, allow, read_only, Wanted(keep_env, clean_env))
        try:
            return run(app, given, isolated, folder)
        finally:
            if isolated.child.waiting:
                isolated.child.abandon()
