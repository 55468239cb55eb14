"""The steps of the set-up, named, so that a failure can say which one it was. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum


class Step(StrEnum):
    """One step; the value is how it is called to a person."""

    SYSTEM = "find a supported system"
    FORK = "start the processes of the run"
    NAMESPACES = "make the namespaces"
    IDENTITY = "map the user"
    PROPAGATION = "make the mounts private"
    KEEP = "open the folders that stay visible"
    HIDE = "hide a folder"
    MASK = "mask a file"
    RESTORE = "put a visible folder back"
    READ_ONLY = "make the file system read-only"
    OVERLAY = "put a layer over the home folder"
    TERMINALS = "make a private set of terminals"
    PROCESSES = "mount a private /proc"
    LINK = "bring up the loopback interface"
    ROUTES = "route every address to the proxy"
    LISTEN = "listen inside of the sandbox"
    FOLDER = "enter the working folder"
    PRIVILEGES = "give up privileges"
    SCOPE = "restrict signals and abstract sockets with Landlock"
    CARVE = "restrict files with Landlock"
    FILTER = "install the filter of system calls"
    REPORT = "report that all is set up"


class StepFailed(Exception):
    """A step of the set-up did not work; nothing has been executed."""

    def __init__(self, step: Step, number: int) -> None:
        super().__init__(f"could not {step}")
        self.step = step
        self.number = number
        """The errno, 0 where there is none."""


@contextmanager
def step(name: Step) -> Iterator[None]:
    """Whatever the system refuses in the block, `name` was refused. Raises: StepFailed."""
    try:
        yield
    except OSError as error:
        raise StepFailed(name, error.errno or 0) from error
