"""The file of a vault is taken away or another one put there while the vault is open."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.vault.processes import ROOT
from tests.vault.samples import DEFAULT, STATIC, TOKENS, WORK
from tests.vault.worker import open_vault
from vault.errors import KeyUnavailable, StorageUnavailable, VaultError
from vault.model import Versioned
from vault.storage import SqliteStorage
from vault.vault import Vault

MANY = 40


@pytest.fixture
def opened(vault: Vault, home: Path) -> Vault:
    """A vault that has been read and written, as a run has done by then."""
    vault.put_connection(WORK, STATIC, expected=None)
    assert vault.connection(WORK) == Versioned(STATIC, 1)
    return vault


@pytest.fixture
def copies(opened: Vault, home: Path, tmp_path: Path) -> dict[str, Path]:
    """Backups of the same vault: smaller, of the same size, and larger than it is in the end."""
    found = {}
    with closing(SqliteStorage(home / "vault.db")) as storage:
        for name, connections in (("smaller", 0), ("same", MANY), ("larger", MANY)):
            for number in range(connections):
                opened.put_connection(_named(f"{name}{number}"), TOKENS, expected=None)
            storage.copy_to(tmp_path / name)
            found[name] = tmp_path / name
        for number in range(MANY):
            assert opened.delete_connection(_named(f"larger{number}"))
    return found


def _named(name: str) -> type(WORK):  # type: ignore[valid-type]
    return type(WORK)("default", "discord", name)


def missing_in(size: str) -> set[str]:
    """The names of the connections that were made after a copy and are still there to be missed."""
    return {f"same{number}" for number in range(MANY)} if size == "smaller" else set()


def _lost(vault: Vault) -> set[str]:
    problems = vault.verify()[1]
    assert {problem.trouble for problem in problems} <= {"its last write is not there"}
    return {problem.record.name for problem in problems}


def by_rename(copy: Path, file: Path) -> None:
    shutil.copy(copy, file.with_name("new"))
    file.with_name("new").chmod(0o600)
    file.with_name("new").replace(file)


def in_place(copy: Path, file: Path) -> None:
    file.write_bytes(copy.read_bytes())


def after_removal(copy: Path, file: Path) -> None:
    file.unlink()
    shutil.copy(copy, file)
    file.chmod(0o600)


def with_all_beside(copy: Path, file: Path) -> None:
    for path in file.parent.glob("vault.db*"):
        path.unlink()
    after = file.with_name("new")
    shutil.copy(copy, after)
    after.chmod(0o600)
    after.rename(file)


WAYS = [by_rename, in_place, after_removal, with_all_beside]


@pytest.mark.parametrize("size", ["smaller", "same", "larger"])
@pytest.mark.parametrize("way", WAYS)
def test_another_copy_of_the_vault_is_gone_over_to_and_written_to(
    opened: Vault, copies: dict[str, Path], home: Path, way: Callable[[Path, Path], None], size: str
) -> None:
    opened.put_connection(WORK, TOKENS, expected=1)
    version = opened.version()
    way(copies[size], home / "vault.db")

    assert opened.version() != version
    assert opened.connection(WORK) == Versioned(STATIC, 1)
    assert opened.put_connection(DEFAULT, TOKENS, expected=None) == 1
    assert opened.put_connection(WORK, TOKENS, expected=1) == 2
    opened.close()
    with open_vault(home) as again:
        assert again.connection(DEFAULT) == Versioned(TOKENS, 1)
        assert again.connection(WORK) == Versioned(TOKENS, 2)
        assert _lost(again) == missing_in(size)
    with closing(sqlite3.connect(home / "vault.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("size", ["smaller", "same", "larger"])
@pytest.mark.parametrize("way", WAYS)
def test_a_copy_that_is_put_there_can_be_used_by_others_at_once(
    opened: Vault, copies: dict[str, Path], home: Path, way: Callable[[Path, Path], None], size: str
) -> None:
    opened.put_connection(WORK, TOKENS, expected=1)
    way(copies[size], home / "vault.db")
    opened.version()

    with open_vault(home) as other:
        assert other.put_connection(WORK, TOKENS, expected=1) == 2
        assert _lost(other) == missing_in(size)
    assert opened.connection(WORK) == Versioned(TOKENS, 2)
    assert opened.put_connection(WORK, STATIC, expected=2) == 3


def remove(home: Path) -> None:
    (home / "vault.db").unlink()


def remove_all(home: Path) -> None:
    for path in home.glob("vault.db*"):
        path.unlink()


def rename(home: Path) -> None:
    (home / "vault.db").rename(home / "elsewhere")


def rename_the_home(home: Path) -> None:
    home.rename(home.with_name("elsewhere"))


def cut(home: Path) -> None:
    os.truncate(home / "vault.db", 4096)


def cut_within(home: Path) -> None:
    os.truncate(home / "vault.db", 5000)


def empty(home: Path) -> None:
    os.truncate(home / "vault.db", 0)


def overwrite(home: Path) -> None:
    (home / "vault.db").write_bytes(b"not a database, but precious " * 300)


def make_a_folder(home: Path) -> None:
    (home / "vault.db").unlink()
    (home / "vault.db").mkdir()


def make_a_new_file(home: Path) -> None:
    (home / "vault.db").unlink()
    (home / "vault.db").touch(mode=0o600)


def make_another_database(home: Path) -> None:
    remove_all(home)
    (home / "vault.db").touch(mode=0o600)
    with closing(sqlite3.connect(home / "vault.db")) as database, database:
        database.execute("CREATE TABLE theirs (x)")


def make_a_blank_database(home: Path) -> None:
    remove_all(home)
    (home / "vault.db").touch(mode=0o600)
    with closing(sqlite3.connect(home / "vault.db")) as database:
        database.execute("PRAGMA journal_mode = WAL")


def open_to_others(home: Path) -> None:
    (home / "vault.db").rename(home / "old")
    shutil.copy(home / "old", home / "vault.db")
    (home / "vault.db").chmod(0o644)


HARMS = [
    remove,
    remove_all,
    rename,
    rename_the_home,
    cut,
    cut_within,
    empty,
    overwrite,
    make_a_folder,
    make_a_new_file,
    make_another_database,
    make_a_blank_database,
    open_to_others,
]


def files(home: Path) -> dict[str, bytes]:
    """All but what says nothing: an empty journal, and its index."""
    found = {path.name: path.read_bytes() for path in home.glob("*") if path.is_file()}
    return {name: content for name, content in found.items() if content and not name.endswith("-shm")}


@pytest.mark.parametrize("harm", HARMS)
def test_what_is_no_vault_any_more_is_refused_and_left_as_it_is(
    opened: Vault, home: Path, harm: Callable[[Path], None]
) -> None:
    harm(home)
    before = files(home)

    for action in (
        opened.version,
        lambda: opened.connection(WORK),
        lambda: opened.put_connection(WORK, TOKENS, expected=1),
        lambda: opened.put_connection(DEFAULT, TOKENS, expected=None),
        opened.version,
    ):
        with pytest.raises(VaultError) as caught:
            action()
        assert caught.value.hint
    opened.close()
    assert {name: content for name, content in files(home).items() if name in before} == before
    assert not any(b"discord" in content for name, content in files(home).items() if name not in before)


def test_a_file_that_is_put_back_is_used_again(opened: Vault, home: Path) -> None:
    rename(home)
    with pytest.raises(StorageUnavailable, match="was removed or moved away while it was in use"):
        opened.version()
    (home / "elsewhere").rename(home / "vault.db")

    assert opened.put_connection(WORK, TOKENS, expected=1) == 2
    with open_vault(home) as other:
        assert other.connection(WORK) == Versioned(TOKENS, 2)


def test_a_vault_of_another_key_is_not_written_to(opened: Vault, home: Path, tmp_path: Path) -> None:
    with open_vault(tmp_path / "other", create=True) as other:
        other.put_connection(WORK, TOKENS, expected=None)
    by_rename(tmp_path / "other" / "vault.db", home / "vault.db")

    for action in (
        lambda: opened.connection(WORK),
        lambda: opened.put_connection(WORK, STATIC, expected=1),
        lambda: opened.put_connection(DEFAULT, STATIC, expected=None),
    ):
        with pytest.raises(KeyUnavailable) as caught:
            action()
        assert caught.value.hint
    with open_vault(tmp_path / "other") as other:
        assert other.verify() == (1, [])


@pytest.mark.parametrize("ends", [("-wal",), ("-shm",), ("-wal", "-shm")])
def test_what_sqlite_keeps_beside_may_be_removed(opened: Vault, home: Path, ends: tuple[str, ...]) -> None:
    for end in ends:
        (home / f"vault.db{end}").unlink()

    assert opened.connection(WORK) == Versioned(STATIC, 1)
    assert opened.put_connection(WORK, TOKENS, expected=1) == 2
    with open_vault(home) as other:
        assert other.connection(WORK) == Versioned(TOKENS, 2)
        assert other.put_connection(WORK, STATIC, expected=2) == 3
    assert opened.connection(WORK) == Versioned(STATIC, 3)


SCRIPT = """
import os, sys
from pathlib import Path
from tests.vault.samples import STATIC, TOKENS, WORK
from tests.vault.worker import open_vault
home = Path(sys.argv[1])
with open_vault(home, create=True) as vault:
    vault.put_connection(WORK, STATIC, expected=None)
    os.truncate(home / "vault.db-shm", int(sys.argv[2]))
    assert vault.put_connection(WORK, TOKENS, expected=1) == 2
    assert vault.connection(WORK).generation == 2
"""


@pytest.mark.parametrize("size", [0, 100, 32 * 1024 - 1])
def test_an_index_that_is_cut_does_not_kill_the_process(home: Path, size: int) -> None:
    """It is mapped into memory, so that reading past its end is a signal (SIGBUS)."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(home), str(size)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != -signal.SIGBUS
    assert (done.returncode, done.stderr) == (0, "")


def test_a_write_into_a_file_that_is_replaced_meanwhile_is_no_success(
    opened: Vault, copies: dict[str, Path], home: Path
) -> None:
    with closing(SqliteStorage(home / "vault.db")) as storage:

        def change(records):  # type: ignore[no-untyped-def]
            by_rename(copies["same"], home / "vault.db")
            return records

        with pytest.raises(StorageUnavailable, match="was replaced or removed while it was written to"):
            storage.rewrite(change)


def test_looking_for_another_file_costs_microseconds(opened: Vault) -> None:
    import time

    rounds = []
    for _ in range(5):  # of which the best says what it costs where nothing else runs
        began = time.perf_counter()
        for _ in range(200):
            opened.version()
        rounds.append((time.perf_counter() - began) / 200)
    assert min(rounds) < 0.001
