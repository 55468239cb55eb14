"""Changes of key, backups and restores that are killed: `python -m tests.heavy.rekey_kills HOME KILLS SEED`.

Forks a child for each, so that a kill costs no start of Python. After each kill the vault must open and
every record must be there, and each key that counted while it was in a file. Prints what was counted as JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from keyring.backend import KeyringBackend
from keyring.errors import PasswordDeleteError

from tests.vault.samples import CLIENT, OTHERS, STATIC, TOKENS
from tests.vault.sources import typed
from vault.database import read_copy
from vault.errors import StorageDamaged
from vault.keys.file import KeyFile, KeySource, NewKey
from vault.keys.keyring import Keyring
from vault.keys.opening import stored_slot
from vault.keys.rekey import rekey
from vault.keys.wrapping import KeySlot, Source
from vault.model import ConnectionKey, Versioned
from vault.restore import restore
from vault.storage import SqliteStorage
from vault.vault import Vault

PHRASE = "CANARY-correct-horse"
NAMES = [ConnectionKey("default", "discord", name) for name in ("a", "b", "c", "d")] + [OTHERS]

REKEY_STEPS = ("begun", "staged", "left", "locked", "sealed", "written", "settled")
RESTORE_STEPS = ("read", "kept", "restored")
REPLACE_STEPS = ("read", "copied", "kept", "removed", "restored")

Step = Callable[[str], None]


class FileKeyring(KeyringBackend):
    """A keyring that other processes see."""

    priority = 1.0

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def get_password(self, service: str, username: str) -> str | None:
        path = self.folder / f"{service} {username}"
        return path.read_text() if path.exists() else None

    def set_password(self, service: str, username: str, password: str) -> None:
        temporary = self.folder / "temporary"
        temporary.write_text(password)
        temporary.replace(self.folder / f"{service} {username}")

    def delete_password(self, service: str, username: str) -> None:
        try:
            (self.folder / f"{service} {username}").unlink()
        except FileNotFoundError as exc:
            raise PasswordDeleteError("it is not there") from exc


class AnySource:
    """Whichever source the slot names."""

    def __init__(self, home: Path) -> None:
        self.kinds: Mapping[Source, KeySource] = {
            Source.FILE: KeyFile(home / "master.key"),
            Source.PASSPHRASE: typed(PHRASE, PHRASE),
            Source.KEYRING: Keyring(lambda: FileKeyring(home.parent / "keyring")),
        }

    def create(self) -> NewKey:
        return self.kinds[Source.FILE].create()

    def unlock(self, slot: KeySlot) -> bytes:
        return self.kinds[slot.source].unlock(slot)

    def stage(self, present: KeySlot) -> NewKey:
        return self.kinds[present.source].stage(present)

    def leave(self, present: KeySlot) -> None:
        self.kinds[Source.FILE].leave(present)

    def settle(self, slot: KeySlot, former: KeySlot | None = None) -> None:
        for source in self.kinds.values():
            source.settle(slot, former)

    @property
    def unsettled(self) -> bool:
        return self.kinds[Source.FILE].unsettled


@dataclass(frozen=True)
class Work:
    """Something to be killed at a step, or at any moment where `at` is None."""

    name: str
    do: Callable[[Step], None]
    at: str | None


def killed(work: Work, longest: Counter[str], chance: random.Random) -> bool:
    """Do it in a child; whether the child was killed before it was done.

    `longest` holds the microseconds within which a kill comes by chance, and learns how fast this machine is.
    """

    def step(name: str) -> None:
        if name == work.at:
            os.kill(os.getpid(), signal.SIGKILL)

    pid = os.fork()
    if pid == 0:
        try:
            work.do(step)
            os._exit(0)
        finally:
            os._exit(70)
    if work.at is None:
        time.sleep(chance.uniform(0, longest[work.name]) / 1e6)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, -signal.SIGKILL):
        raise SystemExit(f"{work.name} failed by itself at {work.at}")
    if work.at is None:
        longest[work.name] = int(longest[work.name] * (1.1 if code else 0.9))
    return code != 0


class Bench:
    """A vault that is changed and killed, and what is counted."""

    def __init__(self, home: Path, seed: int) -> None:
        self.home = home
        self.chance = random.Random(seed)
        self.counted: Counter[str] = Counter()
        self.longest = Counter(dict.fromkeys(("rekey", "backup", "restore", "replace"), 20_000))
        with self.open(create=True) as vault:
            for key in NAMES:
                vault.put_connection(key, STATIC, expected=None)
                vault.put_connection(key, TOKENS, expected=1)
            vault.put_client("default", "discord", CLIENT, expected=None)

    def open(self, *, create: bool = False) -> Vault:
        return Vault.open(SqliteStorage(self.home / "vault.db"), AnySource(self.home), create=create)

    def slot(self) -> KeySlot:
        with closing(SqliteStorage(self.home / "vault.db")) as storage:
            return stored_slot(storage)

    def whole(self) -> None:
        """The vault opens, every record is there, and nothing is left lying about."""
        with self.open() as vault:
            assert vault.verify() == (len(NAMES) + 1, [])
            for key in NAMES:
                assert vault.connection(key) == Versioned(TOKENS, 2)
            assert vault.client("default", "discord") == Versioned(CLIENT, 1)
        assert not AnySource(self.home).unsettled

    def rekey(self, new: Source) -> Callable[[Step], None]:
        def do(step: Step) -> None:
            source = AnySource(self.home)
            with closing(SqliteStorage(self.home / "vault.db")) as storage:
                rekey(storage, source, source.kinds[new], now=time.time, step=step)

        return do

    def rekeys(self, kills: int) -> None:
        kinds = list(AnySource(self.home).kinds)
        former: set[str] = set()
        for number in range(kills):
            at = REKEY_STEPS[number % len(REKEY_STEPS)] if number % 3 else None
            before, new = self.slot(), self.chance.choice(kinds)
            dead = killed(Work("rekey", self.rekey(new), at), self.longest, self.chance)
            after = self.slot()
            assert (after != before) or dead
            self.whole()
            if after != before and before.source is Source.FILE:
                former.add(before.key_id)
            assert KeyFile(self.home / "master.key").kept(after).keys() == former
            self.counted["rekey kills"] += dead
            self.counted["rekey kills at a random moment"] += dead and at is None
            self.counted[
                "rekey kills that left the new key"
                if after != before
                else "rekey kills that left the old key"
            ] += dead
            assert (self.home / "master.key").exists() is (after.source is Source.FILE)

    def backups(self, kills: int) -> None:
        path = self.home.parent / "backup"

        def do(step: Step) -> None:
            with closing(SqliteStorage(self.home / "vault.db")) as storage:
                storage.copy_to(path)

        for _ in range(kills):
            dead = killed(Work("backup", do, None), self.longest, self.chance)
            if path.exists():
                assert len(read_copy(path)) == len(NAMES) + 2
                path.unlink()
                self.counted["backup kills that left a whole backup"] += dead
            self.counted["backup kills"] += dead
            self.whole()

    def restores(self, kills: int) -> None:
        backup = self.home.parent / "kept"
        with closing(SqliteStorage(self.home / "vault.db")) as storage:
            storage.copy_to(backup)

        def do(step: Step) -> None:
            restore(backup, self.home / "vault.db", AnySource(self.home), force=True, step=step)

        for number in range(kills):
            with self.open() as vault:
                vault.put_connection(NAMES[0], STATIC, expected=2)
            at = RESTORE_STEPS[number % len(RESTORE_STEPS)] if number % 2 else None
            dead = killed(Work("restore", do, at), self.longest, self.chance)
            with self.open() as vault:
                assert vault.verify() == (len(NAMES) + 1, [])
                found = vault.connection(NAMES[0])
                assert found in (Versioned(STATIC, 3), Versioned(TOKENS, 2))
                if found == Versioned(STATIC, 3):
                    vault.put_connection(NAMES[0], TOKENS, expected=3)
            for copy in self.home.glob("vault.db.before-restore-*"):
                assert len(read_copy(copy)) == len(NAMES) + 2
                copy.unlink()
            self.counted["restore kills"] += dead
            do(lambda _: None)
            self.whole()

    def replacements(self, kills: int) -> None:
        """Of a file that is damaged; the next restore must finish what was killed."""
        backup = self.home.parent / "kept"
        damage = b"not a database " * 1000

        def do(step: Step) -> None:
            restore(backup, self.home / "vault.db", AnySource(self.home), force=True, step=step)

        for number in range(kills):
            for old in self.home.glob("vault.db*"):
                old.unlink()
            (self.home / "vault.db").touch(mode=0o600)
            (self.home / "vault.db").write_bytes(damage)
            at = REPLACE_STEPS[number % len(REPLACE_STEPS)] if number % 2 else None
            dead = killed(Work("replace", do, at), self.longest, self.chance)
            try:
                self.open().close()
            except StorageDamaged:
                do(lambda _: None)
            assert damage in [copy.read_bytes() for copy in self.home.glob("vault.db.before-restore-*")]
            self.counted["kills of the restore of a damaged vault"] += dead
            self.whole()


def main(home: Path, kills: int, seed: int) -> None:
    bench = Bench(home, seed)
    bench.rekeys(kills * 6 // 10)
    bench.backups(kills * 15 // 100)
    bench.restores(kills * 15 // 100)
    bench.replacements(kills * 10 // 100)
    print(json.dumps(bench.counted))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
