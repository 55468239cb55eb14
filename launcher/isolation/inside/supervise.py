"""The two processes between the launcher and the program, where the program has process ids of its own.

The outer one stands for the program towards the launcher: it stops when the program stops and ends as it
ends. The inner one is process 1 of the namespace; when it ends, the kernel ends all that is left there.
"""

from __future__ import annotations

import fcntl
import os
import signal
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn

from launcher.errors import ExitCode
from launcher.isolation.steps import Step, step
from launcher.isolation.syscalls import die_with_parent, drop_capabilities, set_dumpable

_ALIVE: Final = b"a"
_STOPPED: Final = b"s"
_ENDED: Final = b"e"
"""What process 1 says; the last is followed by the wait status."""

_STATUS: Final = struct.Struct("=i")

_SI_KERNEL: Final = 0x80
"""`si_code` of a signal that the kernel made, as for ^C: the whole foreground group has it (sigaction(2))."""

_ALL: Final = signal.valid_signals()


def become_first() -> int:
    """Go on as process 1 of the new namespace; this process waits and ends as the program does.

    Returns the descriptor on which process 1 tells of the program. Raises: StepFailed.
    """
    with step(Step.FORK):
        incoming, outgoing = os.pipe()
        os.set_blocking(incoming, False)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGIO})
        fcntl.fcntl(incoming, fcntl.F_SETOWN, os.getpid())
        # What arrives raises a signal, so that signals and reports can be waited for as one.
        fcntl.fcntl(incoming, fcntl.F_SETFL, fcntl.fcntl(incoming, fcntl.F_GETFL) | os.O_ASYNC)
        pid = os.fork()
        if pid:
            _only(lambda: _mirror(pid, incoming))
        os.close(incoming)
        # Seen from in here the parent has no id that could tell whether it has ended, but it reads.
        die_with_parent()
        os.write(outgoing, _ALIVE)
    return outgoing


def become_program(outgoing: int) -> None:
    """Go on as the process that will be the program; this one, process 1, waits for it.

    Raises: StepFailed.
    """
    with step(Step.PRIVILEGES):
        drop_capabilities()
        set_dumpable(False)
    with step(Step.FORK):
        pid = os.fork()
        if pid:
            _only(lambda: _reap(pid, outgoing))
        os.close(outgoing)


def _only(work: Callable[[], None]) -> NoReturn:
    """Nothing but `work`: whatever happens, this is not a second launcher."""
    try:
        work()
    finally:
        os._exit(ExitCode.RUN_FAILED)


def _mirror(first: int, incoming: int) -> None:
    """Pass signals on to process 1, and do as it says of the program."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _ALL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _let_go(incoming)
    drop_capabilities()
    while True:
        told = _read(incoming)
        if told is None:  # process 1 was killed
            _end_as(os.waitpid(first, 0)[1])
        elif _ENDED in told:
            os.waitpid(first, 0)
            _end_as(_STATUS.unpack_from(told, told.index(_ENDED) + 1)[0])
        elif _STOPPED in told:
            os.kill(os.getpid(), signal.SIGSTOP)
        info = signal.sigwaitinfo(_ALL)
        if info.si_signo not in (signal.SIGIO, signal.SIGCHLD) and info.si_code != _SI_KERNEL:
            with suppress(ProcessLookupError):
                os.kill(first, info.si_signo)


def _read(incoming: int) -> bytes | None:
    """What has been told since; empty when nothing, None when nobody is left to tell."""
    try:
        return os.read(incoming, 4096) or None
    except BlockingIOError:
        return b""


def _end_as(status: int) -> NoReturn:
    """End with the wait status that another process ended with."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        os._exit(code)
    set_dumpable(False)  # the program may have left a core; this process has none worth keeping
    with suppress(OSError):  # SIGKILL cannot be set and needs not be
        signal.signal(-code, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {-code})
    os.kill(os.getpid(), -code)
    os._exit(128 - code)


def _reap(program: int, outgoing: int) -> None:
    """Process 1: collect what ends, pass on what comes from outside, until the program has ended."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _ALL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _let_go(outgoing)
    while not _collect(program, outgoing):
        info = signal.sigwaitinfo(_ALL)
        # Who sends from outside of the namespace has no id in it.
        if info.si_signo != signal.SIGCHLD and info.si_code != _SI_KERNEL and info.si_pid == 0:
            with suppress(ProcessLookupError):
                os.kill(program, info.si_signo)


def _collect(program: int, outgoing: int) -> bool:
    """Take note of all that ended or stopped; whether the program has ended."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
        except ChildProcessError:
            return True
        if pid == 0:
            return False
        if pid != program:
            continue
        if os.WIFSTOPPED(status):
            os.write(outgoing, _STOPPED)
            continue
        os.write(outgoing, _ENDED + _STATUS.pack(status))
        return True


def _let_go(keep: int) -> None:
    """Hold nothing open but `keep`: the launcher waits for pipes to close, and so may others."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard, inheritable=False)
    os.closerange(3, keep)
    os.closerange(max(3, keep + 1), os.sysconf("SC_OPEN_MAX"))
