"""Locks as files, freed by the kernel when their holder dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from vault.errors import LockTimeout
from vault.files import PRIVATE_FILE, make_private_folder, refusals_mapped

LOCK_POLL: Final = 0.01
"""Seconds between two tries for a lock; the kernel offers no wait that ends at a time."""


class FileLocks:
    """Named locks in one folder, which is made where it is missing.

    `flock` is flock(2); not fcntl's locks: those do not keep out threads, and fall with any close.

    Raises: LoosePermissions, OSError.
    """

    def __init__(self, folder: Path, flock: Callable[[int, int], None] = fcntl.flock) -> None:
        self._folder = folder
        self._flock = flock
        make_private_folder(folder)

    @contextmanager
    def hold(self, name: str, timeout: float, what: str) -> Iterator[None]:
        """Hold a lock; `timeout` is in seconds, `what` the user's word for what is locked.

        Raises: LockTimeout, StorageUnavailable.
        """
        path = self._folder / name
        with refusals_mapped(path):
            # Never unlinked: a waiter would lock the old file while a newcomer locks a new one.
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE_FILE)
        try:
            self._wait_for(handle, path, timeout, what)
            yield
        finally:
            os.close(handle)

    def _wait_for(self, handle: int, path: Path, timeout: float, what: str) -> None:
        deadline = time.monotonic() + timeout
        while not self._try(handle, path):
            left = deadline - time.monotonic()
            if left <= 0:
                raise LockTimeout(f"another process has been busy with {what} for too long", "try again")
            time.sleep(min(LOCK_POLL, left))

    def _try(self, handle: int, path: Path) -> bool:
        with refusals_mapped(path):
            try:
                self._flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True
