"""What the answer to a check means."""

import json

import pytest
from pydantic import SecretStr

from oauth.health import EXPIRING, Expected, Finding, check_url, from_answer, from_outcome, unless_expiring
from oauth.outcome import NotUsable, Why
from oauth.provider import Provider, parse_provider
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


def health(body: object, status: int = 200, **fields: str) -> Health:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return from_answer(KEY, provider(**fields), connection(), EXPECTED, status, text).health


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
    found = from_answer(KEY, asked, connection(), expected, 200, b'{"id": "42"}')
    assert found.health is Health.WRONG_CLIENT


def test_lost_scopes_are_named_with_the_login_that_brings_them_back() -> None:
    found = from_answer(KEY, provider(check_scopes_field="s"), connection(), EXPECTED, 200, b'{"s": ""}')
    assert found == Finding(
        Health.SCOPES_LOST,
        "acme/work has lost the scopes read, write",
        "run 'authsome login acme --connection work --scopes read,write'",
    )


@pytest.mark.parametrize(
    ("left", "words"),
    [(EXPIRING - 1, "23 hours"), (7200.0, "2 hours"), (7199.0, "1 hour"), (60.0, "less than an hour")],
)
def test_the_end_of_a_token_that_cannot_be_refreshed_is_announced(left: float, words: str) -> None:
    found = unless_expiring(KEY, Finding(Health.HEALTHY), connection(refresh=False, end=left), 0.0)
    assert found == Finding(
        Health.EXPIRING,
        f"acme/work ends in {words} and cannot be refreshed",
        "run 'authsome login acme --connection work'",
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
    assert unless_expiring(KEY, Finding(Health.HEALTHY), lasting, 0.0) == Finding(Health.HEALTHY)


def test_a_worse_finding_is_not_hidden_by_an_end_that_is_near() -> None:
    worse = Finding(Health.SCOPES_LOST, "m", "h")
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
    assert from_outcome(outcome, connection(refresh=refresh)) == Finding(found, "message", "hint")


def test_the_address_to_ask_is_that_of_the_check_and_else_that_of_the_user() -> None:
    check, user = "https://acme.example/check", "https://acme.example/me"
    assert check_url(provider(check_url=check, userinfo_url=user)) == check
    assert check_url(provider(userinfo_url=user)) == user
    assert check_url(provider()) is None
