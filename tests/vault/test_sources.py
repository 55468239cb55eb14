"""Where a vault's key may come from, and the key file while it is changed."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from argon2.low_level import Type, hash_secret_raw

from tests.vault.processes import ROOT
from tests.vault.sources import CHEAP, ForgetfulKeyring, FullKeyring, MemoryKeyring, opened, piped, typed
from vault.errors import FormatTooNew, KeyUnavailable, LoosePermissions
from vault.keys.descriptor import KeyDescriptor
from vault.keys.file import KeyFile, KeySource, NewKey, key_text
from vault.keys.keyring import SERVICE, Keyring
from vault.keys.passphrase import RFC_9106_SECOND
from vault.keys.wrapping import FromDescriptor, FromFile, FromKeyring, FromPassphrase, KeySlot, key_id, wrap

KEY = bytes(range(32))
PHRASE = "CANARY-correct-horse"


def slot_of(made: NewKey) -> KeySlot:
    return wrap(made.key, bytes(12), bytes(32), made.origin, 0)


def entry(made: NewKey) -> str:
    assert isinstance(made.origin, FromKeyring)
    return made.origin.entry


class OvertakenKeyFile(KeyFile):
    """Somebody else ends a change between the choice of a file and its reading."""

    overtaken = False

    def place(self, slot: KeySlot) -> Path:
        place = super().place(slot)
        if not self.overtaken:
            self.overtaken = True
            self.settle(slot)
        return place


class TestKeyFile:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "home" / "master.key"

    def test_a_staged_key_is_beside_the_present_one_and_both_can_be_unlocked(self, path: Path) -> None:
        present = KeyFile(path).create()
        staged = KeyFile(path).stage(slot_of(present))

        assert staged.key != present.key
        assert KeyFile(path).unlock(slot_of(present)) == present.key
        assert KeyFile(path).unlock(slot_of(staged)) == staged.key
        assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}

    @pytest.mark.parametrize("chosen", ["present", "staged"])
    def test_settling_keeps_the_key_that_the_slot_names_and_of_others_what_counted(
        self, path: Path, chosen: str
    ) -> None:
        keys = {"present": KeyFile(path).create()}
        keys["staged"] = KeyFile(path).stage(slot_of(keys["present"]))
        assert KeyFile(path).unsettled

        KeyFile(path).settle(slot_of(keys[chosen]))
        assert not KeyFile(path).unsettled
        assert KeyFile(path).load() == keys[chosen].key
        former = path.with_name(f"master.key.{slot_of(keys['present']).key_id}")
        assert sorted(path.parent.iterdir()) == ([path, former] if chosen == "staged" else [path])
        assert KeyFile(path).kept(slot_of(keys[chosen])) == (
            {slot_of(keys["present"]).key_id: former} if chosen == "staged" else {}
        )

    @pytest.mark.parametrize("moved", [False, True])
    def test_a_key_that_is_left_can_be_unlocked_until_that_is_settled(self, path: Path, moved: bool) -> None:
        present = KeyFile(path).create()
        KeyFile(path).leave(slot_of(present))
        assert KeyFile(path).unlock(slot_of(present)) == present.key

        KeyFile(path).settle(slot_of(NewKey(KEY, FromDescriptor()) if moved else present))
        former = path.with_name(f"master.key.{slot_of(present).key_id}")
        assert list(path.parent.iterdir()) == [former if moved else path]
        assert KeyFile(path).unlock(slot_of(present)) == present.key
        assert not KeyFile(path).unsettled

    def test_only_the_key_that_the_slot_names_is_left(self, path: Path) -> None:
        present = KeyFile(path).create()
        KeyFile(path).leave(slot_of(NewKey(KEY, FromFile())))

        assert KeyFile(path).load() == present.key
        assert not KeyFile(path).unsettled

    @pytest.mark.parametrize("content", [b"", b"authsome-key-1:AAAA", b"\xff" * 5000])
    def test_a_staged_key_that_was_cut_off_hides_nothing_and_is_cleaned_up(
        self, path: Path, content: bytes
    ) -> None:
        present = KeyFile(path).create()
        pending = path.with_name("master.key.pending")
        pending.touch(mode=0o600)
        pending.write_bytes(content)

        assert KeyFile(path).unlock(slot_of(present)) == present.key
        KeyFile(path).settle(slot_of(present))
        assert list(path.parent.iterdir()) == [path]

    def test_a_staged_key_that_others_may_read_is_refused(self, path: Path) -> None:
        present = KeyFile(path).create()
        staged = KeyFile(path).stage(slot_of(present))
        path.with_name("master.key.pending").chmod(0o644)

        with pytest.raises(LoosePermissions):
            KeyFile(path).unlock(slot_of(staged))

    def test_another_vaults_key_is_refused(self, path: Path) -> None:
        KeyFile(path).create()
        with pytest.raises(KeyUnavailable, match="is not the one"):
            KeyFile(path).unlock(slot_of(NewKey(KEY, FromFile())))

    def test_a_key_whose_change_was_cut_off_is_found_when_the_database_is_lost(self, path: Path) -> None:
        present = KeyFile(path).create()
        KeyFile(path).leave(slot_of(present))

        assert KeyFile(path).create() == present
        assert KeyFile(path).load() == present.key

    def test_a_shared_file_is_as_it_was_whatever_becomes_of_one_vaults_key(self, path: Path) -> None:
        present = KeyFile(path).create()
        shared = KeyFile(path, shared=True)
        staged = shared.stage(slot_of(present))
        shared.leave(slot_of(present))
        shared.settle(slot_of(staged), slot_of(present))

        named = path.with_name(f"{path.name}.{slot_of(staged).key_id}")
        assert sorted(path.parent.iterdir()) == [path, named]
        assert KeyFile(path).load() == present.key
        assert (shared.place(slot_of(present)), shared.place(slot_of(staged))) == (path, named)
        assert stat.S_IMODE(named.stat().st_mode) == 0o600
        for source in (KeyFile(path), shared):
            assert source.unlock(slot_of(present)) == present.key
            assert source.unlock(slot_of(staged)) == staged.key
            assert not source.unsettled

    def test_only_a_kept_key_is_forgotten_and_only_by_its_whole_id(self, path: Path) -> None:
        source = KeyFile(path)
        present = slot_of(source.create())
        for name in (present.key_id, "pending", "0" * 16, "", ".", "../x"):
            assert not source.forget(name, present)
        path.with_name("master.key.pending.bak").touch()
        path.with_name(f"other.{'0' * 16}").touch()
        assert source.kept(present) == {}
        other = slot_of(NewKey(KEY, FromDescriptor()))
        assert source.kept(other) == {present.key_id: path}
        assert source.forget(present.key_id, other)
        assert not path.exists()

    def test_no_key_beside_a_shared_file_is_forgotten(self, path: Path) -> None:
        shared = KeyFile(path, shared=True)
        first = slot_of(shared.create())
        staged = slot_of(shared.stage(first))
        for name, present in ((first.key_id, staged), (staged.key_id, first)):
            with pytest.raises(KeyUnavailable, match="may be that of another vault"):
                shared.forget(name, present)
        assert len(list(path.parent.iterdir())) == 2

    def test_a_key_that_others_may_read_by_now_stops_no_vault_from_opening(self, path: Path) -> None:
        present = KeyFile(path).create()
        staged = slot_of(KeyFile(path).stage(slot_of(present)))
        path.chmod(0o644)
        KeyFile(path).settle(staged)  # the change counts, and the old file is in the way
        assert key_id(KeyFile(path).unlock(staged)) == staged.key_id
        with pytest.raises(LoosePermissions):
            KeyFile(path).stage(staged)
        path.chmod(0o600)
        KeyFile(path).settle(staged)
        assert KeyFile(path).unlock(slot_of(present)) == present.key
        assert KeyFile(path).load() == KeyFile(path).unlock(staged)

    def test_a_change_that_ends_while_the_key_is_read_hides_it_from_nobody(self, path: Path) -> None:
        present = KeyFile(path).create()
        KeyFile(path).stage(slot_of(present))

        assert KeyFile(path).place(slot_of(present)) != path
        assert OvertakenKeyFile(path).unlock(slot_of(present)) == present.key
        assert list(path.parent.iterdir()) == [path]

    def test_a_shared_file_that_is_missing_is_made(self, path: Path) -> None:
        staged = KeyFile(path, shared=True).stage(slot_of(NewKey(KEY, FromDescriptor())))

        assert list(path.parent.iterdir()) == [path]
        assert KeyFile(path, shared=True).unlock(slot_of(staged)) == staged.key

    def test_a_shared_file_may_become_that_of_one_vault(self, path: Path) -> None:
        """The user moves the vault's own key there when no other needs the file."""
        shared = KeyFile(path, shared=True)
        staged = shared.stage(slot_of(shared.create()))
        shared.place(slot_of(staged)).replace(path)

        assert shared.unlock(slot_of(staged)) == staged.key
        assert shared.place(slot_of(staged)) == path

    def test_the_key_of_one_vault_beside_a_shared_file_is_refused_where_others_may_read_it(
        self, path: Path
    ) -> None:
        shared = KeyFile(path, shared=True)
        staged = shared.stage(slot_of(shared.create()))
        shared.place(slot_of(staged)).chmod(0o644)

        with pytest.raises(LoosePermissions):
            shared.unlock(slot_of(staged))

    def test_a_key_may_lie_in_a_folder_that_others_can_enter(self, tmp_path: Path) -> None:
        (tmp_path / "secrets").mkdir()
        (tmp_path / "secrets").chmod(0o755)

        made = KeyFile(tmp_path / "secrets" / "key").create()
        assert KeyFile(tmp_path / "secrets" / "key").unlock(slot_of(made)) == made.key


class TestPassphrase:
    def test_the_profile_is_the_second_recommended_option_of_rfc_9106(self) -> None:
        assert (RFC_9106_SECOND.iterations, RFC_9106_SECOND.lanes) == (3, 4)
        assert RFC_9106_SECOND.memory_kib == 64 * 1024

    def test_the_key_is_what_another_implementation_of_argon2id_derives(self) -> None:
        made = typed(PHRASE, profile=RFC_9106_SECOND).create()

        assert isinstance(made.origin, FromPassphrase)
        assert made.key == hash_secret_raw(
            PHRASE.encode(), bytes.fromhex(made.origin.salt), 3, 65536, 4, 32, Type.ID
        )

    def test_the_same_passphrase_opens_and_another_does_not(self) -> None:
        made = typed(PHRASE).create()

        assert typed(PHRASE).unlock(slot_of(made)) == made.key
        for wrong in (PHRASE + " ", PHRASE[:-1], "", PHRASE.lower()):
            with pytest.raises(KeyUnavailable, match="the passphrase is wrong") as caught:
                typed(wrong).unlock(slot_of(made))
            assert "CANARY" not in repr(caught.value) + caught.value.hint

    def test_the_slot_says_what_it_cost_and_the_profile_of_later_versions_does_not_matter(self) -> None:
        made = typed(PHRASE, profile=CHEAP).create()

        assert typed(PHRASE, profile=RFC_9106_SECOND).unlock(slot_of(made)) == made.key

    def test_two_keys_from_one_passphrase_differ(self) -> None:
        assert typed(PHRASE).create().key != typed(PHRASE).create().key

    def test_a_passphrase_is_the_same_however_the_keyboard_encodes_it(self) -> None:
        made = typed("Zürich-Zürich").create()
        assert typed("Zu\u0308rich-Zu\u0308rich").unlock(slot_of(made)) == made.key

    def test_a_short_passphrase_is_refused(self) -> None:
        typed("12345678").create()
        with pytest.raises(KeyUnavailable, match="too short"):
            typed("1234567").create()

    def test_who_was_asked_once_is_not_asked_again(self) -> None:
        source = typed(PHRASE)
        made = source.create()

        assert source.unlock(slot_of(made)) == made.key
        with pytest.raises(KeyUnavailable, match="wrong"):
            source.unlock(slot_of(typed(f"another {PHRASE}").create()))

    def test_a_slot_of_another_kind_asks_nothing(self) -> None:
        with pytest.raises(KeyUnavailable, match="not opened by a passphrase"):
            typed().unlock(slot_of(NewKey(KEY, FromFile())))


class TestDescriptor:
    def test_a_key_file_and_a_pipe_give_a_key(self, tmp_path: Path) -> None:
        (tmp_path / "key").write_bytes(key_text(KEY))

        for number in (opened(tmp_path / "key"), piped(key_text(KEY)), piped(key_text(KEY).strip())):
            assert KeyDescriptor(number).create() == NewKey(KEY, FromDescriptor())

    def test_the_descriptor_is_closed_once_it_is_read_and_the_key_remembered(self) -> None:
        number = piped(key_text(KEY))
        source = KeyDescriptor(number)
        made = source.create()

        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)
        assert source.unlock(slot_of(made)) == KEY

    def test_it_opens_a_vault_whose_key_is_kept_elsewhere_if_it_is_the_right_one(self) -> None:
        slot = slot_of(NewKey(KEY, FromFile()))

        assert KeyDescriptor(piped(key_text(KEY))).unlock(slot) == KEY
        with pytest.raises(KeyUnavailable, match="is not this vault's"):
            KeyDescriptor(piped(key_text(bytes(32)))).unlock(slot)

    def test_the_present_key_is_not_taken_for_a_new_one(self) -> None:
        with pytest.raises(KeyUnavailable, match="is the present one"):
            KeyDescriptor(piped(key_text(KEY))).stage(slot_of(NewKey(KEY, FromFile())))

    @pytest.mark.parametrize("content", [b"", b"CANARY", bytes(32), b"CANARY" * 2000])
    def test_what_is_no_key_is_refused_and_not_quoted(self, content: bytes) -> None:
        with pytest.raises(KeyUnavailable) as caught:
            KeyDescriptor(piped(content)).create()
        assert "CANARY" not in str(caught.value) + caught.value.hint

    def test_a_newer_key_is_called_newer(self) -> None:
        with pytest.raises(FormatTooNew):
            KeyDescriptor(piped(b"authsome-key-2:AAAA")).create()

    def test_a_descriptor_that_cannot_be_read_is_a_clear_error(self, tmp_path: Path) -> None:
        number = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT, 0o600)
        with pytest.raises(KeyUnavailable, match="cannot be read"):
            KeyDescriptor(number).create()


class TestKeyring:
    @pytest.fixture
    def backend(self) -> MemoryKeyring:
        return MemoryKeyring()

    @pytest.fixture
    def source(self, backend: MemoryKeyring) -> Keyring:
        return Keyring(lambda: backend)

    def test_a_key_is_kept_under_the_vaults_own_name(self, source: Keyring, backend: MemoryKeyring) -> None:
        made = source.create()

        assert isinstance(made.origin, FromKeyring)
        assert backend.kept == {(SERVICE, made.origin.entry): key_text(made.key).decode().strip()}
        assert source.unlock(slot_of(made)) == made.key

    def test_two_vaults_do_not_share_a_place(self, source: Keyring, backend: MemoryKeyring) -> None:
        source.create()
        source.create()
        assert len(backend.kept) == 2

    @pytest.mark.parametrize("chosen", ["present", "staged"])
    def test_settling_keeps_the_key_that_the_slot_names_and_of_others_what_counted(
        self, source: Keyring, backend: MemoryKeyring, chosen: str
    ) -> None:
        keys = {"present": source.create()}
        keys["staged"] = source.stage(slot_of(keys["present"]))
        for made in keys.values():
            assert source.unlock(slot_of(made)) == made.key

        source.settle(slot_of(keys[chosen]), slot_of(keys["present"]))
        counted = {slot_of(keys[name]).key_id for name in {"present", chosen}}
        assert set(backend.kept) == {(SERVICE, entry(keys[chosen])), *((SERVICE, name) for name in counted)}
        for name in {"present", chosen}:
            assert source.unlock(slot_of(keys[name])) == keys[name].key

    def test_what_a_killed_change_left_is_overwritten_by_the_next(
        self, source: Keyring, backend: MemoryKeyring
    ) -> None:
        present = source.create()
        source.stage(slot_of(present))
        staged = source.stage(slot_of(present))

        source.settle(slot_of(staged), slot_of(present))
        counted = {(SERVICE, slot_of(made).key_id) for made in (present, staged)}
        assert set(backend.kept) == {(SERVICE, entry(staged)), *counted}
        assert source.unlock(slot_of(staged)) == staged.key

    def test_in_a_keyring_that_is_left_the_old_key_stays_until_it_is_forgotten(
        self, source: Keyring, backend: MemoryKeyring
    ) -> None:
        present = source.create()
        staged = source.stage(slot_of(present))
        slot, old = slot_of(NewKey(KEY, FromFile())), slot_of(present).key_id
        source.settle(slot, slot_of(present))
        assert set(backend.kept) == {(SERVICE, old)}
        assert source.unlock(slot_of(present)) == present.key
        assert not source.forget(old, slot_of(present))
        assert not source.forget(slot_of(staged).key_id, slot)
        assert not source.forget(entry(present), slot)
        assert source.forget(old, slot)
        assert backend.kept == {}

    def test_a_key_that_the_keyring_lost_stops_no_change_of_it(
        self, source: Keyring, backend: MemoryKeyring
    ) -> None:
        """The user has given it through a descriptor."""
        present = source.create()
        backend.kept.clear()
        staged = source.stage(slot_of(present))
        source.settle(slot_of(staged), slot_of(present))
        assert source.unlock(slot_of(staged)) == staged.key

    def test_the_old_key_is_not_taken_away_where_it_cannot_be_kept(self) -> None:
        backend = FullKeyring()
        source = Keyring(lambda: backend)
        present = source.create()
        backend.full = True
        with pytest.raises(KeyUnavailable):
            source.settle(slot_of(NewKey(KEY, FromFile())), slot_of(present))
        assert source.unlock(slot_of(present)) == present.key

    def test_a_key_that_is_gone_or_another_is_a_clear_error(
        self, source: Keyring, backend: MemoryKeyring
    ) -> None:
        slot = slot_of(source.create())
        backend.kept = dict.fromkeys(backend.kept, key_text(KEY).decode())
        with pytest.raises(KeyUnavailable, match="is not the one"):
            source.unlock(slot)
        backend.kept = {}
        with pytest.raises(KeyUnavailable, match="the keyring has no key"):
            source.unlock(slot)

    def test_a_keyring_that_keeps_nothing_is_noticed_at_once(self) -> None:
        with pytest.raises(KeyUnavailable, match="has no key"):
            Keyring(ForgetfulKeyring).create()

    def test_a_machine_without_a_keyring_is_a_clear_error(self) -> None:
        script = (
            "import keyring; from keyring.backends.fail import Keyring as Fail; keyring.set_keyring(Fail());"
            "from vault.keys.keyring import Keyring; Keyring().create()"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert "KeyUnavailable: the system's keyring refused" in done.stderr

    def test_without_the_package_the_error_says_what_to_install(self) -> None:
        script = (
            "import sys; sys.modules['keyring'] = None\n"
            "from vault.errors import KeyUnavailable; from vault.keys.keyring import Keyring\n"
            "try: Keyring().create()\n"
            "except KeyUnavailable as error: print(error, '|', error.hint)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert done.stdout == (
            "the package 'keyring' is not installed |"
            " install the package 'keyring' in authsome's own environment, or use another key source\n"
        )

    def test_the_package_is_imported_only_when_it_is_used(self) -> None:
        script = "import sys, launcher.setup.app, vault.keys.keyring; print('keyring' in sys.modules)"
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert (done.stdout, done.stderr) == ("False\n", "")


@pytest.mark.parametrize("made", [NewKey(KEY, FromFile())])
def test_no_key_is_shown(made: NewKey) -> None:
    assert "x04" not in repr(made)
    assert repr(made) == "NewKey(origin=FromFile(source='file'))"


def test_every_source_fits_the_protocol(tmp_path: Path) -> None:
    sources: list[KeySource] = [KeyFile(tmp_path / "key"), typed(), KeyDescriptor(99), Keyring()]
    assert [source.unsettled for source in sources] == [False] * 4
