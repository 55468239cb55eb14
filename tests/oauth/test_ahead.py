"""During a run a token is refreshed before anybody must wait for it; clocks may be set meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import httpx
import pytest
from pydantic import SecretStr

from oauth.keeper.keeper import FreshCredential, Keeper, NotUsable, Outcome, Why
from oauth.keeper.retry import FAILURE_PAUSE, TRIES
from tests.oauth.fakes import KEY, REACH, Clock, MemoryStore, Naps, Rotating, keeper_of
from vault.errors import RecordDamaged, StorageUnavailable
from vault.model import Connection, ConnectionKey, OAuthTokens, Status

WORK = ConnectionKey("default", "acme", "work")
LIFETIME = 3600.0
DUE = LIFETIME - 300


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def naps(clock: Clock) -> Naps:
    return Naps(clock)


@pytest.fixture
def endpoint() -> Rotating:
    return Rotating()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    store = MemoryStore()
    store.put_connection(KEY, connection(clock()), expected=None)
    return store


@pytest.fixture
def keeper(store: MemoryStore, endpoint: Rotating, clock: Clock, naps: Naps) -> Keeper:
    return keeper_of(store, endpoint, clock, pace=naps.pace)


def connection(issued_at: float) -> Connection:
    tokens = OAuthTokens(
        access_token=SecretStr("access-0"),
        refresh_token=SecretStr("refresh-0"),
        issued_at=issued_at,
        expires_at=issued_at + LIFETIME,
    )
    return Connection(credential=tokens, reach=REACH, created_at=issued_at, updated_at=issued_at)


def at_once(asked: Coroutine[object, object, Outcome]) -> str:
    """What is handed out without a single wait."""
    with pytest.raises(StopIteration) as ended:
        asked.send(None)
    outcome = ended.value.value
    assert isinstance(outcome, FreshCredential), outcome
    return outcome.value.get_secret_value()


async def test_no_request_of_twenty_lifetimes_waits_or_gets_a_dead_token(
    keeper: Keeper, endpoint: Rotating, naps: Naps, clock: Clock
) -> None:
    async with keeper.keep_fresh([KEY]):
        for _ in range(200):
            await naps.let_pass(LIFETIME / 10)
            assert at_once(keeper.fresh(KEY)) == endpoint.access
    assert 20 <= endpoint.asked <= 24


async def test_without_it_a_request_waits_for_the_refresh(
    keeper: Keeper, endpoint: Rotating, naps: Naps
) -> None:
    await naps.let_pass(DUE)
    asked = keeper.fresh(KEY)
    asked.send(None)  # it would have ended here
    asked.close()
    await keeper.aclose()


async def test_a_refresh_comes_earlier_than_a_request_would_insist_on_it(
    keeper: Keeper, endpoint: Rotating, naps: Naps
) -> None:
    async with keeper.keep_fresh([KEY]):
        await naps.let_pass(DUE - 76)  # a jitter of half of half a margin
        assert endpoint.asked == 0
        await naps.let_pass(2)
        assert endpoint.asked == 1


async def test_while_a_slow_refresh_is_under_way_the_living_token_is_handed_out(
    keeper: Keeper, endpoint: Rotating, naps: Naps
) -> None:
    endpoint.gate = asyncio.Event()
    async with keeper.keep_fresh([KEY]):
        await naps.let_pass(DUE + 200)
        assert endpoint.asked == 1
        assert at_once(keeper.fresh(KEY)) == "access-0"
        endpoint.gate.set()
        await naps.let_pass(1)
        assert at_once(keeper.fresh(KEY)) == "access-1"


async def test_a_request_with_a_dead_token_waits_and_no_longer_than_the_limit(
    store: MemoryStore, endpoint: Rotating, clock: Clock, naps: Naps
) -> None:
    keeper = keeper_of(store, endpoint, clock, pace=naps.pace, request_wait=0.02)
    store.put_connection(WORK, connection(clock() + LIFETIME), expected=None)
    endpoint.gate = asyncio.Event()
    async with keeper.keep_fresh([KEY]):
        await naps.let_pass(LIFETIME)
        waited = await keeper.fresh(KEY)
        assert isinstance(waited, NotUsable)
        assert (waited.why, waited.message) == (Why.UNAVAILABLE, "acme/default is still being refreshed")
        assert at_once(keeper.fresh(WORK)) == "access-0"
        endpoint.gate.set()
        await naps.let_pass(1)
        assert at_once(keeper.fresh(KEY)) == "access-1"


async def test_an_outage_is_survived_and_nobody_waits_for_its_end(
    keeper: Keeper, endpoint: Rotating, naps: Naps
) -> None:
    endpoint.down = httpx.Response(503)
    async with keeper.keep_fresh([KEY]):
        await naps.let_pass(DUE)
        assert at_once(keeper.fresh(KEY)) == "access-0"
        assert endpoint.asked >= TRIES
        endpoint.down = None
        await naps.let_pass(20 * FAILURE_PAUSE)
        assert at_once(keeper.fresh(KEY)) == endpoint.access != "access-0"


async def test_what_cannot_be_refreshed_is_left_alone(
    keeper: Keeper, store: MemoryStore, endpoint: Rotating, naps: Naps
) -> None:
    dead = store.records[KEY].value.model_copy(update={"status": Status.EXPIRED})
    store.put_connection(WORK, dead, expected=None)
    store.delete(KEY)
    async with keeper.keep_fresh([KEY, WORK]):
        await naps.let_pass(2 * LIFETIME)
        store.damage = RecordDamaged("does not open", "restore a backup")
        store.delete(WORK)
        await naps.let_pass(2 * LIFETIME)
    assert endpoint.asked == 0


async def test_a_login_by_another_process_during_the_run_is_looked_after(
    keeper: Keeper, store: MemoryStore, endpoint: Rotating, clock: Clock, naps: Naps
) -> None:
    record = store.records[KEY].value
    store.delete(KEY)
    async with keeper.keep_fresh([KEY]):
        await naps.let_pass(DUE)
        store.put_connection(KEY, record, expected=None)
        await naps.let_pass(60)
        assert at_once(keeper.fresh(KEY)) == "access-1"


async def test_what_could_not_be_stored_is_stored_later_without_asking_again(
    keeper: Keeper, store: MemoryStore, endpoint: Rotating, naps: Naps
) -> None:
    def full() -> None:
        raise StorageUnavailable("the disk is full", "free some space")

    store.before_put = full
    async with keeper.keep_fresh([KEY]):
        await naps.let_pass(DUE)
        store.before_put = lambda: None
        await naps.let_pass(20 * FAILURE_PAUSE)
    assert store.tokens().refresh_token == SecretStr("refresh-1")
    assert endpoint.asked == 1


async def test_what_could_not_be_stored_is_stored_at_the_end_of_the_run_at_the_latest(
    keeper: Keeper, store: MemoryStore, endpoint: Rotating, naps: Naps
) -> None:
    def full() -> None:
        raise StorageUnavailable("the disk is full", "free some space")

    store.before_put = full
    async with keeper.keep_fresh([KEY]):
        await naps.let_pass(DUE)
    store.before_put = lambda: None
    await keeper.aclose()
    assert store.tokens().refresh_token == SecretStr("refresh-1")


async def test_closing_does_not_wait_for_another_try(
    keeper: Keeper, endpoint: Rotating, naps: Naps, clock: Clock
) -> None:
    endpoint.down = httpx.Response(503)
    clock.seconds += LIFETIME
    asking = asyncio.create_task(keeper.fresh(KEY))
    await endpoint.arrived.wait()
    await asyncio.sleep(0.01)
    await asyncio.wait_for(keeper.aclose(), 1)
    outcome = await asking
    assert isinstance(outcome, NotUsable)
    assert outcome.why is Why.UNAVAILABLE
    assert endpoint.asked == 1


async def test_a_fault_in_the_background_is_not_silent(
    keeper: Keeper, store: MemoryStore, naps: Naps
) -> None:
    def bug() -> None:
        raise RuntimeError("a bug")

    store.before_read = bug
    with pytest.raises(RuntimeError, match="a bug"):
        async with keeper.keep_fresh([KEY]):
            await naps.let_pass(1)


class TestClocks:
    @pytest.mark.parametrize("seconds", [-1e7, -7200.0, -30.0, 30.0, 7200.0, 1e7])
    async def test_a_date_that_is_set_during_a_run_costs_one_refresh_at_most_and_no_dead_token(
        self, keeper: Keeper, endpoint: Rotating, clock: Clock, naps: Naps, seconds: float
    ) -> None:
        async with keeper.keep_fresh([KEY]):
            await naps.let_pass(60)
            clock.set_by(seconds)
            await naps.let_pass(60)
            assert endpoint.asked <= 1
            for _ in range(4 * 12):
                await naps.let_pass(LIFETIME / 12)
                assert at_once(keeper.fresh(KEY)) == endpoint.access
        assert endpoint.asked <= 1 + 5

    @pytest.mark.parametrize("seconds", [-1e7, -7200.0, 7200.0, 1e7])
    async def test_a_date_that_was_set_before_the_start_costs_one_refresh(
        self, store: MemoryStore, endpoint: Rotating, clock: Clock, seconds: float
    ) -> None:
        clock.set_by(seconds)
        for _ in range(20):
            keeper = keeper_of(store, endpoint, clock)
            found = await keeper.fresh(KEY)
            assert isinstance(found, FreshCredential)
            assert found.value == SecretStr("access-1")
            clock.seconds += 60
        assert endpoint.asked == 1

    async def test_a_date_that_was_set_back_does_not_prolong_a_tokens_life(
        self, keeper: Keeper, endpoint: Rotating, clock: Clock
    ) -> None:
        await keeper.fresh(KEY)
        clock.seconds += DUE / 2
        clock.set_by(-DUE)
        clock.seconds += DUE / 2
        found = await keeper.fresh(KEY)
        assert isinstance(found, FreshCredential)
        assert found.value == SecretStr("access-1")

    async def test_clocks_a_little_apart_cost_nothing(
        self, keeper: Keeper, endpoint: Rotating, clock: Clock
    ) -> None:
        clock.set_by(-59)
        await keeper.fresh(KEY)
        assert endpoint.asked == 0

    async def test_the_sleep_of_a_machine_counts_though_the_steady_clock_stood_still(
        self, keeper: Keeper, endpoint: Rotating, clock: Clock, naps: Naps
    ) -> None:
        async with keeper.keep_fresh([KEY]):
            await naps.let_pass(60)
            clock.set_by(2 * LIFETIME)
            await naps.let_pass(31)
            assert at_once(keeper.fresh(KEY)) == "access-1"
