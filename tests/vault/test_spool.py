"""What could not be stored waits beside the vault: nothing is lost, and nothing old comes back."""

from __future__ import annotations

import os
import resource
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.vault.samples import DEFAULT, TOKENS, WORK
from vault.errors import KeptAside, StorageUnavailable
from vault.keys.file import KeyFile
from vault.model import Connection, OAuthTokens, Versioned
from vault.spool import RESERVE
from vault.storage import SqliteStorage
from vault.vault import Vault

BUSY = 0.1
"""Seconds that a vault of these tests waits for somebody else's write."""


def opened(home: Path) -> Vault:
    storage = SqliteStorage(home / "vault.db", busy_timeout=BUSY)
    return Vault.open(storage, KeyFile(home / "master.key"), create=True)


@pytest.fixture
def vault(home: Path) -> Iterator[Vault]:
    with opened(home) as vault:
        vault.put_connection(DEFAULT, TOKENS, expected=None)
        yield vault


def renewed(number: int) -> Connection:
    tokens = TOKENS.credential
    assert isinstance(tokens, OAuthTokens)
    changed = tokens.model_copy(update={"refresh_token": SecretStr(f"CANARY-new-{number}")})
    return TOKENS.model_copy(update={"credential": changed})


@contextmanager
def busy(home: Path) -> Iterator[None]:
    """Another program holds the write lock."""
    with closing(sqlite3.connect(home / "vault.db", isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            database.execute("ROLLBACK")


@contextmanager
def full(home: Path) -> Iterator[None]:
    """No file can be written beyond its first page, which is less than a write of the journal takes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def spooled(home: Path) -> list[Path]:
    return sorted((home / "spool").iterdir()) if (home / "spool").exists() else []


def keep_aside(home: Path, vault: Vault, number: int = 1) -> None:
    """What the holder of new tokens does while somebody else holds the write lock."""
    found = vault.connection(DEFAULT)
    assert found
    with vault.lock(DEFAULT, 1.0), vault.secured(DEFAULT), busy(home), pytest.raises(KeptAside):
        vault.put_connection(DEFAULT, renewed(number), expected=found.generation)


@pytest.mark.parametrize("trouble", [busy, full])
def test_what_cannot_be_stored_is_found_out_before_anything_is_at_stake(
    home: Path, vault: Vault, trouble: type
) -> None:
    with trouble(home), pytest.raises(StorageUnavailable), vault.secured(DEFAULT):
        raise AssertionError("secured")
    assert vault.connection(DEFAULT) == Versioned(TOKENS, 1)
    assert spooled(home) == []


@pytest.mark.parametrize("trouble", [busy, full])
def test_what_cannot_be_stored_after_all_is_there_when_the_vault_is_opened_again(
    home: Path, vault: Vault, trouble: type
) -> None:
    with vault.lock(DEFAULT, 1.0), vault.secured(DEFAULT), trouble(home), pytest.raises(KeptAside):
        vault.put_connection(DEFAULT, renewed(1), expected=1)
    assert vault.connection(DEFAULT) == Versioned(TOKENS, 1)
    with opened(home) as again:
        assert again.connection(DEFAULT) == Versioned(renewed(1), 2)
    assert vault.connection(DEFAULT) == Versioned(renewed(1), 2)
    assert spooled(home) == []


def test_without_the_room_that_was_kept_it_would_be_lost(home: Path, vault: Vault) -> None:
    with busy(home), pytest.raises(StorageUnavailable) as caught:
        vault.put_connection(DEFAULT, renewed(1), expected=1)
    assert not isinstance(caught.value, KeptAside)
    with opened(home) as again:
        assert again.connection(DEFAULT) == Versioned(TOKENS, 1)


def test_it_is_recalled_under_the_lock(home: Path, vault: Vault) -> None:
    keep_aside(home, vault)
    with busy(home), vault.lock(DEFAULT, 1.0), pytest.raises(StorageUnavailable):
        vault.recall(DEFAULT)
    with vault.lock(DEFAULT, 1.0):
        vault.recall(DEFAULT)
        vault.recall(DEFAULT)
    assert vault.connection(DEFAULT) == Versioned(renewed(1), 2)
    assert spooled(home) == []


def test_while_somebody_holds_the_lock_it_stays_where_it_is(home: Path, vault: Vault) -> None:
    keep_aside(home, vault)
    with vault.lock(DEFAULT, 1.0), opened(home) as again:
        assert again.connection(DEFAULT) == Versioned(TOKENS, 1)
    assert len(spooled(home)) == 1


def test_a_store_that_is_still_busy_keeps_no_vault_closed(home: Path, vault: Vault) -> None:
    keep_aside(home, vault)
    with busy(home), opened(home) as again:
        assert again.connection(DEFAULT) == Versioned(TOKENS, 1)
    with opened(home) as again:
        assert again.connection(DEFAULT) == Versioned(renewed(1), 2)


def test_it_never_replaces_what_was_stored_since(home: Path, vault: Vault) -> None:
    keep_aside(home, vault)
    vault.put_connection(DEFAULT, renewed(7), expected=1)
    with opened(home) as again:
        assert again.connection(DEFAULT) == Versioned(renewed(7), 2)
    assert spooled(home) == []


def test_it_never_replaces_a_later_login_that_has_the_same_generation(home: Path, vault: Vault) -> None:
    keep_aside(home, vault)
    (file,) = spooled(home)
    kept = file.read_bytes()
    vault.delete_connection(DEFAULT)
    assert spooled(home) == []
    vault.put_connection(DEFAULT, renewed(7), expected=None)
    file.write_bytes(kept)  # as if the deletion had been cut off
    file.chmod(0o600)
    with opened(home) as again:
        assert again.connection(DEFAULT) == Versioned(renewed(7), 1)
    assert spooled(home) == []


@pytest.mark.parametrize("at", [0, 1, 9, 41, 60, -1])
def test_one_that_was_cut_off_or_changed_is_not_used(home: Path, vault: Vault, at: int) -> None:
    keep_aside(home, vault)
    (file,) = spooled(home)
    data = bytearray(file.read_bytes().rstrip(b"\0"))
    data[at] ^= 1
    file.write_bytes(data)
    with opened(home) as again:
        assert again.connection(DEFAULT) == Versioned(TOKENS, 1)
    assert spooled(home) == []


def test_one_of_another_connection_is_not_used(home: Path, vault: Vault) -> None:
    vault.put_connection(WORK, TOKENS, expected=None)
    keep_aside(home, vault)
    (file,) = spooled(home)
    with vault.lock(WORK, 1.0), vault.secured(WORK):
        (other,) = (path for path in spooled(home) if path != file)
        other.write_bytes(file.read_bytes())
        file.unlink()
        vault.recall(WORK)
    assert vault.connection(WORK) == Versioned(TOKENS, 1)


def test_what_is_kept_is_sealed_and_private(home: Path, vault: Vault) -> None:
    umask = os.umask(0)
    try:
        keep_aside(home, vault)
    finally:
        os.umask(umask)
    (file,) = spooled(home)
    assert b"CANARY" not in file.read_bytes()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_room_that_was_not_needed_is_given_back(home: Path, vault: Vault) -> None:
    with vault.lock(DEFAULT, 1.0), vault.secured(DEFAULT):
        (file,) = spooled(home)
        assert file.stat().st_blocks * 512 >= RESERVE
    assert spooled(home) == []
    with vault.lock(DEFAULT, 1.0), vault.secured(DEFAULT):
        vault.put_connection(DEFAULT, renewed(1), expected=1)
        assert spooled(home) == []
    assert vault.connection(DEFAULT) == Versioned(renewed(1), 2)


def test_room_that_a_killed_process_has_left_is_given_back(home: Path, vault: Vault) -> None:
    with vault.lock(DEFAULT, 1.0), vault.secured(DEFAULT):
        (file,) = spooled(home)
        left = file.read_bytes()
    file.write_bytes(left)
    with opened(home):
        assert spooled(home) == []


def test_a_vault_that_is_secured_is_the_same_vault(home: Path, vault: Vault) -> None:
    with vault.lock(DEFAULT, 1.0), vault.secured(DEFAULT):
        assert vault.connection(DEFAULT) == Versioned(TOKENS, 1)
    assert vault.verify() == (1, [])
