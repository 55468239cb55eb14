"""A fresh credential, one refresh at a time, nothing lost."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from oauth.client import OAuthClient
from oauth.errors import ProviderUnknown
from oauth.keeper.keeper import FreshCredential, Keeper, NotUsable, Outcome, Why
from oauth.keeper.recovery import RECOVERY_PAUSE
from oauth.keeper.retry import FAILURE_PAUSE, TRIES
from oauth.provider import Provider, parse_provider
from oauth.reach import reach_of
from tests.oauth.fakes import KEY, REACH, Clock, MemoryStore, Rotating, http_of, keeper_of
from vault.errors import RecordDamaged, StorageUnavailable
from vault.model import ApiKey, Connection, ConnectionKey, OAuthTokens, Status

WORK = ConnectionKey("default", "acme", "work")
LIFETIME = 3600.0
DUE = LIFETIME - 300
"""Seconds after the issue from which on a token is due."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def endpoint() -> Rotating:
    return Rotating()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    store = MemoryStore()
    store.put_connection(KEY, connection(clock()), expected=None)
    return store


@pytest.fixture
def keeper(store: MemoryStore, endpoint: Rotating, clock: Clock) -> Keeper:
    return keeper_of(store, endpoint, clock)


def connection(
    issued_at: float,
    *,
    access: str = "access-0",
    refresh: str | None = "refresh-0",
    lifetime: float | None = LIFETIME,
) -> Connection:
    tokens = OAuthTokens(
        access_token=SecretStr(access),
        refresh_token=SecretStr(refresh) if refresh else None,
        scopes=("a",),
        issued_at=issued_at,
        expires_at=None if lifetime is None else issued_at + lifetime,
    )
    return Connection(
        credential=tokens, reach=REACH, account="nelly", created_at=issued_at, updated_at=issued_at
    )


def replace(store: MemoryStore, changed: Connection) -> None:
    store.put_connection(KEY, changed, expected=store.records[KEY].generation)


async def refresh_unsaved(keeper: Keeper, store: MemoryStore, clock: Clock) -> None:
    """Have the keeper hold tokens that could not be stored; by now they could be."""
    clock.seconds += LIFETIME
    store.before_put = full_disk
    await keeper.fresh(KEY)
    store.before_put = lambda: None


def full_disk() -> None:
    raise StorageUnavailable("the disk is full", "free some space")


def value(outcome: Outcome) -> str:
    assert isinstance(outcome, FreshCredential), outcome
    return outcome.value.get_secret_value()


def refusal(outcome: Outcome) -> NotUsable:
    assert isinstance(outcome, NotUsable), outcome
    return outcome


class TestHandingOut:
    async def test_a_token_with_life_left_is_handed_out_as_it_is(
        self, keeper: Keeper, endpoint: Rotating, clock: Clock
    ) -> None:
        clock.seconds += DUE - 1
        assert await keeper.fresh(KEY) == FreshCredential(
            SecretStr("access-0"), 1, clock.seconds - DUE + 1 + LIFETIME
        )
        assert endpoint.asked == 0

    async def test_an_unknown_connection_says_how_to_log_in(self, keeper: Keeper) -> None:
        found = refusal(await keeper.fresh(WORK))
        assert found.why is Why.NOT_CONNECTED
        assert found.message == "acme/work is not connected"
        assert found.hint == "run <login default/acme/work>"
        assert found.command == "<login default/acme/work>"

    async def test_an_api_key_is_handed_out_for_ever_whatever_is_said_of_it(
        self, keeper: Keeper, store: MemoryStore, endpoint: Rotating, clock: Clock
    ) -> None:
        key = Connection(credential=ApiKey(value=SecretStr("k")), reach=REACH, created_at=0, updated_at=0)
        store.put_connection(WORK, key, expected=None)
        clock.seconds += 1e9
        keeper.reject(WORK, 1)
        assert await keeper.fresh(WORK) == FreshCredential(SecretStr("k"), 1, None)
        assert endpoint.asked == 0

    async def test_the_record_is_decrypted_once_for_many_requests(
        self, keeper: Keeper, store: MemoryStore
    ) -> None:
        for _ in range(50):
            await keeper.fresh(KEY)
        assert store.reads == 1

    async def test_a_logout_by_another_process_is_seen_by_the_next_request(
        self, keeper: Keeper, store: MemoryStore
    ) -> None:
        await keeper.fresh(KEY)
        store.delete(KEY)
        assert refusal(await keeper.fresh(KEY)).why is Why.NOT_CONNECTED

    async def test_a_login_by_another_process_is_seen_by_the_next_request(
        self, keeper: Keeper, store: MemoryStore, clock: Clock
    ) -> None:
        await keeper.fresh(KEY)
        replace(store, connection(clock(), access="other"))
        assert value(await keeper.fresh(KEY)) == "other"

    async def test_a_token_without_an_expiry_is_handed_out_for_ever(
        self, keeper: Keeper, store: MemoryStore, endpoint: Rotating, clock: Clock
    ) -> None:
        replace(store, connection(clock(), lifetime=None))
        clock.seconds += 1e9
        assert value(await keeper.fresh(KEY)) == "access-0"
        assert endpoint.asked == 0

    async def test_a_token_without_refresh_token_lives_to_its_very_end(
        self, keeper: Keeper, store: MemoryStore, endpoint: Rotating, clock: Clock
    ) -> None:
        replace(store, connection(clock(), refresh=None))
        keeper.reject(KEY, 2)
        clock.seconds += LIFETIME - 1
        assert value(await keeper.fresh(KEY)) == "access-0"
        clock.seconds += 1
        found = refusal(await keeper.fresh(KEY))
        assert (found.why, found.command) == (Why.LOGIN_NEEDED, "<login default/acme/default>")
        assert endpoint.asked == 0

    async def test_a_damaged_record_is_unavailable_with_its_own_advice(
        self, keeper: Keeper, store: MemoryStore
    ) -> None:
        store.damage = RecordDamaged("acme/default does not open", "restore a backup")
        assert await keeper.fresh(KEY) == NotUsable(
            Why.UNAVAILABLE, "acme/default does not open", "restore a backup"
        )

    async def test_what_is_handed_out_shows_no_secret(self, keeper: Keeper) -> None:
        assert "access-0" not in repr(await keeper.fresh(KEY))


class TestRefreshing:
    async def test_a_token_that_is_due_is_refreshed_and_stored(
        self, keeper: Keeper, store: MemoryStore, endpoint: Rotating, clock: Clock
    ) -> None:
        clock.seconds += DUE
        found = await keeper.fresh(KEY)
        assert found == FreshCredential(SecretStr("access-1"), 2, clock() + LIFETIME)
        record = store.records[KEY]
        assert record.generation == 2
        assert store.tokens().refresh_token == SecretStr("refresh-1")
        assert store.tokens().scopes == ("a",)
        assert (record.value.account, record.value.updated_at) == ("nelly", clock())
        assert endpoint.asked == 1

    async def test_what_is_handed_out_was_stored_before(
        self, keeper: Keeper, store: MemoryStore, clock: Clock
    ) -> None:
        clock.seconds += DUE
        storing, go_on = threading.Event(), threading.Event()

        def slow_disk() -> None:
            storing.set()
            assert go_on.wait(5)

        store.before_put = slow_disk
        asking = asyncio.create_task(keeper.fresh(KEY))
        await asyncio.to_thread(storing.wait, 5)
        await asyncio.sleep(0.02)
        assert not asking.done()
        go_on.set()
        assert value(await asking) == "access-1"

    async def test_a_token_that_lives_shorter_than_the_margin_is_not_refreshed_at_every_request(
        self, keeper: Keeper, store: MemoryStore, endpoint: Rotating, clock: Clock
    ) -> None:
        endpoint.lifetime = 100
        replace(store, connection(clock(), lifetime=100))
        for _ in range(10):
            clock.seconds += 10
            await keeper.fresh(KEY)
        assert endpoint.asked == 1

    async def test_where_no_new_refresh_token_comes_the_old_one_stays(
        self, keeper: Keeper, store: MemoryStore, endpoint: Rotating, clock: Clock
    ) -> None:
        endpoint.rotates = False
        for n in (1, 2):
            clock.seconds += DUE
            assert value(await keeper.fresh(KEY)) == f"access-{n}"
        assert store.tokens().refresh_token == SecretStr("refresh-0")

    async def test_many_requests_at_once_cost_one_refresh(
        self, keeper: Keeper, endpoint: Rotating, clock: Clock
    ) -> None:
        clock.seconds += LIFETIME
        found = await asyncio.gather(*(keeper.fresh(KEY) for _ in range(50)))
        assert {value(outcome) for outcome in found} == {"access-1"}
        assert endpoint.asked == 1

    async def test_connections_are_refreshed_side_by_side(
        self, keeper: Keeper, store: MemoryStore, endpoint: Rotating, clock: Clock
    ) -> None:
        store.put_connection(WORK, connection(clock(), access="w", lifetime=1e6), expected=None)
        clock.seconds += LIFETIME
        endpoint.gate = asyncio.Event()
        waiting = asyncio.create_task(keeper.fresh(KEY))
        assert value(await asyncio.wait_for(keeper.fresh(WORK), 1)) == "w"
        endpoint.gate.set()
        await waiting

    async def test_many_keepers_at_once_cost_one_refresh(
        self, store: MemoryStore, endpoint: Rotating, clock: Clock
    ) -> None:
        clock.seconds += LIFETIME
        keepers = [keeper_of(store, endpoint, clock) for _ in range(8)]
        found = await asyncio.gather(*(keeper.fresh(KEY) for keeper in keepers))
        assert {value(outcome) for outcome in found} == {"access-1"}
        assert (endpoint.asked, endpoint.refused) == (1, 0)

    def test_many_threads_at_once_cost_one_refresh(
        self, store: MemoryStore, endpoint: Rotating, clock: Clock
    ) -> None:
        clock.seconds += LIFETIME
        found: list[str] = []

        def work() -> None:
            found.append(value(asyncio.run(keeper_of(store, endpoint, clock).fresh(KEY))))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == ["access-1"] * 8
        assert endpoint.asked == 1

    async def test_the_waiter_for_a_lock_uses_what_the_holder_stored(
        self, keeper: Keeper, store: MemoryStore, endpoint: Rotating, clock: Clock
    ) -> None:
        clock.seconds += LIFETIME
        with store.lock(KEY, 1):
            waiting = asyncio.create_task(keeper.fresh(KEY))
            await asyncio.sleep(0.03)
            replace(store, connection(clock(), access="theirs", refresh="refresh-9"))
        assert value(await waiting) == "theirs"
        assert endpoint.asked == 0

    @pytest.mark.parametrize("alive", [True, False])
    async def test_a_lock_that_is_never_free_is_given_up(
        self, store: MemoryStore, endpoint: Rotating, clock: Clock, alive: bool
    ) -> None:
        clock.seconds += DUE if alive else LIFETIME
        with store.lock(KEY, 1):
            found = await keeper_of(store, endpoint, clock, lock_wait=0.05).fresh(KEY)
        if alive:
            assert value(found) == "access-0"
        else:
            assert refusal(found).why is Why.UNAVAILABLE
        assert endpoint.asked == 0


class TestRefusals:
    async def test_a_refused_refresh_token_marks_the_connection_and_wipes_nothing(
        self, keeper: Keeper, store: MemoryStore, endpoint: Rotating, clock: Clock
    ) -> None:
        endpoint.alive = "another"
        clock.seconds += DUE
        found = refusal(await keeper.fresh(KEY))
        assert found.why is Why.DEAD
        assert found.message == "could not refresh acme/default: the provider refused the refresh token"
        assert found.hint == "run <login default/acme/default>"
        assert store.records[KEY].value.status is Status.EXPIRED
        assert store.tokens().refresh_token == SecretStr("refresh-0")
        assert store.tokens().access_token == SecretStr("access-0")

    async def test_an_expired_connection_costs_the_provider_nothing(
        self, keeper: Keeper, endpoint: Rotating, clock: Clock
    ) -> None:
        endpoint.alive = "another"
        clock.seconds += DUE
        for _ in range(20):
            assert refusal(await keeper.fresh(KEY)).why is Why.DEAD
        assert endpoint.asked == 1

    async def test_a_refused_refresh_token_is_no_harm_where_a_newer_one_was_stored_meanwhile(
        self, keeper: Keeper, store: MemoryStore, endpoint: Rotating, clock: Clock
    ) -> None:
        clock.seconds += DUE
        endpoint.alive = "refresh-9"
        endpoint.on_rotate = lambda: replace(store, connection(clock(), access="newer", refresh="refresh-9"))
        assert value(await keeper.fresh(KEY)) == "newer"
        assert store.records[KEY].value.status is Status.CONNECTED

    async def test_a_logout_during_a_refresh_is_final(
        self, keeper: Keeper, store: MemoryStore, endpoint: Rotating, clock: Clock
    ) -> None:
        clock.seconds += DUE
        endpoint.on_rotate = lambda: store.delete(KEY)
        assert refusal(await keeper.fresh(KEY)).why is Why.NOT_CONNECTED
        assert KEY not in store.records

    async def test_a_logout_and_login_during_a_refresh_is_not_overwritten(
        self, keeper: Keeper, store: MemoryStore, endpoint: Rotating, clock: Clock
    ) -> None:
        clock.seconds += DUE

        def log_in_again() -> None:
            store.delete(KEY)
            store.put_connection(KEY, connection(clock(), access="new", refresh="new"), expected=None)

        endpoint.on_rotate = log_in_again
        assert value(await keeper.fresh(KEY)) == "new"
        assert store.tokens().refresh_token == SecretStr("new")

    async def test_another_change_during_a_refresh_loses_neither(
        self, keeper: Keeper, store: MemoryStore, endpoint: Rotating, clock: Clock
    ) -> None:
        clock.seconds += DUE
        changes = [store.records[KEY].value.model_copy(update={"account": "renamed"})]

        def rename() -> None:
            if changes:
                changed = changes.pop()
                replace(store, changed)

        store.before_put = rename
        assert value(await keeper.fresh(KEY)) == "access-1"
        assert store.records[KEY].value.account == "renamed"
        assert store.tokens().refresh_token == SecretStr("refresh-1")

    @pytest.mark.parametrize(
        "failure",
        [
            httpx.Response(500, json={"message": "500: Internal Server Error", "code": 0}),
            httpx.Response(429, json={"message": "You are being rate limited.", "retry_after": 1.5}),
            httpx.Response(403, text="<html>error 1015</html>"),
            httpx.Response(200, text='{"access_token": "acc'),
            httpx.Response(400, json={"error": "invalid_scope"}),
            httpx.ConnectError("refused"),
            httpx.ReadTimeout("slow"),
            httpx.RemoteProtocolError("cut"),
        ],
        ids=lambda f: type(f).__name__ if isinstance(f, Exception) else str(f.status_code),
    )
    async def test_a_failure_that_says_nothing_of_the_token_costs_nothing_while_it_lives(
        self,
        keeper: Keeper,
        store: MemoryStore,
        endpoint: Rotating,
        clock: Clock,
        failure: httpx.Response | httpx.TransportError,
    ) -> None:
        endpoint.down = failure
        before = store.records[KEY]
        clock.seconds += DUE
        assert value(await keeper.fresh(KEY)) == "access-0"
        assert store.records[KEY] == before
        endpoint.down = None
        clock.seconds += LIFETIME
        assert value(await keeper.fresh(KEY)) == f"access-{endpoint.asked}"

    @pytest.mark.parametrize(
        ("failure", "tries"),
        [
            (httpx.Response(503), TRIES),
            (httpx.Response(429, headers={"Retry-After": "1"}), TRIES),
            (httpx.ReadError("reset"), TRIES),
            (httpx.ReadTimeout("slow"), TRIES),
            (httpx.Response(403, text="<html>error 1015</html>"), 1),
            (httpx.Response(400, json={"error": "invalid_scope"}), 1),
            (httpx.Response(401, json={"error": "invalid_client"}), 1),
            (httpx.Response(400, json={"error": "invalid_grant"}), 1),
            (httpx.Response(200, text="<html>"), 1),
            (httpx.Response(429, headers={"Retry-After": "3000"}), 1),
        ],
    )
    async def test_only_what_another_try_can_help_is_tried_again(
        self,
        keeper: Keeper,
        endpoint: Rotating,
        clock: Clock,
        failure: httpx.Response | httpx.TransportError,
        tries: int,
    ) -> None:
        endpoint.down = failure
        clock.seconds += LIFETIME
        assert isinstance(await keeper.fresh(KEY), NotUsable)
        assert endpoint.asked == tries

    async def test_one_broken_connection_is_not_noticed(
        self, keeper: Keeper, endpoint: Rotating, clock: Clock
    ) -> None:
        endpoint.instead.append(httpx.ReadError("reset"))
        clock.seconds += LIFETIME
        assert value(await keeper.fresh(KEY)) == "access-2"
        assert clock.slept == [0.5]

    async def test_the_wait_that_a_provider_asks_for_is_kept(
        self, keeper: Keeper, endpoint: Rotating, clock: Clock
    ) -> None:
        endpoint.instead.append(httpx.Response(429, headers={"Retry-After": "4"}))
        clock.seconds += LIFETIME
        assert value(await keeper.fresh(KEY)) == "access-2"
        assert clock.slept == [4.0]

    @pytest.mark.parametrize(
        ("limit", "hint"),
        [
            (httpx.Response(429, json={"retry_after": 900.0}), "try again in 900 seconds"),
            (httpx.Response(429, json={"retry_after": 20000}), "try again in 20 seconds"),
            (
                httpx.Response(429, headers={"Retry-After": "20"}, json={"retry_after": 20000}),
                "try again in 20 seconds",
            ),
            (
                httpx.Response(429, headers={"Retry-After": "900"}, json={"retry_after": 1}),
                "try again in 900 seconds",
            ),
            (httpx.Response(429, headers={"Retry-After": "20000"}), "try again in 20000 seconds"),
            (
                httpx.Response(429, headers={"Retry-After": "Mon, 12 Jan 2099 13:46:40 GMT"}),
                "try again in 4",
            ),
        ],
    )
    async def test_a_long_wait_is_kept_and_tried_again_every_minute_while_requests_come(
        self, keeper: Keeper, endpoint: Rotating, clock: Clock, limit: httpx.Response, hint: str
    ) -> None:
        endpoint.down = limit
        clock.seconds += LIFETIME
        assert refusal(await keeper.fresh(KEY)).hint.startswith(hint)
        for _ in range(600):
            clock.seconds += 1
            assert refusal(await keeper.fresh(KEY)).why is Why.UNAVAILABLE
        assert 10 <= endpoint.asked <= 31  # each 60 s at the latest, and 20 s at the earliest
        endpoint.down = None
        began = clock.seconds
        while isinstance(await keeper.fresh(KEY), NotUsable):
            clock.seconds += 1
        assert clock.seconds - began <= 60

    async def test_a_dead_token_that_cannot_be_refreshed_now_is_unavailable_and_recovers(
        self, keeper: Keeper, endpoint: Rotating, clock: Clock
    ) -> None:
        endpoint.down = httpx.Response(503)
        clock.seconds += LIFETIME
        found = refusal(await keeper.fresh(KEY))
        assert found.why is Why.UNAVAILABLE
        assert found.message == (
            "could not refresh acme/default: the provider gave no usable answer (status 503)"
        )
        assert found.hint == "try again later"
        endpoint.down = None
        clock.seconds += FAILURE_PAUSE
        assert value(await keeper.fresh(KEY)) == f"access-{TRIES + 1}"

    @pytest.mark.parametrize("alive", [True, False])
    async def test_after_a_failure_requests_do_not_try_again_at_once(
        self, keeper: Keeper, endpoint: Rotating, clock: Clock, alive: bool
    ) -> None:
        endpoint.down = httpx.Response(503)
        clock.seconds += DUE if alive else LIFETIME
        first = await keeper.fresh(KEY)
        for _ in range(20):
            clock.seconds += (FAILURE_PAUSE - 1) / 20
            assert await keeper.fresh(KEY) == first
        assert endpoint.asked == TRIES
        clock.seconds += 1.001
        await keeper.fresh(KEY)
        assert endpoint.asked == 2 * TRIES

    async def test_an_outage_is_asked_about_less_and_less_often(
        self, keeper: Keeper, endpoint: Rotating, clock: Clock
    ) -> None:
        endpoint.down = httpx.Response(503)
        clock.seconds += LIFETIME
        for _ in range(3600):
            clock.seconds += 1
            assert refusal(await keeper.fresh(KEY)).why is Why.UNAVAILABLE
        assert endpoint.asked <= 20 * TRIES

    @pytest.mark.parametrize("seconds", [-50_000.0, 50_000.0])
    async def test_a_clock_that_is_set_neither_prolongs_nor_ends_the_pause_after_a_failure(
        self, keeper: Keeper, endpoint: Rotating, clock: Clock, seconds: float
    ) -> None:
        endpoint.down = httpx.Response(503)
        clock.seconds += LIFETIME
        await keeper.fresh(KEY)
        clock.set_by(seconds)
        clock.seconds += FAILURE_PAUSE - 1
        await keeper.fresh(KEY)
        assert endpoint.asked == TRIES
        endpoint.down = None
        clock.seconds += 1.001
        assert value(await keeper.fresh(KEY)) == f"access-{TRIES + 1}"

    async def test_a_refused_client_says_how_to_enter_another(
        self, keeper: Keeper, store: MemoryStore, endpoint: Rotating, clock: Clock
    ) -> None:
        endpoint.instead.append(httpx.Response(401, json={"error": "invalid_client"}))
        clock.seconds += LIFETIME
        found = refusal(await keeper.fresh(KEY))
        assert found.why is Why.LOGIN_NEEDED
        assert found.command == "<login default/acme/default new_application>"
        assert store.records[KEY].value.status is Status.CONNECTED

    async def test_without_a_stored_client_a_login_is_needed(
        self, keeper: Keeper, store: MemoryStore, endpoint: Rotating, clock: Clock
    ) -> None:
        store.registered = None
        clock.seconds += LIFETIME
        assert refusal(await keeper.fresh(KEY)).why is Why.LOGIN_NEEDED
        assert endpoint.asked == 0

    async def test_a_provider_that_no_longer_speaks_oauth_cannot_refresh(
        self, store: MemoryStore, endpoint: Rotating, clock: Clock
    ) -> None:
        text = (Path(__file__).parents[3] / "examples/providers/keyed.json").read_bytes()
        keyed = parse_provider(text, "keyed.json")
        stored = connection(clock()).model_copy(update={"reach": reach_of(keyed)})
        store.put_connection(KEY, stored, expected=1)
        clock.seconds += LIFETIME
        found = await keeper_of(store, endpoint, clock, provider=keyed).fresh(KEY)
        assert refusal(found).why is Why.LOGIN_NEEDED
        assert endpoint.asked == 0

    async def test_a_provider_that_is_gone_is_told_with_its_own_advice(
        self, store: MemoryStore, endpoint: Rotating, clock: Clock
    ) -> None:
        def providers(name: str) -> Provider:
            raise ProviderUnknown(f"there is no provider '{name}'", "known providers: discord")

        clock.seconds += LIFETIME
        keeper = Keeper(store, providers, OAuthClient(http_of(endpoint), clock), clock)
        found = refusal(await keeper.fresh(KEY))
        assert found.message == "could not refresh acme/default: there is no provider 'acme'"
        assert found.hint == "known providers: discord"


class TestRejected:
    async def test_a_401_has_the_next_request_refresh_once(
        self, keeper: Keeper, endpoint: Rotating, clock: Clock
    ) -> None:
        assert value(await keeper.fresh(KEY)) == "access-0"
        keeper.reject(KEY, 1)
        for _ in range(5):
            assert value(await keeper.fresh(KEY)) == "access-1"
        assert endpoint.asked == 1

    async def test_a_late_401_of_an_older_generation_is_nothing(
        self, keeper: Keeper, endpoint: Rotating, clock: Clock
    ) -> None:
        keeper.reject(KEY, 1)
        await keeper.fresh(KEY)
        clock.seconds += RECOVERY_PAUSE
        keeper.reject(KEY, 1)
        assert value(await keeper.fresh(KEY)) == "access-1"
        assert value(await keeper.recovered(KEY, 1)) == "access-1"
        assert (endpoint.asked, keeper.circuits()) == (1, [])

    async def test_a_revoked_connection_is_found_out_by_its_401(
        self, keeper: Keeper, store: MemoryStore, endpoint: Rotating
    ) -> None:
        endpoint.alive = ""
        keeper.reject(KEY, 1)
        assert refusal(await keeper.fresh(KEY)).why is Why.DEAD
        assert store.records[KEY].value.status is Status.EXPIRED

    async def test_a_401_of_a_connection_that_is_gone_or_cannot_be_read_is_nothing(
        self, keeper: Keeper, store: MemoryStore, endpoint: Rotating
    ) -> None:
        keeper.reject(WORK, 1)
        assert refusal(await keeper.recovered(WORK, 1)).why is Why.NOT_CONNECTED
        store.damage = RecordDamaged("acme/default does not open", "restore a backup")
        keeper.reject(KEY, 1)
        assert refusal(await keeper.recovered(KEY, 1)).why is Why.UNAVAILABLE
        assert endpoint.asked == 0


class TestNothingIsLost:
    async def test_the_answer_is_stored_though_the_only_caller_was_cancelled(
        self, keeper: Keeper, store: MemoryStore, endpoint: Rotating, clock: Clock
    ) -> None:
        clock.seconds += LIFETIME
        endpoint.gate = asyncio.Event()
        caller = asyncio.create_task(keeper.fresh(KEY))
        await asyncio.wait_for(endpoint.arrived.wait(), 5)
        caller.cancel()
        await asyncio.wait([caller])
        endpoint.gate.set()
        await keeper.aclose()
        assert caller.cancelled()
        assert store.tokens().refresh_token == SecretStr("refresh-1")

    async def test_cancelling_one_caller_leaves_the_others_their_token(
        self, keeper: Keeper, endpoint: Rotating, clock: Clock
    ) -> None:
        clock.seconds += LIFETIME
        endpoint.gate = asyncio.Event()
        callers = [asyncio.create_task(keeper.fresh(KEY)) for _ in range(3)]
        await asyncio.wait_for(endpoint.arrived.wait(), 5)
        callers[0].cancel()
        await asyncio.sleep(0)
        endpoint.gate.set()
        assert [value(outcome) for outcome in await asyncio.gather(*callers[1:])] == ["access-1"] * 2
        assert endpoint.asked == 1

    async def test_closing_waits_for_a_refresh_under_way_and_begins_none(
        self, keeper: Keeper, store: MemoryStore, endpoint: Rotating, clock: Clock
    ) -> None:
        clock.seconds += LIFETIME
        endpoint.gate = asyncio.Event()
        caller = asyncio.create_task(keeper.fresh(KEY))
        await asyncio.wait_for(endpoint.arrived.wait(), 5)
        closing = asyncio.create_task(keeper.aclose())
        await asyncio.sleep(0.01)
        assert not closing.done()
        endpoint.gate.set()
        await closing
        assert value(await caller) == "access-1"
        clock.seconds += LIFETIME
        assert refusal(await keeper.fresh(KEY)).why is Why.UNAVAILABLE
        assert endpoint.asked == 1

    async def test_closing_gives_up_what_waits_for_the_lock(
        self, keeper: Keeper, store: MemoryStore, endpoint: Rotating, clock: Clock
    ) -> None:
        clock.seconds += LIFETIME
        with store.lock(KEY, 1):
            caller = asyncio.create_task(keeper.fresh(KEY))
            await asyncio.sleep(0.01)
            await asyncio.wait_for(keeper.aclose(), 1)
        assert refusal(await caller).why is Why.UNAVAILABLE

    async def test_an_answer_that_could_not_be_stored_is_kept_and_stored_later(
        self, keeper: Keeper, store: MemoryStore, endpoint: Rotating, clock: Clock
    ) -> None:
        clock.seconds += LIFETIME
        store.before_put = full_disk
        assert await keeper.fresh(KEY) == NotUsable(Why.UNAVAILABLE, "the disk is full", "free some space")
        store.before_put = lambda: None
        clock.seconds += FAILURE_PAUSE
        assert value(await keeper.fresh(KEY)) == "access-1"
        assert store.tokens().refresh_token == SecretStr("refresh-1")
        assert endpoint.asked == 1

    async def test_an_answer_that_could_not_be_stored_does_not_undo_a_login_made_since(
        self, keeper: Keeper, store: MemoryStore, endpoint: Rotating, clock: Clock
    ) -> None:
        await refresh_unsaved(keeper, store, clock)
        replace(store, connection(clock(), access="new", refresh="new"))
        clock.seconds += FAILURE_PAUSE
        assert value(await keeper.fresh(KEY)) == "new"
        assert store.tokens().refresh_token == SecretStr("new")

    @pytest.mark.parametrize("ends", [False, True])
    async def test_an_answer_that_could_not_be_stored_outlives_another_process_that_found_its_past_refused(
        self, keeper: Keeper, store: MemoryStore, endpoint: Rotating, clock: Clock, ends: bool
    ) -> None:
        await refresh_unsaved(keeper, store, clock)
        assert refusal(await keeper_of(store, endpoint, clock).fresh(KEY)).why is Why.DEAD
        assert store.records[KEY].value.status is Status.EXPIRED
        if ends:
            await keeper.aclose()
        else:
            assert value(await keeper.fresh(KEY)) == "access-1"
        assert store.records[KEY].value.status is Status.CONNECTED
        assert store.tokens().refresh_token == SecretStr(endpoint.alive)

    async def test_an_answer_that_could_not_be_stored_does_not_revive_a_later_login_that_expired(
        self, keeper: Keeper, store: MemoryStore, endpoint: Rotating, clock: Clock
    ) -> None:
        await refresh_unsaved(keeper, store, clock)
        for refresh in ("other", None):
            later = connection(clock(), access="new", refresh=refresh)
            replace(store, later.model_copy(update={"status": Status.EXPIRED}))
            assert refusal(await keeper.fresh(KEY)).why is Why.DEAD

    async def test_closing_waits_for_the_lock_where_an_answer_is_to_be_stored_still(
        self, keeper: Keeper, store: MemoryStore, endpoint: Rotating, clock: Clock
    ) -> None:
        await refresh_unsaved(keeper, store, clock)
        with store.lock(KEY, 1):
            closing = asyncio.create_task(keeper.aclose())
            await asyncio.sleep(0.1)
            assert not closing.done()
        await closing
        assert store.tokens().refresh_token == SecretStr("refresh-1")

    async def test_closing_gives_an_answer_up_when_the_lock_is_held_for_ever(
        self, store: MemoryStore, endpoint: Rotating, clock: Clock
    ) -> None:
        keeper = keeper_of(store, endpoint, clock, lock_wait=0.1)
        await refresh_unsaved(keeper, store, clock)
        with store.lock(KEY, 1):
            await asyncio.wait_for(keeper.aclose(), 30)
        assert store.tokens().refresh_token == SecretStr("refresh-0")
