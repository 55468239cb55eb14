"""Another key, and another source for it."""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from tests.vault.samples import CLIENT, DEFAULT, OTHERS, STATIC, TOKENS, WORK, tamper
from tests.vault.sources import MemoryKeyring, piped, typed
from tests.vault.worker import open_vault
from vault.envelope import SLOT
from vault.errors import Conflict, FormatTooNew, KeyUnavailable, LockTimeout, RecordDamaged
from vault.keys.descriptor import KeyDescriptor
from vault.keys.file import KeyFile, KeySource, key_text
from vault.keys.keyring import Keyring
from vault.keys.opening import settle, stored_slot, unlocked
from vault.keys.rekey import Rekeyed, no_step, rekey
from vault.keys.wrapping import Source, key_id
from vault.model import ConnectionKey, Versioned
from vault.storage import SqliteStorage
from vault.vault import Vault

PHRASE = "CANARY-correct-horse"
FD_KEY = bytes(range(32))
RECORDS = 4


@pytest.fixture
def storage(home: Path, vault: Vault) -> Iterator[SqliteStorage]:
    """Of a vault with records of two profiles, one at a later generation; `vault` has it open as well."""
    vault.put_connection(WORK, STATIC, expected=None)
    vault.put_connection(WORK, TOKENS, expected=1)
    vault.put_connection(DEFAULT, STATIC, expected=None)
    vault.put_connection(OTHERS, TOKENS, expected=None)
    vault.put_client("default", "discord", CLIENT, expected=None)
    with closing(SqliteStorage(home / "vault.db")) as storage:
        yield storage


def file_source(home: Path) -> KeyFile:
    return KeyFile(home / "master.key")


def change(
    storage: SqliteStorage, present: KeySource, new: KeySource, step: Callable[[str], None] = no_step
) -> Rekeyed:
    return rekey(storage, present, new, now=lambda: 1000.0, step=step)


def opens_with_everything(home: Path, source: KeySource) -> None:
    with Vault.open(SqliteStorage(home / "vault.db"), source) as vault:
        assert vault.verify() == (RECORDS, [])
        assert vault.connection(WORK) == Versioned(TOKENS, 2)
        assert vault.connection(DEFAULT) == Versioned(STATIC, 1)
        assert vault.connection(OTHERS) == Versioned(TOKENS, 1)
        assert vault.client("default", "discord") == Versioned(CLIENT, 1)


def test_a_rekey_changes_the_key_the_vaults_own_key_and_every_record(
    storage: SqliteStorage, home: Path
) -> None:
    key, opened, before = file_source(home).load(), unlocked(storage, file_source(home)), storage.everything()

    done = change(storage, file_source(home), file_source(home))

    after = storage.everything()
    assert (done.records, done.left, done.slot) == (RECORDS, [], stored_slot(storage))
    assert done.slot.created_at == 1000
    assert file_source(home).load() != key
    assert unlocked(storage, file_source(home)).key != opened.key
    assert before.keys() == after.keys()
    assert not {stored.blob for stored in before.values()} & {stored.blob for stored in after.values()}
    assert after[SLOT].generation == before[SLOT].generation + 1
    opens_with_everything(home, file_source(home))


@pytest.mark.parametrize("to", [Source.FILE, Source.PASSPHRASE])
def test_after_a_rekey_the_old_key_opens_nothing_and_is_kept_until_it_is_forgotten(
    storage: SqliteStorage, home: Path, to: Source
) -> None:
    old = file_source(home).load()
    blobs = [stored.blob for stored in storage.everything().values()]
    change(storage, file_source(home), file_source(home) if to is Source.FILE else typed(PHRASE))

    kept = home / f"master.key.{key_id(old)}"
    assert file_source(home).kept(stored_slot(storage)) == {key_id(old): kept}
    assert kept.read_bytes() == key_text(old)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert file_source(home).forget(key_id(old), stored_slot(storage))
    assert not file_source(home).forget(key_id(old), stored_slot(storage))
    with pytest.raises(KeyUnavailable):
        Vault.open(SqliteStorage(home / "vault.db"), KeyDescriptor(piped(key_text(old))))
    storage.close()
    for path in home.iterdir():
        content = path.read_bytes() if path.is_file() else b""
        assert key_text(old) not in content
        assert not [blob for blob in blobs if blob in content], path


def test_the_source_goes_from_each_kind_to_each(storage: SqliteStorage, home: Path) -> None:
    backend = MemoryKeyring()
    keyring, file = Keyring(lambda: backend), file_source(home)

    def phrase() -> KeySource:
        return typed(PHRASE)

    def given() -> KeySource:
        return KeyDescriptor(piped(key_text(FD_KEY)))

    kinds: dict[Source, Callable[[], KeySource]] = {
        Source.FILE: lambda: file,
        Source.PASSPHRASE: phrase,
        Source.KEYRING: lambda: keyring,
        Source.DESCRIPTOR: given,
    }
    # Each word and the next are a change. The one from a descriptor to another needs two keys.
    path = (
        "file passphrase file keyring file fd passphrase keyring passphrase fd keyring keyring fd file file"
    )
    past: list[tuple[str, Source]] = []
    for here, there in pairwise(Source(word) for word in path.split()):
        past.append((stored_slot(storage).key_id, here))
        change(storage, kinds[here](), kinds[there]())
        present = stored_slot(storage)
        assert present.source is there
        opens_with_everything(home, kinds[there]())
        assert (home / "master.key").exists() is (there is Source.FILE)
        places = [entry for _, entry in backend.kept if "-" in entry]
        assert len(places) == (1 if there is Source.KEYRING else 0)
        assert not file.unsettled
        assert set(file.kept(stored_slot(storage))) == {k for k, source in past if source is Source.FILE}
        held = {k for k, source in past if source is Source.KEYRING}
        assert {entry for _, entry in backend.kept if "-" not in entry} - {present.key_id} == held


@pytest.mark.parametrize("meanwhile", [False, True])
@pytest.mark.parametrize("to", [Source.FILE, Source.PASSPHRASE])
def test_a_rekey_takes_the_key_of_no_other_vault_that_shares_the_file(
    tmp_path: Path, to: Source, meanwhile: bool
) -> None:
    path = tmp_path / "keys" / "key"

    def source() -> KeyFile:
        return KeyFile(path, shared=True)

    def open_other(_step: str = "") -> None:
        Vault.open(SqliteStorage(tmp_path / "b" / "vault.db"), source()).close()

    for name in "ab":
        (tmp_path / name).mkdir(mode=0o700)
        with Vault.open(SqliteStorage(tmp_path / name / "vault.db"), source(), create=True) as vault:
            vault.put_connection(WORK, TOKENS, expected=None)
    for _ in range(2):
        with closing(SqliteStorage(tmp_path / "a" / "vault.db")) as storage:
            new: KeySource = source() if to is Source.FILE else typed(PHRASE)
            present: KeySource = source() if stored_slot(storage).source is Source.FILE else typed(PHRASE)
            change(storage, present, new, open_other if meanwhile else no_step)
    with closing(SqliteStorage(tmp_path / "b" / "vault.db")) as storage:
        change(storage, source(), source())
    for name, opening in (("a", source() if to is Source.FILE else typed(PHRASE)), ("b", source())):
        with Vault.open(SqliteStorage(tmp_path / name / "vault.db"), opening) as vault:
            assert vault.connection(WORK) == Versioned(TOKENS, 1)


def test_another_passphrase_is_needed_after_a_rekey(storage: SqliteStorage, home: Path) -> None:
    change(storage, file_source(home), typed(PHRASE))
    change(storage, typed(PHRASE), typed(f"another {PHRASE}"))

    with pytest.raises(KeyUnavailable, match="the passphrase is wrong"):
        Vault.open(SqliteStorage(home / "vault.db"), typed(PHRASE))
    opens_with_everything(home, typed(f"another {PHRASE}"))


def test_who_has_the_vault_open_goes_on_over_a_rekey(
    vault: Vault, storage: SqliteStorage, home: Path
) -> None:
    read = vault.connection(WORK)
    assert read is not None
    version = vault.version()
    change(storage, file_source(home), file_source(home))

    assert vault.version() != version
    assert vault.put_connection(WORK, STATIC, expected=read.generation) == 3
    assert vault.connection(WORK) == Versioned(STATIC, 3)
    change(storage, file_source(home), file_source(home))
    assert vault.connection(WORK) == Versioned(STATIC, 3)
    with open_vault(home) as other:
        assert other.verify() == (RECORDS, [])


def test_a_write_from_an_old_reading_still_conflicts_after_a_rekey(
    vault: Vault, storage: SqliteStorage, home: Path
) -> None:
    change(storage, file_source(home), file_source(home))
    with pytest.raises(Conflict):
        vault.put_connection(WORK, STATIC, expected=1)


def test_who_cannot_get_the_new_key_is_told_and_writes_nothing_that_nobody_can_open(
    vault: Vault, storage: SqliteStorage, home: Path
) -> None:
    change(storage, file_source(home), typed(PHRASE))

    for action in (
        lambda: vault.connection(WORK),
        lambda: vault.put_connection(WORK, STATIC, expected=2),
        lambda: vault.put_client("new", "discord", CLIENT, expected=None),
    ):
        with pytest.raises(KeyUnavailable, match="was changed by another process") as caught:
            action()
        assert caught.value.hint == "start this command again"
    opens_with_everything(home, typed(PHRASE))


def test_a_damaged_record_stays_damaged_and_stops_no_rekey(
    vault: Vault, storage: SqliteStorage, home: Path
) -> None:
    tamper(home, "UPDATE record SET blob = zeroblob(80) WHERE name = 'default'")
    done = change(storage, file_source(home), file_source(home))

    assert (done.records, [str(record) for record in done.left]) == (RECORDS - 1, ["discord/default"])
    assert vault.connection(WORK) == Versioned(TOKENS, 2)
    with pytest.raises(RecordDamaged):
        vault.connection(DEFAULT)


def test_a_record_of_an_unknown_kind_is_sealed_again_as_it_is(
    vault: Vault, storage: SqliteStorage, home: Path
) -> None:
    tamper(home, "UPDATE record SET kind = 'unheard of' WHERE name = 'default'")
    done = change(storage, file_source(home), file_source(home))
    # The kind is part of what a record is bound to, so this one does not open; it is kept all the same.
    assert [record.kind for record in done.left] == ["unheard of"]
    assert len(storage.everything()) == RECORDS + 1


def test_a_record_that_only_a_newer_version_opens_stops_a_rekey_and_nothing_is_changed(
    storage: SqliteStorage, home: Path
) -> None:
    tamper(home, "UPDATE record SET blob = x'02' WHERE name = 'default'")
    before, key = storage.everything(), file_source(home).load()

    for new in (file_source(home), typed(PHRASE)):
        with pytest.raises(FormatTooNew):
            change(storage, file_source(home), new)
        assert storage.everything() == before
        assert file_source(home).load() == key
        assert not file_source(home).unsettled


@pytest.mark.parametrize("at", ["begun", "staged", "left", "locked", "sealed"])
def test_a_rekey_that_fails_before_its_write_changes_nothing(
    storage: SqliteStorage, home: Path, at: str
) -> None:
    before, key = storage.everything(), file_source(home).load()

    def fail(step: str) -> None:
        if step == at:
            raise RuntimeError(step)

    with pytest.raises(RuntimeError):
        change(storage, file_source(home), typed(PHRASE), fail)
    assert storage.everything() == before
    assert file_source(home).load() == key
    opens_with_everything(home, file_source(home))


def test_a_wrong_present_key_changes_nothing(storage: SqliteStorage, home: Path) -> None:
    before = storage.everything()
    with pytest.raises(KeyUnavailable):
        change(storage, KeyDescriptor(piped(key_text(FD_KEY))), file_source(home))
    assert storage.everything() == before
    opens_with_everything(home, file_source(home))


def test_a_rekey_waits_for_a_refresh_that_is_under_way(
    vault: Vault, storage: SqliteStorage, home: Path
) -> None:
    steps: list[str] = []
    waiting = threading.Event()

    def step(name: str) -> None:
        steps.append(name)
        if name == "staged":
            waiting.set()

    worker = threading.Thread(target=change, args=(storage, file_source(home), file_source(home), step))
    with vault.lock(WORK, 1.0):
        worker.start()
        assert waiting.wait(10)
        worker.join(0.1)
        assert steps == ["begun", "staged"]
        # The provider has answered; what it said must be stored under a key that this process has.
        assert vault.put_connection(WORK, STATIC, expected=2) == 3
    worker.join()
    assert steps == ["begun", "staged", "locked", "sealed", "written", "settled"]
    assert vault.connection(WORK) == Versioned(STATIC, 3)


def test_no_refresh_begins_while_records_are_sealed_again(
    vault: Vault, storage: SqliteStorage, home: Path
) -> None:
    def step(name: str) -> None:
        if name in ("locked", "sealed"):
            with pytest.raises(LockTimeout), vault.lock(WORK, 0.01):
                pytest.fail("a refresh could begin")

    change(storage, file_source(home), file_source(home), step)
    with vault.lock(WORK, 0.01):
        pass


def test_a_login_in_the_middle_of_a_rekey_is_not_lost(
    vault: Vault, storage: SqliteStorage, home: Path
) -> None:
    key = ConnectionKey("default", "discord", "late")
    stored: list[int] = []
    login = threading.Thread(target=lambda: stored.append(vault.put_connection(key, TOKENS, expected=None)))

    def step(name: str) -> None:
        if name == "sealed":
            login.start()  # sealed under the old key by now, it waits for the rekey's write
            login.join(0.1)

    change(storage, file_source(home), file_source(home), step)
    login.join()
    assert stored == [1]
    with open_vault(home) as other:
        assert other.connection(key) == Versioned(TOKENS, 1)
        assert other.verify() == (RECORDS + 1, [])


def test_opening_cleans_up_after_a_rekey_that_was_cut_off_unless_one_is_under_way(
    storage: SqliteStorage, home: Path
) -> None:
    file_source(home).stage(stored_slot(storage))

    with storage.lock(SLOT, 1.0):
        open_vault(home).close()
        assert file_source(home).unsettled
    open_vault(home).close()
    assert not file_source(home).unsettled
    opens_with_everything(home, file_source(home))


def die(at: str, step: str) -> None:
    if step == at:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("to", [Source.FILE, Source.PASSPHRASE])
@pytest.mark.parametrize("at", ["begun", "staged", "left", "locked", "sealed", "written", "settled"])
def test_a_key_that_counted_is_kept_and_one_that_never_did_is_not_wherever_a_rekey_is_killed(
    storage: SqliteStorage, home: Path, at: str, to: Source
) -> None:
    first = stored_slot(storage)
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            with closing(SqliteStorage(home / "vault.db")) as own:
                new: KeySource = file_source(home) if to is Source.FILE else typed(PHRASE)
                change(own, file_source(home), new, partial(die, at))
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == (
            0 if at == "left" and to is Source.FILE else -signal.SIGKILL
        )
        present = stored_slot(storage)
        changed = present != first
        opening: KeySource = file_source(home) if present.source is Source.FILE else typed(PHRASE)
        opens_with_everything(home, opening)
        settle(storage, file_source(home))
        names = {path.name for path in home.iterdir() if path.name.startswith("master.key")}
        here = {"master.key"} if present.source is Source.FILE else set()
        kept = {f"master.key.{first.key_id}"} if changed else set()
        assert names == here | kept
        assert key_id(file_source(home).unlock(first)) == first.key_id
        if changed:
            break


def test_a_key_in_the_way_that_cannot_be_kept_stops_a_rekey_and_nothing_is_changed(
    storage: SqliteStorage, home: Path
) -> None:
    change(storage, file_source(home), typed(PHRASE))
    before = storage.everything()
    (home / "master.key").touch(mode=0o600)
    (home / "master.key").write_bytes(b"something precious")

    with pytest.raises(KeyUnavailable, match="does not hold a master key"):
        change(storage, typed(PHRASE), file_source(home))
    assert storage.everything() == before
    assert (home / "master.key").read_bytes() == b"something precious"
    (home / "master.key").unlink()
    other = file_source(home).create().key
    change(storage, typed(PHRASE), file_source(home))
    assert (home / f"master.key.{key_id(other)}").read_bytes() == key_text(other)


def test_two_rekeys_at_once_come_one_after_the_other(storage: SqliteStorage, home: Path) -> None:
    def one() -> None:
        with closing(SqliteStorage(home / "vault.db")) as own:
            change(own, file_source(home), file_source(home))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert storage.everything()[SLOT].generation == 5
    opens_with_everything(home, file_source(home))
