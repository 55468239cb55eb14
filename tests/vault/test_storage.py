"""Records in SQLite: the contract of a storage, and what is true of files."""

from __future__ import annotations

import json
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.vault.processes import finish, go, wait_ready, worker
from tests.vault.storage_contract import SHORT, WORK, StorageContract
from tests.vault.worker import COUNTER
from vault.errors import FormatTooNew, LockTimeout, LoosePermissions, StorageUnavailable
from vault.storage import APPLICATION_ID, SqliteStorage, StoredRecord


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "vault.db"


@pytest.fixture
def storage(path: Path) -> Iterator[SqliteStorage]:
    with closing(SqliteStorage(path)) as storage:
        yield storage


@pytest.fixture
def other(path: Path, storage: SqliteStorage) -> Iterator[SqliteStorage]:
    with closing(SqliteStorage(path)) as other:
        yield other


class TestSqliteStorage(StorageContract):
    """The contract, kept by the storage above."""


def made(path: Path, *statements: str) -> bytes:
    """A database that is not a vault of this version; returns its bytes."""
    path.parent.mkdir(mode=0o700)
    path.touch(mode=0o600)
    with closing(sqlite3.connect(path)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()
    return path.read_bytes()


def test_a_record_is_there_after_closing_and_opening(path: Path) -> None:
    with closing(SqliteStorage(path)) as storage:
        storage.put(WORK, b"one", 1)
    with closing(SqliteStorage(path)) as storage:
        assert storage.get(WORK) == StoredRecord(b"one", 1)


def test_the_file_says_whose_it_is_and_in_which_format(storage: SqliteStorage, path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert database.execute("PRAGMA user_version").fetchone() == (1,)
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_everything_is_private_from_birth_whatever_the_umask(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with worker("modes", home, umask=0) as process:
        found = json.loads(finish([process])[0].removeprefix("ready\n"))

    modes = found["modes"]
    assert found["changed"] == 0
    assert {modes.pop("home"), modes.pop("locks")} == {0o700}
    assert {"vault.db", "vault.db-wal", "vault.db-shm", "master.key"} < set(modes)
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_database_that_others_may_use_is_refused_with_the_command_that_helps(
    storage: SqliteStorage, path: Path, mode: int
) -> None:
    path.chmod(mode)
    with pytest.raises(LoosePermissions) as caught:
        SqliteStorage(path)
    assert caught.value.hint == f"run 'chmod 600 {path}'"

    path.chmod(0o600)
    SqliteStorage(path).close()


@pytest.mark.parametrize("folder", [".", "locks"])
def test_a_folder_that_others_may_enter_is_refused_with_the_command_that_helps(
    storage: SqliteStorage, path: Path, folder: str
) -> None:
    (path.parent / folder).chmod(0o750)
    with pytest.raises(LoosePermissions, match="other users can use"):
        SqliteStorage(path)

    (path.parent / folder).chmod(0o700)
    SqliteStorage(path).close()


def test_the_database_of_another_program_is_refused_and_kept(path: Path) -> None:
    before = made(path, "CREATE TABLE theirs (x)", "INSERT INTO theirs VALUES (1)")

    with pytest.raises(StorageUnavailable, match="another program"):
        SqliteStorage(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "marks",
    [
        ["PRAGMA application_id = 7", "PRAGMA user_version = 1"],
        ["PRAGMA application_id = 7"],
        ["PRAGMA user_version = 3"],
        [f"PRAGMA application_id = {APPLICATION_ID}"],
    ],
)
def test_an_empty_database_that_is_marked_otherwise_is_refused_and_kept(path: Path, marks: list[str]) -> None:
    before = made(path, *marks)

    with pytest.raises(StorageUnavailable, match="another program"):
        SqliteStorage(path)
    assert path.read_bytes() == before


def test_a_newer_layout_is_refused_and_kept(path: Path) -> None:
    before = made(
        path, f"PRAGMA application_id = {APPLICATION_ID}", "PRAGMA user_version = 2", "CREATE TABLE new (x)"
    )

    with pytest.raises(FormatTooNew, match="newer version"):
        SqliteStorage(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_kept(path: Path) -> None:
    made(path)
    path.write_bytes(b"not a database, but precious " * 100)

    with pytest.raises(StorageUnavailable, match="it is not a vault"):
        SqliteStorage(path)
    assert path.read_bytes() == b"not a database, but precious " * 100


def test_a_creation_that_died_half_way_is_finished_by_the_next_opening(path: Path) -> None:
    made(path, "PRAGMA journal_mode = WAL")

    with closing(SqliteStorage(path)) as storage:
        storage.put(WORK, b"one", 1)
        assert storage.get(WORK) == StoredRecord(b"one", 1)


def test_a_home_that_cannot_be_a_folder_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch(mode=0o600)

    with pytest.raises(StorageUnavailable, match="cannot use") as caught:
        SqliteStorage(tmp_path / "file" / "vault.db")
    assert caught.value.hint


def test_a_storage_that_was_closed_refuses(storage: SqliteStorage) -> None:
    storage.close()

    with pytest.raises(StorageUnavailable):
        storage.get(WORK)


def test_a_writer_waits_for_another_processs_write(storage: SqliteStorage, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as busy:
        busy.execute("BEGIN IMMEDIATE")
        threading.Timer(0.1, lambda: busy.execute("COMMIT")).start()
        storage.put(WORK, b"one", 1)

    assert storage.get(WORK) == StoredRecord(b"one", 1)


def test_a_writer_that_waited_its_time_says_so(storage: SqliteStorage, path: Path) -> None:
    with closing(SqliteStorage(path, busy_timeout=0.05)) as impatient:
        with closing(sqlite3.connect(path, isolation_level=None)) as busy:
            busy.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageUnavailable, match="another process kept it busy") as caught:
                impatient.put(WORK, b"one", 1)
        assert "locked" not in str(caught.value)
        assert impatient.get(WORK) is None


def test_a_reader_does_not_wait_for_a_writer(storage: SqliteStorage, path: Path) -> None:
    storage.put(WORK, b"one", 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as busy:
        busy.execute("BEGIN IMMEDIATE")
        writer = threading.Thread(target=storage.put, args=(WORK, b"two", 2))
        writer.start()
        began = time.monotonic()
        for _ in range(5):
            storage.version()
            assert storage.get(WORK) == StoredRecord(b"one", 1)
        waited = time.monotonic() - began
        busy.execute("COMMIT")
        writer.join()

    assert waited < 1
    assert storage.get(WORK) == StoredRecord(b"two", 2)


def test_processes_lose_no_update(path: Path) -> None:
    with ExitStack() as stack:
        finish([stack.enter_context(worker("count", path.parent, "30")) for _ in range(4)])

    with closing(SqliteStorage(path)) as storage:
        assert storage.get(COUNTER) == StoredRecord(b"120", 120)


def test_a_lock_falls_when_the_process_that_holds_it_is_killed(storage: SqliteStorage, path: Path) -> None:
    with worker("hold", path.parent) as holder:
        wait_ready(holder)
        go(holder)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockTimeout), storage.lock(COUNTER, SHORT):
            pytest.fail("two processes hold the lock")

        holder.send_signal(signal.SIGKILL)
        with storage.lock(COUNTER, 5):
            assert holder.wait(5) == -signal.SIGKILL
