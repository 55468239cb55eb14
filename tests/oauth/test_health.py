"""What the answer to a check means."""

import json

import pytest
from pydantic import SecretStr

from oauth.health import (
    EXPIRING,
    Examined,
    Expected,
    Probed,
    check_url,
    condemns,
    from_answer,
    from_outcome,
    unless_expiring,
    vouches,
)
from oauth.outcome import NotUsable, Why
from oauth.provider import Provider, StaticKey, parse_provider
from vault.model import ApiKey, Connection, ConnectionKey, Health, OAuthTokens

KEY = ConnectionKey("default", "acme", "work")
EXPECTED = Expected("42", ("read", "write"))


def provider(**auth: object) -> Provider:
    urls = dict.fromkeys(("authorization_url", "token_url"), "https://acme.example/")
    login = {"type": "oauth2", "flow": "pkce", "pkce": True, "client_auth": "none", "scopes": ["read"]}
    definition = {
        "schema": 1,
        "name": "acme",
        "display_name": "Acme",
        "auth": {**login, **urls, **auth},
        "proxy": {"hosts": ["acme.example"]},
        "env": {},
    }
    return parse_provider(json.dumps(definition).encode(), "acme.json")


def connection(*, refresh: bool = True, end: float | None = 1e6) -> Connection:
    tokens = OAuthTokens(
        access_token=SecretStr("CANARY-1"),
        refresh_token=SecretStr("CANARY-2") if refresh else None,
        scopes=("read", "write"),
        issued_at=0.0,
        expires_at=end,
    )
    return Connection(credential=tokens, requested_scopes=("read", "write"), created_at=0.0, updated_at=0.0)


def probed(status: int, body: object, challenge: str = "") -> Probed:
    return Probed(status, body if isinstance(body, bytes) else json.dumps(body).encode(), challenge)


def health(body: object, status: int = 200, **fields: object) -> Health:
    return from_answer(KEY, provider(**fields), connection(), EXPECTED, probed(status, body)).health


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"app": {"id": "42"}}, Health.HEALTHY),
        ({"app": {"id": "43"}}, Health.WRONG_CLIENT),
        ({"app": {"id": ""}}, Health.WRONG_CLIENT),
        ({"app": {"id": 42}}, Health.UNREACHABLE),
        ({"app": {"id": None}}, Health.UNREACHABLE),
        ({"app": "42"}, Health.UNREACHABLE),
        ({"app.id": "42"}, Health.UNREACHABLE),
        ({}, Health.UNREACHABLE),
        (["42"], Health.UNREACHABLE),
        (b"", Health.UNREACHABLE),
        (b"\xff", Health.UNREACHABLE),
    ],
)
def test_the_client_id_of_the_answer_must_be_ours(body: object, found: Health) -> None:
    assert health(body, check_client_field="app.id") is found


@pytest.mark.parametrize(
    ("scopes", "found"),
    [
        (["write", "read"], Health.HEALTHY),
        (["read", "write", "more"], Health.HEALTHY),
        ("write read", Health.HEALTHY),
        (["read"], Health.SCOPES_LOST),
        ("readwrite", Health.SCOPES_LOST),
        ("", Health.SCOPES_LOST),
        ([], Health.SCOPES_LOST),
        (["read", 1], Health.UNREACHABLE),
        ({"read": 1, "write": 1}, Health.UNREACHABLE),
        (None, Health.UNREACHABLE),
    ],
)
def test_the_scopes_of_the_answer_must_hold_those_that_were_granted(scopes: object, found: Health) -> None:
    assert health({"scope": scopes}, check_scopes_field="scope") is found


@pytest.mark.parametrize(
    ("status", "found"),
    [
        (200, Health.HEALTHY),
        (401, Health.REVOKED),
        (204, Health.UNREACHABLE),
        (302, Health.UNREACHABLE),
        (403, Health.UNREACHABLE),
        (404, Health.UNREACHABLE),
        (500, Health.UNREACHABLE),
    ],
)
def test_without_named_members_the_status_alone_decides(status: int, found: Health) -> None:
    assert health(b"", status) is found


def test_without_a_stored_client_id_no_token_is_ours() -> None:
    expected = Expected(None, ())
    asked = provider(check_client_field="id")
    found = from_answer(KEY, asked, connection(), expected, probed(200, {"id": "42"}))
    assert found.health is Health.WRONG_CLIENT


def test_lost_scopes_are_named_with_the_login_that_brings_them_back() -> None:
    found = from_answer(KEY, provider(check_scopes_field="s"), connection(), EXPECTED, probed(200, {"s": ""}))
    assert found == Examined(
        Health.SCOPES_LOST,
        "acme/work has lost the scopes read, write",
        "run <login default/acme/work scopes=read,write>",
    )


@pytest.mark.parametrize(
    ("left", "words"),
    [(EXPIRING - 1, "23 hours"), (7200.0, "2 hours"), (7199.0, "1 hour"), (60.0, "less than an hour")],
)
def test_the_end_of_a_token_that_cannot_be_refreshed_is_announced(left: float, words: str) -> None:
    found = unless_expiring(KEY, Examined(Health.HEALTHY), connection(refresh=False, end=left), 0.0)
    assert found == Examined(
        Health.EXPIRING,
        f"acme/work ends in {words} and cannot be refreshed",
        "run <login default/acme/work>",
    )


@pytest.mark.parametrize(
    "lasting",
    [
        connection(refresh=False, end=EXPIRING),
        connection(refresh=False, end=None),
        connection(refresh=True, end=60.0),
        Connection(credential=ApiKey(value=SecretStr("k")), created_at=0.0, updated_at=0.0),
    ],
)
def test_what_can_be_refreshed_or_ends_later_is_not_expiring(lasting: Connection) -> None:
    assert unless_expiring(KEY, Examined(Health.HEALTHY), lasting, 0.0) == Examined(Health.HEALTHY)


def test_a_worse_finding_is_not_hidden_by_an_end_that_is_near() -> None:
    worse = Examined(Health.SCOPES_LOST, "m", "h")
    assert unless_expiring(KEY, worse, connection(refresh=False, end=60.0), 0.0) == worse


@pytest.mark.parametrize(
    ("why", "refresh", "found"),
    [
        (Why.UNAVAILABLE, True, Health.UNREACHABLE),
        (Why.VOUCHED, True, Health.UNVERIFIED),
        (Why.DEAD, True, Health.REVOKED),
        (Why.NOT_CONNECTED, True, Health.REVOKED),
        (Why.LOGIN_NEEDED, True, Health.WRONG_CLIENT),
        (Why.LOGIN_NEEDED, False, Health.EXPIRED),
    ],
)
def test_why_the_keeper_hands_nothing_out_tells_the_health(why: Why, refresh: bool, found: Health) -> None:
    outcome = NotUsable(why, "message", "hint")
    assert from_outcome(outcome, connection(refresh=refresh)) == Examined(found, "message", "hint")


def test_the_address_to_ask_is_that_of_the_check_and_else_that_of_the_user() -> None:
    check, user = "https://acme.example/check", "https://acme.example/me"
    assert check_url(provider(check_url=check, userinfo_url=user)) == check
    assert check_url(provider(userinfo_url=user)) == user
    assert check_url(provider()) is None


PAGE = b"<!DOCTYPE html><title>Access denied | error code: 1010</title>"
FRONT = {"title": "Error 1010: Access denied", "status": 403, "cloudflare_error": True}
ME = {"application": {"id": "42"}, "scopes": ["read", "write"]}
UNAUTHORIZED = {"message": "401: Unauthorized", "code": 0}
NO_RIGHT = 'Bearer realm="acme", error="insufficient_scope", scope="read"'


def told() -> Provider:
    """A provider whose file tells the shape of its answers."""
    return provider(
        check_url="https://acme.example/@me",
        check_client_field="application.id",
        check_scopes_field="scopes",
        error_fields=["message", "code"],
    )


@pytest.mark.parametrize(
    "body", [PAGE, b"", b"error code: 1010", FRONT, {}, [], UNAUTHORIZED, {"error": "x"}]
)
@pytest.mark.parametrize(
    "status", [200, 201, 204, 206, 302, 400, 401, 403, 404, 407, 429, 451, 500, 503, 511]
)
def test_what_stands_before_the_api_neither_vouches_nor_condemns(status: int, body: object) -> None:
    auth, said = told().auth, probed(status, body)
    assert not vouches(auth, said)
    assert condemns(auth, said) == (status == 401 and body is UNAUTHORIZED)
    found = from_answer(KEY, told(), connection(), EXPECTED, said).health
    assert found is (Health.REVOKED if condemns(auth, said) else Health.UNREACHABLE)


def test_the_apis_own_answer_vouches_and_condemns() -> None:
    assert vouches(told().auth, probed(200, ME))
    assert vouches(told().auth, probed(200, b"\xef\xbb\xbf" + json.dumps(ME).encode()))
    assert condemns(told().auth, probed(401, UNAUTHORIZED))


@pytest.mark.parametrize(
    "body",
    [
        {"application": {"id": "42"}},
        {"application": {"id": 42}, "scopes": []},
        {"application": "42", "scopes": []},
        {"scopes": ["read"]},
        {**ME, "error": "blocked"},
        [ME],
    ],
)
def test_an_answer_of_another_shape_does_not_vouch(body: object) -> None:
    assert not vouches(told().auth, probed(200, body))


@pytest.mark.parametrize(
    ("challenge", "known"),
    [(NO_RIGHT, True), ("", False), ("Bearer", False), ('Bearer error="invalid_token"', False)],
)
def test_a_403_vouches_only_where_it_says_that_a_right_is_missing(challenge: str, known: bool) -> None:
    assert vouches(told().auth, probed(403, {"message": "Missing Access", "code": 50001}, challenge)) is known


@pytest.mark.parametrize(
    ("status", "body", "good", "dead"),
    [
        (200, {"login": "nelly"}, True, False),
        (200, [], True, False),
        (204, b"", True, False),
        (200, PAGE, False, False),
        (200, b"Please log in to this network", False, False),
        (200, {"ok": False, "error": "invalid_auth"}, False, False),
        (200, {"errors": [{"message": "no"}]}, False, False),
        (401, {"detail": "no"}, False, True),
        (401, b"", False, True),
        (401, PAGE, False, False),
        (401, b"proxy says no", False, False),
    ],
)
def test_of_an_api_whose_shape_is_not_told_json_and_nothing_at_all_are_its_own(
    status: int, body: object, good: bool, dead: bool
) -> None:
    said = probed(status, body)
    for auth in (provider().auth, StaticKey(type="api_key")):
        assert (vouches(auth, said), condemns(auth, said)) == (good, dead)


def test_the_members_that_tell_depend_on_who_is_asked() -> None:
    named = provider(userinfo_url="https://acme.example/me", account_field="login")
    keyed = StaticKey(type="api_key", check_field="user.id")
    assert vouches(named.auth, probed(200, {"login": None}))
    assert not vouches(named.auth, probed(200, {"name": "nelly"}))
    assert vouches(keyed, probed(200, {"user": {"id": 7}}))
    assert not vouches(keyed, probed(200, {"user": {}}))
    assert not vouches(keyed, probed(200, b""))
