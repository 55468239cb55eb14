"""Many processes at once on one vault."""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

from tests.vault.processes import finish, worker
from tests.vault.worker import open_vault
from vault.database import read_copy
from vault.keys.file import KeyFile
from vault.keys.rekey import rekey
from vault.model import ConnectionKey
from vault.storage import SqliteStorage

PROCESSES: Final = 16
ROUNDS: Final = 6


def finished(home: Path, stack: ExitStack) -> list[dict[str, int]]:
    printed = finish([stack.enter_context(worker("work", home, str(ROUNDS))) for _ in range(PROCESSES)])
    return [json.loads(text.splitlines()[-1]) for text in printed]


def nothing_was_lost(home: Path, done: list[dict[str, int]]) -> None:
    """`finish` has seen that no process printed an error, as `database is locked` would be one."""
    with open_vault(home) as vault:
        shared = vault.connection(ConnectionKey("default", "discord", "shared"))
        assert shared is not None
        assert shared.value.created_at == shared.generation == sum(each["refreshed"] for each in done)
        assert shared.generation == PROCESSES * ROUNDS
        assert len(vault.connections("default")) == PROCESSES + 1
        assert vault.verify() == (PROCESSES + 1, [])
    with closing(sqlite3.connect(home / "vault.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_processes_that_log_in_refresh_list_and_log_out_at_once_lose_nothing(home: Path) -> None:
    with ExitStack() as stack:
        nothing_was_lost(home, finished(home, stack))


def test_the_same_while_the_key_is_changed_and_backups_are_made(home: Path, tmp_path: Path) -> None:
    open_vault(home, create=True).close()
    stop = threading.Event()
    changes = [0]

    def disturb() -> None:
        source = KeyFile(home / "master.key")
        with closing(SqliteStorage(home / "vault.db")) as storage:
            while not stop.is_set():
                rekey(storage, source, source, now=lambda: 0.0)
                changes[0] += 1
                storage.copy_to(tmp_path / f"backup-{changes[0]}")

    disturber = threading.Thread(target=disturb)
    disturber.start()
    try:
        with ExitStack() as stack:
            done = finished(home, stack)
    finally:
        stop.set()
        disturber.join()
    nothing_was_lost(home, done)
    assert changes[0] > 3
    assert all(read_copy(tmp_path / f"backup-{number + 1}") for number in range(changes[0]))
