"""The command line: the group of commands, and the one place where errors become text and exit codes."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, TextIO

import click

from launcher.commands.invocation import Invocation
from launcher.errors import ExitCode, LauncherError
from launcher.setup.nearness import did_you_mean, near
from launcher.text import report
from launcher.text.words import PROGRAM
from oauth.errors import OAuthError, ProviderUnknown
from proxy.errors import ProxyError
from vault.errors import VaultError

COMMANDS: Final = {
    "login": "Log in to a provider and store the connection.",
    "logout": "Revoke a connection and forget it.",
    "list": "Show the providers and their connections.",
    "check": "Ask the providers whether connections still work.",
    "confirm": "Agree to a changed definition of a provider.",
    "get": "Show a connection, never its credential.",
    "inspect": "Print the definition of a provider.",
    "export": "Print the access token, refreshed when due.",
    "run": "Run a program that never holds a credential.",
    "audit": "Show what the proxy decided about each request.",
    "doctor": "Say what works on this machine, what does not, and what helps.",
    "vault": "Make, back up and check the vault, and change its key.",
}
"""Each is `launcher/commands/NAME.py` with a `command` in it. In the order of `--help`, which shows these
lines and imports none of them."""

DISTRIBUTION: Final = "authsome-proxy"

_EXPLAINED: Final = (LauncherError, VaultError, OAuthError, ProxyError)
"""Errors with a message and a hint for the user."""

_Explained = LauncherError | VaultError | OAuthError | ProxyError


@contextmanager
def _broken_pipe_told() -> Iterator[None]:
    """click itself would end the process with 1."""
    try:
        yield
    except BrokenPipeError as error:
        raise click.exceptions.Exit(ExitCode.BROKEN_PIPE) from error


class _Commands(click.Group):
    """Imports a command only when it is called or described."""

    @_broken_pipe_told()
    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        return super().make_context(*arguments, **options)

    @_broken_pipe_told()
    def invoke(self, ctx: click.Context) -> Any:
        return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"launcher.commands.{cmd_name}").command
        return command


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option("--profile", metavar="NAME", help="Whose connections; AUTHSOME_PROFILE where it is not given.")
@click.option("--debug", is_flag=True, help="Show a traceback with an error.")
@click.version_option(package_name=DISTRIBUTION, prog_name=PROGRAM, message="%(prog)s %(version)s")
@click.pass_context
def commands(ctx: click.Context, profile: str | None, debug: bool) -> None:
    """Log in once; run programs that use the account and never hold its token."""
    invocation = ctx.ensure_object(Invocation)
    invocation.profile = profile
    invocation.debug = debug
    invocation.command = ctx.invoked_subcommand
    if sys.stdout is None and invocation.command != "run":
        # At the start, so that nothing is done whose result nobody can see.
        raise LauncherError("standard output is closed", "redirect it, for example to /dev/null")


def run_command_line(arguments: Sequence[str]) -> int:
    """Run one command; the return value is the exit status."""
    invocation = Invocation()
    try:
        status = commands.main(list(arguments), prog_name=PROGRAM, standalone_mode=False, obj=invocation)
        _flush(sys.stdout)
    except _EXPLAINED as error:
        report.error(str(error), error.hint)
        return _failed(invocation, _exit_code(error))
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return ExitCode.USAGE
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else PROGRAM
        message, meant = _usage_problem(error)
        report.error(_sentence(message), did_you_mean(meant, f"see '{path} --help'"))
        return ExitCode.USAGE
    except click.ClickException as error:
        report.error(_sentence(error.format_message()))
        return _failed(invocation, ExitCode.FAILED)
    except (click.Abort, KeyboardInterrupt):
        report.error("interrupted")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        return ExitCode.BROKEN_PIPE
    except OSError:
        problem = _unwritable(sys.stdout)
        if problem is None:
            raise
        report.error(
            f"cannot write to standard output: {problem}", "free some space, or redirect it to another place"
        )
        return _failed(invocation, ExitCode.FAILED)
    finally:
        # What is left in a buffer Python would try to write once more when it ends, and complain.
        for stream in (sys.stdout, sys.stderr):
            if _unwritable(stream) is not None:
                with suppress(OSError):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return status if isinstance(status, int) else ExitCode.DONE


def _usage_problem(error: click.UsageError) -> tuple[str, Sequence[str]]:
    """The message, and what was perhaps meant: click has that in the message, and knows no lazy commands."""
    match error:
        case click.exceptions.NoSuchCommand(ctx=click.Context(command=click.Group() as group) as ctx):
            return error.message, near(error.command_name, group.list_commands(ctx))
        case click.NoSuchOption():
            return error.message, error.possibilities or ()
        case _:
            return error.format_message(), ()


def _flush(stream: TextIO | None) -> None:
    if stream is not None:  # closed by the caller
        stream.flush()


def _unwritable(stream: TextIO | None) -> str | None:
    """Why what is still in a buffer cannot be written; None where nothing is, or it can."""
    try:
        _flush(stream)
    except OSError as error:
        return (error.strerror or "unknown error").lower()
    return None


def _exit_code(error: _Explained) -> ExitCode:
    match error:
        case LauncherError():
            return error.exit_code
        case ProviderUnknown():
            return ExitCode.UNKNOWN
        case _:
            return ExitCode.FAILED


def _failed(invocation: Invocation, code: ExitCode) -> ExitCode:
    """Call from an `except` block. A failure of `run` itself must not look like the child's status."""
    if invocation.debug:
        traceback.print_exc()
    return ExitCode.RUN_FAILED if code is ExitCode.FAILED and invocation.command == "run" else code


def _sentence(text: str) -> str:
    """A message of click in our style: lower case, no full stop."""
    line = " ".join(text.split()).rstrip(".")
    return line[:1].lower() + line[1:]
