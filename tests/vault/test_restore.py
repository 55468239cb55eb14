"""A backup, and a backup put back."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.vault.samples import CLIENT, DEFAULT, OTHERS, STATIC, TOKENS, WORK, contents
from tests.vault.sources import MemoryKeyring, piped
from tests.vault.worker import open_vault
from vault.database import read_copy
from vault.envelope import SLOT
from vault.errors import (
    AlreadyThere,
    FormatTooNew,
    KeyUnavailable,
    StorageDamaged,
    StorageUnavailable,
    VaultError,
)
from vault.keys.descriptor import KeyDescriptor
from vault.keys.file import KeyFile, key_text
from vault.keys.keyring import Keyring
from vault.keys.opening import stored_slot, unlocked
from vault.keys.rekey import rekey
from vault.keys.wrapping import encode, key_id, wrap
from vault.model import ConnectionKey, Versioned
from vault.restore import Restored, restore
from vault.storage import SqliteStorage, StoredRecord
from vault.vault import Vault


@pytest.fixture
def storage(home: Path, vault: Vault) -> Iterator[SqliteStorage]:
    vault.put_connection(WORK, TOKENS, expected=None)
    vault.put_client("default", "discord", CLIENT, expected=None)
    with closing(SqliteStorage(home / "vault.db")) as storage:
        yield storage


@pytest.fixture
def backup(storage: SqliteStorage, tmp_path: Path) -> Path:
    storage.copy_to(tmp_path / "backup")
    return tmp_path / "backup"


def put_back(backup: Path, home: Path, *, force: bool = True) -> Restored:
    return restore(backup, home / "vault.db", KeyFile(home / "master.key"), force=force)


def test_a_backup_is_one_private_file_with_all_records_and_no_key(
    backup: Path, storage: SqliteStorage, home: Path, tmp_path: Path
) -> None:
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert sorted(tmp_path.iterdir()) == [backup, home]
    assert {record: stored.blob for record, stored in storage.everything().items()} == {
        record: blob for record, _, blob in read_copy(backup)
    }
    content = backup.read_bytes()
    assert b"CANARY" not in content
    assert KeyFile(home / "master.key").load() not in content


def test_a_backup_needs_nothing_beside_it_and_no_place_to_write(backup: Path) -> None:
    assert backup.read_bytes()[18:20] == b"\x01\x01"  # https://sqlite.org/fileformat.html: no WAL
    with closing(sqlite3.connect(f"{backup.as_uri()}?mode=ro", uri=True)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert list(backup.parent.glob("backup*")) == [backup]


def test_a_backup_overwrites_nothing(storage: SqliteStorage, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")

    for name in ("precious", "link", "home"):
        with pytest.raises(AlreadyThere, match="is not overwritten"):
            storage.copy_to(tmp_path / name)
    assert (tmp_path / "precious").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "link", "precious"]


def test_what_a_killed_backup_left_is_removed_by_the_next_to_the_same_place(
    storage: SqliteStorage, tmp_path: Path
) -> None:
    (tmp_path / ".backup.partial-abc").touch()
    (tmp_path / ".other.partial-abc").touch()

    storage.copy_to(tmp_path / "backup")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.partial-abc", "backup", "home"]


def test_a_backup_into_a_folder_that_is_not_there_is_a_clear_error(
    storage: SqliteStorage, tmp_path: Path
) -> None:
    with pytest.raises(StorageUnavailable, match="no such file or folder"):
        storage.copy_to(tmp_path / "nowhere" / "backup")


def test_backups_made_while_others_write_hold_one_moment_each(
    vault: Vault, storage: SqliteStorage, home: Path, tmp_path: Path
) -> None:
    # A pair is written in one transaction; a backup in between would show two different generations.
    pair = [ConnectionKey("default", "discord", name) for name in ("a", "b")]
    stop = threading.Event()

    def write() -> None:
        with closing(SqliteStorage(home / "vault.db")) as own:
            while not stop.is_set():
                own.rewrite(
                    lambda records: {
                        record: stored.__class__(stored.blob, stored.generation + (record.name in ("a", "b")))
                        for record, stored in records.items()
                    }
                )

    for key in pair:
        vault.put_connection(key, STATIC, expected=None)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(15):
            storage.copy_to(tmp_path / f"{number}")
    finally:
        stop.set()
        writer.join()
    seen = [
        {
            generation
            for record, generation, _ in read_copy(tmp_path / f"{number}")
            if record.name in ("a", "b")
        }
        for number in range(15)
    ]
    assert [len(generations) for generations in seen] == [1] * 15
    assert len({min(generations) for generations in seen}) > 1


def test_a_backup_restores_a_vault_that_is_lost(backup: Path, vault: Vault, home: Path) -> None:
    vault.close()
    for path in home.glob("vault.db*"):
        path.unlink()

    done = put_back(backup, home, force=False)
    assert (done.records, done.damaged, done.kept) == (2, [], None)
    with open_vault(home) as again:
        assert again.connection(WORK) == Versioned(TOKENS, 1)
        assert again.client("default", "discord") == Versioned(CLIENT, 1)


def test_a_vault_is_not_replaced_without_force(backup: Path, vault: Vault, home: Path) -> None:
    vault.put_connection(DEFAULT, STATIC, expected=None)
    before = contents(home)

    with pytest.raises(AlreadyThere) as caught:
        put_back(backup, home, force=False)
    assert "<set force>" in caught.value.hint
    assert contents(home) == before


def test_with_force_the_vault_that_was_there_is_kept_and_can_be_restored_itself(
    backup: Path, vault: Vault, home: Path
) -> None:
    vault.put_connection(DEFAULT, STATIC, expected=None)

    done = put_back(backup, home)
    assert done.kept == home / "vault.db.before-restore-1"
    assert stat.S_IMODE(done.kept.stat().st_mode) == 0o600
    assert vault.connection(DEFAULT) is None

    assert put_back(done.kept, home).kept == home / "vault.db.before-restore-2"
    assert vault.connection(DEFAULT) == Versioned(STATIC, 1)
    assert vault.connection(WORK) == Versioned(TOKENS, 1)


def test_who_has_the_vault_open_sees_what_was_restored_and_loses_no_write(
    backup: Path, vault: Vault, home: Path
) -> None:
    vault.put_connection(WORK, STATIC, expected=1)
    version = vault.version()
    put_back(backup, home)

    assert vault.version() != version
    assert vault.connection(WORK) == Versioned(TOKENS, 1)
    assert vault.put_connection(WORK, STATIC, expected=1) == 2
    with open_vault(home) as other:
        assert other.connection(WORK) == Versioned(STATIC, 2)


def file_source(home: Path) -> KeyFile:
    return KeyFile(home / "master.key")


def test_a_backup_from_before_a_rekey_opens_with_the_key_that_was_kept_and_so_does_what_it_replaced(
    backup: Path, vault: Vault, storage: SqliteStorage, home: Path
) -> None:
    first = stored_slot(storage)
    for _ in range(2):
        rekey(storage, file_source(home), file_source(home), now=lambda: 0.0)
    newer = stored_slot(storage)
    kept = put_back(backup, home).kept
    assert kept is not None
    assert stored_slot(storage) == first
    for _ in range(2):  # the newer key is in the way of the one that comes
        rekey(storage, file_source(home), file_source(home), now=lambda: 0.0)
        with Vault.open(SqliteStorage(home / "vault.db"), file_source(home)) as again:
            assert again.connection(WORK) == Versioned(TOKENS, 1)
    put_back(kept, home)
    assert stored_slot(storage) == newer
    with Vault.open(SqliteStorage(home / "vault.db"), file_source(home)) as again:
        assert again.connection(WORK) is not None


@pytest.mark.parametrize("to", ["file", "keyring"])
def test_a_vault_whose_rekey_was_cut_off_is_kept_with_its_key(
    backup: Path, vault: Vault, storage: SqliteStorage, home: Path, tmp_path: Path, to: str
) -> None:
    backend = MemoryKeyring()
    source: KeyFile | Keyring = file_source(home)
    if to == "keyring":
        source = Keyring(lambda: backend)
        rekey(storage, file_source(home), source, now=lambda: 0.0)
        backup = tmp_path / "of-keyring"
        storage.copy_to(backup)
    made = source.stage(stored_slot(storage))
    # As if the change was written and not settled.
    slot = wrap(made.key, bytes(12), unlocked(storage, source).key, made.origin, 0)
    changed = {**storage.everything()}
    changed[SLOT] = StoredRecord(encode(slot), changed[SLOT].generation + 1)
    storage.rewrite(lambda _: changed)

    kept = restore(backup, home / "vault.db", source, force=True).kept
    assert kept is not None
    for _ in range(2):
        rekey(storage, source, source, now=lambda: 0.0)
    restore(kept, home / "vault.db", source, force=True)
    assert stored_slot(storage) == slot
    with Vault.open(SqliteStorage(home / "vault.db"), source) as again:
        assert again.connection(WORK) == Versioned(TOKENS, 1)


def test_a_backup_from_before_a_rekey_opens_with_the_key_that_the_keyring_keeps(
    backup: Path, vault: Vault, storage: SqliteStorage, home: Path, tmp_path: Path
) -> None:
    backend = MemoryKeyring()
    keyring, file = Keyring(lambda: backend), file_source(home)
    rekey(storage, file, keyring, now=lambda: 0.0)
    first = stored_slot(storage)
    storage.copy_to(tmp_path / "of-keyring")
    for _ in range(2):
        rekey(storage, keyring, keyring, now=lambda: 0.0)
    newer = stored_slot(storage)
    kept = restore(tmp_path / "of-keyring", home / "vault.db", keyring, force=True).kept
    assert kept is not None
    assert stored_slot(storage) == first
    rekey(storage, keyring, keyring, now=lambda: 0.0)
    rekey(storage, keyring, file, now=lambda: 0.0)
    for path, slot in ((tmp_path / "of-keyring", first), (kept, newer)):
        restore(path, home / "vault.db", keyring, force=True)
        assert stored_slot(storage) == slot


def test_a_backup_from_before_a_rekey_needs_the_key_of_then(
    backup: Path, vault: Vault, storage: SqliteStorage, home: Path
) -> None:
    old = KeyFile(home / "master.key").load()
    rekey(storage, KeyFile(home / "master.key"), KeyFile(home / "master.key"), now=lambda: 0.0)
    assert KeyFile(home / "master.key").forget(key_id(old), stored_slot(storage))
    before = contents(home)

    with pytest.raises(KeyUnavailable, match="the backup does not open") as caught:
        put_back(backup, home)
    assert "AUTHSOME_KEY_FILE" in caught.value.hint
    assert contents(home) == before

    restore(backup, home / "vault.db", KeyDescriptor(piped(key_text(old))), force=True)
    with Vault.open(SqliteStorage(home / "vault.db"), KeyDescriptor(piped(key_text(old)))) as again:
        assert again.connection(WORK) == Versioned(TOKENS, 1)


def test_a_process_whose_key_is_of_another_backup_writes_nothing_that_cannot_be_opened(
    backup: Path, vault: Vault, storage: SqliteStorage, home: Path
) -> None:
    # The restored slot may well have the generation that this process knows, and another key.
    old = KeyFile(home / "master.key").load()
    rekey(storage, KeyFile(home / "master.key"), KeyFile(home / "master.key"), now=lambda: 0.0)
    assert vault.connection(WORK) is not None
    assert file_source(home).forget(key_id(old), stored_slot(storage))
    restore(backup, home / "vault.db", KeyDescriptor(piped(key_text(old))), force=True)

    with pytest.raises(KeyUnavailable, match="was changed by another process"):
        vault.put_connection(OTHERS, STATIC, expected=None)
    assert set(storage.everything()) == {record for record, _, _ in read_copy(backup)}


def test_a_damaged_record_of_a_backup_is_told(backup: Path, home: Path) -> None:
    with closing(sqlite3.connect(backup)) as database, database:
        database.execute("UPDATE record SET blob = zeroblob(80) WHERE name = 'work'")

    done = put_back(backup, home)
    assert (done.records, [str(record) for record in done.damaged]) == (1, ["discord/work"])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:6000])


def overwrite(path: Path) -> None:
    path.write_bytes(b"not a backup " * 1000)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 2")


def of_another_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA application_id = 7")


def without_slot(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DELETE FROM record WHERE kind = 'slot'")


def with_a_journal(path: Path) -> None:
    path.with_name("backup-wal").touch()


def gone(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("harm", "error"),
    [
        (cut, StorageDamaged),
        (overwrite, StorageDamaged),
        (empty, StorageDamaged),
        (newer, FormatTooNew),
        (of_another_program, StorageUnavailable),
        (without_slot, KeyUnavailable),
        (with_a_journal, StorageUnavailable),
        (gone, StorageUnavailable),
    ],
)
def test_what_is_no_whole_backup_is_refused_and_the_vault_stays(
    backup: Path, vault: Vault, home: Path, harm: object, error: type[VaultError]
) -> None:
    assert callable(harm)
    harm(backup)
    before = contents(home)

    with pytest.raises(error) as caught:
        put_back(backup, home)
    assert caught.value.hint
    assert contents(home) == before
    assert vault.connection(WORK) == Versioned(TOKENS, 1)


@pytest.mark.parametrize("harm", [cut, overwrite])
def test_a_vault_whose_file_is_damaged_is_replaced_with_force_and_kept_as_it_is(
    backup: Path, vault: Vault, storage: SqliteStorage, home: Path, harm: object
) -> None:
    assert callable(harm)
    storage.close()
    vault.close()
    harm(home / "vault.db")
    damaged = (home / "vault.db").read_bytes()

    with pytest.raises(StorageDamaged) as caught:
        put_back(backup, home, force=False)
    assert "<set force>" in caught.value.hint
    assert (home / "vault.db").read_bytes() == damaged

    done = put_back(backup, home)
    assert done.kept == home / "vault.db.before-restore-1"
    assert done.kept.read_bytes() == damaged
    with open_vault(home) as again:
        assert again.connection(WORK) == Versioned(TOKENS, 1)
        assert again.put_connection(WORK, STATIC, expected=1) == 2
    with closing(sqlite3.connect(home / "vault.db")) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_the_journal_of_a_damaged_vault_is_kept_with_it_and_not_applied_to_what_is_restored(
    backup: Path, vault: Vault, storage: SqliteStorage, home: Path
) -> None:
    storage.rewrite(dict)  # nothing is left in the journal, so that what is damaged is what counts
    cut(home / "vault.db")
    assert (home / "vault.db-wal").exists()  # `vault` has it open, and goes on to have

    put_back(backup, home)
    assert (home / "vault.db.before-restore-1-wal").exists()
    with open_vault(home) as again:
        assert again.connection(WORK) == Versioned(TOKENS, 1)
        assert again.put_connection(DEFAULT, STATIC, expected=None) == 1
        storage.close()
        vault.close()
        assert again.put_connection(DEFAULT, TOKENS, expected=1) == 2
    with open_vault(home) as again:
        assert again.connection(DEFAULT) == Versioned(TOKENS, 2)


def test_a_restore_that_fails_before_its_write_changes_nothing(
    backup: Path, vault: Vault, home: Path
) -> None:
    vault.put_connection(WORK, STATIC, expected=1)

    def fail(step: str) -> None:
        if step == "kept":
            raise RuntimeError

    with pytest.raises(RuntimeError):
        restore(backup, home / "vault.db", KeyFile(home / "master.key"), force=True, step=fail)
    assert vault.connection(WORK) == Versioned(STATIC, 2)


def test_a_restore_waits_for_a_refresh_that_is_under_way(backup: Path, vault: Vault, home: Path) -> None:
    worker = threading.Thread(target=put_back, args=(backup, home))
    with vault.lock(WORK, 1.0):
        worker.start()
        worker.join(0.15)
        assert vault.put_connection(WORK, STATIC, expected=1) == 2
    worker.join()
    assert vault.connection(WORK) == Versioned(TOKENS, 1)
    kept = {record: generation for record, generation, _ in read_copy(home / "vault.db.before-restore-1")}
    assert {record.name: generation for record, generation in kept.items() if record != SLOT}["work"] == 2
    assert os.listdir(home).count("vault.db.before-restore-1") == 1
