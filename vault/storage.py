"""Where sealed records are kept: what a vault asks of a storage, and SQLite as the first one.

Nothing of SQL, paths or file locks is in the protocol, so that a database server can stand in.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from vault.envelope import Kind, RecordId
from vault.errors import Conflict, FormatTooNew, LockTimeout, StorageUnavailable
from vault.files import (
    PRIVATE_FILE,
    make_private_folder,
    refusals_mapped,
    require_private,
    sync_folder,
)

APPLICATION_ID: Final = 0x61757468
"""SQLite's mark for whose file it is (https://sqlite.org/pragma.html#pragma_application_id): "auth"."""

STORAGE_FORMAT: Final = 1
"""The layout of the tables, kept in SQLite's `user_version`."""

BUSY_TIMEOUT: Final = 15.0
"""Seconds to wait for another process's write, which takes milliseconds unless the disk is very slow."""

_LOCK_POLL: Final = 0.01
"""Seconds between two tries for a lock; the kernel offers no wait that ends at a time."""

_SCHEMA: Final = """
CREATE TABLE record (
    profile TEXT NOT NULL,
    kind TEXT NOT NULL,
    provider TEXT NOT NULL,
    name TEXT NOT NULL,
    generation INTEGER NOT NULL,
    blob BLOB NOT NULL,
    PRIMARY KEY (profile, kind, provider, name)
) STRICT, WITHOUT ROWID
"""

_THIS_RECORD: Final = "profile = ? AND kind = ? AND provider = ? AND name = ?"


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A sealed record and the generation it is bound to."""

    blob: bytes
    generation: int


class Storage(Protocol):
    """Keeps sealed records for any number of threads and processes.

    Every method may raise StorageUnavailable. What a method has returned from is durable.
    """

    def get(self, record: RecordId) -> StoredRecord | None: ...

    def put(self, record: RecordId, blob: bytes, generation: int) -> None:
        """Store the write number `generation`: 1 for a record that is not there, else the current one plus 1.

        Raises: Conflict, and nothing was stored.
        """
        ...

    def delete(self, record: RecordId) -> bool:
        """Remove a record; False where there was none.

        The next write is generation 1 again, so delete under the record's lock: a writer that read
        before the deletion could otherwise take a new record for the one it read.
        """
        ...

    def records(self, profile: str, kind: Kind) -> list[RecordId]:
        """The profile's records of one kind, sorted."""
        ...

    def profiles(self) -> list[str]:
        """Every profile word that occurs in a record, sorted; also the empty one of the check record."""
        ...

    def lock(self, record: RecordId, timeout: float) -> AbstractContextManager[None]:
        """Hold a record, there or not, against every other thread and process; freed when the holder dies.

        `timeout` is in seconds. A second lock by the same thread waits for the first. The lock does
        not keep `put` from working: that is for `generation`.

        Raises: LockTimeout.
        """
        ...

    def version(self) -> int:
        """A number that is another one after any process has changed any record; costs microseconds."""
        ...

    def close(self) -> None: ...


class SqliteStorage:
    """Records in one SQLite file, locks as files in the folder `locks` beside it.

    Two connections, so that a reader (`version` is called from an event loop) never waits for a write
    to reach the disk. Makes the folder and the file where they are missing.

    Raises: LoosePermissions, FormatTooNew, StorageUnavailable; a file that is not ours is not changed.
    """

    def __init__(self, path: Path, *, busy_timeout: float = BUSY_TIMEOUT) -> None:
        self._path = path
        self._locks = path.parent / "locks"
        self._reading = threading.Lock()
        self._writing = threading.Lock()
        with refusals_mapped(path), ExitStack() as undo:
            _make_private_database(path)
            make_private_folder(self._locks)
            self._writer = undo.enter_context(closing(_connect(path, busy_timeout)))
            # Two processes that change the journal mode at once would fail without waiting.
            with self._locked(self._locks / "setup", BUSY_TIMEOUT, "opening the vault"):
                _set_up(self._writer, path)
            self._writer.execute("PRAGMA synchronous = FULL")
            self._writer.execute("PRAGMA fullfsync = ON")  # macOS: fsync(2) alone does not reach the disk
            self._writer.execute("PRAGMA secure_delete = ON")
            self._reader = undo.enter_context(closing(_connect(path, busy_timeout)))
            self._reader.execute("PRAGMA query_only = ON")
            undo.pop_all()

    def get(self, record: RecordId) -> StoredRecord | None:
        sql = f"SELECT blob, generation FROM record WHERE {_THIS_RECORD}"  # noqa: S608  (a constant)
        with self._read() as database:
            row = database.execute(sql, _columns(record)).fetchone()
        return StoredRecord(bytes(row[0]), int(row[1])) if row else None

    def put(self, record: RecordId, blob: bytes, generation: int) -> None:
        if generation == 1:
            sql = "INSERT INTO record VALUES (?, ?, ?, ?, 1, ?) ON CONFLICT DO NOTHING"
            changed = self._write(sql, *_columns(record), blob)
        else:
            sql = f"UPDATE record SET blob = ?, generation = ? WHERE {_THIS_RECORD} AND generation = ?"  # noqa: S608
            changed = self._write(sql, blob, generation, *_columns(record), generation - 1)
        if not changed:
            raise Conflict(f"{record} was changed by another process meanwhile", "try again")

    def delete(self, record: RecordId) -> bool:
        sql = f"DELETE FROM record WHERE {_THIS_RECORD}"  # noqa: S608
        return self._write(sql, *_columns(record)) == 1

    def records(self, profile: str, kind: Kind) -> list[RecordId]:
        sql = "SELECT provider, name FROM record WHERE profile = ? AND kind = ? ORDER BY provider, name"
        with self._read() as database:
            rows = database.execute(sql, (profile, kind)).fetchall()
        return [RecordId(profile, provider, name, kind) for provider, name in rows]

    def profiles(self) -> list[str]:
        with self._read() as database:
            rows = database.execute("SELECT DISTINCT profile FROM record ORDER BY profile").fetchall()
        return [profile for (profile,) in rows]

    def version(self) -> int:
        # The writer is another connection, so this process's own writes count too:
        # https://sqlite.org/pragma.html#pragma_data_version
        with self._read() as database:
            return _pragma(database, "data_version")

    @contextmanager
    def lock(self, record: RecordId, timeout: float) -> Iterator[None]:
        name = hashlib.sha256(record.encoded()).hexdigest()
        with self._locked(self._locks / name, timeout, str(record)):
            yield

    def close(self) -> None:
        with refusals_mapped(self._path), self._reading, self._writing:
            self._reader.close()
            self._writer.close()

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        with refusals_mapped(self._path), self._reading:
            yield self._reader

    def _write(self, sql: str, *values: str | int | bytes) -> int:
        """Run one statement as a transaction of its own; returns how many rows it changed."""
        with refusals_mapped(self._path), self._writing:
            return self._writer.execute(sql, values).rowcount

    @contextmanager
    def _locked(self, path: Path, timeout: float, what: str) -> Iterator[None]:
        with refusals_mapped(path):
            # Never unlinked: a waiter would lock the old file while a newcomer locks a new one.
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE_FILE)
        try:
            _wait_for(handle, path, timeout, what)
            yield
        finally:
            os.close(handle)


def _wait_for(handle: int, path: Path, timeout: float, what: str) -> None:
    deadline = time.monotonic() + timeout
    while not _try_lock(handle, path):
        left = deadline - time.monotonic()
        if left <= 0:
            raise LockTimeout(f"another process has been busy with {what} for too long", "try again")
        time.sleep(min(_LOCK_POLL, left))


def _try_lock(handle: int, path: Path) -> bool:
    with refusals_mapped(path):
        try:
            # flock, not fcntl's locks: those do not keep out threads, and fall with any close.
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _columns(record: RecordId) -> tuple[str, str, str, str]:
    return (record.profile, record.kind, record.provider, record.name)


def _make_private_database(path: Path) -> None:
    """Make an empty file with mode 0600, whose mode SQLite gives to the files beside it as well.

    An existing one is only looked at, never opened: closing it would drop the locks that SQLite holds
    in this process (https://sqlite.org/howtocorrupt.html section 2.2).
    """
    make_private_folder(path.parent)
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE))
    except FileExistsError:
        require_private(path, path.stat())
    else:
        sync_folder(path.parent)


def _connect(path: Path, busy_timeout: float) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=busy_timeout,
        isolation_level=None,
        check_same_thread=False,
    )


def _is_ready(database: sqlite3.Connection, path: Path) -> bool:
    """Whether this is a complete vault; False for an empty file. Writes nothing.

    Raises: FormatTooNew, StorageUnavailable for a database of another program.
    """
    owner, layout = _pragma(database, "application_id"), _pragma(database, "user_version")
    if owner == 0 and layout == 0 and not database.execute("SELECT 1 FROM sqlite_master").fetchone():
        return False
    if owner != APPLICATION_ID or layout < 1:
        raise StorageUnavailable(
            f"cannot use {path}: it is a database of another program",
            "move it away, or set AUTHSOME_HOME to another folder",
        )
    if layout > STORAGE_FORMAT:
        raise FormatTooNew(f"{path} was made by a newer version of authsome", "update authsome")
    return True


def _set_up(database: sqlite3.Connection, path: Path) -> None:
    if _is_ready(database, path):
        return
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("BEGIN IMMEDIATE")
    try:
        database.execute(_SCHEMA)
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {STORAGE_FORMAT}")
        database.execute("COMMIT")
    finally:
        if database.in_transaction:
            database.execute("ROLLBACK")


def _pragma(database: sqlite3.Connection, name: str) -> int:
    return int(database.execute(f"PRAGMA {name}").fetchone()[0])
