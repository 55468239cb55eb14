"""Requests that cannot be sent again, and the refresh that would end the life of their token."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import SecretStr

from oauth.keeper.keeper import FreshCredential, Keeper
from tests.oauth.fakes import KEY, Clock, MemoryStore, Rotating, keeper_of
from tests.oauth.keeper.test_keeper import DUE, connection, value


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def endpoint() -> Rotating:
    return Rotating()


@pytest.fixture
def keeper(endpoint: Rotating, clock: Clock) -> Keeper:
    store = MemoryStore()
    store.put_connection(KEY, connection(clock()), expected=None)
    return keeper_of(store, endpoint, clock)


async def in_flight(keeper: Keeper) -> int:
    found = await keeper.fresh_once(KEY)
    assert isinstance(found, FreshCredential)
    return found.generation


async def test_a_refresh_waits_for_the_answers_to_requests_that_cannot_be_sent_again(
    keeper: Keeper, endpoint: Rotating, clock: Clock
) -> None:
    flights = [await in_flight(keeper) for _ in range(2)]
    clock.seconds += DUE
    asking = asyncio.create_task(keeper.fresh(KEY))
    for generation in flights:
        await asyncio.sleep(0.1)
        assert endpoint.asked == 0
        keeper.ended(KEY, generation)
    assert value(await asking) == "access-1"


async def test_it_does_not_wait_for_others(keeper: Keeper, endpoint: Rotating, clock: Clock) -> None:
    assert value(await keeper.fresh(KEY)) == "access-0"
    keeper.ended(KEY, await in_flight(keeper))
    clock.seconds += DUE
    assert value(await asyncio.wait_for(keeper.fresh(KEY), 1.0)) == "access-1"


async def test_it_does_not_wait_for_ever(keeper: Keeper, endpoint: Rotating, clock: Clock) -> None:
    generation = await in_flight(keeper)
    clock.seconds += DUE
    assert value(await keeper.fresh(KEY)) == "access-1"
    keeper.ended(KEY, generation)
    assert value(await keeper.fresh_once(KEY)) == "access-1"


async def test_one_that_comes_during_a_refresh_waits_for_it_and_others_do_not(
    keeper: Keeper, endpoint: Rotating, clock: Clock
) -> None:
    clock.seconds += DUE
    endpoint.gate = asyncio.Event()
    asking = asyncio.create_task(keeper.fresh(KEY))
    await endpoint.arrived.wait()
    held = asyncio.create_task(keeper.fresh_once(KEY))
    await asyncio.sleep(0.05)
    assert not held.done()
    endpoint.gate.set()
    assert value(await held) == value(await asking) == "access-1"


async def test_a_refresh_because_of_a_401_waits_for_nobody(
    keeper: Keeper, endpoint: Rotating, clock: Clock
) -> None:
    generation = await in_flight(keeper)
    found = await asyncio.wait_for(keeper.recovered(KEY, generation), 1.0)
    assert isinstance(found, FreshCredential)
    assert found.value == SecretStr("access-1")
