"""Options that several commands share."""

from __future__ import annotations

import click

from launcher.text.words import PROGRAM

provider = click.argument("provider")

connection = click.option(
    "--connection", "name", metavar="NAME", default="default", show_default=True, help="Which account."
)

connect_to = click.option(
    "--connect-to",
    metavar="HOST:PORT:HOST2:PORT2",
    multiple=True,
    help="Dial HOST2:PORT2 in place of HOST:PORT, directly; TLS still verifies HOST. Repeatable.",
)

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

as_json_lines = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object a line, the oldest first."
)


def is_wanted() -> bool:
    """Ask at the terminal. Raises: click.Abort."""
    try:
        return click.confirm(f"{PROGRAM}: is that wanted?", err=True)
    except click.Abort:
        click.echo(err=True)  # what is said of it belongs on a line of its own
        raise
