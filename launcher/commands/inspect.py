"""`authsome inspect`."""

from __future__ import annotations

import sys
from typing import Final

import click

from launcher.commands import options
from launcher.commands.invocation import Invocation

PIECE: Final = 1024
"""Bytes. What is larger than a buffer is written past it, and is not there any more to tell why it failed."""


@click.command("inspect")
@options.provider
@click.pass_obj
def command(invocation: Invocation, provider: str) -> None:
    """Print the definition of a provider.

    Byte for byte. To change a bundled one:

    \b
      mkdir -m 700 -p ~/.authsome ~/.authsome/providers
      authsome inspect NAME > ~/.authsome/providers/NAME.json

    Where that file exists, write to another one: the shell empties it before it is read.
    """
    with invocation.app() as app:
        text = app.registered(provider).text
    for at in range(0, len(text), PIECE):
        sys.stdout.buffer.write(text[at : at + PIECE])
