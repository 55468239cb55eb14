"""`authsome login`."""

from __future__ import annotations

import click

from launcher.actions.login import LoginInput, login
from launcher.commands import options
from launcher.commands.invocation import Invocation

_FILE = click.Path(dir_okay=False, allow_dash=True)


@click.command("login")
@options.provider
@options.connection
@click.option("--scopes", metavar="A,B", help="Ask for these scopes instead of the provider's usual ones.")
@click.option("--no-browser", is_flag=True, help="Open no browser; the address to open is printed.")
@click.option(
    "--client-id", metavar="ID", help="The OAuth application, in place of the stored one or the form."
)
@click.option(
    "--client-secret-file",
    metavar="PATH",
    type=_FILE,
    help="Its secret; '-' is standard input.",
)
@click.option(
    "--new-application", is_flag=True, help="Ask for the OAuth application anew; it replaces the stored one."
)
@click.option("--key-file", metavar="PATH", type=_FILE, help="The key of an API-key provider; '-' likewise.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=1, max=86400),
    default=600,
    show_default=True,
    help="How long to wait for the browser.",
)
@options.connect_to
@click.pass_obj
def command(
    invocation: Invocation,
    provider: str,
    name: str,
    scopes: str | None,
    no_browser: bool,
    client_id: str | None,
    client_secret_file: str | None,
    new_application: bool,
    key_file: str | None,
    timeout: float,
    connect_to: tuple[str, ...],
) -> None:
    """Log in to a provider and store the connection.

    The first login asks for the OAuth application that you registered with the provider; it is stored
    and used again at every later login.
    """
    with invocation.app(connect_to) as app:
        login(
            app,
            LoginInput(
                key=app.key(provider, name),
                scopes=scopes,
                browser=not no_browser,
                client_id=client_id,
                client_secret_file=client_secret_file,
                key_file=key_file,
                new_application=new_application,
                timeout=timeout,
            ),
        )
