"""What every storage must do; a subclass gives the fixtures `storage` and `other`."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import replace

import pytest

from vault.envelope import SLOT, Kind, RecordId
from vault.errors import Conflict, LockTimeout, PremiseChanged
from vault.storage import Premise, Storage, StoredRecord

WORK = RecordId("default", "discord", "work", Kind.CONNECTION)
HOME = replace(WORK, name="home")
CLIENT = RecordId("default", "discord", "", Kind.CLIENT)
SHORT = 0.03


class StorageContract:
    """`other` is a second opening of the same store, as another process has it."""

    def test_a_record_that_was_never_put_is_not_there(self, storage: Storage) -> None:
        assert storage.get(WORK) is None

    def test_a_record_is_got_as_it_was_put(self, storage: Storage, other: Storage) -> None:
        storage.put(WORK, b"\x00blob\xff", 1)

        assert storage.get(WORK) == StoredRecord(b"\x00blob\xff", 1)
        assert other.get(WORK) == StoredRecord(b"\x00blob\xff", 1)

    def test_the_next_generation_replaces_the_record(self, storage: Storage, other: Storage) -> None:
        storage.put(WORK, b"one", 1)
        other.put(WORK, b"two", 2)

        assert storage.get(WORK) == StoredRecord(b"two", 2)

    @pytest.mark.parametrize("generation", [0, 1, 2, 4, 5, -1])
    def test_any_but_the_next_generation_conflicts_and_stores_nothing(
        self, storage: Storage, other: Storage, generation: int
    ) -> None:
        storage.put(WORK, b"one", 1)
        storage.put(WORK, b"two", 2)

        with pytest.raises(Conflict, match="discord/work"):
            other.put(WORK, b"late", generation)
        assert storage.get(WORK) == StoredRecord(b"two", 2)

    @pytest.mark.parametrize("generation", [0, 2, 3])
    def test_a_record_that_is_not_there_takes_only_generation_1(
        self, storage: Storage, generation: int
    ) -> None:
        with pytest.raises(Conflict):
            storage.put(WORK, b"late", generation)
        assert storage.get(WORK) is None

    def test_a_write_after_a_deletion_conflicts_and_does_not_bring_the_record_back(
        self, storage: Storage, other: Storage
    ) -> None:
        storage.put(WORK, b"one", 1)

        assert other.delete(WORK)
        with pytest.raises(Conflict):
            storage.put(WORK, b"two", 2)
        assert storage.get(WORK) is None

    def test_deleting_says_whether_there_was_a_record(self, storage: Storage) -> None:
        storage.put(WORK, b"one", 1)

        assert storage.delete(WORK)
        assert not storage.delete(WORK)

    def test_records_differ_in_every_word_and_in_their_kind(self, storage: Storage) -> None:
        records = [
            WORK,
            replace(WORK, profile="other"),
            replace(WORK, provider="example"),
            HOME,
            replace(WORK, kind=Kind.CLIENT),
        ]
        for record in records:
            storage.put(record, str(record).encode(), 1)

        storage.delete(WORK)
        assert storage.get(WORK) is None
        for record in records[1:]:
            assert storage.get(record) == StoredRecord(str(record).encode(), 1)

    def test_the_records_of_a_profile_are_listed_by_kind_and_sorted(self, storage: Storage) -> None:
        for record in (WORK, CLIENT, HOME, replace(WORK, profile="other")):
            storage.put(record, b"", 1)

        assert storage.records("default", Kind.CONNECTION) == [HOME, WORK]
        assert storage.records("default", Kind.CLIENT) == [CLIENT]
        assert storage.records("nobody", Kind.CONNECTION) == []

    def test_the_profiles_are_those_with_records(self, storage: Storage) -> None:
        assert storage.profiles() == []

        for record in (WORK, replace(WORK, profile="other"), CLIENT, SLOT):
            storage.put(record, b"", 1)
        assert storage.profiles() == ["", "default", "other"]

    def test_the_version_changes_with_every_change_of_this_or_another_process(
        self, storage: Storage, other: Storage
    ) -> None:
        versions = [storage.version()]
        storage.put(WORK, b"one", 1)
        versions.append(storage.version())
        other.put(WORK, b"two", 2)
        versions.append(storage.version())
        other.delete(WORK)
        versions.append(storage.version())
        storage.put(WORK, b"one", 1)
        versions.append(storage.version())

        assert len(set(versions)) == len(versions)

    def test_a_change_is_noticed_also_after_the_record_was_read(
        self, storage: Storage, other: Storage
    ) -> None:
        before = storage.version()
        other.put(WORK, b"one", 1)
        storage.get(WORK)

        assert storage.version() != before

    def test_the_version_stays_while_nobody_changes_anything(self, storage: Storage, other: Storage) -> None:
        storage.put(WORK, b"one", 1)
        before = storage.version()

        other.get(WORK)
        storage.records("default", Kind.CONNECTION)
        with pytest.raises(Conflict):
            other.put(WORK, b"late", 1)
        assert not other.delete(HOME)
        assert storage.version() == before

    def test_a_write_rests_upon_a_record_that_is_still_the_same(
        self, storage: Storage, other: Storage
    ) -> None:
        storage.put(SLOT, b"slot", 1)
        premise = Premise(SLOT, StoredRecord(b"slot", 1))

        storage.put(WORK, b"one", 1, premise=premise)
        other.put(WORK, b"two", 2, premise=premise)
        assert storage.get(WORK) == StoredRecord(b"two", 2)

    @pytest.mark.parametrize("stored", [StoredRecord(b"slot", 2), StoredRecord(b"sloth", 1)])
    def test_a_write_whose_premise_has_changed_stores_nothing(
        self, storage: Storage, stored: StoredRecord
    ) -> None:
        storage.put(SLOT, b"slot", 1)
        storage.put(HOME, b"one", 1)

        for record, generation in ((WORK, 1), (HOME, 2)):
            with pytest.raises(PremiseChanged):
                storage.put(record, b"late", generation, premise=Premise(SLOT, stored))
        storage.delete(SLOT)
        with pytest.raises(PremiseChanged):
            storage.put(WORK, b"late", 1, premise=Premise(SLOT, StoredRecord(b"slot", 1)))
        assert storage.everything() == {HOME: StoredRecord(b"one", 1)}

    def test_everything_is_there_whatever_its_name_and_kind(self, storage: Storage) -> None:
        records = [
            WORK,
            CLIENT,
            SLOT,
            replace(WORK, profile="other", kind="unheard of"),
            replace(WORK, name="\x1b"),
        ]
        for record in records:
            storage.put(record, str(record).encode(), 1)

        assert storage.everything() == {r: StoredRecord(str(r).encode(), 1) for r in records}

    def test_a_rewrite_replaces_all_records_with_the_generations_it_gives(
        self, storage: Storage, other: Storage
    ) -> None:
        storage.put(WORK, b"one", 1)
        storage.put(HOME, b"one", 1)
        seen: list[Mapping[RecordId, StoredRecord]] = []

        def change(records: Mapping[RecordId, StoredRecord]) -> Mapping[RecordId, StoredRecord]:
            seen.append(dict(records))
            return {WORK: StoredRecord(b"new", 7), CLIENT: StoredRecord(b"more", 1)}

        version = other.version()
        storage.rewrite(change)
        assert seen == [{WORK: StoredRecord(b"one", 1), HOME: StoredRecord(b"one", 1)}]
        assert other.everything() == {WORK: StoredRecord(b"new", 7), CLIENT: StoredRecord(b"more", 1)}
        assert other.version() != version
        other.put(WORK, b"next", 8)

    def test_a_rewrite_that_fails_changes_nothing(self, storage: Storage, other: Storage) -> None:
        storage.put(WORK, b"one", 1)
        version = other.version()

        def change(records: Mapping[RecordId, StoredRecord]) -> Mapping[RecordId, StoredRecord]:
            raise KeyError("ours")

        with pytest.raises(KeyError):
            storage.rewrite(change)
        assert other.everything() == {WORK: StoredRecord(b"one", 1)}
        assert other.version() == version

    def test_nobody_writes_in_the_middle_of_a_rewrite_and_readers_see_what_was_before(
        self, storage: Storage, other: Storage
    ) -> None:
        storage.put(WORK, b"one", 1)
        outcome: list[str] = []

        def write() -> None:
            try:
                other.put(WORK, b"late", 2)
            except Conflict:
                outcome.append("conflict")

        writer = threading.Thread(target=write)

        def change(records: Mapping[RecordId, StoredRecord]) -> Mapping[RecordId, StoredRecord]:
            writer.start()
            time.sleep(0.05)
            assert other.get(WORK) == StoredRecord(b"one", 1)
            return {WORK: StoredRecord(b"new", 5)}

        storage.rewrite(change)
        writer.join()
        assert outcome == ["conflict"]
        assert storage.get(WORK) == StoredRecord(b"new", 5)

    def test_a_lock_keeps_out_everybody_else_until_it_is_given_back(
        self, storage: Storage, other: Storage
    ) -> None:
        with storage.lock(WORK, SHORT):
            for anybody in (storage, other):
                with pytest.raises(LockTimeout, match="discord/work"), anybody.lock(WORK, SHORT):
                    pytest.fail("two hold the lock")
        with other.lock(WORK, SHORT):
            pass

    def test_a_lock_is_given_back_when_its_holder_fails(self, storage: Storage, other: Storage) -> None:
        with pytest.raises(KeyError), storage.lock(WORK, SHORT):
            raise KeyError("ours")
        with other.lock(WORK, SHORT):
            pass

    def test_an_error_of_the_holders_own_is_not_taken_for_the_storages(self, storage: Storage) -> None:
        with pytest.raises(FileNotFoundError), storage.lock(WORK, SHORT):
            raise FileNotFoundError("ours")

    def test_locks_of_different_records_do_not_meet(self, storage: Storage, other: Storage) -> None:
        with storage.lock(WORK, SHORT), other.lock(HOME, SHORT), other.lock(CLIENT, SHORT):
            pass

    def test_a_lock_does_not_keep_records_from_being_read_and_put(
        self, storage: Storage, other: Storage
    ) -> None:
        with storage.lock(WORK, SHORT):
            other.put(WORK, b"one", 1)
            assert storage.get(WORK) == StoredRecord(b"one", 1)

    def test_a_waiter_gets_the_lock_within_its_time(self, storage: Storage, other: Storage) -> None:
        taken = threading.Event()

        def hold() -> None:
            with storage.lock(WORK, SHORT):
                taken.set()
                time.sleep(0.05)

        holder = threading.Thread(target=hold)
        holder.start()
        assert taken.wait(5)
        with other.lock(WORK, 5):
            pass
        holder.join()

    def test_threads_that_share_a_storage_lose_no_update(self, storage: Storage) -> None:
        def add() -> None:
            done = 0
            while done < 10:
                stored = storage.get(WORK)
                value, generation = (int(stored.blob), stored.generation) if stored else (0, 0)
                try:
                    storage.put(WORK, b"%d" % (value + 1), generation + 1)
                except Conflict:
                    continue
                done += 1

        threads = [threading.Thread(target=add) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert storage.get(WORK) == StoredRecord(b"40", 40)
