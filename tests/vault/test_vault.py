"""Storage, sealing and master key joined."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.vault.processes import finish, worker
from tests.vault.samples import (
    CLIENT,
    DEFAULT,
    OTHERS,
    PAYLOAD_1,
    PAYLOAD_1_REACH,
    STATIC,
    TOKENS,
    WORK,
    contents,
    put_sealed,
)
from tests.vault.worker import open_vault
from vault.envelope import Kind, RecordId
from vault.errors import Conflict, KeyUnavailable, LockTimeout, RecordDamaged, StorageUnavailable
from vault.keys.file import KeyFile, NewKey
from vault.model import ApiKey, ClientRegistration, Connection, Versioned
from vault.storage import SqliteStorage
from vault.vault import Vault


@pytest.mark.parametrize("connection", [TOKENS, STATIC])
def test_a_connection_is_read_as_it_was_stored(vault: Vault, home: Path, connection: Connection) -> None:
    assert vault.put_connection(WORK, connection, expected=None) == 1

    assert vault.connection(WORK) == Versioned(connection, 1)
    with open_vault(home) as again:
        assert again.connection(WORK) == Versioned(connection, 1)


def test_a_payload_of_schema_1_is_read(vault: Vault, home: Path) -> None:
    put_sealed(home, WORK, PAYLOAD_1)

    assert vault.connection(WORK) == Versioned(TOKENS, 1)


def test_a_reach_that_was_stored_in_words_is_read_as_data(vault: Vault, home: Path) -> None:
    put_sealed(home, WORK, PAYLOAD_1_REACH)
    found = vault.connection(WORK)
    assert found
    slots = [(slot.host, slot.header, slot.scheme) for slot in found.value.reach.slots]
    assert slots == [("discord.com", "Authorization", "Bearer"), ("other.example:8443", "X-Key", None)]
    assert found.value.reach.endpoints == ("https://discord.com/api/oauth2/token",)


def test_a_reach_in_other_words_is_damage(vault: Vault, home: Path) -> None:
    put_sealed(home, WORK, PAYLOAD_1_REACH.replace(b" in ", b" by way of "))
    with pytest.raises(RecordDamaged):
        vault.connection(WORK)


def test_a_connection_that_was_never_stored_is_not_there(vault: Vault) -> None:
    vault.put_connection(WORK, TOKENS, expected=None)

    assert vault.connection(DEFAULT) is None
    assert vault.connection(OTHERS) is None


def test_a_connection_is_replaced_by_who_read_it_last(vault: Vault) -> None:
    first = vault.put_connection(WORK, TOKENS, expected=None)

    assert vault.put_connection(WORK, STATIC, expected=first) == 2
    assert vault.connection(WORK) == Versioned(STATIC, 2)


@pytest.mark.parametrize("expected", [None, 1, 3])
def test_a_write_from_an_old_reading_conflicts_and_changes_nothing(
    vault: Vault, expected: int | None
) -> None:
    vault.put_connection(WORK, STATIC, expected=None)
    vault.put_connection(WORK, TOKENS, expected=1)

    with pytest.raises(Conflict):
        vault.put_connection(WORK, STATIC, expected=expected)
    assert vault.connection(WORK) == Versioned(TOKENS, 2)


def test_a_deleted_connection_is_gone_and_not_brought_back_by_a_late_write(vault: Vault) -> None:
    generation = vault.put_connection(WORK, TOKENS, expected=None)

    assert vault.delete_connection(WORK)
    with pytest.raises(Conflict):
        vault.put_connection(WORK, TOKENS, expected=generation)
    assert vault.connection(WORK) is None
    assert not vault.delete_connection(WORK)


def test_the_connections_of_a_profile_are_listed_without_those_of_another(vault: Vault) -> None:
    vault.put_connection(WORK, TOKENS, expected=None)
    vault.put_connection(DEFAULT, STATIC, expected=None)
    vault.put_connection(OTHERS, STATIC, expected=None)
    vault.put_client("default", "discord", CLIENT, expected=None)

    assert vault.connections("default") == [(DEFAULT, Versioned(STATIC, 1)), (WORK, Versioned(TOKENS, 1))]
    assert vault.connections("nobody") == []


def test_a_client_is_kept_for_its_profile_and_provider_alone(vault: Vault) -> None:
    assert vault.put_client("default", "discord", CLIENT, expected=None) == 1
    with pytest.raises(Conflict):
        vault.put_client("default", "discord", CLIENT, expected=None)

    assert vault.client("default", "discord") == Versioned(CLIENT, 1)
    assert vault.client("default", "example") is None
    assert vault.client("other", "discord") is None


def test_a_public_client_has_no_secret(vault: Vault) -> None:
    vault.put_client("default", "discord", ClientRegistration(client_id="public"), expected=None)

    assert vault.client("default", "discord") == Versioned(ClientRegistration(client_id="public"), 1)


def test_a_lock_keeps_out_who_opened_the_vault_elsewhere(vault: Vault, home: Path) -> None:
    with open_vault(home) as other:
        with vault.lock(WORK, 1.0):
            with pytest.raises(LockTimeout), other.lock(WORK, 0.02):
                pytest.fail("two hold the lock")
            with other.lock(DEFAULT, 0.02):
                pass
        with other.lock(WORK, 0.02):
            pass


def test_the_version_tells_what_was_changed_elsewhere(vault: Vault, home: Path) -> None:
    before = vault.version()
    assert vault.version() == before
    with open_vault(home) as other:
        assert vault.version() == before
        other.put_connection(WORK, TOKENS, expected=None)

    assert vault.version() != before


def test_no_secret_is_in_any_file(vault: Vault, home: Path) -> None:
    vault.put_connection(WORK, TOKENS, expected=None)
    vault.put_connection(DEFAULT, STATIC, expected=None)
    vault.put_client("default", "discord", CLIENT, expected=None)

    while_open = contents(home)
    vault.close()
    closed = contents(home)
    assert b"discord" in while_open["vault.db"]  # the search would find what is there
    assert b"discord" in closed["vault.db"]
    for content in [*while_open.values(), *closed.values()]:
        assert b"CANARY" not in content


def test_every_write_has_a_nonce_of_its_own(home: Path) -> None:
    asked: list[int] = []

    def numbered(length: int) -> bytes:
        asked.append(length)
        return len(asked).to_bytes(length, "big")

    storage = SqliteStorage(home / "vault.db")
    with Vault.open(storage, KeyFile(home / "master.key"), create=True, randbytes=numbered) as vault:
        vault.put_connection(WORK, TOKENS, expected=None)
        one = storage.get(RecordId("default", "discord", "work", Kind.CONNECTION))
        vault.put_connection(WORK, TOKENS, expected=1)
        two = storage.get(RecordId("default", "discord", "work", Kind.CONNECTION))

    assert asked == [12, 12, 12]
    assert one is not None
    assert two is not None
    assert [int.from_bytes(stored.blob[1:13], "big") for stored in (one, two)] == [2, 3]


def test_a_vault_that_is_not_there_is_made_only_when_that_is_asked_for(home: Path) -> None:
    with pytest.raises(KeyUnavailable, match="there is no vault yet"):
        open_vault(home)
    assert not (home / "master.key").exists()

    open_vault(home, create=True).close()
    open_vault(home).close()


def test_creating_an_existing_vault_opens_it(vault: Vault, home: Path) -> None:
    vault.put_connection(WORK, TOKENS, expected=None)
    key = (home / "master.key").read_bytes()

    with open_vault(home, create=True) as again:
        assert again.connection(WORK) == Versioned(TOKENS, 1)
    assert (home / "master.key").read_bytes() == key


def test_a_creation_that_died_after_making_the_key_goes_on_with_that_key(home: Path) -> None:
    key = KeyFile(home / "master.key").create().key

    open_vault(home, create=True).close()
    assert KeyFile(home / "master.key").load() == key


def test_a_storage_is_closed_when_its_vault_does_not_open(home: Path) -> None:
    storage = SqliteStorage(home / "vault.db")
    with pytest.raises(KeyUnavailable):
        Vault.open(storage, KeyFile(home / "master.key"))

    with pytest.raises(StorageUnavailable):
        storage.version()


class SlowKeyFile(KeyFile):
    """Takes so long to make a key that somebody else comes by meanwhile."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.making = threading.Event()
        self.times = 0

    def create(self) -> NewKey:
        self.times += 1
        self.making.set()
        time.sleep(0.1)
        return super().create()


def test_who_comes_while_a_vault_is_made_waits_for_it(home: Path) -> None:
    source = SlowKeyFile(home / "master.key")

    def make() -> None:
        with Vault.open(SqliteStorage(home / "vault.db"), source, create=True) as vault:
            vault.put_connection(WORK, TOKENS, expected=None)

    first = threading.Thread(target=make)
    first.start()
    assert source.making.wait(5)
    with Vault.open(SqliteStorage(home / "vault.db"), source, create=True) as vault:
        first.join()
        assert vault.connection(WORK) == Versioned(TOKENS, 1)
    assert source.times == 1


def test_processes_that_make_a_vault_at_once_share_one(home: Path) -> None:
    names = ["a", "b", "c", "d"]
    with ExitStack() as stack:
        finish([stack.enter_context(worker("put", home, name)) for name in names])

    with open_vault(home) as vault:
        found = vault.connections("default")
    assert [key.name for key, _ in found] == names
    for key, stored in found:
        assert isinstance(stored, Versioned)
        assert isinstance(stored.value.credential, ApiKey)
        assert stored.value.credential.value.get_secret_value() == key.name
