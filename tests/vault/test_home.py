"""Trouble with the folder a vault is in: a clear error, and nothing that was stored is lost."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vault.processes import ROOT
from tests.vault.worker import open_vault
from vault.errors import KeyUnavailable, StorageUnavailable


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user can reach."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "home"


def trouble(what: str, home: Path) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.vault.troubles", what, str(home)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("what", ["full", "limited"])
def test_on_a_full_disk_nothing_that_was_stored_is_lost(place: Path, what: str) -> None:
    found = trouble(what, place)

    said, others = str(found["said"]), found["others"]
    assert said.startswith(f"cannot use {place}/vault.db: ")
    assert "space" in said.partition(" | ")[2]
    assert isinstance(others, list)
    for other in others:
        assert other == "done" or other.startswith("cannot use ")
    assert isinstance(found["stored"], int)
    assert found["stored"] > 3
    assert found["still_read"] == found["found"] == found["stored"]
    assert found["damaged"] == 0
    # Neither a key nor a backup that was begun is left, whether or not there was room for a whole one.
    assert isinstance(found["names"], list)
    assert not [name for name in found["names"] if "partial" in name or "pending" in name]


@pytest.mark.parametrize("what", ["read-only", "forbidden"])
def test_a_home_that_cannot_be_written_is_a_clear_error_and_stays_as_it_is(place: Path, what: str) -> None:
    found = trouble(what, place)

    message, _, hint = str(found["said"]).partition(" | ")
    assert message.startswith(f"cannot use {place}/")
    assert "writable" in hint
    assert found["same"] is True


def test_a_home_that_is_missing_is_made_only_to_store_something(tmp_path: Path) -> None:
    home = tmp_path / "not" / "there"
    with pytest.raises(KeyUnavailable, match="there is no vault yet"):
        open_vault(home)
    open_vault(home, create=True).close()


def test_a_home_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("precious")
    with pytest.raises(StorageUnavailable, match="cannot use") as caught:
        open_vault(tmp_path / "home", create=True)
    assert caught.value.hint
    assert (tmp_path / "home").read_text() == "precious"
