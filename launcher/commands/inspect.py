"""`authsome inspect`."""

from __future__ import annotations

import sys

import click

from launcher import options
from launcher.session import Session


@click.command("inspect")
@options.provider
@click.pass_obj
def command(session: Session, provider: str) -> None:
    """Print the definition of a provider.

    Byte for byte. To change it: authsome inspect NAME > ~/.authsome/providers/NAME.json
    """
    with session.app() as app:
        text = app.registry.get(provider).text
    sys.stdout.buffer.write(text)
