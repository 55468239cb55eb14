"""What is wrong with a vault has an error of its own, and nothing is overwritten."""

from __future__ import annotations

import sqlite3
import traceback
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.vault.samples import (
    CLIENT,
    DEFAULT,
    OTHERS,
    PAYLOAD_1,
    STATIC,
    TOKENS,
    WORK,
    contents,
    put_sealed,
    tamper,
)
from tests.vault.worker import open_vault
from vault.errors import FormatTooNew, KeyUnavailable, LoosePermissions, RecordDamaged, VaultError
from vault.keys.file import KeyFile
from vault.model import Versioned
from vault.vault import Vault


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE record SET blob = zeroblob(length(blob)) WHERE name = 'work' AND profile = 'default'",
        "UPDATE record SET blob = x'' WHERE name = 'work' AND profile = 'default'",
        "UPDATE record SET generation = 2 WHERE name = 'work' AND profile = 'default'",
        "UPDATE record SET blob = (SELECT blob FROM record WHERE name = 'default') WHERE name = 'work'",
        "UPDATE record SET blob = (SELECT blob FROM record WHERE profile = 'other') WHERE name = 'work'"
        " AND profile = 'default'",
        "UPDATE record SET blob = (SELECT blob FROM record WHERE kind = 'client') WHERE name = 'work'",
        "UPDATE record SET blob = (SELECT blob FROM record WHERE kind = 'slot') WHERE name = 'work'",
    ],
)
def test_a_record_that_was_changed_or_swapped_is_damaged_and_the_others_open(
    vault: Vault, home: Path, sql: str
) -> None:
    for key in (WORK, DEFAULT, OTHERS):
        vault.put_connection(key, TOKENS, expected=None)
    vault.put_client("default", "discord", CLIENT, expected=None)
    tamper(home, sql)

    with pytest.raises(RecordDamaged, match="discord/work does not open"):
        vault.connection(WORK)
    (default, good), (work, bad) = vault.connections("default")
    assert (default, good) == (DEFAULT, Versioned(TOKENS, 1))
    assert work == WORK
    assert isinstance(bad, RecordDamaged)


def test_an_older_copy_of_a_record_is_damaged(vault: Vault, home: Path) -> None:
    vault.put_connection(WORK, STATIC, expected=None)
    with closing(sqlite3.connect(home / "vault.db")) as database:
        (old,) = database.execute("SELECT blob FROM record WHERE name = 'work'").fetchone()
    vault.put_connection(WORK, TOKENS, expected=1)
    tamper(home, "UPDATE record SET blob = ? WHERE name = 'work'", old)

    with pytest.raises(RecordDamaged):
        vault.connection(WORK)


def test_a_record_under_an_impossible_name_does_not_break_the_list(vault: Vault, home: Path) -> None:
    vault.put_connection(WORK, TOKENS, expected=None)
    tamper(home, "INSERT INTO record VALUES ('default', 'connection', 'discord', '../\x1b[2J', 1, x'')")

    assert vault.connections("default") == [(WORK, Versioned(TOKENS, 1))]


def test_a_record_sealed_in_a_newer_format_is_called_newer_and_kept(vault: Vault, home: Path) -> None:
    vault.put_connection(WORK, TOKENS, expected=None)
    vault.put_connection(DEFAULT, TOKENS, expected=None)
    tamper(home, "UPDATE record SET blob = x'02' WHERE name = 'work'")
    before = contents(home)

    with pytest.raises(FormatTooNew, match="discord/work"):
        vault.connection(WORK)
    (_, good), (_, newer) = vault.connections("default")
    assert isinstance(good, Versioned)
    assert isinstance(newer, FormatTooNew)
    assert contents(home) == before


def test_a_payload_of_a_newer_schema_is_called_newer(vault: Vault, home: Path) -> None:
    put_sealed(home, WORK, b'{"payload": 3, "something": "else"}')

    with pytest.raises(FormatTooNew, match="discord/work"):
        vault.connection(WORK)


@pytest.mark.parametrize(
    "plaintext",
    [
        b"",
        b"CANARY",
        b'"CANARY"',
        b'{"value": {"CANARY": 1}}',
        b'{"payload": "1", "value": "CANARY"}',
        b'{"payload": 0, "value": "CANARY"}',
        b'{"payload": 1, "value": {"credential": {"kind": "CANARY"}}}',
        PAYLOAD_1.replace(b'"account"', b'"unknown"'),
        PAYLOAD_1[:-1] + b', "more": "CANARY"}',
    ],
)
def test_a_payload_that_is_not_understood_is_damaged_and_never_quoted(
    vault: Vault, home: Path, plaintext: bytes
) -> None:
    put_sealed(home, WORK, plaintext)

    with pytest.raises(RecordDamaged, match="does not understand") as caught:
        vault.connection(WORK)
    assert "CANARY" not in "".join(traceback.format_exception(caught.value)) + caught.value.hint


def a_closed_vault(home: Path) -> Path:
    with open_vault(home, create=True) as vault:
        vault.put_connection(WORK, TOKENS, expected=None)
    return home


def lose_the_key(home: Path) -> None:
    (home / "master.key").unlink()


def take_another_key(home: Path) -> None:
    (home / "master.key").unlink()
    KeyFile(home / "master.key").create()


def open_the_key_to_others(home: Path) -> None:
    (home / "master.key").chmod(0o640)


def make_the_key_newer(home: Path) -> None:
    (home / "master.key").write_bytes(b"authsome-key-2:AAAA\n")


def cut_the_key(home: Path) -> None:
    (home / "master.key").write_bytes((home / "master.key").read_bytes()[:20])


def open_the_database_to_others(home: Path) -> None:
    (home / "vault.db").chmod(0o644)


def open_the_home_to_others(home: Path) -> None:
    home.chmod(0o755)


def lose_the_key_slot(home: Path) -> None:
    tamper(home, "DELETE FROM record WHERE kind = 'slot'")


def lose_key_slot_and_key(home: Path) -> None:
    lose_the_key_slot(home)
    lose_the_key(home)


def make_the_key_slot_newer(home: Path) -> None:
    tamper(home, "UPDATE record SET blob = ? WHERE kind = 'slot'", b"\x02what ever")


def damage_the_key_slot(home: Path) -> None:
    tamper(home, "UPDATE record SET blob = zeroblob(40) WHERE kind = 'slot'")


@pytest.mark.parametrize(
    ("harm", "error", "message"),
    [
        (lose_the_key, KeyUnavailable, "is missing"),
        (take_another_key, KeyUnavailable, "is not the one that this vault was made with"),
        (open_the_key_to_others, LoosePermissions, "other users can use"),
        (make_the_key_newer, FormatTooNew, "newer version"),
        (cut_the_key, KeyUnavailable, "does not hold a master key"),
        (open_the_database_to_others, LoosePermissions, "other users can use"),
        (open_the_home_to_others, LoosePermissions, "other users can use"),
        (lose_the_key_slot, RecordDamaged, "its key slot is gone"),
        (lose_key_slot_and_key, RecordDamaged, "its key slot is gone"),
        (make_the_key_slot_newer, FormatTooNew, "newer version"),
        (damage_the_key_slot, RecordDamaged, "key slot was changed or damaged"),
    ],
)
def test_what_is_wrong_with_a_vault_has_an_error_of_its_own_and_nothing_is_overwritten(
    home: Path, harm: Callable[[Path], None], error: type[VaultError], message: str
) -> None:
    a_closed_vault(home)
    with open_vault(home) as vault:
        assert vault.connection(WORK) == Versioned(TOKENS, 1)
    harm(home)
    before = contents(home)

    with pytest.raises(error, match=message) as caught:
        open_vault(home, create=True)
    assert caught.value.hint
    assert contents(home) == before
