"""Every kind of answer of a token endpoint, over real TLS: what becomes of the login, what the user reads."""

from __future__ import annotations

import codecs
import json
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from oauth.client import OAuthClient
from oauth.keeper.keeper import FreshCredential, Keeper, NotUsable, Outcome, Why
from oauth.keeper.retry import FAILURE_PAUSE, TRIES
from oauth.protocol import MAX_LIFETIME
from oauth.provider import OAuth2
from oauth.reach import reach_of
from tests.oauth.endpoint import Endpoint, Script, answer, reset
from tests.oauth.fakes import KEY, PROVIDER, Clock, MemoryStore
from vault.model import Connection, OAuthTokens, Status

LOGIN = "run <login default/acme/default>"
CLIENT = "run <login default/acme/default new_application>"
LATER = "try again later"
HTML = b"<!DOCTYPE html><html><title>Access denied | error code: 1015</title>"
JSON = b"Content-Type: application/json"
LIFETIME = 3600.0


def body(**changes: object) -> bytes:
    """A token answer; `...` leaves a member out."""
    members: Mapping[str, object] = {
        "access_token": "canary-new-access",
        "token_type": "Bearer",
        "expires_in": 604800,
        "refresh_token": "canary-new-refresh",
        "scope": "identify",
    } | changes
    return json.dumps({key: value for key, value in members.items() if value is not ...}).encode()


def stall(connection: ssl.SSLSocket) -> None:
    connection.recv(1)  # until the client gives up


@dataclass
class Desk:
    """A keeper, its clock and its store, before a real endpoint."""

    keeper: Keeper
    store: MemoryStore
    clock: Clock
    endpoint: Endpoint

    async def ask(self) -> Outcome:
        return await self.keeper.fresh(KEY)


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[Endpoint]:
    with Endpoint(tmp_path) as running:
        yield running


@asynccontextmanager
async def desk_of(endpoint: Endpoint, *, left: float) -> AsyncIterator[Desk]:
    """A desk with a token that has `left` seconds to live."""
    clock, store = Clock(), MemoryStore()
    tokens = OAuthTokens(
        access_token=SecretStr("canary-old-access"),
        refresh_token=SecretStr("canary-old-refresh"),
        scopes=("identify",),
        issued_at=clock() - LIFETIME + left,
        expires_at=clock() + left,
    )
    auth = OAuth2(
        type="oauth2",
        flow="pkce",
        pkce=False,
        authorization_url=f"{endpoint.url}/authorize",
        token_url=f"{endpoint.url}/token",
        client_auth="client_secret_post",
        scopes=("identify",),
    )
    provider = PROVIDER.model_copy(update={"auth": auth})
    connection = Connection(credential=tokens, reach=reach_of(provider), created_at=0, updated_at=0)
    store.put_connection(KEY, connection, expected=None)
    trust = ssl.create_default_context(cafile=endpoint.ca_file)
    async with httpx.AsyncClient(verify=trust, trust_env=False) as http:
        client = OAuthClient(http, clock, total_timeout=0.3, exchange_patience=0.3)
        keeper = Keeper(store, lambda _: provider, client, clock, pace=clock.pace)
        yield Desk(keeper, store, clock, endpoint)
        await keeper.aclose()


@dataclass(frozen=True)
class Row:
    """One kind of answer that brings no tokens."""

    name: str
    answers: bytes | Script
    why: Why
    message: str
    hint: str
    tries: int
    """Requests that one refresh makes of it."""


UNAVAILABLE, LOGIN_NEEDED, DEAD = Why.UNAVAILABLE, Why.LOGIN_NEEDED, Why.DEAD
REFUSED = "the provider refused the refresh token"
LIMITED = "the provider limits how often it may be asked (status 429)"
BLOCKED = "the provider's front blocked the request (status 403)"
ELSEWHERE = "wait some minutes before you try again, or use another network"
BROKEN = "localhost broke off the connection"


def error(status: int, code: str, **more: str) -> bytes:
    return answer(status, json.dumps({"error": code, **more}).encode(), JSON)


def unusable(status: int) -> str:
    return f"the provider gave no usable answer (status {status})"


ROWS = (
    Row("invalid_grant", error(400, "invalid_grant"), DEAD, REFUSED, LOGIN, 1),
    Row(
        "invalid_client 401",
        error(401, "invalid_client"),
        LOGIN_NEEDED,
        "the provider refused the client id or secret: invalid_client",
        CLIENT,
        1,
    ),
    Row(
        "invalid_client 400",
        error(400, "invalid_client"),
        LOGIN_NEEDED,
        "the provider refused the client id or secret: invalid_client",
        CLIENT,
        1,
    ),
    Row(
        "invalid_scope",
        error(400, "invalid_scope", error_description="The requested scope is invalid"),
        UNAVAILABLE,
        "the provider refused the request: invalid_scope (The requested scope is invalid)",
        "check scopes and redirect URI",
        1,
    ),
    Row(
        "429 with JSON",
        answer(
            429, b'{"message": "You are being rate limited.", "retry_after": 64.57, "global": false}', JSON
        ),
        UNAVAILABLE,
        LIMITED,
        "try again in 65 seconds",
        1,
    ),
    Row(
        "429 with Retry-After",
        answer(429, b"", b"Retry-After: 30"),
        UNAVAILABLE,
        LIMITED,
        "try again in 30 seconds",
        1,
    ),
    Row(
        "429 with a date",
        answer(429, b"", b"Retry-After: Mon, 12 Jan 1970 13:48:20 GMT"),  # 100 s after the clock's time
        UNAVAILABLE,
        LIMITED,
        "try again in 100 seconds",
        1,
    ),
    Row(
        "429 with a short wait",
        answer(429, b"", b"Retry-After: 1"),
        UNAVAILABLE,
        LIMITED,
        "try again in 1 seconds",
        TRIES,
    ),
    Row(
        "429 without JSON",
        answer(429, b"error code: 1015"),
        UNAVAILABLE,
        LIMITED,
        "try again in some minutes",
        TRIES,
    ),
    Row("429 as a page", answer(429, HTML), UNAVAILABLE, LIMITED, "try again in some minutes", TRIES),
    Row("403 as a page", answer(403, HTML), UNAVAILABLE, BLOCKED, ELSEWHERE, 1),
    Row("503 as a page", answer(503, HTML), UNAVAILABLE, unusable(503), LATER, TRIES),
    Row(
        "500 as JSON",
        answer(500, b'{"message": "500: Internal Server Error", "code": 0}', JSON),
        UNAVAILABLE,
        unusable(500),
        LATER,
        TRIES,
    ),
    Row("502", answer(502, b""), UNAVAILABLE, unusable(502), LATER, TRIES),
    Row("504", answer(504, b""), UNAVAILABLE, unusable(504), LATER, TRIES),
    Row("5xx that says invalid_grant", error(503, "invalid_grant"), UNAVAILABLE, unusable(503), LATER, TRIES),
    Row("temporarily_unavailable", error(400, "slow_down"), UNAVAILABLE, unusable(400), LATER, TRIES),
    Row("truncated body", answer(200, body())[:-20], UNAVAILABLE, BROKEN, LATER, TRIES),
    Row("truncated JSON", answer(200, body()[:-20]), UNAVAILABLE, unusable(200), LATER, 1),
    Row("reset", reset, UNAVAILABLE, BROKEN, LATER, TRIES),
    Row("closed without an answer", b"", UNAVAILABLE, BROKEN, LATER, TRIES),
    Row("timeout", stall, UNAVAILABLE, "localhost did not answer in time", LATER, TRIES),
    Row("no access token", answer(200, body(access_token=...)), UNAVAILABLE, unusable(200), LATER, 1),
    Row("an empty object", answer(200, b"{}"), UNAVAILABLE, unusable(200), LATER, 1),
    Row("a page with status 200", answer(200, HTML), UNAVAILABLE, unusable(200), LATER, 1),
    Row("a redirect", answer(302, b"", b"Location: /login"), UNAVAILABLE, unusable(302), LATER, 1),
    Row(
        "another type of token",
        answer(200, body(token_type="mac")),
        UNAVAILABLE,
        "the provider issued a token that is not a bearer token",
        "check the provider's definition",
        1,
    ),
)
"""The answers that bring no tokens, as a user meets them when the old token is dead as well."""

ROW = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


@ROW
async def test_an_answer_without_tokens_is_told_and_wipes_nothing(endpoint: Endpoint, row: Row) -> None:
    endpoint.answers += [row.answers] * TRIES
    async with desk_of(endpoint, left=-1) as desk:
        kept = desk.store.tokens()
        found = await desk.ask()
        assert isinstance(found, NotUsable)
        assert (found.why, found.message) == (row.why, f"could not refresh acme/default: {row.message}")
        assert found.hint == row.hint
        assert len(endpoint.requests) == row.tries
        assert desk.store.tokens() == kept
        expected = Status.EXPIRED if row.why is DEAD else Status.CONNECTED
        assert desk.store.records[KEY].value.status is expected
        assert "canary" not in repr(found)


@pytest.mark.parametrize("row", [row for row in ROWS if row.why is not DEAD], ids=lambda row: row.name)
async def test_the_living_token_stays_in_use_and_the_next_refresh_can_succeed(
    endpoint: Endpoint, row: Row
) -> None:
    endpoint.answers += [row.answers] * row.tries + [answer(200, body())]
    async with desk_of(endpoint, left=250) as desk:
        found = await desk.ask()
        assert isinstance(found, FreshCredential)
        assert found.value == SecretStr("canary-old-access")
        desk.clock.seconds += 100 + FAILURE_PAUSE
        found = await desk.ask()
        assert isinstance(found, FreshCredential)
        assert found.value == SecretStr("canary-new-access")


async def test_a_failure_that_passes_within_seconds_is_not_noticed(endpoint: Endpoint) -> None:
    endpoint.answers += [reset, answer(503, HTML), answer(200, body())]
    async with desk_of(endpoint, left=-1) as desk:
        assert isinstance(await desk.ask(), FreshCredential)
        assert len(endpoint.requests) == 3


@pytest.mark.parametrize(
    ("raw", "lifetime"),
    [
        (body(), 604800),
        (body(token_type="bearer"), 604800),
        (body(token_type="BEARER"), 604800),
        (body(token_type=...), 604800),
        (body(scope=...), 604800),
        (body(refresh_token=...), 604800),
        (body(refresh_token=None), 604800),
        (body(expires_in=...), None),
        (body(expires_in=None), None),
        (body(expires_in=0), None),
        (body(expires_in=-5), None),
        (body(expires_in="0"), None),
        (body(expires_in="soon"), None),
        (body(expires_in="3600"), 3600),
        (body(expires_in=3600.5), 3600.5),
        (body(expires_in=10**30), MAX_LIFETIME),
        (body(expires_in=1e300), MAX_LIFETIME),
        (body(surprise={"a": [1]}), 604800),
    ],
)
async def test_an_answer_with_a_token_is_kept_whatever_else_is_odd_about_it(
    endpoint: Endpoint, raw: bytes, lifetime: float | None
) -> None:
    endpoint.answers.append(answer(200, raw))
    async with desk_of(endpoint, left=-1) as desk:
        found = await desk.ask()
        assert isinstance(found, FreshCredential)
        kept = desk.store.tokens()
        assert kept.access_token == SecretStr("canary-new-access")
        new = "canary-new-refresh" if json.loads(raw).get("refresh_token") else "canary-old-refresh"
        assert kept.refresh_token == SecretStr(new)
        assert kept.scopes == ("identify",)
        assert kept.expires_at == (None if lifetime is None else desk.clock() + lifetime)
        for _ in range(50):  # no storm, whatever the lifetime
            await desk.ask()
        assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    "raw",
    [
        answer(200, codecs.BOM_UTF8 + body(), JSON),
        answer(200, body().decode().encode("utf-16"), JSON),
        answer(200, body().decode().encode("utf-16-be"), b"Content-Type: application/json; charset=utf-16"),
        answer(200, b")]}',\n" + body() + b"\n\n", JSON),
        answer(200, body(), b"Content-Type: text/html; charset=klingon"),
        answer(200, body(expires_in="604800.0", token_type=7), JSON),
        answer(200, body(guild={"name": "café"}).replace(b"caf\\u00e9", b"caf\xe9"), JSON),
        answer(200, b'{"access_token": "canary-old-access", ' + body()[1:], JSON),
        answer(200, b'{"ok": true, "data": ' + body() + b"}", JSON),
        answer(200, body(access_token="canary-new-access\r\n", refresh_token=" canary-new-refresh"), JSON),
        answer(
            200,
            b"access_token=canary-new-access&refresh_token=canary-new-refresh&expires_in=604800&scope=identify",
            b"Content-Type: application/x-www-form-urlencoded",
        ),
        answer(201, body(), JSON),
        answer(200, body(guild={"roles": ["r" * 400] * 1250}), JSON),
    ],
)
async def test_the_only_living_tokens_are_kept_however_their_answer_is_written(
    endpoint: Endpoint, raw: bytes
) -> None:
    endpoint.answers.append(raw)
    async with desk_of(endpoint, left=-1) as desk:
        found = await desk.ask()
        assert isinstance(found, FreshCredential)
        kept = desk.store.tokens()
        assert kept.access_token == SecretStr("canary-new-access")
        assert kept.refresh_token == SecretStr("canary-new-refresh")
        assert kept.scopes == ("identify",)
        assert kept.expires_at == desk.clock() + 604800


@pytest.mark.parametrize("seconds", [-1e7, -7200.0, 7200.0, 1e7])
async def test_a_clock_that_jumps_after_the_answer_costs_one_refresh_at_most(
    endpoint: Endpoint, seconds: float
) -> None:
    endpoint.answers += [answer(200, body(access_token=f"canary-{n}")) for n in range(9)]
    async with desk_of(endpoint, left=-1) as desk:
        await desk.ask()
        desk.clock.set_by(seconds)
        for _ in range(50):
            desk.clock.seconds += 60
            assert isinstance(await desk.ask(), FreshCredential)
        assert len(endpoint.requests) <= 2
