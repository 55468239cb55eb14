"""No refresh begins whose result could not be kept, and what was issued is kept."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from oauth.client import OAuthClient
from oauth.keeper.keeper import FreshCredential, Keeper, NotUsable, Why
from oauth.keeper.watch import Pace
from oauth.outcome import Loss
from tests.oauth.fakes import KEY, PROVIDER, Clock, MemoryStore, Rotating, http_of, keeper_of
from tests.oauth.keeper.test_keeper import LIFETIME, connection, full_disk
from tests.vault.test_spool import busy, full, opened
from vault.errors import StorageUnavailable
from vault.model import ClientRegistration, OAuthTokens
from vault.vault import Vault

TROUBLES = pytest.mark.parametrize("trouble", [busy, full])


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def endpoint() -> Rotating:
    return Rotating()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def vault(home: Path, clock: Clock) -> Iterator[Vault]:
    with opened(home) as vault:
        vault.put_client(KEY.profile, KEY.provider, ClientRegistration(client_id="id"), expected=None)
        vault.put_connection(KEY, connection(clock()), expected=None)
        clock.seconds += LIFETIME
        yield vault


def keeper_over(vault: Vault, endpoint: Rotating, clock: Clock, pace: Pace | None = None) -> Keeper:
    client = OAuthClient(http_of(endpoint), clock)
    return Keeper(vault, lambda _: PROVIDER, client, clock, pace=pace or clock.pace)


def refresh_token(vault: Vault) -> str:
    found = vault.connection(KEY)
    assert found
    assert isinstance(found.value.credential, OAuthTokens)
    assert found.value.credential.refresh_token
    return found.value.credential.refresh_token.get_secret_value()


@TROUBLES
async def test_where_nothing_can_be_stored_the_provider_is_not_asked(
    home: Path, vault: Vault, endpoint: Rotating, clock: Clock, trouble: type
) -> None:
    keeper = keeper_over(vault, endpoint, clock)
    with trouble(home):
        found = await keeper.fresh(KEY)
        await keeper.aclose()
    assert isinstance(found, NotUsable)
    assert found.why is Why.UNAVAILABLE
    assert endpoint.asked == 0
    assert keeper.losses() == []
    found = await keeper_over(vault, endpoint, clock).fresh(KEY)
    assert isinstance(found, FreshCredential)


@TROUBLES
async def test_what_could_not_be_stored_is_not_lost_with_the_process(
    home: Path, vault: Vault, endpoint: Rotating, clock: Clock, trouble: type
) -> None:
    keeper = keeper_over(vault, endpoint, clock)
    with ExitStack() as troubles:
        endpoint.on_rotate = lambda: troubles.enter_context(trouble(home))
        found = await keeper.fresh(KEY)
        await keeper.aclose()
    assert isinstance(found, NotUsable)
    (loss,) = keeper.losses()
    assert loss.message.startswith(
        "the new tokens of acme/default could not be stored, and wait sealed beside the vault: cannot use "
    )
    assert loss.hint.endswith("; the next command stores them")
    assert refresh_token(vault) == "refresh-0"
    with opened(home) as again:
        assert refresh_token(again) == "refresh-1"
        found = await keeper_over(again, endpoint, clock).fresh(KEY)
    assert isinstance(found, FreshCredential)
    assert (endpoint.asked, endpoint.refused) == (1, 0)


@TROUBLES
async def test_it_is_stored_by_the_same_process_as_soon_as_that_is_possible(
    home: Path, vault: Vault, endpoint: Rotating, clock: Clock, trouble: type
) -> None:
    keeper = keeper_over(vault, endpoint, clock)
    with ExitStack() as troubles:
        endpoint.on_rotate = lambda: troubles.enter_context(trouble(home))
        assert isinstance(await keeper.fresh(KEY), NotUsable)
    clock.seconds += 60
    assert isinstance(await keeper.fresh(KEY), FreshCredential)
    assert (endpoint.asked, endpoint.refused) == (1, 0)
    await keeper.aclose()
    assert keeper.losses() == []


async def test_another_process_that_cannot_recall_it_either_does_not_ask_with_what_was_spent(
    home: Path, vault: Vault, endpoint: Rotating, clock: Clock
) -> None:
    with opened(home) as theirs:  # before it happens
        with ExitStack() as troubles:
            endpoint.on_rotate = lambda: troubles.enter_context(busy(home))
            await keeper_over(vault, endpoint, clock).fresh(KEY)
            endpoint.on_rotate = lambda: None
            found = await keeper_over(theirs, endpoint, clock).fresh(KEY)
            assert isinstance(found, NotUsable)
            assert found.why is Why.UNAVAILABLE
        clock.seconds += 60
        assert isinstance(await keeper_over(theirs, endpoint, clock).fresh(KEY), FreshCredential)
    assert (endpoint.asked, endpoint.refused) == (1, 0)


async def test_a_login_that_could_be_kept_nowhere_is_said_to_be_lost(
    home: Path, vault: Vault, endpoint: Rotating, clock: Clock
) -> None:
    keeper = keeper_over(vault, endpoint, clock)

    def lose_everything() -> None:
        shutil.rmtree(home / "spool")
        troubles.enter_context(busy(home))

    with ExitStack() as troubles:
        endpoint.on_rotate = lose_everything
        await keeper.fresh(KEY)
        await keeper.aclose()
    assert keeper.losses() == [
        Loss(
            "the login of acme/default is lost: the provider has replaced its tokens, which could not be "
            f"stored: cannot use {home}/vault.db: another process kept it busy for too long",
            "run <login default/acme/default>",
        )
    ]


async def test_a_refresh_that_is_cut_off_may_have_lost_the_login(
    vault: Vault, endpoint: Rotating, clock: Clock
) -> None:
    endpoint.gate = asyncio.Event()
    keeper = keeper_over(vault, endpoint, clock)
    asking = asyncio.create_task(keeper.fresh(KEY))
    await endpoint.arrived.wait()
    assert keeper.losses() == [
        Loss(
            "the login of acme/default may be lost: a refresh was cut off before the provider's answer came",
            "if it no longer works, run <login default/acme/default>",
        )
    ]
    endpoint.gate.set()
    await asking
    await keeper.aclose()
    assert keeper.losses() == []


async def test_an_outage_loses_nothing_and_a_refusal_is_told_apart(clock: Clock, endpoint: Rotating) -> None:
    store = MemoryStore()
    store.put_connection(KEY, connection(clock()), expected=None)
    clock.seconds += LIFETIME
    keeper = keeper_of(store, endpoint, clock)
    store.before_secure = full_disk
    await keeper.fresh(KEY)
    assert (keeper.losses(), keeper.refusals(), endpoint.asked) == ([], [], 0)
    store.before_secure = lambda: None
    clock.seconds += 60
    endpoint.alive = "another"
    await keeper.fresh(KEY)
    assert keeper.losses() == []
    assert keeper.refusals() == [
        Loss(
            "the login of acme/default is lost: the provider refused its refresh token",
            "run <login default/acme/default>",
        )
    ]


async def test_what_keeps_a_refresh_from_beginning_is_the_reason_that_is_given(
    clock: Clock, endpoint: Rotating
) -> None:
    store = MemoryStore()
    store.put_connection(KEY, connection(clock()), expected=None)
    clock.seconds += LIFETIME

    def refuse() -> None:
        raise StorageUnavailable("cannot use it: the disk is full", "free some space, then try again")

    store.before_secure = refuse
    found = await keeper_of(store, endpoint, clock).fresh(KEY)
    assert found == NotUsable(
        Why.UNAVAILABLE, "cannot use it: the disk is full", "free some space, then try again"
    )
