"""The child process: forked before any secret is read, told later what to execute."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, NoReturn

from launcher.child.death import end_with_launcher
from launcher.child.signals import Forwarder, ending, hold
from launcher.child.terminal import in_foreground, take_back
from launcher.errors import ExitCode, LauncherError, ProgramNotExecutable, ProgramNotFound

_IGNORED_BY_PYTHON: Final = (signal.SIGPIPE, signal.SIGXFSZ)
"""Python ignores these at its start, and an ignored signal stays ignored over exec."""

_WHEN_A_CHILD_ENDS: Final = signal.getsignal(signal.SIGCHLD)
"""As this process was started with. Where it is ignored, no status could be waited for."""

_SHELL: Final = "/bin/sh"
"""Runs a script without a `#!` line, as execvp(3) does."""


@dataclass(slots=True)
class Child:
    """One child, in the process group and on the terminal of the launcher.

    Descriptors that the launcher opens are closed in it; those the user handed to the launcher (standard
    input and output, a shell's `<(...)`) are passed on.
    """

    pid: int
    _go: int
    """Write end of the pipe on which the child waits."""
    _failure: int
    """Read end of the pipe that carries the errno of a failed exec, and closes when it succeeds."""
    _forwarder: Forwarder | None = field(default=None, repr=False)
    """While the program runs."""
    _had_terminal: bool = False

    def start(self, argv: Sequence[str], environ: Mapping[str, str]) -> None:
        """Execute `argv`. From here until the end of `wait` signals are passed on to it.

        Raises: ProgramNotFound, ProgramNotExecutable; LauncherError where the system refuses a thread.
        """
        with start_refusals_mapped():
            self._forwarder = Forwarder(self.pid)
        self._had_terminal = in_foreground()
        order = json.dumps([list(argv), dict(environ)]).encode()
        # A child that was killed while it waited cannot read; `wait` then tells how it ended.
        with contextlib.suppress(BrokenPipeError), open(self._go, "wb") as go:
            self._go = -1
            go.write(order)
        with open(self._failure, "rb") as failure:
            self._failure = -1
            answer = failure.read()
        if answer:
            self.wait()
            _raise_exec_error(argv[0], int(answer))

    def wait(self) -> int:
        """Wait for the end. The child's own status, or 128 + n where signal n ended it.

        Blocks. A child that was stopped from the terminal takes the launcher with it, so that the
        shell gets the terminal back; `fg` continues both. At the end signals are still held.
        """
        while True:
            _, status = os.waitpid(self.pid, os.WUNTRACED)
            if os.WIFSTOPPED(status):
                if _has_terminal():
                    os.kill(os.getpid(), signal.SIGSTOP)
                continue
            if self._forwarder is not None:
                self._forwarder.stop()
            if self._had_terminal:
                take_back()
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code

    def abandon(self) -> None:
        """End a child that was never started."""
        os.close(self._go)
        os.close(self._failure)
        self._go = self._failure = -1
        self.wait()

    @property
    def waiting(self) -> bool:
        """Whether the child has not been told what to execute."""
        return self._go >= 0


def fork_child(
    prepare: Callable[[], None] | None = None,
    *,
    closing: Sequence[int] = (),
) -> Child:
    """Fork a child that waits for `Child.start`. To be called from the main thread, before others exist.

    The descriptors in `closing` are not passed on. `prepare` is called in the child before it waits.
    While the child waits, signals act on this process only; the program has blocked what is blocked now.

    Raises: LauncherError where the system refuses a process.
    """
    go_read, go_write = os.pipe()
    failure_read, failure_write = os.pipe()
    parent = os.getpid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    original_mask = hold()
    try:
        with start_refusals_mapped():
            pid = os.fork()
        if pid == 0:
            try:
                os.close(go_write)
                os.close(failure_read)
                for descriptor in closing:
                    os.close(descriptor)
                end_with_launcher(parent)
                if prepare is not None:
                    prepare()
                _become(go_read, failure_write, original_mask)
            finally:
                os._exit(ExitCode.RUN_FAILED)  # whatever happens, this is not a second launcher
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, original_mask)
    os.close(go_read)
    os.close(failure_write)
    return Child(pid, go_write, failure_read)


@contextmanager
def start_refusals_mapped() -> Iterator[None]:
    """Where a process or a thread is begun. Raises: LauncherError."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # the second from `threading`, which does not say why
        raise LauncherError(
            "cannot start another process or thread: the system refuses it",
            "see 'ulimit -u', free memory, and the container's limit of processes",
        ) from error


def _become(go: int, failure: int, mask: set[int | signal.Signals]) -> None:
    """In the child: wait for the order, then execute it."""
    with open(go, "rb") as pipe:
        order = pipe.read()
    if not order:
        return
    argv, environ = json.loads(order)
    for number in _IGNORED_BY_PYTHON:
        signal.signal(number, signal.SIG_DFL)
    # Handlers are the launcher's; exec resets them anyway, but a signal can come before.
    for ends in ending():
        signal.signal(ends, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, _WHEN_A_CHILD_ENDS)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        _execute(argv, environ)
    except OSError as error:
        os.write(failure, str(error.errno).encode())


def _execute(argv: list[str], environ: dict[str, str]) -> NoReturn:
    """Find the program as execvp(3) does, in the PATH of the child. Raises: OSError."""
    name = argv[0]
    if not name:  # a folder, once it is joined to one
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    folders = os.get_exec_path(environ)
    paths = [name] if "/" in name else [os.path.join(folder or ".", name) for folder in folders]
    denied: OSError | None = None
    for path in paths:
        try:
            os.execve(path, argv, environ)  # noqa: S606  (the whole purpose)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            if error.errno == errno.ENOEXEC:
                os.execve(_SHELL, [_SHELL, path, *argv[1:]], environ)  # noqa: S606
            if error.errno != errno.EACCES:
                raise
            denied = error
    raise denied or FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def _raise_exec_error(program: str, number: int) -> NoReturn:
    problem = os.strerror(number).lower()
    if number in (errno.ENOENT, errno.ENOTDIR):
        raise ProgramNotFound(f"cannot run {program!r}: {problem}", "check the name and PATH")
    raise ProgramNotExecutable(f"cannot run {program!r}: {problem}", "check that it is an executable file")


def _has_terminal() -> bool:
    """Whether there is a terminal, and so a shell that continues what was stopped."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
