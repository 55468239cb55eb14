"""What becomes of a 401: checked once, refreshed once, and no more requests with a dead credential."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from pydantic import SecretStr

from oauth.keeper.circuit import PROBE_PAUSE, STRIKES
from oauth.keeper.keeper import FreshCredential, Keeper, NotUsable, Outcome, Why
from oauth.keeper.recovery import RECOVERY_PAUSE
from oauth.keeper.retry import TRIES
from oauth.provider import Provider, StaticKey
from oauth.reach import reach_of
from tests.oauth.fakes import (
    CHECKED,
    KEY,
    PROVIDER,
    REACH,
    UNAUTHORIZED,
    Clock,
    MemoryStore,
    Rotating,
    keeper_of,
)
from vault.model import ApiKey, Connection, OAuthTokens


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def endpoint() -> Rotating:
    return Rotating()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    store = MemoryStore()
    tokens = OAuthTokens(
        access_token=SecretStr("access-0"),
        refresh_token=SecretStr("refresh-0"),
        issued_at=clock(),
        expires_at=clock() + 1e6,
    )
    store.put_connection(
        KEY, Connection(credential=tokens, reach=REACH, created_at=clock(), updated_at=clock()), expected=None
    )
    return store


@pytest.fixture
def checked(store: MemoryStore, endpoint: Rotating, clock: Clock) -> Keeper:
    """A keeper whose provider can be asked about a token."""
    return keeper_of(store, endpoint, clock, provider=CHECKED)


@pytest.fixture
def unchecked(store: MemoryStore, endpoint: Rotating, clock: Clock) -> Keeper:
    """A keeper whose provider cannot."""
    return keeper_of(store, endpoint, clock)


def value(outcome: Outcome) -> str:
    assert isinstance(outcome, FreshCredential), outcome
    return outcome.value.get_secret_value()


def refusal(outcome: Outcome) -> NotUsable:
    assert isinstance(outcome, NotUsable), outcome
    return outcome


async def test_a_token_that_the_provider_no_longer_knows_is_refreshed_for_the_replay(
    checked: Keeper, endpoint: Rotating
) -> None:
    endpoint.access = "another"
    assert value(await checked.recovered(KEY, 1)) == "access-1"
    assert (endpoint.probed, endpoint.asked) == (1, 1)


NO_RIGHT = httpx.Response(403, headers={"WWW-Authenticate": 'Bearer error="insufficient_scope"'})


@pytest.mark.parametrize("answer", [httpx.Response(200, json={"username": "nelly"}), NO_RIGHT])
async def test_a_token_that_the_provider_vouches_for_is_not_refreshed_however_often_it_meets_a_401(
    checked: Keeper, endpoint: Rotating, answer: httpx.Response
) -> None:
    endpoint.front = answer
    for _ in range(200):
        assert value(await checked.fresh(KEY)) == "access-0"
        assert refusal(await checked.recovered(KEY, 1)).why is Why.VOUCHED
    assert (endpoint.probed, endpoint.asked) == (1, 0)
    assert checked.circuits() == []


@pytest.mark.parametrize(
    "page",
    [
        httpx.Response(403, html="<title>Access denied</title> error code: 1010"),
        httpx.Response(403, text="error code: 1020"),
        httpx.Response(403, json={"title": "Error 1010: Access denied", "cloudflare_error": True}),
        httpx.Response(403, json={"message": "internal network error", "code": 40333}),
        httpx.Response(200, html="<title>Log in to this network</title>"),
        httpx.Response(200, json={"error": "blocked"}),
        httpx.Response(503, html="busy"),
    ],
)
async def test_a_page_of_the_providers_front_vouches_for_nothing_and_the_login_is_refreshed(
    checked: Keeper, endpoint: Rotating, page: httpx.Response
) -> None:
    endpoint.front, endpoint.access = page, "another"
    assert value(await checked.recovered(KEY, 1)) == "access-1"
    assert (endpoint.probed, endpoint.asked) == (1, 1)


async def test_a_token_is_checked_again_a_minute_later(
    checked: Keeper, endpoint: Rotating, clock: Clock
) -> None:
    await checked.recovered(KEY, 1)
    clock.seconds += RECOVERY_PAUSE
    endpoint.access = "another"
    assert value(await checked.recovered(KEY, 1)) == "access-1"
    assert endpoint.probed == 2


async def test_a_check_that_fails_leaves_the_question_to_the_refresh(
    checked: Keeper, endpoint: Rotating
) -> None:
    endpoint.knows = 503
    assert value(await checked.recovered(KEY, 1)) == "access-1"


async def test_many_401s_at_once_cost_one_check_and_one_refresh(checked: Keeper, endpoint: Rotating) -> None:
    endpoint.access = "another"
    found = await asyncio.gather(*(checked.recovered(KEY, 1) for _ in range(50)))
    assert {value(outcome) for outcome in found} == {"access-1"}
    assert (endpoint.probed, endpoint.asked) == (1, 1)


async def test_a_401_during_a_refresh_is_answered_with_what_the_refresh_brings(
    checked: Keeper, endpoint: Rotating, clock: Clock
) -> None:
    clock.seconds += 1e6
    endpoint.gate = asyncio.Event()
    asking = asyncio.create_task(checked.fresh(KEY))
    await endpoint.arrived.wait()
    replaying = asyncio.create_task(checked.recovered(KEY, 1))
    await asyncio.sleep(0.01)
    endpoint.gate.set()
    assert value(await replaying) == value(await asking) == "access-1"
    assert (endpoint.probed, endpoint.asked) == (0, 1)


async def test_the_request_after_a_401_that_was_passed_on_waits_for_the_new_token(
    checked: Keeper, endpoint: Rotating
) -> None:
    endpoint.access = "another"
    checked.reject(KEY, 1)
    assert value(await checked.fresh(KEY)) == "access-1"


async def test_a_refused_refresh_ends_it_and_says_so_with_the_providers_own_body(
    checked: Keeper, endpoint: Rotating
) -> None:
    endpoint.access = endpoint.alive = "another"
    assert refusal(await checked.recovered(KEY, 1, UNAUTHORIZED)).why is Why.DEAD
    for _ in range(100):
        found = refusal(await checked.fresh(KEY))
        assert (found.why, found.body) == (Why.DEAD, UNAUTHORIZED)
        assert found.command == "<login default/acme/default>"
    assert (endpoint.probed, endpoint.asked) == (1, 1)
    (state,) = checked.circuits()
    assert (state.key, state.open, state.answered) == (KEY, True, 100)
    assert state.reason == "the provider refused the refresh token"


async def test_a_login_closes_the_circuit_at_once(
    checked: Keeper, store: MemoryStore, endpoint: Rotating, clock: Clock
) -> None:
    before = store.records[KEY].value
    endpoint.access = endpoint.alive = "another"
    await checked.recovered(KEY, 1)
    assert refusal(await checked.fresh(KEY)).why is Why.DEAD
    store.put_connection(KEY, before, expected=store.records[KEY].generation)
    assert value(await checked.fresh(KEY)) == "access-0"


async def test_401s_in_a_row_that_nothing_explains_open_the_circuit(
    unchecked: Keeper, endpoint: Rotating
) -> None:
    sent, found = 0, await unchecked.fresh(KEY)
    for _ in range(1000):
        if isinstance(found, FreshCredential):
            sent += 1
            await unchecked.recovered(KEY, found.generation, UNAUTHORIZED)
        found = await unchecked.fresh(KEY)
    assert refusal(found).why is Why.DEAD
    assert refusal(found).body == UNAUTHORIZED
    assert (sent, endpoint.asked) == (1 + STRIKES, 1)
    (state,) = unchecked.circuits()
    assert (state.open, state.strikes, state.reason) == (True, STRIKES, "the provider answers 401")


async def test_an_answer_that_is_no_401_in_between_keeps_the_circuit_closed(
    unchecked: Keeper, endpoint: Rotating
) -> None:
    for _ in range(100):
        found = await unchecked.fresh(KEY)
        assert isinstance(found, FreshCredential)
        await unchecked.recovered(KEY, found.generation)
        unchecked.accept(KEY, found.generation)
    assert endpoint.asked == 1
    assert unchecked.circuits() == []


async def test_an_open_circuit_lets_one_request_through_a_while_later_and_closes_on_success(
    unchecked: Keeper, store: MemoryStore, clock: Clock
) -> None:
    key = Connection(credential=ApiKey(value=SecretStr("k")), reach=REACH, created_at=0, updated_at=0)
    store.put_connection(KEY, key, expected=1)
    for _ in range(1 + STRIKES):
        await unchecked.recovered(KEY, 2)
    assert refusal(await unchecked.fresh(KEY)).why is Why.DEAD
    clock.seconds += PROBE_PAUSE
    assert value(await unchecked.fresh(KEY)) == "k"
    assert refusal(await unchecked.fresh(KEY)).why is Why.DEAD
    unchecked.accept(KEY, 2)
    assert value(await unchecked.fresh(KEY)) == "k"
    assert not [state for state in unchecked.circuits() if state.open]


async def test_a_key_that_stays_dead_costs_the_provider_little_in_a_day(
    unchecked: Keeper, store: MemoryStore, clock: Clock
) -> None:
    key = Connection(credential=ApiKey(value=SecretStr("k")), reach=REACH, created_at=0, updated_at=0)
    store.put_connection(KEY, key, expected=1)
    sent = 0
    for _ in range(8640):
        found = await unchecked.fresh(KEY)
        if isinstance(found, FreshCredential):
            sent += 1
            await unchecked.recovered(KEY, found.generation)
        clock.seconds += 10
    assert sent < 40


async def test_an_endpoint_that_answers_401_for_ever_costs_a_refresh_a_minute(
    unchecked: Keeper, endpoint: Rotating, clock: Clock
) -> None:
    for _ in range(30):
        found = await unchecked.fresh(KEY)
        if isinstance(found, FreshCredential):
            unchecked.reject(KEY, found.generation)
            unchecked.accept(KEY, found.generation)
        clock.seconds += 4
    assert endpoint.asked == 2


async def test_a_provider_that_is_down_is_no_reason_to_call_a_token_dead(
    unchecked: Keeper, store: MemoryStore, endpoint: Rotating
) -> None:
    endpoint.down = httpx.Response(503)
    before = store.records[KEY]
    found = refusal(await unchecked.recovered(KEY, 1))
    assert found.why is Why.UNAVAILABLE
    assert value(await unchecked.fresh(KEY)) == "access-0"
    assert endpoint.asked == TRIES
    assert store.records[KEY] == before


async def test_a_body_that_quotes_the_token_is_never_repeated(checked: Keeper, endpoint: Rotating) -> None:
    endpoint.alive = "another"
    endpoint.knows = 503
    await checked.recovered(KEY, 1, b'{"you_sent": "access-0"}')
    assert refusal(await checked.fresh(KEY)).body is None


async def test_the_answer_to_a_check_of_our_own_is_never_repeated(
    checked: Keeper, endpoint: Rotating
) -> None:
    """The twin of a refused refresh whose 401 the child has caused: this one only the check has seen."""
    endpoint.access = endpoint.alive = "another"
    await checked.recovered(KEY, 1, b"no JSON")
    assert endpoint.probed == 1
    assert refusal(await checked.fresh(KEY)).body is None


async def test_a_recovery_that_takes_too_long_lets_the_request_go(
    store: MemoryStore, endpoint: Rotating, clock: Clock
) -> None:
    keeper = keeper_of(store, endpoint, clock, request_wait=0.02)
    endpoint.gate = asyncio.Event()
    assert refusal(await keeper.recovered(KEY, 1)).why is Why.UNAVAILABLE
    endpoint.gate.set()
    await keeper.aclose()
    assert store.tokens().access_token == SecretStr("access-1")


async def test_closing_lets_the_refresh_of_a_recovery_finish_and_be_stored(
    unchecked: Keeper, store: MemoryStore, endpoint: Rotating
) -> None:
    endpoint.gate = asyncio.Event()
    unchecked.reject(KEY, 1)
    await asyncio.wait_for(endpoint.arrived.wait(), 5)
    closing = asyncio.create_task(unchecked.aclose())
    await asyncio.sleep(0.01)
    assert not closing.done()
    endpoint.gate.set()
    await closing
    assert store.tokens().refresh_token == SecretStr("refresh-1")


async def test_a_token_of_another_login_is_looked_into_at_once(
    checked: Keeper, store: MemoryStore, endpoint: Rotating
) -> None:
    endpoint.access = "another"
    assert value(await checked.recovered(KEY, 1)) == "access-1"
    renewed = store.records[KEY].value
    store.put_connection(KEY, renewed, expected=2)
    endpoint.access = "yet another"
    assert value(await checked.recovered(KEY, 3)) == "access-2"


async def test_a_static_key_is_checked_in_its_own_slot(
    store: MemoryStore, endpoint: Rotating, clock: Clock
) -> None:
    slot = PROVIDER.proxy.model_copy(update={"scheme": "Token"})
    auth = StaticKey(type="api_key", check_url="https://acme.example/me")
    keyed = PROVIDER.model_copy(update={"auth": auth, "proxy": slot})
    agreed = reach_of(keyed)
    key = Connection(credential=ApiKey(value=SecretStr("access-0")), reach=agreed, created_at=0, updated_at=0)
    store.put_connection(KEY, key, expected=1)
    keeper = keeper_of(store, endpoint, clock, provider=keyed)
    assert refusal(await keeper.recovered(KEY, 2)).why is Why.DEAD
    assert endpoint.probes == ["Token access-0"]


@pytest.mark.parametrize("said", [None, 0, -5, 0.001, 1, 3, 30, 1e300, "7", "soon", True])
@pytest.mark.parametrize("life", [3.0, 10.0, 55.0])
@pytest.mark.parametrize("provider", [CHECKED, PROVIDER], ids=["checked", "unchecked"])
@pytest.mark.parametrize("replays", [True, False])
@pytest.mark.parametrize("every", [0.5, 4.0])
async def test_no_token_is_called_dead_while_its_refresh_token_is_good(
    store: MemoryStore,
    endpoint: Rotating,
    clock: Clock,
    said: object,
    life: float,
    provider: Provider,
    replays: bool,
    every: float,
) -> None:
    """Whatever the provider says of how long its tokens live, and however short that is."""
    born = clock()

    def rotated() -> None:
        nonlocal born
        born = clock()

    endpoint.on_rotate, endpoint.lifetime = rotated, said
    keeper = keeper_of(store, endpoint, clock, provider=provider)
    end, refused, answered = clock() + 150, [], 0
    while clock() < end:
        if clock() - born >= life:
            endpoint.access = "dead"
        found = await keeper.fresh(KEY)
        for _ in range(2):
            if isinstance(found, NotUsable):
                refused.append(found.why)
                break
            if found.value.get_secret_value() == endpoint.access:
                keeper.accept(KEY, found.generation)
                answered += 1
                break
            if not replays:
                keeper.reject(KEY, found.generation)
                break
            found = await keeper.recovered(KEY, found.generation)
        clock.seconds += every
    assert refused == []
    assert answered
    assert endpoint.refused == 0
