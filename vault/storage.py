"""Where sealed records are kept: what a vault asks of a storage, and SQLite as the first one.

Nothing of SQL, paths or file locks is in the protocol, so that a database server can stand in.
"""

from __future__ import annotations

import fcntl
import glob
import hashlib
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from vault.database import (
    APPLICATION_ID,
    STORAGE_FORMAT,
    all_rows,
    connect,
    content,
    copy_database,
    make_private_database,
    pragma,
    replace_rows,
    set_up,
    text,
    transaction,
)
from vault.envelope import Kind, RecordId
from vault.errors import AlreadyThere, Conflict, PremiseChanged, StorageUnavailable
from vault.files import partial_prefix, refusals_mapped
from vault.locks import FileLocks

__all__ = ["APPLICATION_ID", "STORAGE_FORMAT", "Premise", "SqliteStorage", "Storage", "StoredRecord"]

BUSY_TIMEOUT: Final = 15.0
"""Seconds to wait for another process's write, which takes milliseconds unless the disk is very slow."""

_THIS_RECORD: Final = "profile = ? AND kind = ? AND provider = ? AND name = ?"


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A sealed record and the generation it is bound to."""

    blob: bytes
    generation: int


@dataclass(frozen=True, slots=True)
class Premise:
    """What a write rests upon: a record that is still stored exactly so."""

    record: RecordId
    stored: StoredRecord


class Storage(Protocol):
    """Keeps sealed records for any number of threads and processes.

    Every method may raise StorageUnavailable. What a method has returned from is durable.
    """

    def get(self, record: RecordId) -> StoredRecord | None: ...

    def put(self, record: RecordId, blob: bytes, generation: int, *, premise: Premise | None = None) -> None:
        """Store the write number `generation`: 1 for a record that is not there, else the current one plus 1.

        Raises: PremiseChanged, Conflict, and nothing was stored.
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
        """Every profile word that occurs in a record, sorted; also the empty one of the key slot."""
        ...

    def everything(self) -> dict[RecordId, StoredRecord]:
        """All records as they were at one moment, whatever their names and kinds."""
        ...

    def rewrite(
        self, change: Callable[[Mapping[RecordId, StoredRecord]], Mapping[RecordId, StoredRecord]]
    ) -> None:
        """Put what `change` makes of all records in their place: all or nothing, with no write in between.

        The generations are those that `change` gives. Nothing is changed when it raises. What was
        replaced is erased as far as the storage can.
        """
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
    to reach the disk. Makes the folder and the file where they are missing. `flock` is flock(2).

    Raises: LoosePermissions, FormatTooNew, StorageUnavailable; a file that is not ours is not changed.
    """

    def __init__(
        self,
        path: Path,
        *,
        busy_timeout: float = BUSY_TIMEOUT,
        flock: Callable[[int, int], None] = fcntl.flock,
    ) -> None:
        self._path = path
        self._reading = threading.Lock()
        self._writing = threading.Lock()
        with refusals_mapped(path), ExitStack() as undo:
            make_private_database(path)
            self._locks = FileLocks(path.parent / "locks", flock)
            self._writer = undo.enter_context(closing(connect(path, busy_timeout)))
            with self._locks.hold("setup", BUSY_TIMEOUT, "opening the vault"):
                set_up(self._writer, path)
            self._writer.execute("PRAGMA synchronous = FULL")
            self._writer.execute("PRAGMA fullfsync = ON")  # macOS: fsync(2) alone does not reach the disk
            self._writer.execute("PRAGMA secure_delete = ON")
            self._reader = undo.enter_context(closing(connect(path, busy_timeout)))
            self._reader.execute("PRAGMA query_only = ON")
            undo.pop_all()

    def get(self, record: RecordId) -> StoredRecord | None:
        with self._read() as database:
            return _get(database, record)

    def put(self, record: RecordId, blob: bytes, generation: int, *, premise: Premise | None = None) -> None:
        with self._write() as database:
            if premise is not None and _get(database, premise.record) != premise.stored:
                raise PremiseChanged(
                    f"{premise.record} was changed by another process meanwhile", "try again"
                )
            if not _put(database, record, blob, generation):
                raise Conflict(f"{record} was changed by another process meanwhile", "try again")

    def delete(self, record: RecordId) -> bool:
        sql = f"DELETE FROM record WHERE {_THIS_RECORD}"  # noqa: S608  (a constant)
        with self._write() as database:
            return bool(database.execute(sql, _columns(record)).rowcount == 1)

    def records(self, profile: str, kind: Kind) -> list[RecordId]:
        sql = "SELECT provider, name FROM record WHERE profile = ? AND kind = ? ORDER BY provider, name"
        with self._read() as database:
            rows = database.execute(sql, (profile, kind)).fetchall()
            return [RecordId(profile, text(provider), text(name), kind) for provider, name in rows]

    def profiles(self) -> list[str]:
        with self._read() as database:
            rows = database.execute("SELECT DISTINCT profile FROM record ORDER BY profile").fetchall()
            return [text(profile) for (profile,) in rows]

    def everything(self) -> dict[RecordId, StoredRecord]:
        with self._read() as database:
            return _everything(database)

    def rewrite(
        self, change: Callable[[Mapping[RecordId, StoredRecord]], Mapping[RecordId, StoredRecord]]
    ) -> None:
        with self._write() as database:
            changed = change(_everything(database))
            replace_rows(database, ((id_, at.generation, at.blob) for id_, at in changed.items()))
        # What was replaced is still in the journal. A reader may keep it there for now, and the change is
        # done in any case.
        with suppress(StorageUnavailable), refusals_mapped(self._path), self._writing:
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def copy_to(self, path: Path) -> None:
        """Make a private file that holds all records as they are at one moment, whoever writes meanwhile.

        May be called from within the `change` of a `rewrite`, and then shows what was there before.

        Raises: AlreadyThere, LockTimeout; the file that is there is as it was.
        """
        with self._locks.hold("copy", BUSY_TIMEOUT, "making a backup"), refusals_mapped(path):
            # Under the lock no other process of this vault is at it, so these were left by a killed one.
            for partial in path.parent.glob(f"{glob.escape(partial_prefix(path))}*"):
                partial.unlink()
            try:
                with self._reading:
                    copy_database(self._reader, path)
            except FileExistsError as exc:
                raise AlreadyThere(f"{path} exists and is not overwritten", "choose another name") from exc

    def lock(self, record: RecordId, timeout: float) -> AbstractContextManager[None]:
        return self._locks.hold(lock_name(record), timeout, str(record))

    def version(self) -> int:
        # The writer is another connection, so this process's own writes count too:
        # https://sqlite.org/pragma.html#pragma_data_version
        with self._read() as database:
            return pragma(database, "data_version")

    def close(self) -> None:
        with refusals_mapped(self._path), self._reading, self._writing:
            self._reader.close()
            self._writer.close()

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        with refusals_mapped(self._path), self._reading:
            yield self._reader

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with refusals_mapped(self._path), self._writing, transaction(self._writer):
            yield self._writer


def lock_name(record: RecordId) -> str:
    """The name of a record's lock, which fits any file system."""
    return hashlib.sha256(record.encoded()).hexdigest()


def _get(database: sqlite3.Connection, record: RecordId) -> StoredRecord | None:
    sql = f"SELECT blob, generation FROM record WHERE {_THIS_RECORD}"  # noqa: S608
    row = database.execute(sql, _columns(record)).fetchone()
    if row is None:
        return None
    generation, sealed = content(row[1], row[0])
    return StoredRecord(sealed, generation)


def _put(database: sqlite3.Connection, record: RecordId, blob: bytes, generation: int) -> bool:
    """Whether `generation` was the next one, and so was stored."""
    if generation == 1:
        sql = "INSERT INTO record VALUES (?, ?, ?, ?, 1, ?) ON CONFLICT DO NOTHING"
        return database.execute(sql, (*_columns(record), blob)).rowcount == 1
    sql = f"UPDATE record SET blob = ?, generation = ? WHERE {_THIS_RECORD} AND generation = ?"  # noqa: S608
    return database.execute(sql, (blob, generation, *_columns(record), generation - 1)).rowcount == 1


def _everything(database: sqlite3.Connection) -> dict[RecordId, StoredRecord]:
    return {record: StoredRecord(blob, generation) for record, generation, blob in all_rows(database)}


def _columns(record: RecordId) -> tuple[str, str, str, str]:
    return (record.profile, record.kind, record.provider, record.name)
