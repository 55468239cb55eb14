from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Inject, Reason, Refuse
from proxy.paths import readings
from proxy.permits import READ_ONLY, Permit, parse_permit, permitted
from proxy.policy import decide
from tests.proxy.test_policy import AUTH, GOOD, HOST, RULE


@pytest.mark.parametrize(
    ("text", "method", "path"),
    [
        ("GET /api/v10/users/@me", "GET", "/api/v10/users/@me"),
        ("GET /api/*/users/@me", "GET", "/api/v9/users/@me"),
        ("GET,POST /x", "POST", "/x"),
        ("* /x", "DELETE", "/x"),
        ("GET /api/**", "GET", "/api/v10/a/b/c"),
        ("GET /api/**", "GET", "/api"),
        ("GET /**", "GET", "/"),
        ("GET /", "GET", "/"),
        ("GET /x/", "GET", "/x"),
    ],
)
def test_a_permit_covers(text: str, method: str, path: str) -> None:
    assert parse_permit(text).covers(method, path)


@pytest.mark.parametrize(
    ("text", "method", "path"),
    [
        ("GET /api/*/users/@me", "POST", "/api/v9/users/@me"),
        ("GET /api/*/users/@me", "GET", "/api/v9/x/users/@me"),
        ("GET /api/*/users/@me", "GET", "/api/v9/users/@me/guilds"),
        ("GET /api/*/users/@me", "GET", "/api/users/@me"),
        ("GET /api/*/users/@me", "get", "/api/v9/users/@me"),
        ("GET /Api", "GET", "/api"),
        ("GET /", "GET", "/x"),
        ("GET /api/**", "GET", "/apis/x"),
    ],
)
def test_a_permit_covers_nothing_else(text: str, method: str, path: str) -> None:
    assert not parse_permit(text).covers(method, path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "GET",
        "/x",
        "get /x",
        "GET x",
        "GET  /x",
        "GET /a*b",
        "GET /**/a",
        "GET /a?b",
        "GET /a/../b",
        "GET /%2e",
        "GET //a",
        "GET,/a",
        "GET /a b",
        "GET\t/a",
        "GET /a;b",
    ],
)
def test_what_could_be_read_in_two_ways_is_no_permit(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not|has a"):
        parse_permit(text)


def test_a_method_in_small_letters_is_told_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="capitals"):
        parse_permit("get /a")


def test_every_group_must_cover_and_an_empty_one_does() -> None:
    one, two = parse_permit("GET /a"), parse_permit("* /b")
    assert permitted([(one, two)], "GET", ["/a"])
    assert permitted([(one, two), ()], "POST", ["/b"])
    assert not permitted([(one,), (two,)], "GET", ["/a"])
    assert permitted([], "DELETE", ["/x"])


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/channels/1/messages", True),
        ("/api/channels/x%3F/messages", False),
        ("/api/channels/x%23/messages", False),
        ("/api/channels;x/1/messages", False),
        ("/%EF%BD%81pi/channels/1/messages", False),
        ("/api/channels/1%C2%A0/messages", True),
        ("/api/channels/%F0%9F%91%8D/messages", True),
    ],
)
def test_every_reading_of_a_path_must_be_permitted(path: str, *, allowed: bool) -> None:
    rule = replace(RULE, permits=((parse_permit("GET /api/channels/*/messages"),),))
    assert isinstance(decide([rule], replace(GOOD, path=path)), Inject) is allowed


@pytest.mark.parametrize("method", ["LOCK", "PROPFIND", "get", "Delete", "FOO"])
def test_a_star_for_all_methods_means_those_that_are_known(method: str) -> None:
    rule = replace(RULE, permits=((parse_permit("* /**"),),))
    assert isinstance(decide([rule], replace(GOOD, method=method)), Refuse)
    named = replace(RULE, permits=((parse_permit("LOCK /**"),),))
    assert isinstance(decide([named], replace(GOOD, method="LOCK")), Inject)


def limited(*groups: tuple[Permit, ...]) -> Reason | None:
    decision = decide([replace(RULE, permits=groups)], GOOD)
    return decision.reason if isinstance(decision, Refuse) else None


def test_a_limited_rule_refuses_what_it_does_not_permit_and_names_its_limit() -> None:
    permit = parse_permit("GET /api/*/users/@me")
    assert limited((permit,)) is None
    assert limited((permit,), (READ_ONLY,)) is None
    refused = decide([replace(RULE, permits=((permit,),))], replace(GOOD, method="POST"))
    assert isinstance(refused, Refuse)
    assert refused.reason is Reason.NOT_PERMITTED
    assert "GET /api/*/users/@me" in refused.message


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "LOCK", "get"])
def test_read_only_lets_nothing_change(method: str) -> None:
    decision = decide([replace(RULE, permits=((READ_ONLY,),))], replace(GOOD, method=method))
    assert isinstance(decision, Refuse)


@pytest.mark.parametrize(
    "name",
    [
        b"X-HTTP-Method-Override",
        b"x-http-method",
        b"X-Method-Override",
        b"X_HTTP_Method_Override",
        b"X.HTTP.Method",
        b"X-Tunnel-Method",
        b"HTTP-Method-Override",
    ],
)
def test_a_limited_rule_refuses_a_header_that_overrides_the_method(name: bytes) -> None:
    target = replace(GOOD, headers=(HOST, AUTH, (name, b"DELETE")))
    assert isinstance(decide([replace(RULE, permits=((READ_ONLY,),))], target), Refuse)
    assert isinstance(decide([RULE], target), Inject), "without a limit there is nothing to get around"


@pytest.mark.parametrize(
    "path",
    [
        "/api/v10/users/@me/../channels",
        "/api/v10/users/%2e%2e/@me",
        "/api/v10/users%2f@me",
        "/api/v10//users/@me",
    ],
)
def test_a_path_that_servers_read_differently_is_not_permitted(path: str) -> None:
    permit = parse_permit("GET /api/**")
    decision = decide([replace(RULE, permits=((permit,),))], replace(GOOD, path=path))
    assert isinstance(decision, Refuse)


@given(st.text(alphabet="/.%2eaFf@*;\\", max_size=24))
def test_a_permitted_path_never_leaves_its_folder(tail: str) -> None:
    paths = readings(f"/allowed/{tail}")
    for path in paths if permitted([(parse_permit("GET /allowed/**"),)], "GET", paths) else ():
        parts = path.strip("/").split("/")
        assert parts[0] == "allowed"
        assert ".." not in parts
        assert "." not in parts
