"""What can go wrong in the launcher itself, and the exit codes of every command."""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar

from oauth.outcome import log_in
from vault.model import DEFAULT_NAME, ConnectionKey


class ExitCode(IntEnum):
    """What a command's exit status means."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    LOGIN_NEEDED = 3
    UNKNOWN = 4
    """No such provider, connection or kept key."""
    RUN_FAILED = 125
    """`run` failed before the child was started, as env(1) reports it."""
    NOT_EXECUTABLE = 126
    NOT_FOUND = 127
    INTERRUPTED = 130
    """128 + SIGINT."""
    BROKEN_PIPE = 141
    """128 + SIGPIPE: the reader of standard output went away."""


class LauncherError(Exception):
    """A command could not do what was asked; `hint` says what the reader can do."""

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageProblem(LauncherError):
    """What the user typed, or set in a variable, does not make sense."""

    exit_code = ExitCode.USAGE


class LoginNeeded(LauncherError):
    """There is no connection to use, the usual one included, or it has expired."""

    exit_code = ExitCode.LOGIN_NEEDED


class NotConfirmed(LauncherError):
    """The definition of a provider has become wider than its user agreed to."""


class UnknownConnection(LauncherError):
    """No provider, or not the one that is meant, has a connection of that name."""

    exit_code = ExitCode.UNKNOWN


class UnknownKey(LauncherError):
    """No key of that id is kept."""

    exit_code = ExitCode.UNKNOWN


def not_connected(key: ConnectionKey) -> LoginNeeded | UnknownConnection:
    """The error for a connection that does not exist; only a name that somebody chose can be a wrong one."""
    problem, remedy = f"{key} is not connected", f"run {log_in(key)}"
    if key.name == DEFAULT_NAME:
        return LoginNeeded(problem, remedy)
    return UnknownConnection(problem, f"see <list>, or {remedy}")


class ProgramNotFound(LauncherError):
    """The program of `run` does not exist."""

    exit_code = ExitCode.NOT_FOUND


class ProgramNotExecutable(LauncherError):
    """The program of `run` exists and cannot be executed."""

    exit_code = ExitCode.NOT_EXECUTABLE
