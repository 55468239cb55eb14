"""Processes that a test has started and not ended."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

GRACE: Final = 2.0
"""Seconds in which a process that was told to end may still be there."""


def running_children() -> set[int]:
    """Process ids of our own children that have not ended; none where there is no /proc."""
    found: set[int] = set()
    for task in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):  # the thread has ended since
            found.update(int(word) for word in task.read_text().split())
    return {pid for pid in found if _runs(pid)}


def end_leftovers(before: set[int], grace: float = GRACE) -> list[str]:
    """Kill the children that were not there `before`; returns their command lines."""
    deadline = time.monotonic() + grace
    while (left := running_children() - before) and time.monotonic() < deadline:
        time.sleep(0.01)
    named = []
    for pid in sorted(left):
        with suppress(OSError):
            named.append(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip())
            os.kill(pid, signal.SIGKILL)
    return named


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"  # ended, and waits for us to ask how
