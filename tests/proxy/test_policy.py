from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Decision, Inject, Origin, PassThrough, Reason, Refuse, Rule, Slot, Target
from proxy.paths import is_barred, readings
from proxy.policy import decide

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
        replace(GOOD, path="/api/v10/reactions/%23%EF%B8%8F%E2%83%A3/@me"),
        replace(GOOD, path="/api/v10/reactions/%E2%81%89%EF%B8%8F/@me"),
        replace(GOOD, path="/api/v10/reactions/%F0%9F%91%A9%E2%80%8D%F0%9F%9A%80/@me"),
        replace(GOOD, path="/api/v10/search/what%3F"),
        replace(GOOD, path="/.well-known/x"),
        replace(GOOD, path="/api/v10/oauth2/@me"),
        replace(GOOD, path="/api/v10/oauth2/tokens"),
        replace(GOOD, path="/api/v10/oauth2/token-types"),
        replace(GOOD, path="/api/v10/token"),
        replace(GOOD, method="DELETE"),
        replace(GOOD, method="PROPFIND"),
        replace(GOOD, method="M-SEARCH"),
        replace(GOOD, headers=(HOST, AUTH, (b"X-Forwarded-For", b"192.0.2.1"))),
        replace(GOOD, headers=(HOST, AUTH, (b"Transfer-Encoding", b"Chunked"))),
        replace(GOOD, headers=(HOST, AUTH, (b"X-Audit-Log-Reason", b"/"))),
        replace(GOOD, headers=(HOST, AUTH, (b"X-Super-Properties", b"e30="), (b"X-Request-Id", b"1"))),
        replace(GOOD, headers=(HOST, AUTH, (b"Origin", b"https://a.example"), (b"Referer", b"/x"))),
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


NO_TOKENS = [
    "",
    "G\x1b[31MET",
    ";POST",
    "GET,POST",
    "G(T",
    'G"T',
    "G/T",
    "G:T",
    "G@T",
    "G[T",
    "GÉT",
    "\xffGET",
    "G\0T",
]


@pytest.mark.parametrize("method", NO_TOKENS)
@pytest.mark.parametrize("headers", [(HOST, AUTH), (HOST,)])
@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_method_that_is_no_token_is_refused(
    method: str, headers: tuple[tuple[bytes, bytes], ...], scheme: str
) -> None:
    """RFC 9110 section 9.1. With a credential or without, to whatever host."""
    decision = decide([RULE], replace(GOOD, method=method, headers=headers, scheme=scheme))
    assert reason(decision) is Reason.METHOD


NEAR = [
    "token%3f",
    "token%3Fx=1",
    "token%23",
    "token%23/x",
    "token.",
    "token..",
    "token.json",
    "token.php",
    "token%c2%a0",
    "token%E2%80%AF",
    "token%E3%80%80",
    "token,",
    "token:x",
    "token+",
    "token~",
    "token%27",
    "token%22",
    "token=",
    "token!",
    "token@",
    "token$",
    "token&x",
    "token*",
    "token(1)",
    "token%3Bx",
    "token%3d",
    "token%7C",
    "token%60",
    "%22token%22",
    ".token",
    "@token",
    "%EF%BD%94oken",
    "to%E2%80%8Bken",
    "to%C2%ADken",
    "to%E2%84%AAen",
    "tok%C3%A9n",
    "token%E2%80%8D",
    "token%F0%9F%94%A5",
    "TOKEN.JSON",
    "token/x",
    "token/info",
    "token.json/x",
    "token;x=1/y",
    "token%20.",
]


@pytest.mark.parametrize("near", NEAR)
@pytest.mark.parametrize("folder", ["/api/oauth2", "/oauth2", "/x/oauth2", "/api/v10/OAuth2", "/api/oauth2."])
def test_whatever_begins_like_a_barred_path_is_barred_wherever_it_stands(folder: str, near: str) -> None:
    assert reason(decide([RULE], replace(GOOD, path=f"{folder}/{near}"))) is Reason.TOKEN_ENDPOINT


DOUBTFUL = [
    "%c0%af",
    "%c0%ae%c0%ae",
    "%e0%80%af",
    "%ff",
    "%e9",
    "%ed%a0%80",
    "%f0%80%80%af",
    "%c2",
    "%c2%85",
    "%C2%9B",
    "%E2%80%A8",
    "%EF%BC%8F",
    "%EF%BC%BC",
    "%EF%BC%85%32%66",
    "%EF%BC%8E%EF%BC%8E/x",
    "%E2%80%A5/x",
    "%E2%84%80",
    "%252e",
    "%25%32%65",
    "%255c",
    "%2500",
    "%25u002f",
    "..%3f",
    "..%23",
    ".%3fx",
    "...",
    "..%C2%A0/x",
    "..%E2%80%8B",
    ".%2e%3bx",
    "%5C",
    "%2F",
    "%0d%0a",
    "%09",
    "%7f",
    "%E3%80%80/x",
]


@pytest.mark.parametrize("doubtful", DOUBTFUL)
def test_a_path_that_servers_could_read_in_two_ways_is_refused(doubtful: str) -> None:
    assert reason(decide([RULE], replace(GOOD, path=f"/api/v10/{doubtful}"))) is Reason.AMBIGUOUS_PATH
    without = replace(GOOD, path=f"/api/v10/{doubtful}", headers=(HOST,))
    assert decide([RULE], without) == PassThrough()


NAMING_ANOTHER = [
    "X-Original-URI",
    "X-Original-URL",
    "X-Original-Path",
    "X-Original-Host",
    "X-Rewrite-URL",
    "X-Rewrite-URI",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Path",
    "X-Forwarded-Uri",
    "X-Forwarded-URL",
    "X-Forwarded-Server",
    "X-Forwarded-Scheme",
    "X-Forwarded-Ssl",
    "X-Forwarded-Method",
    "X-Forwarded",
    "Forwarded",
    "X-Envoy-Original-Path",
    "X-Envoy-Original-Host",
    "X-HTTP-Path-Override",
    "X-Host",
    "X-HTTP-Host-Override",
    "X-Request-Uri",
    "Request-Uri",
    "X-Url-Scheme",
    "X-Scheme",
    "X-Path",
    "X-Script-Name",
    "Script-Name",
    "Path-Info",
    "X-Base-Url",
    "X-Real-Url",
    "X-ProxyHost",
    "X-Waws-Unencoded-Url",
    "Front-End-Https",
    "X-HTTP-DestinationURL",
]


@pytest.mark.parametrize("name", NAMING_ANOTHER)
@pytest.mark.parametrize(
    "spelt", [str.lower, str.upper, lambda name: name.replace("-", "_"), lambda n: n.replace("-", ".")]
)
def test_a_header_that_names_another_host_or_path_is_refused(name: str, spelt: Callable[[str], str]) -> None:
    header = (spelt(name).encode(), b"/api/oauth2/token")
    assert reason(decide([RULE], replace(GOOD, headers=(HOST, AUTH, header)))) is Reason.AMBIGUOUS_PATH
    assert decide([RULE], replace(GOOD, headers=(HOST, header))) == PassThrough()


@pytest.mark.parametrize(
    "coding", [b"gzip, chunked", b"gzip,chunked", b"deflate, chunked", b"gzip", b"identity", b"", b"x"]
)
def test_a_credential_goes_in_no_other_transfer_coding_than_chunked(coding: bytes) -> None:
    headers = (HOST, AUTH, (b"transfer-encoding", coding))
    assert reason(decide([RULE], replace(GOOD, method="POST", headers=headers))) is Reason.MALFORMED_HEADER


@pytest.mark.parametrize(
    ("path", "barred"),
    [
        ("/api/v10/oauth2/token", True),
        ("/api/V11/OAuth2/token/", True),
        ("/api/anything/oauth2/token;x", True),
        ("/api/v10/x/oauth2/token", True),
        ("/api/oauth2/token", True),
        ("/oauth2/token/info", True),
        ("/api/v10/oauth2/tokens", False),
        ("/api/v10/oauth2", False),
        ("/api/v10/oauth2/x/token", False),
        ("/token/oauth2", False),
    ],
)
def test_two_segments_of_a_barred_path_are_enough(path: str, barred: bool) -> None:
    rule = replace(RULE, never_paths=("/api/*/oauth2/token",))
    decision = decide([rule], replace(GOOD, path=path))
    assert reason(decision) is (Reason.TOKEN_ENDPOINT if barred else None)


@pytest.mark.parametrize(
    ("never", "path", "barred"),
    [
        ("/api/*/token", "/api/v10/token", True),
        ("/api/*/token", "/api/v10/token.json", True),
        ("/api/*/token", "/api/v10/x/token", False),
        ("/api/*/token", "/api/token", False),
        ("/oauth/*", "/oauth/x", True),
        ("/oauth/*", "/oauth/x/y", False),
        ("/token", "/token%3f", True),
        ("/token", "/channels/1/token", False),
        ("/token", "/tokens", False),
        ("/api/auth.revoke", "/api/auth.revoke", True),
        ("/api/auth.revoke", "/api/auth.revoke.json", True),
        ("/api/auth.revoke", "/api/auth.test", False),
        ("/users/@me", "/api/users/@me", True),
        ("/users/@me", "/users/@metoo", False),
    ],
)
def test_a_star_in_a_barred_path_stands_for_one_segment(never: str, path: str, barred: bool) -> None:
    """One segment alone could be that of any path, so it counts where it is."""
    decision = decide([replace(RULE, never_paths=(never,))], replace(GOOD, path=path))
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
    for reading in readings("/" + path):
        is_barred("/api/oauth2/token", reading)


def test_a_path_of_undecodable_bytes_has_no_reading() -> None:
    assert readings("/\udcff") == ()


@pytest.mark.parametrize(
    ("target", "paths"),
    [
        ("/a/b?c=%3F", {"/a/b"}),
        ("/a%3Fb/c", {"/a?b/c", "/a"}),
        ("/a%23/b%3Fc", {"/a#/b?c", "/a"}),
        ("/a;x/b", {"/a;x/b", "/a/b"}),
        ("/a%C2%A0/b", {"/a\xa0/b", "/a /b", "/a/b"}),
        ("/%EF%BD%81", {"/\uff41", "/a"}),
        ("/a//b", set()),
    ],
)
def test_every_reading_of_a_path_counts(target: str, paths: set[str]) -> None:
    assert set(readings(target)) == paths
