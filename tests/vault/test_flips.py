"""One flipped bit anywhere in the files of a vault: all is there, or it is said."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.vault.samples import DEFAULT, TOKENS, WORK
from vault.errors import VaultError
from vault.keys.file import KeyFile
from vault.storage import SqliteStorage
from vault.vault import Vault

WRITES = 5
"""Of one connection; the last ones are in the journal alone."""

FLIPS = 300


def opened(home: Path) -> Vault:
    return Vault.open(SqliteStorage(home / "vault.db", busy_timeout=1.0), KeyFile(home / "master.key"))


@pytest.fixture
def crashed(home: Path, tmp_path: Path) -> Path:
    """A home as a process leaves it that was killed while somebody still read: the journal is not empty."""
    with Vault.open(SqliteStorage(home / "vault.db"), KeyFile(home / "master.key"), create=True) as vault:
        vault.put_connection(DEFAULT, TOKENS, expected=None)
        with closing(sqlite3.connect(home / "vault.db", isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM record").fetchone()
            for number in range(1, WRITES):
                vault.put_connection(DEFAULT, TOKENS, expected=number)
            vault.put_connection(WORK, TOKENS, expected=None)
            shutil.copytree(home, tmp_path / "crashed")
    assert (tmp_path / "crashed/vault.db-wal").stat().st_size > 0
    return tmp_path / "crashed"


@pytest.fixture
def closed(crashed: Path) -> Path:
    """The same home after it was opened and closed in good order: all is in one file."""
    opened(crashed).close()
    assert not (crashed / "vault.db-wal").exists()
    return crashed


def outcome(home: Path) -> str:
    """What becomes of a home: `whole`, `said`, or how something was lost in silence. Raises: any fault."""
    try:
        with opened(home) as vault:
            found = [vault.connection(DEFAULT), vault.connection(WORK)]
            count, problems = vault.verify()
    except VaultError:
        return "said"
    generations = [record.generation if record else 0 for record in found]
    if problems:
        return "said"
    return "whole" if (generations, count) == ([WRITES, 1], 2) else f"silent: {generations}, {count} records"


def outcomes(home: Path, name: str, scratch: Path) -> dict[str, int]:
    """How often what became of it after one bit of a file had flipped."""
    whole = (home / name).read_bytes()
    seen: dict[str, int] = {}
    for at in random.Random(17).sample(range(len(whole) * 8), min(FLIPS, len(whole) * 8)):
        copy = shutil.copytree(home, scratch)
        flipped = bytearray(whole)
        flipped[at // 8] ^= 1 << at % 8
        (copy / name).write_bytes(flipped)
        found = outcome(copy)
        assert (copy / "vault.db").exists()
        seen[found] = seen.get(found, 0) + 1
        shutil.rmtree(copy)
    print(f"\n{name}: {seen}")
    return seen


@pytest.mark.parametrize("name", ["vault.db", "vault.db-wal", "vault.db-shm", "master.key"])
def test_a_flipped_bit_loses_nothing_in_silence(crashed: Path, tmp_path: Path, name: str) -> None:
    assert outcome(shutil.copytree(crashed, tmp_path / "unharmed")) == "whole"
    assert outcomes(crashed, name, tmp_path / "flipped").keys() <= {"whole", "said"}


def test_a_flipped_bit_in_a_vault_at_rest_loses_nothing_in_silence(closed: Path, tmp_path: Path) -> None:
    seen = outcomes(closed, "vault.db", tmp_path / "flipped")
    assert seen.keys() <= {"whole", "said"}
    assert seen["said"]


def test_without_the_marks_of_the_last_writes_they_would_be_lost_in_silence(
    crashed: Path, tmp_path: Path
) -> None:
    for mark in (crashed / "locks").iterdir():
        mark.write_bytes(b"")
    seen = outcomes(crashed, "vault.db-wal", tmp_path / "flipped")
    assert any(found.startswith("silent") for found in seen)
