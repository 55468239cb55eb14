"""A keeper over a real vault whose file is taken away or replaced."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from oauth.keeper.keeper import FreshCredential, NotUsable, Why
from tests.oauth.fakes import KEY, REACH, Clock, Rotating, keeper_of
from tests.vault.worker import open_vault
from vault.model import ClientRegistration, Connection, OAuthTokens
from vault.storage import SqliteStorage
from vault.vault import Vault

LIFETIME = 3600.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def vault(home: Path, clock: Clock) -> Iterator[Vault]:
    tokens = OAuthTokens(
        access_token=SecretStr("access-0"),
        refresh_token=SecretStr("refresh-0"),
        scopes=("a",),
        issued_at=clock(),
        expires_at=clock() + LIFETIME,
    )
    client = ClientRegistration(client_id="id", client_secret=SecretStr("canary-secret"))
    with open_vault(home, create=True) as vault:
        connection = Connection(credential=tokens, reach=REACH, created_at=clock(), updated_at=clock())
        vault.put_connection(KEY, connection, expected=None)
        vault.put_client(KEY.profile, KEY.provider, client, expected=None)
        yield vault


def remove(file: Path) -> None:
    file.unlink()


def rename(file: Path) -> None:
    file.rename(file.with_name("elsewhere"))


def empty(file: Path) -> None:
    file.write_bytes(b"")


def replace_by_another_vault(file: Path) -> None:
    open_vault(file.parent / "other", create=True).close()
    (file.parent / "other" / "vault.db").replace(file)


@pytest.mark.parametrize("harm", [remove, rename, empty, replace_by_another_vault])
async def test_the_provider_is_not_asked_for_what_could_not_be_stored(
    vault: Vault, home: Path, clock: Clock, harm: Callable[[Path], None]
) -> None:
    endpoint = Rotating()
    keeper = keeper_of(vault, endpoint, clock)
    assert isinstance(await keeper.fresh(KEY), FreshCredential)
    clock.seconds += LIFETIME
    harm(home / "vault.db")

    found = await keeper.fresh(KEY)
    assert isinstance(found, NotUsable)
    assert found.why in (Why.UNAVAILABLE, Why.NOT_CONNECTED)
    assert endpoint.asked == 0


async def test_what_the_provider_gives_is_stored_in_the_file_that_is_there_now(
    vault: Vault, home: Path, clock: Clock
) -> None:
    endpoint = Rotating()
    keeper = keeper_of(vault, endpoint, clock)
    assert isinstance(await keeper.fresh(KEY), FreshCredential)
    storage = SqliteStorage(home / "vault.db")
    storage.copy_to(home / "copy")
    storage.close()
    shutil.move(home / "copy", home / "vault.db")
    clock.seconds += LIFETIME

    found = await keeper.fresh(KEY)
    assert isinstance(found, FreshCredential)
    assert endpoint.asked == 1
    with open_vault(home) as again:
        stored = again.connection(KEY)
        assert stored is not None
        assert isinstance(stored.value.credential, OAuthTokens)
        assert stored.value.credential.access_token == found.value


@pytest.mark.parametrize("copied", [True, False])
async def test_a_refresh_that_a_copy_of_the_vault_was_first_with_is_said_as_such(
    vault: Vault, home: Path, tmp_path: Path, clock: Clock, copied: bool
) -> None:
    """The same vault on two machines: the first one to refresh ends the login of the other."""
    endpoint = Rotating()
    endpoint.alive = "another"
    there = shutil.copytree(home, tmp_path / "there") if copied else home
    clock.seconds += LIFETIME
    with open_vault(there) as own:
        found = await keeper_of(own, endpoint, clock).fresh(KEY)
    assert isinstance(found, NotUsable)
    assert found.why is Why.DEAD
    assert ("this vault is a copy" in found.message) == copied
