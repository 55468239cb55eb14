"""REST endpoints: bodies, scopes, errors, rate limits."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.standin import Answer, Guild, RateLimit, StandIn, client_of
from tests.standin.clock import Clock

API = "https://discord.com/api/v10"
UNAUTHORIZED = '{"message": "401: Unauthorized", "code": 0}'
NEEDED = {
    "/users/@me": "identify",
    "/users/@me/guilds": "guilds",
    "/users/@me/connections": "connections",
    "/oauth2/userinfo": "openid",
}


@pytest.fixture
def client(standin: StandIn) -> Iterator[httpx.Client]:
    standin.discord.register_app()
    with client_of(standin) as client:
        yield client


def bearer(standin: StandIn, *scopes: str) -> dict[str, str]:
    """The field that a new token with these scopes stands in."""
    tokens = standin.discord.grant(standin.discord.register_app(), scopes=scopes)
    return {"Authorization": f"Bearer {tokens.access_token}"}


@pytest.mark.parametrize("version", ["", "/v6", "/v7", "/v8", "/v9", "/v10"])
def test_every_version_answers(standin: StandIn, client: httpx.Client, version: str) -> None:
    headers = bearer(standin, "identify")
    answer = client.get(f"https://discord.com/api{version}/users/@me", headers=headers)
    assert (answer.status_code, answer.json()["username"]) == (200, "nelly")
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("version", ["3", "5", "11"])
def test_other_versions_are_refused(client: httpx.Client, version: str) -> None:
    answer = client.get(f"https://discord.com/api/v{version}/gateway")
    assert (answer.status_code, answer.json()["code"]) == (400, 50041)


def test_email_is_told_only_with_its_scope(standin: StandIn, client: httpx.Client) -> None:
    with_email = client.get(f"{API}/users/@me", headers=bearer(standin, "identify", "email")).json()
    without = client.get(f"{API}/users/@me", headers=bearer(standin, "identify")).json()
    assert (with_email["email"], with_email["verified"]) == ("nelly@example.com", True)
    assert "email" not in without
    assert "verified" not in without


@pytest.mark.parametrize(("path", "scope"), NEEDED.items())
def test_an_endpoint_needs_its_scope(standin: StandIn, client: httpx.Client, path: str, scope: str) -> None:
    assert client.get(API + path, headers=bearer(standin, scope)).status_code == 200
    other = "email" if scope != "email" else "identify"
    refused = client.get(API + path, headers=bearer(standin, other))
    assert (refused.status_code, refused.json()["code"]) == (403, 50026)


@pytest.mark.parametrize(
    "value", [None, "", "Bearer", "Bearer nonsense", "Bot {}", "{}", "Basic {}", "Bearer {}x"]
)
@pytest.mark.parametrize("path", [*NEEDED, "/oauth2/@me"])
def test_anything_but_a_living_bearer_token_is_unauthorized(
    standin: StandIn, client: httpx.Client, path: str, value: str | None
) -> None:
    token = bearer(standin, *NEEDED.values())["Authorization"].removeprefix("Bearer ")
    headers = {} if value is None else {"Authorization": value.format(token)}
    answer = client.get(API + path, headers=headers)
    assert (answer.status_code, answer.text, answer.headers["content-length"]) == (401, UNAUTHORIZED, "43")


def test_a_revoked_token_is_unauthorized(standin: StandIn, client: httpx.Client) -> None:
    tokens = standin.discord.grant(standin.discord.register_app())
    headers = {"Authorization": f"Bearer {tokens.access_token}"}
    assert client.get(f"{API}/users/@me", headers=headers).status_code == 200
    standin.discord.revoke(tokens.user, tokens.app)
    assert client.get(f"{API}/users/@me", headers=headers).status_code == 401


def test_guilds_are_paged_by_id(standin: StandIn, client: httpx.Client) -> None:
    guilds = [Guild(str(number), f"guild {number}") for number in (30, 10, 20)]
    user = standin.discord.user("paging", guilds=guilds)
    tokens = standin.discord.grant(standin.discord.register_app(), user)
    headers = {"Authorization": f"Bearer {tokens.access_token}"}

    def ids(query: str) -> list[str]:
        return [
            guild["id"] for guild in client.get(f"{API}/users/@me/guilds?{query}", headers=headers).json()
        ]

    assert ids("") == ["10", "20", "30"]
    assert ids("after=10") == ["20", "30"]
    assert ids("after=10&limit=1") == ["20"]
    assert ids("before=30") == ["10", "20"]
    assert ids("before=30&limit=1") == ["20"]


def test_guild_counts_are_told_when_asked_for(standin: StandIn, client: httpx.Client) -> None:
    headers = bearer(standin, "guilds")
    plain = client.get(f"{API}/users/@me/guilds", headers=headers).json()[0]
    counted = client.get(f"{API}/users/@me/guilds?with_counts=true", headers=headers).json()[0]
    assert "approximate_member_count" not in plain
    assert counted["approximate_member_count"] == 42


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "before=x", "after=-1"])
def test_a_query_out_of_bounds_is_an_invalid_form(standin: StandIn, client: httpx.Client, query: str) -> None:
    answer = client.get(f"{API}/users/@me/guilds?{query}", headers=bearer(standin, "guilds"))
    assert (answer.status_code, answer.json()["code"]) == (400, 50035)
    assert list(answer.json()["errors"]) == [query.partition("=")[0]]


def test_the_authorization_names_scopes_and_the_user_only_with_identify(
    standin: StandIn, client: httpx.Client
) -> None:
    full = client.get(f"{API}/oauth2/@me", headers=bearer(standin, "identify", "guilds")).json()
    anonymous = client.get(f"{API}/oauth2/@me", headers=bearer(standin, "guilds")).json()
    assert full["scopes"] == ["identify", "guilds"]
    assert full["user"]["username"] == "nelly"
    assert "user" not in anonymous


@pytest.mark.parametrize("path", ["/gateway", "/oauth2/keys"])
def test_open_endpoints_need_no_credential(client: httpx.Client, path: str) -> None:
    assert client.get(API + path).status_code == 200


@pytest.mark.parametrize(
    "url", [f"{API}/nothing", "https://discord.com/nothing", "https://discord.com/api/v10"]
)
def test_an_unknown_route_is_not_found(client: httpx.Client, url: str) -> None:
    answer = client.get(url)
    assert (answer.status_code, answer.text) == (404, '{"message": "404: Not Found", "code": 0}')


def test_a_method_that_is_not_served_is_not_allowed(standin: StandIn, client: httpx.Client) -> None:
    assert client.delete(f"{API}/users/@me", headers=bearer(standin, "identify")).status_code == 405


def test_answers_tell_the_rate_limit() -> None:
    with StandIn(clock=Clock(1_800_000_000.25)) as standin, client_of(standin) as client:
        standin.discord.rate_limit = RateLimit(limit=5, window=1.0)
        headers = client.get(f"{API}/gateway").headers
    assert headers["x-ratelimit-limit"] == "5"
    assert headers["x-ratelimit-remaining"] == "4"
    assert headers["x-ratelimit-reset"] == "1800000001.000"
    assert headers["x-ratelimit-reset-after"] == "0.750"
    assert headers["x-ratelimit-bucket"]
    assert headers["via"] == "1.1 google"


def test_too_many_requests_are_limited_until_the_window_ends() -> None:
    clock = Clock()
    with StandIn(clock=clock) as standin, client_of(standin) as client:
        standin.discord.rate_limit = RateLimit(limit=2, window=10.0)
        assert [client.get(f"{API}/gateway").status_code for _ in range(3)] == [200, 200, 429]
        limited = client.get(f"{API}/gateway")
        other = client.get(f"{API}/gateway", headers={"Authorization": "Bearer other"})
        clock.now += 10
        assert client.get(f"{API}/gateway").status_code == 200
    assert limited.json() == {
        "message": "You are being rate limited.",
        "code": 0,
        "retry_after": 10.0,
        "global": False,
    }
    assert limited.headers["retry-after"] == "10"
    assert limited.headers["x-ratelimit-scope"] == "user"
    assert "x-ratelimit-global" not in limited.headers
    assert other.status_code == 200


def test_a_global_limit_says_so(standin: StandIn, client: httpx.Client) -> None:
    standin.discord.rate_limit = RateLimit(limit=0, window=60.0, scope="global")
    limited = client.get(f"{API}/gateway")
    assert limited.json()["global"] is True
    assert limited.headers["x-ratelimit-global"] == "true"


def test_a_canned_answer_replaces_one_request(standin: StandIn, client: httpx.Client) -> None:
    standin.discord.rest_faults.append(Answer(403, (("Content-Type", "text/html"),), b"error code: 1015"))
    assert client.get(f"{API}/gateway").text == "error code: 1015"
    assert client.get(f"{API}/gateway").status_code == 200
