"""Where sealed records are kept: what a vault asks of a storage, and SQLite as the first one.

Nothing of SQL, paths or file locks is in the protocol, so that a database server can stand in.
"""

from __future__ import annotations

import fcntl
import glob
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from vault.database import (
    APPLICATION_ID,
    STORAGE_FORMAT,
    all_rows,
    content,
    copy_database,
    replace_rows,
    text,
)
from vault.envelope import SLOT, Kind, RecordId
from vault.errors import AlreadyThere, Conflict, KeptAside, PremiseChanged, StorageDamaged, StorageUnavailable
from vault.files import make_private_folder, partial_prefix, refusals_mapped
from vault.locks import FileLocks
from vault.marks import Mark, Marks, lock_name, vault_name
from vault.pair import BUSY_TIMEOUT, Pair
from vault.spool import Aside, Spool, digest

__all__ = ["APPLICATION_ID", "STORAGE_FORMAT", "Premise", "SqliteStorage", "Storage", "StoredRecord"]

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

        Raises: PremiseChanged, Conflict, and nothing was stored; KeptAside where it was `secured`.
        """
        ...

    def secured(self, record: RecordId) -> AbstractContextManager[None]:
        """Find out that a `put` of this record, which is there, would work, and keep room for it meanwhile.

        What is put in the block is durable in any case: where it cannot be stored it is set aside. Hold
        the record's lock.
        """
        ...

    def set_aside(self) -> list[RecordId]:
        """The records for which something, or room, was set aside."""
        ...

    def aside(self, record: RecordId) -> StoredRecord | None:
        """What was set aside for a record, if it is the next write of what is stored now; else None."""
        ...

    def drop_aside(self, record: RecordId) -> None:
        """Forget what was set aside. Hold the record's lock."""
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

    def lost(self) -> list[RecordId]:
        """Records whose last known write is not there: the store is older than it was, or damaged."""
        ...

    def is_copy(self, record: RecordId) -> bool:
        """Whether what is stored was put back or copied here: another copy may have gone on."""
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
    """Records in one SQLite file; beside it the folders `locks`, which has the marks of the records in it,
    and `spool` for what could not be stored.

    Makes the folder and the file where they are missing. `flock` is flock(2). May be used from several
    threads; a reader (`version` is called from an event loop) never waits for a write to reach the disk.

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
        folder = path.parent / "locks"
        with refusals_mapped(path):
            make_private_folder(path.parent)
            self._locks = FileLocks(folder, flock)
        self._marks = Marks(folder)
        self._spool = Spool(path.parent / "spool")
        journal = path.with_name(f"{path.name}-wal")
        with refusals_mapped(path):
            is_pending = journal.exists() and journal.stat().st_size > 0
        self._pair = Pair(path, self._locks, busy_timeout)
        if is_pending and self.lost():
            self._pair.close(as_they_are=True)
            raise StorageDamaged(
                f"cannot use {path}: its last writes cannot be read, as {journal} is damaged",
                f"restore a backup with <set force>, or move {journal.name} away to go on without them",
            )

    def get(self, record: RecordId) -> StoredRecord | None:
        with self._pair.reading() as database:
            return _get(database, record)

    def put(self, record: RecordId, blob: bytes, generation: int, *, premise: Premise | None = None) -> None:
        # First, because a store may keep us waiting, and this process may end meanwhile.
        kept = self._keep(record, blob, generation)
        try:
            with self._pair.writing() as database:
                slot = _get(database, SLOT)
                if premise is not None and _get(database, premise.record) != premise.stored:
                    raise PremiseChanged(
                        f"{premise.record} was changed by another process meanwhile", "try again"
                    )
                if not _put(database, record, blob, generation):
                    raise Conflict(f"{record} was changed by another process meanwhile", "try again")
        except StorageUnavailable as exc:
            if kept:
                raise KeptAside(str(exc), exc.hint) from exc
            raise
        self._note(record, generation, slot, self._pair.place)
        if kept:
            self.drop_aside(record)

    def delete(self, record: RecordId) -> bool:
        sql = f"DELETE FROM record WHERE {_THIS_RECORD}"  # noqa: S608  (a constant)
        with self._pair.writing() as database:
            self._marks.forget(record)
            deleted = bool(database.execute(sql, _columns(record)).rowcount == 1)
        self.drop_aside(record)
        return deleted

    @contextmanager
    def secured(self, record: RecordId) -> Iterator[None]:
        with self._pair.writing() as database:
            _rehearse(database, record)
        with refusals_mapped(self._path):
            self._spool.reserve(lock_name(record))
        try:
            yield
        finally:
            with suppress(OSError):
                if self._spool.kept(lock_name(record)) is None:
                    self._spool.drop(lock_name(record))

    def set_aside(self) -> list[RecordId]:
        with refusals_mapped(self._path):
            names = self._spool.names()
        return sorted(record for record in self.everything() if lock_name(record) in names) if names else []

    def aside(self, record: RecordId) -> StoredRecord | None:
        with refusals_mapped(self._path):
            kept = self._spool.kept(lock_name(record))
        stored = self.get(record)
        if kept is None or stored is None or kept.replaces != digest(stored.blob):
            return None
        return StoredRecord(kept.blob, kept.generation) if kept.generation == stored.generation + 1 else None

    def drop_aside(self, record: RecordId) -> None:
        with suppress(OSError):  # it is stale by now
            self._spool.drop(lock_name(record))

    def _keep(self, record: RecordId, blob: bytes, generation: int) -> bool:
        """Set a record aside, where room was reserved; whether it could be done."""
        with suppress(StorageUnavailable), refusals_mapped(self._path):
            name = lock_name(record)
            if name in self._spool.names() and (stored := self.get(record)) is not None:
                return self._spool.keep(name, Aside(blob, generation, digest(stored.blob)))
        return False

    def records(self, profile: str, kind: Kind) -> list[RecordId]:
        sql = "SELECT provider, name FROM record WHERE profile = ? AND kind = ? ORDER BY provider, name"
        with self._pair.reading() as database:
            rows = database.execute(sql, (profile, kind)).fetchall()
            return [RecordId(profile, text(provider), text(name), kind) for provider, name in rows]

    def profiles(self) -> list[str]:
        with self._pair.reading() as database:
            rows = database.execute("SELECT DISTINCT profile FROM record ORDER BY profile").fetchall()
            return [text(profile) for (profile,) in rows]

    def everything(self) -> dict[RecordId, StoredRecord]:
        with self._pair.reading() as database:
            return _everything(database)

    def rewrite(
        self, change: Callable[[Mapping[RecordId, StoredRecord]], Mapping[RecordId, StoredRecord]]
    ) -> None:
        # What was replaced is in the journal too, where it should not stay for longer than readers need it.
        with self._pair.writing(BUSY_TIMEOUT) as database:
            before = _everything(database)
            changed = change(before)
            replace_rows(database, ((id_, at.generation, at.blob) for id_, at in changed.items()))
            # Before the end of the write, so that no deletion is between it and them.
            self._rewrite_marks(before, changed)

    def lost(self) -> list[RecordId]:
        marks = list(self._marks.all())  # before the records, as they are written after them
        now = self.everything()
        name = vault_name(now[SLOT].blob) if SLOT in now else ""
        behind = [
            mark for mark in marks if mark.vault == name and mark.generation > _generation(now.get(mark.of))
        ]
        # What was deleted or restored meanwhile has another mark, or none.
        return [mark.of for mark in behind if self._known(mark.of) == mark]

    def is_copy(self, record: RecordId) -> bool:
        mark = self._known(record)
        if mark is None:
            return False
        return mark.place != self._pair.place or mark.generation > _generation(self.get(record))

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
                with self._pair.reading_on() as database:
                    copy_database(database, path)
            except FileExistsError as exc:
                raise AlreadyThere(f"{path} exists and is not overwritten", "choose another name") from exc

    def lock(self, record: RecordId, timeout: float) -> AbstractContextManager[None]:
        return self._locks.hold(lock_name(record), timeout, str(record))

    def version(self) -> int:
        return self._pair.version()

    def close(self) -> None:
        self._pair.close()

    def _note(self, record: RecordId, generation: int, slot: StoredRecord | None, place: int) -> None:
        if record != SLOT and slot is not None:
            words = (record.profile, record.provider, record.name, record.kind)
            name = vault_name(slot.blob)
            self._marks.note(Mark(record=words, generation=generation, vault=name, place=place))

    def _rewrite_marks(
        self, before: Mapping[RecordId, StoredRecord], after: Mapping[RecordId, StoredRecord]
    ) -> None:
        marks = {mark.of: mark for mark in self._marks.all()}
        for record in {*marks, *before}:
            self._marks.forget(record)
        for record, stored in after.items():
            mark = marks.get(record)
            is_same = mark is not None and mark.generation == stored.generation
            self._note(record, stored.generation, after.get(SLOT), mark.place if mark and is_same else 0)

    def _known(self, record: RecordId) -> Mark | None:
        """The mark of a record of this very vault."""
        mark, slot = self._marks.read(record), self.get(SLOT)
        return mark if mark and slot and mark.vault == vault_name(slot.blob) else None


def _generation(stored: StoredRecord | None) -> int:
    return stored.generation if stored else 0


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


def _rehearse(database: sqlite3.Connection, record: RecordId) -> None:
    """Write a record as it is. Changed on the way, as SQLite writes no page that stays the same."""
    stored = _get(database, record)
    sql = f"UPDATE record SET blob = ? WHERE {_THIS_RECORD}"  # noqa: S608
    for blob in (bytes(len(stored.blob)), stored.blob) if stored else ():
        database.execute(sql, (blob, *_columns(record)))


def _everything(database: sqlite3.Connection) -> dict[RecordId, StoredRecord]:
    return {record: StoredRecord(blob, generation) for record, generation, blob in all_rows(database)}


def _columns(record: RecordId) -> tuple[str, str, str, str]:
    return (record.profile, record.kind, record.provider, record.name)
