"""`authsome run`."""

from __future__ import annotations

import click

from launcher import options
from launcher.session import Session


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
@options.connect_to
@click.argument(
    "program", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] PROGRAM [ARGUMENT]..."
)
@click.pass_obj
def command(
    session: Session,
    providers: tuple[str, ...],
    connections: tuple[str, ...],
    allow: tuple[str, ...],
    read_only: bool,
    connect_to: tuple[str, ...],
    program: tuple[str, ...],
) -> int:
    """Run a program that never holds a credential.

    Every connected provider's default connection is offered unless --provider or --connection choose.
    The program finds a placeholder in its environment; the real credential is put into its requests on
    their way to the provider's hosts, and nowhere else.

    The exit status is the program's own, 128+n if signal n ended it, 125 if the run could not be
    started, 126 or 127 if the program could not be executed or found.
    """
    from launcher.child import fork_child

    # Before anything else: what the child is forked from must never have held a secret.
    child = fork_child()
    try:
        from launcher.run import RunInput, run

        with session.app(connect_to) as app:
            return run(app, RunInput(program, providers, connections, allow, read_only), child)
    finally:
        if child.waiting:
            child.abandon()
