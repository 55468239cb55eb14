"""Locks as files, freed by the kernel when their holder dies."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from vault.errors import LockTimeout
from vault.files import PRIVATE_FILE, make_private_folder, refusals_mapped

KERNEL_LOCKS: Final = Path("/proc/locks")

LOCK_POLL: Final = 0.01
"""Seconds between two tries for a lock; the kernel offers no wait that ends at a time."""


def holder_of(inode: int, locks: str) -> int | None:
    """The process that holds flock(2) on a file, from the text of /proc/locks (proc_locks(5))."""
    pattern = rf"^\d+: FLOCK +ADVISORY +WRITE +(\d+) +[0-9a-f]+:[0-9a-f]+:{inode} "
    found = re.search(pattern, locks, re.MULTILINE)
    return int(found[1]) if found else None


def described(holder: int | None) -> tuple[str, str]:
    """A process in words, and what helps; not known where the kernel does not tell, such as on macOS."""
    status = _read(Path(f"/proc/{holder}/status")) if holder else ""
    name = re.search(r"^Name:\t(.*)$", status, re.MULTILINE)
    if name is None:
        return "another process", "try again"
    # ASCII alone: a process chooses its name itself.
    plain = re.sub(r"[^ -~]", "?", name[1])
    if re.search(r"^State:\t[Tt]", status, re.MULTILINE):
        return f"process {holder} ({plain}), which is stopped,", f"let it go on with 'kill -CONT {holder}'"
    return f"process {holder} ({plain})", "try again"


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _opened(path: Path) -> int:
    # Never unlinked: a waiter would lock the old file while a newcomer locks a new one.
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE_FILE)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which is made where there is none. Waits for others. Raises: OSError."""
    handle = _opened(path)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


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
            handle = _opened(path)
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
                who, hint = described(holder_of(os.fstat(handle).st_ino, _read(KERNEL_LOCKS)))
                raise LockTimeout(f"{who} has been busy with {what} for too long", hint)
            time.sleep(min(LOCK_POLL, left))

    def _try(self, handle: int, path: Path) -> bool:
        with refusals_mapped(path):
            try:
                self._flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True
