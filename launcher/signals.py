"""Signals to the launcher go to its child, each exactly once."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from typing import Final

BLOCKED: Final = frozenset(
    {
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGHUP,
        signal.SIGTERM,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGTSTP,
        signal.SIGTTIN,
        signal.SIGTTOU,
        signal.SIGCONT,
        signal.SIGWINCH,
    }
)
"""What is passed on. They are blocked here, so none of them acts on the launcher."""

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


class Forwarder:
    """A thread that passes blocked signals on to the child.

    A terminal sends its signals to every process of the foreground group, so the child has them
    already: passing them on would deliver ^C twice, and many programs take the second as "at once".
    """

    def __init__(self, child: int) -> None:
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
                with contextlib.suppress(ProcessLookupError):
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
