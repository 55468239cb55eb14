"""Two connections to the file of a vault, and the watch that it is still the file its path names.

SQLite goes on with a file that was deleted, renamed or written over, and nobody would ever open what it
stores there. So before each use a few stat(2), some microseconds, are compared with what was opened.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vault.database import (
    connect,
    empty_journal,
    make_private_database,
    pragma,
    require_private_database,
    set_up,
    transaction,
)
from vault.errors import StorageUnavailable
from vault.files import refusals_mapped
from vault.locks import FileLocks

BUSY_TIMEOUT: Final = 15.0
"""Seconds to wait for another process's write, which takes milliseconds unless the disk is very slow."""

PATIENCE: Final = 0.1
"""Seconds that a write waits for readers before it leaves its pages in the journal to the next one."""

_EPOCH: Final = 2**32
"""More than SQLite's own number of a version can be."""


@dataclass(frozen=True, slots=True)
class File:
    """A file as stat(2) describes it."""

    number: tuple[int, int]
    """Device and inode; no other file has them while this one is open."""
    size: int
    changed_at: int
    """Nanoseconds."""


@dataclass(frozen=True, slots=True)
class Files:
    """The database, its journal and the index of that; None for what is not there."""

    database: File | None
    journal: File | None
    index: File | None

    def are(self, opened: Files) -> bool:
        """Whether these are the files that were opened, and none was cut."""
        pairs = ((self.database, opened.database), (self.journal, opened.journal), (self.index, opened.index))
        return all(now and then and now.number == then.number for now, then in pairs) and not self.cut(opened)

    def cut(self, opened: Files) -> bool:
        """Whether the index, which is mapped into memory, or the database is shorter than it was."""
        pairs = ((self.database, opened.database), (self.index, opened.index))
        return any(now and then and now.size < then.size for now, then in pairs)


class Pair:
    """A connection that reads and one that writes, so that no reader waits for a write to reach the disk.

    Follows the path to another file that is put there, if that is a vault too, and refuses where there is
    none. Makes a vault where there is no file yet.
    """

    def __init__(self, path: Path, locks: FileLocks, busy_timeout: float) -> None:
        self._path = path
        self._names = tuple(f"{path}{end}" for end in ("", "-wal", "-shm"))
        self._locks = locks
        self._busy_timeout = busy_timeout
        self._reading = threading.Lock()
        self._writing = threading.Lock()
        self._epoch = 0
        self._closed = self._is_open = False
        with refusals_mapped(path):
            make_private_database(path)
            self._open(make=True)

    @property
    def place(self) -> int:
        """The number of the file, which a copy does not have."""
        return self._opened.database.number[1] if self._opened.database else 0

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection to read with. Raises: StorageUnavailable."""
        with refusals_mapped(self._path):
            self._follow()
            with self._reading:
                yield self._reader

    @contextmanager
    def reading_on(self) -> Iterator[sqlite3.Connection]:
        """As `reading`, of the file that is open, also in the middle of a write. Raises: sqlite3.Error."""
        with self._reading:
            yield self._reader

    @contextmanager
    def writing(self, patience: float = PATIENCE) -> Iterator[sqlite3.Connection]:
        """One transaction, which is durable in the end, and in the file itself.

        `patience` is how long to wait, in seconds, for those who still read what was before.

        Raises: StorageUnavailable.
        """
        with refusals_mapped(self._path):
            self._follow()
            with self._writing:
                before = self._writer.total_changes
                with transaction(self._writer):
                    yield self._writer
                if self._writer.total_changes != before:
                    empty_journal(self._writer, patience)
                now = self._look()
                self._seen = now.database
            if not now.are(self._opened):
                raise StorageUnavailable(
                    f"{self._path} was replaced or removed while it was written to", "try again"
                )

    def version(self) -> int:
        """A number that is another one after any process has changed anything, or put another file there."""
        with self.reading() as database:
            return self._epoch * _EPOCH + pragma(database, "data_version")

    def close(self, *, as_they_are: bool = False) -> None:
        """`as_they_are`: change no file, as SQLite would for the last connection."""
        with refusals_mapped(self._path), self._reading, self._writing:
            self._closed = True
            self._close(as_they_are=as_they_are)

    def _follow(self) -> None:
        """Go to the file that the path names now. Raises: StorageUnavailable, sqlite3.Error, OSError."""
        if self._closed:
            raise sqlite3.ProgrammingError("it was closed")
        if not self._is_current():
            with self._writing, self._reading:
                if not self._is_current():
                    self._reopen()

    def _is_current(self) -> bool:
        now = self._look()
        if not (self._is_open and now.are(self._opened)):
            return False
        # A change that is not ours may be that of cp(1), of which SQLite would not know. While the journal
        # holds something it is another process that writes, and what it writes is read from there.
        return now.database == self._seen or bool(now.journal and now.journal.size)

    def _look(self) -> Files:
        return Files(*map(_look, self._names))

    def _reopen(self) -> None:
        now = self._look()
        if now.database is None:
            raise StorageUnavailable(
                f"{self._path} was removed or moved away while it was in use",
                "put it back, or start this command again",
            )
        require_private_database(self._path)
        if self._is_open:
            moved = now.database.number != (self._opened.database and self._opened.database.number)
            self._close(as_they_are=moved or now.cut(self._opened))
            if moved:
                self._remove_strays(now)
        self._epoch += 1
        self._open(make=False)

    def _remove_strays(self, now: Files) -> None:
        """Take away the index of the file that was there before: SQLite would use it for the new one."""
        stale = [
            name
            for name, found, ours in zip(
                self._names[1:],
                (now.journal, now.index),
                (self._opened.journal, self._opened.index),
                strict=True,
            )
            if found and ours and found.number == ours.number
        ]
        if now.journal and now.journal.size:
            raise StorageUnavailable(
                f"cannot use {self._path}: {self._names[1]} belongs to the file that was there before",
                f"move {self._names[1]} away",
            )
        for name in stale:
            with suppress(FileNotFoundError):
                os.unlink(name)

    def _open(self, *, make: bool) -> None:
        # Closed means closed in this process: two mappings of one index do not know of each other's locks.
        with ExitStack() as undo, self._locks.hold("setup", BUSY_TIMEOUT, "opening the vault"):
            before = _look(self._names[0])
            self._writer = undo.enter_context(closing(connect(self._path, self._busy_timeout)))
            set_up(self._writer, self._path, make=make)
            self._writer.execute("PRAGMA synchronous = FULL")
            self._writer.execute("PRAGMA fullfsync = ON")  # macOS: fsync(2) alone does not reach the disk
            self._writer.execute("PRAGMA secure_delete = ON")
            self._reader = undo.enter_context(closing(connect(self._path, self._busy_timeout)))
            self._reader.execute("PRAGMA query_only = ON")
            pragma(self._reader, "data_version")  # opens the journal
            self._opened = self._look()
            self._seen = self._opened.database
            if not (before and self._opened.database and before.number == self._opened.database.number):
                raise StorageUnavailable(f"{self._path} was replaced while it was opened", "try again")
            undo.pop_all()
        self._is_open = True

    def _close(self, *, as_they_are: bool = False) -> None:
        as_they_are = as_they_are or not self._look().are(self._opened)
        self._is_open = False
        for database in (self._reader, self._writer):
            with suppress(sqlite3.ProgrammingError):  # it was closed before
                database.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, as_they_are)
            database.close()


def _look(name: str) -> File | None:
    try:
        found = os.stat(name)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return File((found.st_dev, found.st_ino), found.st_size, found.st_mtime_ns)
