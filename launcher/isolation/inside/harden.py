"""The launcher's own process, closed to the other processes of its user."""

from __future__ import annotations

import resource
import sys

from launcher.isolation.syscalls import set_dumpable


def harden() -> None:
    """Let nobody read this process's memory and environment, and leave no core. Raises: OSError.

    To be called before any secret is read, and after `survey`, which notes the limit that the program
    gets back. A process that watches for a new launcher can be faster; nothing helps against that but
    another user id. Elsewhere than on Linux it does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    set_dumpable(False)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
