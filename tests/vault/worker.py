"""What the tests have other processes do: `python -m tests.vault.worker WHAT PATH [WORD]`.

Each says `ready`, waits for a line on standard input, so that several begin at once, and then acts.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
import time
from pathlib import Path

from pydantic import SecretStr

from vault.envelope import Kind, RecordId
from vault.errors import Conflict
from vault.keys.file import KeyFile
from vault.model import ApiKey, Connection, ConnectionKey, Versioned
from vault.storage import SqliteStorage
from vault.vault import Vault

COUNTER = RecordId("default", "discord", "counter", Kind.CONNECTION)


def open_vault(home: Path, *, create: bool = False) -> Vault:
    return Vault.open(SqliteStorage(home / "vault.db"), KeyFile(home / "master.key"), create=create)


def put_one(home: Path, name: str) -> None:
    """Make or open the vault and store a connection of that name."""
    with open_vault(home, create=True) as vault:
        connection = Connection(credential=ApiKey(value=SecretStr(name)), created_at=0, updated_at=0)
        vault.put_connection(ConnectionKey("default", "discord", name), connection, expected=None)


def make_key(path: Path) -> None:
    print(hashlib.sha256(KeyFile(path).create().key).hexdigest(), flush=True)


def count(home: Path, times: int) -> None:
    """Add 1 to the counter so often, by compare-and-set alone."""
    storage = SqliteStorage(home / "vault.db")
    done = 0
    while done < times:
        stored = storage.get(COUNTER)
        value, generation = (int(stored.blob), stored.generation) if stored else (0, 0)
        try:
            storage.put(COUNTER, b"%d" % (value + 1), generation + 1)
        except Conflict:
            continue
        done += 1
    storage.close()


def work(home: Path, rounds: int) -> None:
    """What several commands do at once: log in, refresh, list, log out; prints how often each was done."""
    own = ConnectionKey("default", "discord", f"own-{os.getpid()}")
    shared = ConnectionKey("default", "discord", "shared")
    done = {"refreshed": 0, "listed": 0}
    for number in range(rounds):
        with open_vault(home, create=True) as vault:
            vault.put_connection(own, _numbered(0), expected=None)
            done["refreshed"] += _refresh(vault, shared)
            found = vault.connections("default")
            assert all(isinstance(record, Versioned) for _, record in found), found
            done["listed"] += len(found)
            if number + 1 < rounds:
                with vault.lock(own, 30.0):
                    assert vault.delete_connection(own)
    print(json.dumps(done), flush=True)


def _refresh(vault: Vault, key: ConnectionKey) -> int:
    """Add 1 to the number in a connection, with or without its lock."""
    while True:
        found = vault.connection(key)
        try:
            if found is None:
                vault.put_connection(key, _numbered(1), expected=None)
            else:
                number = int(found.value.created_at)
                vault.put_connection(key, _numbered(number + 1), expected=found.generation)
        except Conflict:
            continue
        return 1


def _numbered(number: int) -> Connection:
    return Connection(credential=ApiKey(value=SecretStr("x" * 2000)), created_at=number, updated_at=0)


def hold_lock(home: Path) -> None:
    with SqliteStorage(home / "vault.db").lock(COUNTER, 1.0):
        print("held", flush=True)
        time.sleep(60)


def show_modes(home: Path) -> None:
    """Make a vault and print the mode of everything in it, and how often a mode was changed later."""
    changed: list[str] = []
    sys.addaudithook(lambda event, _: changed.append(event) if event == "os.chmod" else None)
    put_one(home, "first")
    with open_vault(home) as vault, vault.lock(ConnectionKey("default", "discord", "first"), 1.0):
        vault.delete_connection(ConnectionKey("default", "discord", "first"))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [home, *home.rglob("*")]}
    print(json.dumps({"modes": modes, "changed": len(changed)}), flush=True)


def main(what: str, path: Path, word: str = "") -> None:
    print("ready", flush=True)
    sys.stdin.readline()
    match what:
        case "put":
            put_one(path, word)
        case "key":
            make_key(path)
        case "count":
            count(path, int(word))
        case "work":
            work(path, int(word))
        case "hold":
            hold_lock(path)
        case "modes":
            show_modes(path)
        case _:
            raise SystemExit(f"unknown: {what}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
