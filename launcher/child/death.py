"""A child that does not outlive its launcher."""

from __future__ import annotations

import os
import signal
import sys

from launcher.isolation import syscalls


def end_with_launcher(parent: int) -> None:
    """In a child: be killed when the process `parent` ends, however it ends.

    Without the launcher there is no proxy, so a child could only fail, or go on unsupervised. It holds
    over exec, save for set-user-ID programs (PR_SET_PDEATHSIG(2const)). Other systems have no such
    thing; there a child of a killed launcher lives on, without a proxy.
    """
    if not sys.platform.startswith("linux"):
        return
    syscalls.die_with_parent()
    if os.getppid() != parent:  # it ended before the call
        os.kill(os.getpid(), signal.SIGKILL)
