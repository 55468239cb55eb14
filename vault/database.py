"""What a vault's SQLite file looks like, and the few ways in which it is opened, read and copied."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from vault.envelope import RecordId
from vault.errors import FormatTooNew, StorageDamaged, StorageUnavailable
from vault.files import make_private_folder, new_file, require_private

APPLICATION_ID: Final = 0x61757468
"""SQLite's mark for whose file it is (https://sqlite.org/pragma.html#pragma_application_id): "auth"."""

STORAGE_FORMAT: Final = 1
"""The layout of the tables, kept in SQLite's `user_version`."""

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

type Row = tuple[RecordId, int, bytes]
"""A record, its generation and its sealed content."""


def make_private_database(path: Path) -> None:
    """Make an empty vault with mode 0600, which SQLite gives to the files beside it as well.

    It gets its name when it is whole, so that an empty file is never one that was begun.

    Raises: what `require_private_database` raises for one that is there.
    """
    make_private_folder(path.parent)
    if not os.path.lexists(path):
        with (
            suppress(FileExistsError),
            new_file(path) as temporary,
            closing(connect(temporary, 0)) as database,
        ):
            database.execute("PRAGMA journal_mode = OFF")  # an unfinished file is never used
            _make_tables(database)
    require_private_database(path)


def require_private_database(path: Path) -> None:
    """Refuse what is no file of this user alone, or holds nothing.

    It is only looked at, never opened: closing it would drop the locks that SQLite holds in this process
    (https://sqlite.org/howtocorrupt.html section 2.2).

    Raises: LoosePermissions, StorageDamaged, OSError.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise StorageUnavailable(
            f"cannot use {path}: it is not a file", "move it away, or restore a backup in its place"
        )
    require_private(path, found)
    if found.st_size == 0:
        # SQLite would make a new database of it, and take away the journal beside it.
        raise StorageDamaged(
            f"cannot use {path}: it is empty, so what was in it is lost",
            "restore a backup with <set force>, or move it away to begin anew",
        )


def connect(path: Path, busy_timeout: float, query: str = "mode=rw") -> sqlite3.Connection:
    """Open a database that exists; `busy_timeout` is in seconds."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?{query}",
        uri=True,
        timeout=busy_timeout,
        isolation_level=None,
        check_same_thread=False,
    )


def set_up(database: sqlite3.Connection, path: Path, *, make: bool) -> None:
    """Have writers leave readers alone, and `make` the tables where there are none.

    Call under a lock: two processes that change the journal mode at once would fail without waiting.

    Raises: FormatTooNew, StorageUnavailable for a database of another program, which is not changed.
    """
    ready = is_ready(database, path)
    if not (ready or make):
        raise StorageUnavailable(f"cannot use {path}: it holds no vault", "put the vault's own file back")
    database.execute("PRAGMA journal_mode = WAL")
    if not ready:
        _make_tables(database)
    require_whole(database)


def require_whole(database: sqlite3.Connection) -> None:
    """Look at the structure of the whole file: a damaged one hides records. Raises: sqlite3.DatabaseError."""
    if pragma_text(database, "quick_check(1)") != "ok":
        raise _corrupt()


def _make_tables(database: sqlite3.Connection) -> None:
    with transaction(database):
        database.execute(_SCHEMA)
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {STORAGE_FORMAT}")


def is_ready(database: sqlite3.Connection, path: Path) -> bool:
    """Whether this is a complete vault; False for an empty file. Writes nothing.

    Raises: FormatTooNew, StorageUnavailable for a database of another program.
    """
    owner, layout = pragma(database, "application_id"), pragma(database, "user_version")
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


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All of the block's writes or none of them, with no other writer in between."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    finally:
        if database.in_transaction:
            database.execute("ROLLBACK")


def empty_journal(database: sqlite3.Connection, patience: float) -> None:
    """Bring what was written from the journal into the file, unless readers need it there for longer.

    SQLite reads a journal up to the first sum that is wrong and says nothing, so that one flipped bit
    costs the last writes. Costs a write two more syncs: 0.7 ms in place of 0.3 ms on a disk with a cache.
    """
    timeout = pragma(database, "busy_timeout")
    with suppress(sqlite3.Error):  # what was written is durable in any case
        database.execute(f"PRAGMA busy_timeout = {int(patience * 1000)}")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    database.execute(f"PRAGMA busy_timeout = {timeout}")


def all_rows(database: sqlite3.Connection) -> list[Row]:
    """Every record, also those of unknown kinds and impossible names."""
    found = database.execute("SELECT profile, kind, provider, name, generation, blob FROM record")
    return [
        (RecordId(text(profile), text(provider), text(name), text(kind)), *content(generation, blob))
        for profile, kind, provider, name, generation, blob in found.fetchall()
    ]


def text(value: object) -> str:
    """A word of a record. Raises: sqlite3.DatabaseError."""
    if not isinstance(value, str):
        raise _corrupt()
    return value


def content(generation: object, blob: object) -> tuple[int, bytes]:
    """The generation of a record and what is sealed in it. Raises: sqlite3.DatabaseError."""
    if not (isinstance(generation, int) and isinstance(blob, bytes)):
        raise _corrupt()
    return generation, blob


def _corrupt() -> sqlite3.DatabaseError:
    """As SQLite itself would say it; of a file that was cut it gives out empty columns instead."""
    error = sqlite3.DatabaseError("an impossible value")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def replace_rows(database: sqlite3.Connection, rows: Iterable[Row]) -> None:
    """Put `rows` in place of all there are; call within a transaction."""
    database.execute("DELETE FROM record")
    database.executemany(
        "INSERT INTO record (profile, kind, provider, name, generation, blob) VALUES (?, ?, ?, ?, ?, ?)",
        ((r.profile, r.kind, r.provider, r.name, generation, blob) for r, generation, blob in rows),
    )


def copy_database(database: sqlite3.Connection, path: Path) -> None:
    """Make a private file that holds one moment of a database, whoever writes meanwhile.

    Raises: FileExistsError, and the other file is as it was. OSError, sqlite3.Error.
    """
    with new_file(path) as temporary, closing(connect(temporary, 0)) as copy:
        copy.execute("PRAGMA journal_mode = OFF")  # an unfinished file is never used, and is one file only
        database.backup(copy)
        # The mark of a journal beside the file was copied as well; a copy is to be complete in itself.
        copy.execute("PRAGMA journal_mode = DELETE")


def read_copy(path: Path) -> list[Row]:
    """The rows of a file that `copy_database` made. Nothing is written, not even a lock.

    Raises: StorageDamaged, StorageUnavailable, FormatTooNew, OSError, sqlite3.Error.
    """
    if path.with_name(f"{path.name}-wal").exists():
        raise StorageUnavailable(
            f"cannot use {path}: it is a vault in use, not a backup", "make one with <vault backup>"
        )
    with closing(connect(path, 0, "mode=ro&immutable=1")) as copy:
        if not is_ready(copy, path) or pragma_text(copy, "quick_check") != "ok":
            raise StorageDamaged(f"cannot use {path}: it is not a whole backup", "use another backup")
        return all_rows(copy)


def pragma(database: sqlite3.Connection, name: str) -> int:
    """A setting of SQLite that is a number."""
    return int(database.execute(f"PRAGMA {name}").fetchone()[0])


def pragma_text(database: sqlite3.Connection, name: str) -> str:
    """A setting or an answer of SQLite that is a text."""
    return str(database.execute(f"PRAGMA {name}").fetchone()[0])
