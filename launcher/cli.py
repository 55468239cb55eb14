"""The command line: the group of commands, and the one place where errors become text and exit codes."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import click

from launcher import report
from launcher.errors import ExitCode, LauncherError
from launcher.session import Session
from launcher.settings import PROGRAM
from oauth.errors import OAuthError, ProviderUnknown
from proxy.errors import ProxyError
from vault.errors import VaultError

COMMANDS: Final = (
    "login",
    "logout",
    "list",
    "check",
    "confirm",
    "get",
    "inspect",
    "export",
    "run",
    "audit",
    "doctor",
    "vault",
)
"""In the order of `--help`. Each is `launcher/commands/NAME.py` with a `command` in it."""

DISTRIBUTION: Final = "authsome-proxy"

_EXPLAINED: Final = (LauncherError, VaultError, OAuthError, ProxyError)
"""Errors with a message and a hint for the user."""

_Explained = LauncherError | VaultError | OAuthError | ProxyError


class _Commands(click.Group):
    """Imports a command only when it is called or described."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

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
    session = ctx.ensure_object(Session)
    session.profile = profile
    session.debug = debug
    session.command = ctx.invoked_subcommand


def run_command_line(arguments: Sequence[str]) -> int:
    """Run one command; the return value is the exit status."""
    session = Session()
    try:
        status = commands.main(list(arguments), prog_name=PROGRAM, standalone_mode=False, obj=session)
        sys.stdout.flush()
    except _EXPLAINED as error:
        report.error(str(error), error.hint)
        return _failed(session, _exit_code(error))
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else PROGRAM
        report.error(_sentence(error.format_message()), f"see '{path} --help'")
        return ExitCode.USAGE
    except click.ClickException as error:
        report.error(_sentence(error.format_message()))
        return _failed(session, ExitCode.FAILED)
    except (click.Abort, KeyboardInterrupt):
        report.error("interrupted")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Python would complain about standard output once more when it ends.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.BROKEN_PIPE
    return status if isinstance(status, int) else ExitCode.DONE


def _exit_code(error: _Explained) -> ExitCode:
    match error:
        case LauncherError():
            return error.exit_code
        case ProviderUnknown():
            return ExitCode.UNKNOWN
        case _:
            return ExitCode.FAILED


def _failed(session: Session, code: ExitCode) -> ExitCode:
    """Call from an `except` block. A failure of `run` itself must not look like the child's status."""
    if session.debug:
        traceback.print_exc()
    return ExitCode.RUN_FAILED if code is ExitCode.FAILED and session.command == "run" else code


def _sentence(text: str) -> str:
    """A message of click in our style: lower case, no full stop."""
    line = " ".join(text.split()).rstrip(".")
    return line[:1].lower() + line[1:]
