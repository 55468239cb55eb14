from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Decision, Inject, Origin, PassThrough, Reason, Refuse, Rule, Slot, Target
from proxy.policy import comparable_path, decide

RULE = Rule(
    connection="discord/default",
    origin=Origin("discord.com", 443),
    slot=Slot("Authorization", "Bearer"),
    never_paths=("/api/oauth2/token", "/api/oauth2/token/revoke"),
)
KEYED = replace(RULE, connection="keyed/default", slot=Slot("X-Api-Key", None), never_paths=())
HOST = (b"Host", b"discord.com")
AUTH = (b"Authorization", b"Bearer authsome-proxy-managed")
GOOD = Target(
    scheme="https",
    origin=Origin("discord.com", 443),
    client_sni="discord.com",
    upstream_sni="discord.com",
    upstream_verified=True,
    authority="",
    method="GET",
    path="/api/v10/users/@me",
    headers=(HOST, AUTH),
)


def reason(decision: Decision) -> Reason | None:
    return decision.reason if isinstance(decision, Refuse) else None


def test_a_request_whose_names_agree_is_injected() -> None:
    assert decide([RULE], GOOD) == Inject(RULE)


@pytest.mark.parametrize(
    "target",
    [
        replace(GOOD, headers=((b"host", b"DISCORD.com."), AUTH)),
        replace(GOOD, headers=((b"Host", b"discord.com:443"), AUTH)),
        replace(GOOD, client_sni="Discord.com"),
        replace(GOOD, path="/api/v10/channels/1/messages?limit=5"),
        replace(GOOD, path="/api/v10/reactions/%F0%9F%94%A5/@me"),
        replace(GOOD, path="/api/v10/reactions/%F0%9F%91%8D/@me"),
        replace(GOOD, path="/api/v10/reactions/blob%3A123/@me"),
        replace(GOOD, path="/api/v10/tags/100%25"),
        replace(GOOD, path="/api/v10/tags/100%25%20off;x/50%25used"),
        replace(GOOD, path="/api/v10/search?content=100%25&author=50%u0025&max=5%"),
        replace(GOOD, path="/api/v10/search?content=%2525"),
        replace(GOOD, method="DELETE"),
    ],
)
def test_other_spellings_of_the_same_thing_are_injected_too(target: Target) -> None:
    assert decide([RULE], target) == Inject(RULE)


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (replace(GOOD, scheme="http"), Reason.CLEARTEXT),
        (replace(GOOD, scheme="http", origin=Origin("discord.com", 80)), Reason.CLEARTEXT),
        (replace(GOOD, scheme="http", origin=Origin("DISCORD.com", 80)), Reason.CLEARTEXT),
        (replace(GOOD, scheme="http", origin=Origin("discord.com.", 80)), Reason.CLEARTEXT),
        (replace(GOOD, origin=Origin("evil.example", 443)), Reason.HOST_MISMATCH),
        (replace(GOOD, origin=Origin("discord.com", 8443)), Reason.HOST_MISMATCH),
        (replace(GOOD, headers=((b"Host", b"evil.example"), AUTH)), Reason.HOST_MISMATCH),
        (replace(GOOD, headers=((b"Host", b"discord.com:80"), AUTH)), Reason.HOST_MISMATCH),
        (replace(GOOD, headers=((b"Host", b"discord.com.evil.example"), AUTH)), Reason.HOST_MISMATCH),
        (replace(GOOD, headers=(HOST, HOST, AUTH)), Reason.HOST_MISMATCH),
        (replace(GOOD, headers=(HOST, (b"host", b"evil.example"), AUTH)), Reason.HOST_MISMATCH),
        (replace(GOOD, headers=(AUTH,)), Reason.HOST_MISMATCH),
        (replace(GOOD, client_sni="evil.example"), Reason.SNI_MISMATCH),
        (replace(GOOD, client_sni=None), Reason.SNI_MISMATCH),
        (replace(GOOD, upstream_sni="evil.example"), Reason.SNI_MISMATCH),
        (replace(GOOD, upstream_sni=None), Reason.SNI_MISMATCH),
        (replace(GOOD, upstream_verified=False), Reason.UPSTREAM_UNTRUSTED),
        (replace(GOOD, authority="discord.com"), Reason.NOT_ORIGIN_FORM),
        (replace(GOOD, authority="evil.example"), Reason.NOT_ORIGIN_FORM),
        (replace(GOOD, path="*", method="OPTIONS"), Reason.NOT_ORIGIN_FORM),
        (replace(GOOD, method="TRACE"), Reason.METHOD),
        (replace(GOOD, method="trace"), Reason.METHOD),
        (replace(GOOD, method="TRACK"), Reason.METHOD),
        (replace(GOOD, method="CONNECT"), Reason.METHOD),
        (replace(GOOD, headers=(HOST, AUTH, (b"upgrade", b"websocket"))), Reason.METHOD),
        (
            replace(GOOD, headers=(HOST, AUTH, (b"X-Original-URL", b"/api/oauth2/token"))),
            Reason.AMBIGUOUS_PATH,
        ),
        (replace(GOOD, headers=(HOST, AUTH, (b"x-rewrite-url", b"/"))), Reason.AMBIGUOUS_PATH),
        (replace(GOOD, headers=(HOST, AUTH, (b"X_Original_Url", b"/"))), Reason.AMBIGUOUS_PATH),
        (replace(GOOD, headers=(HOST, AUTH, (b"X-Original-Method", b"PUT"))), Reason.AMBIGUOUS_PATH),
        (replace(GOOD, headers=(HOST, AUTH, AUTH)), Reason.DUPLICATE_SLOT),
        (replace(GOOD, headers=(HOST, AUTH, (b"authorization", b"Bearer x"))), Reason.DUPLICATE_SLOT),
        (replace(GOOD, headers=(HOST, AUTH, (b"X-A", b"a\r\n b"))), Reason.MALFORMED_HEADER),
        (replace(GOOD, headers=(HOST, AUTH, (b"X-A", b"a\x00b"))), Reason.MALFORMED_HEADER),
        (replace(GOOD, headers=(HOST, AUTH, (b"X\r", b"a"))), Reason.MALFORMED_HEADER),
        (replace(GOOD, path="/api/oauth2/token"), Reason.TOKEN_ENDPOINT),
        (replace(GOOD, path="/API/oauth2/token/?x=1"), Reason.TOKEN_ENDPOINT),
        (replace(GOOD, path="/api/oauth2/token/revoke"), Reason.TOKEN_ENDPOINT),
        (replace(GOOD, path="/api/%6fauth2/token"), Reason.TOKEN_ENDPOINT),
        (replace(GOOD, path="/api/oauth2;a=b/token%20"), Reason.TOKEN_ENDPOINT),
        (replace(GOOD, path="/api/oauth2/token%20;x"), Reason.TOKEN_ENDPOINT),
        (replace(GOOD, path="/api/oauth2/token ; x /;y"), Reason.TOKEN_ENDPOINT),
        (replace(GOOD, path="/api/oauth2%20%3bx%20/token;%20;;"), Reason.TOKEN_ENDPOINT),
        (replace(GOOD, path="/api/;x/oauth2/token"), Reason.AMBIGUOUS_PATH),
        (replace(GOOD, path="/api/%20/oauth2/token"), Reason.AMBIGUOUS_PATH),
        (replace(GOOD, path="/api/oauth2/%u0074oken"), Reason.AMBIGUOUS_PATH),
        (replace(GOOD, path="/api/oauth2/%U0074oken"), Reason.AMBIGUOUS_PATH),
        (replace(GOOD, path="/api/oauth2/%25u0074oken"), Reason.AMBIGUOUS_PATH),
        (replace(GOOD, path="/api/oauth2/%25%374oken"), Reason.AMBIGUOUS_PATH),
        (replace(GOOD, path="/api/oauth2/%7token"), Reason.AMBIGUOUS_PATH),
        (replace(GOOD, path="/api/oauth2/token%"), Reason.AMBIGUOUS_PATH),
        (replace(GOOD, path="/api/oauth2/token%2"), Reason.AMBIGUOUS_PATH),
        (replace(GOOD, path="/api/v10/../oauth2/token"), Reason.AMBIGUOUS_PATH),
        (replace(GOOD, path="/api/%2e%2e/oauth2/token"), Reason.AMBIGUOUS_PATH),
        (replace(GOOD, path="/api/..%2foauth2/token"), Reason.AMBIGUOUS_PATH),
        (replace(GOOD, path="/api//oauth2/token"), Reason.AMBIGUOUS_PATH),
        (replace(GOOD, path="/api/%256fauth2/token"), Reason.AMBIGUOUS_PATH),
        (replace(GOOD, path="/api\\oauth2/token"), Reason.AMBIGUOUS_PATH),
        (replace(GOOD, path="/api/oauth2/token#x"), Reason.AMBIGUOUS_PATH),
        (replace(GOOD, path="/api/oauth2/token%00"), Reason.AMBIGUOUS_PATH),
    ],
)
def test_one_thing_wrong_refuses(target: Target, why: Reason) -> None:
    assert reason(decide([RULE], target)) is why


@pytest.mark.parametrize(
    ("path", "barred"),
    [
        ("/api/v10/oauth2/token", True),
        ("/api/V11/OAuth2/token/", True),
        ("/api/anything/oauth2/token;x", True),
        ("/api/v10/x/oauth2/token", False),
        ("/api/oauth2/token", False),
        ("/api/v10/oauth2/tokens", False),
        ("/api/v10/oauth2/token/info", False),
    ],
)
def test_a_star_in_a_barred_path_stands_for_one_segment(path: str, barred: bool) -> None:
    rule = replace(RULE, never_paths=("/api/*/oauth2/token",))
    decision = decide([rule], replace(GOOD, path=path))
    assert reason(decision) is (Reason.TOKEN_ENDPOINT if barred else None)


def test_a_barred_path_with_a_final_slash_is_the_same_path() -> None:
    """As a token URL may have one."""
    rule = replace(RULE, never_paths=("/token/",))
    assert reason(decide([rule], replace(GOOD, path="/token"))) is Reason.TOKEN_ENDPOINT


def test_a_refusal_names_the_connection_that_would_have_been_used() -> None:
    barred = decide([RULE], replace(GOOD, path="/api/oauth2/token"))
    elsewhere = decide([RULE], replace(GOOD, client_sni="evil.example"))
    assert isinstance(barred, Refuse)
    assert isinstance(elsewhere, Refuse)
    assert (barred.connection, elsewhere.connection) == ("discord/default", None)


@pytest.mark.parametrize(
    ("headers", "path", "inert"),
    [
        ((HOST,), "/api/v10/gateway", False),
        ((HOST, (b"Authorization", b"Bearer own")), "/", False),
        ((HOST, (b"Authorization", b"Bot authsome-proxy-managed")), "/", True),
        ((HOST, (b"X-Audit-Log-Reason", b"authsome-proxy-managed")), "/", True),
        ((HOST,), "/?token=authsome-proxy-managed", True),
        ((HOST,), "/api//oauth2/../token", False),
        ((HOST, (b"Upgrade", b"websocket")), "/", False),
        ((HOST, (b"X-Original-URL", b"/api/oauth2/token")), "/", False),
    ],
)
def test_a_request_without_a_filled_slot_passes_as_it_is(
    headers: tuple[tuple[bytes, bytes], ...], path: str, inert: bool
) -> None:
    assert decide([RULE], replace(GOOD, headers=headers, path=path)) == PassThrough(inert_placeholder=inert)


@pytest.mark.parametrize("host", ["evil.example", "discord.com..", "discord.com.evil.example", ""])
def test_cleartext_to_another_host_passes_with_its_placeholder_recorded(host: str) -> None:
    target = replace(GOOD, scheme="http", origin=Origin(host, 80))
    assert decide([RULE], target) == PassThrough(inert_placeholder=True)


def test_cleartext_without_a_filled_slot_passes() -> None:
    target = replace(GOOD, scheme="http", origin=Origin("discord.com", 80), headers=(HOST,))
    assert decide([RULE], target) == PassThrough(inert_placeholder=False)


def test_two_slots_of_one_host_choose_by_the_placeholder() -> None:
    key = (b"X-Api-Key", b"authsome-proxy-managed")
    assert decide([RULE, KEYED], replace(GOOD, headers=(HOST, key))) == Inject(KEYED)
    assert decide([RULE, KEYED], GOOD) == Inject(RULE)
    both = replace(GOOD, headers=(HOST, key, AUTH))
    assert reason(decide([RULE, KEYED], both)) is Reason.DUPLICATE_SLOT


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_slot_of_an_unknown_content_gets_nothing(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.slots.content", lambda headers, slot, placeholder: object())
    with pytest.raises(AssertionError):
        decide([RULE], replace(GOOD, scheme=scheme))


HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"Host", b"host", b"Authorization", b"authorization", b"Cookie", b"X"]),
        st.sampled_from([b"discord.com", b"evil.example", b"discord.com:443", AUTH[1], b"x", b"a\x00"]),
    ),
    max_size=5,
).map(tuple)
NAMES = st.sampled_from(["discord.com", "evil.example", "sub.discord.com", None])


@given(
    scheme=st.sampled_from(["http", "https"]),
    host=st.sampled_from(["discord.com", "evil.example", "discord.com.evil.example"]),
    port=st.sampled_from([443, 80, 8443]),
    client_sni=NAMES,
    upstream_sni=NAMES,
    verified=st.booleans(),
    authority=st.sampled_from(["", "discord.com", "evil.example"]),
    method=st.sampled_from(["GET", "POST", "TRACE", "CONNECT"]),
    headers=HEADERS,
)
def test_whatever_is_injected_agrees_in_every_respect(
    scheme: str,
    host: str,
    port: int,
    client_sni: str | None,
    upstream_sni: str | None,
    verified: bool,
    authority: str,
    method: str,
    headers: tuple[tuple[bytes, bytes], ...],
) -> None:
    target = Target(
        scheme, Origin(host, port), client_sni, upstream_sni, verified, authority, method, "/", headers
    )
    if isinstance(decide([RULE], target), Inject):
        assert (scheme, host, port, client_sni, upstream_sni) == (
            "https",
            "discord.com",
            443,
            "discord.com",
            "discord.com",
        )
        assert verified
        assert authority == ""
        assert method in ("GET", "POST")
        named = [value for name, value in headers if name.lower() == b"host"]
        assert named in ([b"discord.com"], [b"discord.com:443"])
        assert [v for n, v in headers if n.lower() == b"authorization"] == [AUTH[1]]


@given(st.text())
def test_no_path_makes_the_comparison_raise(path: str) -> None:
    comparable_path("/" + path)


def test_a_path_of_undecodable_bytes_is_compared_without_raising() -> None:
    assert comparable_path("/\udcff") == "/\xff"
