"""Signals to the launcher go to its program, each exactly once; where none runs they end the launcher."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

ENDING: Final = frozenset(
    {signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2}
)
"""What ends a process that does nothing about it."""

BLOCKED: Final = ENDING | {
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGCONT,
    signal.SIGWINCH,
}
"""What is passed on. They are blocked here meanwhile, so none of them acts on the launcher."""

_FROM_TERMINAL: Final = frozenset(
    {
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGHUP,
        signal.SIGTSTP,
        signal.SIGTTIN,
        signal.SIGTTOU,
        signal.SIGWINCH,
    }
)

_SI_KERNEL: Final = 0x80
"""`si_code` of a signal that the kernel made, as for ^C at a terminal (sigaction(2))."""

_STOP: Final = signal.SIGUSR2
"""Wakes the thread at the end."""


def hold() -> set[int]:
    """Let no signal act on this process any more, nor on threads that it starts later.

    Returns what was blocked before. What has come before takes effect here.
    """
    return signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Turn signals that would end this process at once into exceptions that do, until the block ends.

    KeyboardInterrupt, or SystemExit with 128 + n. What the user ignores stays ignored. For the main thread.
    """
    former = {number: signal.getsignal(number) for number in ending()}
    for number in former:
        signal.signal(number, _leave)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def ending() -> list[signal.Signals]:
    """The signals that would end this process: what is ignored does not."""
    return [number for number in sorted(ENDING) if signal.getsignal(number) is not signal.SIG_IGN]


def _leave(number: int, _: object) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)


class Forwarder:
    """A thread that holds signals and passes them on to the child.

    A terminal sends its signals to every process of the foreground group, so the child has them
    already: passing them on would deliver ^C twice, and many programs take the second as "at once".
    """

    def __init__(self, child: int) -> None:
        hold()
        self._child = child
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="signals", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Pass nothing on any more: the process id may soon be another's."""
        self._stopped = True
        if self._thread.is_alive() and self._thread.ident is not None:
            signal.pthread_kill(self._thread.ident, _STOP)
            self._thread.join()

    def _run(self) -> None:
        while True:
            number, from_terminal = _next_signal()
            if self._stopped:
                return
            if not from_terminal:
                # It has ended, or has become another user's.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(self._child, number)


if sys.platform == "darwin":

    def _next_signal() -> tuple[int, bool]:
        number = signal.sigwait(BLOCKED)
        # Nothing says who sent it. In the foreground of a terminal these come from the keyboard.
        return number, number in _FROM_TERMINAL and _in_foreground()

    def _in_foreground() -> bool:
        try:
            terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
        except OSError:
            return False
        try:
            return os.tcgetpgrp(terminal) == os.getpgrp()
        finally:
            os.close(terminal)
else:

    def _next_signal() -> tuple[int, bool]:
        info = signal.sigwaitinfo(BLOCKED)
        return info.si_signo, info.si_signo in _FROM_TERMINAL and info.si_code == _SI_KERNEL
