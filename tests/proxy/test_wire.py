"""The proxy on the wire: where the credential goes, and every way in which it must not."""

import asyncio
import base64
import json
import os
import ssl
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from launcher.setup.http import http_client
from launcher.setup.routes import Routes
from launcher.setup.settings import parse_connect_to
from launcher.setup.trust import provider_context
from proxy.dial import Dialer
from proxy.model import Event, Fresh, Origin, Reason, Unavailable
from proxy.resend import resend_over
from proxy.server import running_proxy
from tests.proxy.wire import (
    AUTH,
    CANARY,
    DISCORD,
    PLACEHOLDER,
    Connection,
    Source,
    Wire,
    never_again,
    proxied,
    redirected,
    tunnel,
)
from tests.standin import StandIn
from tests.standin.authority import Authority


def arrived(standin: StandIn, name: bytes = b"authorization") -> list[bytes]:
    """The values of a header in the requests that reached discord.com."""
    return [
        value
        for seen in standin.seen
        if seen.host == "discord.com"
        for key, value in seen.headers
        if key.lower() == name
    ]


async def test_the_placeholder_becomes_the_credential_on_the_way_to_discord(standin: StandIn) -> None:
    source = Source()
    async with proxied(standin, source=source) as wire:
        reply = await wire.get()
    assert reply.status == 200
    assert arrived(standin) == [f"Bearer {CANARY}".encode()]
    assert source.asked == ["discord/default"]
    assert wire.events == [
        Event("GET", "discord.com", "/standin/echo", "inject", "discord/default", None, 200)
    ]


async def test_one_connection_carries_many_requests_each_decided_anew(standin: StandIn) -> None:
    async with proxied(standin) as wire:
        connection = await wire.tls("discord.com:443", "discord.com", verify=True)
        for headers in (AUTH, "", "Authorization: Bearer own\r\n", AUTH):
            reply = await connection.ask(f"GET /standin/echo HTTP/1.1\r\nHost: discord.com\r\n{headers}\r\n")
            assert reply.status == 200
        connection.close()
    canary = f"Bearer {CANARY}".encode()
    assert arrived(standin) == [canary, b"Bearer own", canary]


async def test_a_request_without_a_placeholder_arrives_as_it_was_sent(standin: StandIn) -> None:
    async with proxied(standin) as wire:
        connection = await wire.tls("discord.com:443", "discord.com")
        await connection.ask("GET /standin/echo HTTP/1.1\r\nHOST: discord.com\r\nx-ODD: a,  b\r\nB: \r\n\r\n")
        connection.close()
    assert standin.seen[0].headers == ((b"HOST", b"discord.com"), (b"x-ODD", b"a,  b"), (b"B", b""))


@pytest.mark.parametrize(
    "headers",
    [
        f"Authorization: {PLACEHOLDER}\r\n",
        f"Authorization: Bot {PLACEHOLDER}\r\n",
        f"Authorization: Bearer {PLACEHOLDER}x\r\n",
        f"X-Audit-Log-Reason: {PLACEHOLDER}\r\n",
        f"Cookie: token=Bearer {PLACEHOLDER}\r\n",
        f"Proxy-Authenticate-X: Bearer {PLACEHOLDER}\r\n",
    ],
)
async def test_a_placeholder_elsewhere_is_inert_and_recorded(standin: StandIn, headers: str) -> None:
    async with proxied(standin) as wire:
        assert (await wire.get(headers)).status == 200
    assert standin.wire_contains(PLACEHOLDER.encode())
    assert not standin.wire_contains(CANARY.encode())
    assert [(e.decision, e.reason) for e in wire.events] == [("pass", "inert-placeholder")]


async def test_a_placeholder_in_the_query_or_body_is_inert(standin: StandIn) -> None:
    async with proxied(standin) as wire:
        connection = await wire.tls("discord.com:443", "discord.com")
        body = f'{{"content": "{PLACEHOLDER}"}}'
        await connection.ask(
            f"POST /standin/echo?t={PLACEHOLDER} HTTP/1.1\r\nHost: discord.com\r\n{AUTH}"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        )
        connection.close()
    (seen,) = standin.seen
    assert PLACEHOLDER in seen.target
    assert seen.body == body.encode()
    assert arrived(standin) == [f"Bearer {CANARY}".encode()]


# What a hostile child says inside a tunnel to discord.com: SNI, request, and the refusal it gets.
INSIDE = [
    ("evil.example", "GET / HTTP/1.1\r\nHost: discord.com\r\n{auth}\r\n", Reason.SNI_MISMATCH),
    ("evil.example", "GET / HTTP/1.1\r\nHost: evil.example\r\n{auth}\r\n", Reason.HOST_MISMATCH),
    (None, "GET / HTTP/1.1\r\nHost: discord.com\r\n{auth}\r\n", Reason.SNI_MISMATCH),
    ("discord.com", "GET / HTTP/1.1\r\nHost: evil.example\r\n{auth}\r\n", Reason.HOST_MISMATCH),
    ("discord.com", "GET / HTTP/1.1\r\nHost: sub.discord.com\r\n{auth}\r\n", Reason.HOST_MISMATCH),
    (
        "discord.com",
        "GET / HTTP/1.1\r\nHost: discord.com\r\nHost: evil.example\r\n{auth}\r\n",
        Reason.HOST_MISMATCH,
    ),
    (
        "discord.com",
        "GET https://evil.example/ HTTP/1.1\r\nHost: discord.com\r\n{auth}\r\n",
        Reason.NOT_ORIGIN_FORM,
    ),
    (
        "discord.com",
        "GET https://discord.com/ HTTP/1.1\r\nHost: discord.com\r\n{auth}\r\n",
        Reason.NOT_ORIGIN_FORM,
    ),
    ("discord.com", "TRACE / HTTP/1.1\r\nHost: discord.com\r\n{auth}\r\n", Reason.METHOD),
    (
        "discord.com",
        "GET / HTTP/1.1\r\nHost: discord.com\r\n{auth}{auth}\r\n",
        Reason.DUPLICATE_SLOT,
    ),
    (
        "discord.com",
        "GET / HTTP/1.1\r\nHost: discord.com\r\n{auth}X: a\x00b\r\n\r\n",
        Reason.MALFORMED_HEADER,
    ),
    (
        "discord.com",
        "GET / HTTP/1.1\r\nHost: discord.com\r\n{auth}X: a\r\n b\r\n\r\n",
        Reason.MALFORMED_HEADER,
    ),
    (
        "discord.com",
        "POST /api/oauth2/token HTTP/1.1\r\nHost: discord.com\r\n{auth}Content-Length: 0\r\n\r\n",
        Reason.TOKEN_ENDPOINT,
    ),
    (
        "discord.com",
        "GET /api/v10/../oauth2/token HTTP/1.1\r\nHost: discord.com\r\n{auth}\r\n",
        Reason.AMBIGUOUS_PATH,
    ),
]


@pytest.mark.parametrize(("sni", "request_text", "why"), INSIDE)
async def test_inside_a_tunnel_whatever_disagrees_is_refused(
    standin: StandIn, sni: str | None, request_text: str, why: Reason
) -> None:
    async with proxied(standin) as wire:
        connection = await wire.tls("discord.com:443", sni)
        reply = await connection.ask(request_text.format(auth=AUTH))
        connection.close()
    assert reply.refused == why
    assert reply.status == 403
    assert CANARY.encode() not in reply.body
    assert standin.seen == []
    named = "discord/default" if why in (Reason.TOKEN_ENDPOINT, Reason.AMBIGUOUS_PATH) else None
    assert [(event.reason, event.connection) for event in wire.events] == [(why, named)]


@pytest.mark.parametrize(
    ("authority", "sni", "host"),
    [
        ("evil.example:443", "evil.example", "evil.example"),
        ("evil.example:443", "discord.com", "discord.com"),
        ("evil.example:443", "evil.example", "discord.com"),
        ("discord.com.evil.example:443", "discord.com.evil.example", "discord.com"),
        ("evildiscord.com:443", "evildiscord.com", "discord.com"),
        ("sub.discord.com:443", "sub.discord.com", "sub.discord.com"),
        ("sub.discord.com:443", "discord.com", "discord.com"),
        ("127.0.0.1:443", "discord.com", "discord.com"),
    ],
)
async def test_a_tunnel_to_any_other_host_is_relayed_and_never_injected(
    standin: StandIn, authority: str, sni: str, host: str
) -> None:
    async with proxied(standin) as wire:
        connection = await wire.tls(authority, sni)
        reply = await connection.ask(f"GET /standin/echo HTTP/1.1\r\nHost: {host}\r\n{AUTH}\r\n")
        connection.close()
    assert reply.status == 200
    assert len(standin.wire_contains(PLACEHOLDER.encode())) == 1
    assert not standin.wire_contains(CANARY.encode())
    assert [event.decision for event in wire.events] == ["tunnel"]


async def test_a_tunnelled_host_shows_its_own_certificate(standin: StandIn) -> None:
    async with proxied(standin) as wire:
        connection = await wire.connect("evil.example:443")
        context = ssl.create_default_context(cafile=standin.ca_file)
        await connection.writer.start_tls(context, server_hostname="evil.example")
        connection.close()
        trusting_only_the_run = ssl.create_default_context(cadata=wire.proxy.certificate)
        other = await wire.connect("evil.example:443")
        with pytest.raises(ssl.SSLCertVerificationError):
            await other.writer.start_tls(trusting_only_the_run, server_hostname="evil.example")
        other.close()


async def test_cleartext_to_discord_is_refused_where_the_slot_is_filled(standin: StandIn) -> None:
    async with proxied(standin) as wire:
        connection = await wire.open()
        reply = await connection.ask(
            f"GET http://discord.com/standin/echo HTTP/1.1\r\nHost: discord.com\r\n"
            f"{wire.credentials()}{AUTH}\r\n"
        )
        connection.close()
    assert reply.refused == Reason.CLEARTEXT
    assert standin.seen == []


async def test_cleartext_to_others_is_forwarded_without_proxy_headers(standin: StandIn) -> None:
    async with proxied(standin) as wire:
        connection = await wire.open()
        for _ in range(2):
            reply = await connection.ask(
                f"GET http://evil.example/standin/echo HTTP/1.1\r\nHost: evil.example\r\n"
                f"{wire.credentials()}Proxy-Connection: keep-alive\r\n{AUTH}\r\n"
            )
            assert reply.status == 200
        connection.close()
    assert [(seen.host, seen.tls, seen.target) for seen in standin.seen] == [
        ("evil.example", False, "/standin/echo")
    ] * 2
    assert not standin.wire_contains(b"Proxy-")
    assert not standin.wire_contains(CANARY.encode())


async def test_a_proxy_header_inside_the_tunnel_never_reaches_discord(standin: StandIn) -> None:
    async with proxied(standin) as wire:
        await wire.get(AUTH + wire.credentials())
    assert len(arrived(standin)) == 1
    assert not standin.wire_contains(b"Proxy-")


async def test_connect_after_a_cleartext_request_is_refused(standin: StandIn) -> None:
    async with proxied(standin) as wire:
        connection = await wire.open()
        await connection.ask(
            f"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n{wire.credentials()}\r\n"
        )
        reply = await connection.ask("CONNECT discord.com:443 HTTP/1.1\r\nHost: discord.com:443\r\n\r\n")
        connection.close()
    assert reply.refused == Reason.METHOD
    assert {seen.host for seen in standin.seen} == {"evil.example"}


@pytest.mark.parametrize("auth", [AUTH, ""])
@pytest.mark.parametrize("url", ["https://discord.com/", "HTTPS://discord.com:443/", "https://evil.example/"])
async def test_the_proxy_makes_no_tls_of_its_own_for_a_cleartext_connection(
    standin: StandIn, url: str, auth: str
) -> None:
    async with proxied(standin) as wire:
        connection = await wire.open()
        first = f"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n{wire.credentials()}\r\n"
        await connection.ask(first)
        for _ in range(2):
            reply = await connection.ask(f"GET {url} HTTP/1.1\r\nHost: discord.com\r\n{auth}\r\n")
            assert (reply.status, reply.refused) == (403, "not-origin-form")
        assert (await connection.ask(first)).refused is None
        connection.close()
    assert [(seen.host, seen.tls) for seen in standin.seen] == [("evil.example", False)] * 2


@pytest.mark.parametrize(
    ("host", "searched"),
    [
        ("discord.com", True),
        ("DISCORD.com.", True),
        ("discord.com:8080", True),
        ("discord.com:443", True),
        ("cdn.discord.com", False),
        ("evil.example", False),
    ],
)
async def test_cleartext_answers_of_a_rule_host_are_searched(
    standin: StandIn, host: str, searched: bool
) -> None:
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        head = f"HTTP/1.1 200 OK\r\nX-Echo: {CANARY}\r\nContent-Length: {len(CANARY)}\r\n\r\n"
        writer.write(f"{head}{CANARY}".encode())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    dialer = Dialer(lambda _host, _port: ("127.0.0.1", port), lambda host, port: None)
    async with proxied(standin, dialer=dialer, source=Source(known=(SecretStr(CANARY),))) as wire:
        connection = await wire.open()
        head = f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nRange: bytes=3-\r\n{wire.credentials()}\r\n"
        reply = await connection.ask(head)
        connection.close()
    server.close()
    assert (CANARY not in f"{reply.headers} {reply.body!r}") is searched
    assert (b"Range" not in asked[0]) is searched


async def test_plaintext_inside_a_tunnel_to_discord_goes_nowhere(standin: StandIn) -> None:
    async with proxied(standin) as wire:
        connection = await wire.connect("discord.com:443")
        connection.writer.write(f"GET / HTTP/1.1\r\nHost: discord.com\r\n{AUTH}\r\n".encode())
        assert await connection.ended()
        connection.close()
    assert standin.seen == []


async def test_another_port_of_discord_is_only_a_tunnel(standin: StandIn) -> None:
    dialer = redirected(standin)
    async with proxied(standin, dialer=dialer) as wire:
        connection = await wire.connect(f"discord.com:{standin.https_port}")
        context = ssl.create_default_context(cafile=standin.ca_file)
        await connection.writer.start_tls(context, server_hostname="discord.com")
        await connection.ask(f"GET /standin/echo HTTP/1.1\r\nHost: discord.com\r\n{AUTH}\r\n")
        connection.close()
    assert not standin.wire_contains(CANARY.encode())


@pytest.mark.parametrize(
    "head",
    [
        "",
        "Proxy-Authorization: Basic {wrong}\r\n",
        "Proxy-Authorization: Bearer {right}\r\n",
        "Proxy-Authorization: Basic ???\r\n",
        "{good}{good}",
    ],
)
async def test_without_the_credentials_of_the_run_nothing_is_served(standin: StandIn, head: str) -> None:
    async with proxied(standin) as wire:
        good = wire.credentials()
        right, wrong = good.split()[-1], wire.credentials("x").split()[-1]
        text = head.format(right=right, wrong=wrong, good=good)
        for target in ("CONNECT discord.com:443", "GET http://evil.example/"):
            connection = await wire.open()
            reply = await connection.ask(f"{target} HTTP/1.1\r\nHost: discord.com\r\n{text}\r\n")
            connection.close()
            assert reply.status == 407
            assert reply.headers["proxy-authenticate"] == 'Basic realm="authsome"'
    assert standin.seen == []
    assert wire.events == []


async def test_a_client_may_answer_the_challenge_on_the_same_connection(standin: StandIn) -> None:
    async with proxied(standin) as wire:
        connection = await wire.open()
        request = "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n"
        assert (await connection.ask(f"{request}\r\n")).status == 407
        assert (await connection.ask(f"{request}{wire.credentials()}\r\n")).status == 200
        connection.close()


@pytest.mark.parametrize(
    "request_line",
    [
        "GET / HTTP/1.1",
        "GET https://discord.com/ HTTP/1.1",
        "CONNECT discord.com HTTP/1.1",
        "CONNECT / HTTP/1.1",
    ],
)
async def test_what_is_no_proxy_request_is_answered_with_400(standin: StandIn, request_line: str) -> None:
    async with proxied(standin) as wire:
        connection = await wire.open()
        reply = await connection.ask(f"{request_line}\r\nHost: discord.com\r\n{wire.credentials()}\r\n")
        connection.close()
    assert reply.status == 400


async def test_an_endless_head_is_cut_off(standin: StandIn) -> None:
    async with proxied(standin) as wire:
        connection = await wire.open()
        reply = await connection.ask("GET /" + "a" * 70_000)
        connection.close()
    assert reply.status in (400, 414, 431)


async def test_a_missing_credential_is_a_403_that_names_the_fix(standin: StandIn) -> None:
    answer = Unavailable(Reason.LOGIN_NEEDED, "discord/default needs a new login", "authsome login discord")
    async with proxied(standin, source=Source(answer)) as wire:
        reply = await wire.get()
    assert (reply.status, reply.refused) == (403, "login-needed")
    assert b'"fix": "authsome login discord"' in reply.body
    assert standin.seen == []


NEWER = Fresh(SecretStr("CANARY-newer-token-77aa"), 8)


async def test_a_401_that_the_provider_vouches_against_is_passed_on(standin: StandIn) -> None:
    source = Source(Fresh(SecretStr(CANARY), 7))
    async with proxied(standin, source=source) as wire:
        reply = await wire.get(path="/standin/status/401")
        assert (reply.status, reply.body) == (401, b'{"status": 401}')
        assert (await wire.get("", path="/standin/status/401")).status == 401
        assert (await wire.get(path="/standin/status/403")).status == 403
    assert source.recoveries == [("discord/default", 7, b'{"status": 401}')]
    assert source.acceptances == [("discord/default", 7)]
    assert [event.status for event in wire.events] == [401, 401, 403]


async def test_after_a_recovery_the_request_is_sent_once_more_and_the_child_sees_that_answer(
    standin: StandIn,
) -> None:
    app = standin.discord.register_app()
    good = standin.discord.grant(app).access_token
    source = Source(Fresh(SecretStr(CANARY), 7), recovery=Fresh(SecretStr(good), 8))
    async with proxied(standin, source=source) as wire:
        reply = await wire.get(AUTH + "X-Mark: kept\r\n", path="/api/v10/users/@me?x=%2F")
    assert reply.status == 200
    assert b'"username": "nelly"' in reply.body
    assert arrived(standin) == [f"Bearer {CANARY}".encode(), f"Bearer {good}".encode()]
    assert arrived(standin, b"x-mark") == [b"kept", b"kept"]
    assert [seen.target for seen in standin.seen] == ["/api/v10/users/@me?x=%2F"] * 2
    assert source.acceptances == [("discord/default", 8)]
    assert [(event.decision, event.status) for event in wire.events] == [("inject", 200)]


@pytest.mark.parametrize(("named", "said"), [("", []), ("User-Agent: MyBot/7\r\n", [b"MyBot/7"])])
async def test_a_request_that_is_sent_again_names_the_program_or_nobody_as_the_first_did(
    standin: StandIn, named: str, said: list[bytes]
) -> None:
    async with proxied(standin, source=Source(recovery=NEWER)) as wire:
        await wire.get(AUTH + named, path="/standin/status/401")
    assert len(standin.seen) == 2
    assert arrived(standin, b"user-agent") == said * 2
    assert arrived(standin, b"accept") == []


async def test_a_second_401_is_the_childs(standin: StandIn) -> None:
    source = Source(Fresh(SecretStr(CANARY), 7), recovery=NEWER)
    async with proxied(standin, source=source) as wire:
        assert (await wire.get(path="/api/v10/users/@me")).status == 401
    assert len(standin.seen) == 2
    assert source.rejections == [("discord/default", 8)]


async def test_a_request_whose_body_is_gone_is_not_sent_again(standin: StandIn) -> None:
    source = Source(recovery=NEWER)
    async with proxied(standin, source=source) as wire:
        connection = await wire.tls("discord.com:443", "discord.com")
        head = f"POST /standin/status/401 HTTP/1.1\r\nHost: discord.com\r\n{AUTH}Content-Length: 2\r\n\r\nhi"
        assert (await connection.ask(head)).status == 401
        connection.close()
    assert len(standin.seen) == 1
    assert source.recoveries == []
    assert source.rejections == [("discord/default", 1)]


async def test_an_answer_to_a_resent_request_is_scrubbed_too(standin: StandIn) -> None:
    """The stand-in answers 401 at first, then echoes what it was sent."""
    standin.discord.register_app()
    source = Source(recovery=NEWER)
    async with proxied(standin, source=source) as wire:
        reply = await wire.get(path="/standin/once-401")
    assert reply.status == 200
    assert b"CANARY" not in reply.body
    assert b"Bearer *authsome-proxy" in reply.body


@pytest.mark.parametrize("query", ["q=a%23b", "q=%C3%A9&r=[1]"])
async def test_the_same_target_is_asked_for_again(standin: StandIn, query: str) -> None:
    standin.discord.register_app()
    async with proxied(standin, source=Source(recovery=NEWER)) as wire:
        assert (await wire.get(path=f"/standin/once-401?{query}")).status == 200
    assert [seen.target for seen in standin.seen] == [f"/standin/once-401?{query}"] * 2


@pytest.mark.parametrize("query", ["q=a#b", 'q="a"'])
async def test_a_target_that_cannot_be_asked_for_as_it_is_is_not_asked_for_again(
    standin: StandIn, query: str
) -> None:
    """Its 401 is the child's, on a connection that goes on."""
    async with proxied(standin, source=Source(recovery=NEWER)) as wire:
        reply = await wire.get(path=f"/standin/once-401?{query}")
    assert reply.status == 401
    assert len(standin.seen) == 1
    assert [(event.decision, event.status) for event in wire.events] == [("inject", 401)]


async def test_a_stream_is_not_waited_for_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a 401 the answer to the same request is held as a whole, which an endless one never is."""
    monkeypatch.setattr("proxy.resend.TIMEOUT", 0.5)
    authority = Authority(tmp_path)

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while CANARY.encode() in await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}")
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                writer.write(b"3\r\n:\n\n\r\n")
                await writer.drain()
                await asyncio.sleep(0.05)
        writer.close()

    context = authority.server_context("discord.com", require_client=False)
    server = await asyncio.start_server(endless, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    routes = Routes((parse_connect_to(f"discord.com:443:127.0.0.1:{port}", "test"),), None, "")
    roots = authority.ca_file.read_text()
    async with (
        http_client(routes, provider_context(roots)) as http,
        running_proxy(
            rules=(DISCORD,),
            source=Source(recovery=Fresh(SecretStr("another-credential"), 2)),
            audit=lambda event: None,
            roots=roots,
            dialer=Dialer(lambda _host, _port: ("127.0.0.1", port), lambda host, port: None),
            resend=resend_over(http),
        ) as proxy,
    ):
        connection = await tunnel(proxy, "discord.com:443")
        await connection.start_tls(proxy.certificate, "discord.com")
        async with asyncio.timeout(10):
            reply = await connection.ask(f"GET / HTTP/1.1\r\nHost: discord.com\r\n{AUTH}\r\n")
        connection.close()
    server.close()
    assert (reply.status, reply.body) == (401, b"{}")


OURS = ("error", "reason", "message", "detail", "fix")


async def test_a_dead_credential_is_answered_here_in_the_providers_words(standin: StandIn) -> None:
    body = b'{"message": "401: Unauthorized", "code": 0}'
    answer = Unavailable(Reason.CREDENTIAL_DEAD, "discord/default is dead", "authsome login discord", body)
    async with proxied(standin, source=Source(answer)) as wire:
        reply = await wire.get()
    assert (reply.status, reply.refused, reply.body) == (401, "credential-dead", body)
    assert standin.seen == []
    told = [(event.reason, event.connection) for event in wire.events]
    assert told == [("credential-dead", "discord/default")]


async def test_a_login_that_has_ended_is_told_in_the_providers_words_with_the_fix(
    standin: StandIn,
) -> None:
    body = b'{"message": "401: Unauthorized", "code": 0}'
    answer = Unavailable(Reason.LOGIN_NEEDED, "discord/default has expired", "authsome login discord", body)
    async with proxied(standin, source=Source(answer)) as wire:
        reply = await wire.get()
    assert (reply.status, reply.refused) == (403, "login-needed")
    assert json.loads(reply.body) == {
        "message": "401: Unauthorized",
        "code": 0,
        "error": "authsome_refused",
        "reason": "login-needed",
        "detail": "discord/default has expired",
        "fix": "authsome login discord",
    }


ESCAPED = "".join(f"\\u{ord(letter):04x}" for letter in CANARY)
ENCODED = base64.b64encode(f"Bearer {CANARY}".encode()).decode()


@pytest.mark.parametrize("why", [Reason.CREDENTIAL_DEAD, Reason.LOGIN_NEEDED])
@pytest.mark.parametrize(
    "body", [f'{{"got": "{form}"}}' for form in (CANARY, ESCAPED, ENCODED)] + [f'{{"{CANARY}": 1}}']
)
async def test_the_providers_words_are_searched_when_they_are_repeated(
    standin: StandIn, body: str, why: Reason
) -> None:
    source = Source()
    async with proxied(standin, source=source) as wire:
        assert (await wire.get()).status == 200
        source.answer = Unavailable(why, "discord/default is dead", "authsome login discord", body.encode())
        reply = await wire.get()
    assert reply.refused == why
    ((name, said),) = (pair for pair in json.loads(reply.body).items() if pair[0] not in OURS)
    assert CANARY not in f"{name} {said}"
    assert ENCODED not in f"{name} {said}"


async def test_alt_svc_never_comes_down(standin: StandIn) -> None:
    async with proxied(standin) as wire:
        reply = await wire.get(path="/standin/alt-svc")
    assert "alt-svc" not in reply.headers


@pytest.mark.parametrize("recovery", [NEWER, Unavailable(Reason.CREDENTIAL_UNAVAILABLE, "none")])
async def test_alt_svc_does_not_come_down_with_an_answer_that_was_kept_back(
    standin: StandIn, recovery: Fresh | Unavailable
) -> None:
    async with proxied(standin, source=Source(recovery=recovery)) as wire:
        reply = await wire.get(path="/standin/once-401")
    assert reply.status == (200 if recovery is NEWER else 401)
    assert "alt-svc" not in reply.headers


class Raising(Source):
    async def fresh(self, connection: str) -> Fresh | Unavailable:
        raise RuntimeError(CANARY)


async def test_a_source_that_raises_refuses_the_request(standin: StandIn) -> None:
    async with proxied(standin, source=Raising()) as wire:
        reply = await wire.get()
    assert (reply.status, reply.refused) == (403, "internal-error")
    assert CANARY.encode() not in reply.body
    assert standin.seen == []


async def test_a_credential_that_is_no_header_value_refuses_the_request(standin: StandIn) -> None:
    async with proxied(standin, source=Source(Fresh(SecretStr("tök"), 1))) as wire:
        reply = await wire.get()
    assert reply.refused == "internal-error"
    assert standin.seen == []


async def test_an_audit_that_raises_lets_no_answer_through(standin: StandIn) -> None:
    def broken(event: Event) -> None:
        raise OSError("disk full")

    async with proxied(standin, audit=broken) as wire:
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await wire.get()
        refused = await wire.get("Host: discord.com\r\n")
    assert refused.refused == "internal-error"
    assert len(standin.seen) <= 1


async def test_once_the_audit_cannot_be_written_no_further_request_gets_the_credential(
    standin: StandIn,
) -> None:
    full = True
    events: list[Event] = []

    def sink(event: Event) -> None:
        if full:
            raise OSError("disk full")
        events.append(event)

    async with proxied(standin, audit=sink) as wire:
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await wire.get()
        for _ in range(3):
            assert (await wire.get()).refused == "internal-error"
        assert len(arrived(standin)) == 1
        full = False
        # The refusal that is kept shows that there is room again.
        told = await wire.get()
        assert told.refused == "internal-error"
        assert b"the audit could not be written" in told.body
        assert (await wire.get()).status == 200
    assert len(arrived(standin)) == 2
    assert [(event.decision, event.reason) for event in events] == [
        ("refuse", "internal-error"),
        ("inject", None),
    ]


async def test_an_upstream_with_another_certificate_gets_nothing(standin: StandIn) -> None:
    with StandIn() as impostor:
        async with proxied(standin, dialer=redirected(impostor)) as wire:
            reply = await wire.get()
        assert (reply.status, reply.refused) == (502, "upstream-untrusted")
        assert impostor.seen == []


async def test_an_upstream_that_refuses_is_named(standin: StandIn) -> None:
    nowhere = Dialer(lambda host, port: ("127.0.0.1", 1), lambda host, port: None)
    async with proxied(standin, dialer=nowhere) as wire:
        reply = await wire.get()
        connection = await wire.open()
        tunnel = await connection.ask(
            f"CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n{wire.credentials()}\r\n"
        )
        connection.close()
    assert (reply.status, reply.refused) == (502, "upstream-unreachable")
    assert (tunnel.status, tunnel.refused) == (502, "upstream-unreachable")
    assert b"127.0.0.1:1" in reply.body


async def test_after_a_failure_to_connect_the_next_request_is_dialled_anew(standin: StandIn) -> None:
    """The child's connection ends with the failure, which it would be told again for ever."""
    addresses = [("127.0.0.1", 1), ("127.0.0.1", standin.https_port)]
    dialer = Dialer(lambda host, port: addresses.pop(0), lambda host, port: None)
    async with proxied(standin, dialer=dialer) as wire:
        verify = ssl.create_default_context(cadata=wire.proxy.certificate)
        async with httpx.AsyncClient(proxy=wire.proxy.url(), verify=verify, trust_env=False) as client:
            headers = {"Authorization": f"Bearer {PLACEHOLDER}"}
            replies = [
                await client.get("https://discord.com/standin/echo", headers=headers) for _ in range(2)
            ]
    assert [reply.status_code for reply in replies] == [502, 200]


async def test_an_upstream_without_tls_is_not_called_untrusted(standin: StandIn) -> None:
    plain = Dialer(lambda host, port: ("127.0.0.1", standin.http_port), lambda host, port: None)
    async with proxied(standin, dialer=plain) as wire:
        reply = await wire.get()
    assert (reply.status, reply.refused) == (502, "upstream-unreachable")
    assert b"does not speak TLS" in reply.body


async def test_a_refused_head_request_has_no_body(standin: StandIn) -> None:
    async with proxied(standin) as wire:
        connection = await wire.tls("discord.com:443", "discord.com", verify=True)
        head = f"HEAD /api/oauth2/token HTTP/1.1\r\nHost: discord.com\r\n{AUTH}\r\n"
        connection.writer.write(head.encode())
        assert (await connection.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 403")
        reply = await connection.ask(f"GET /standin/echo HTTP/1.1\r\nHost: discord.com\r\n{AUTH}\r\n")
        connection.close()
    assert reply.status == 200


async def test_an_upstream_that_closes_is_dialled_again_under_the_same_rules(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    heads: list[bytes] = []
    names: list[str | None] = []

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    context = authority.server_context("discord.com", require_client=False)
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    server = await asyncio.start_server(answer_once, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    async with running_proxy(
        rules=(DISCORD,),
        source=Source(),
        audit=lambda event: None,
        roots=authority.ca_file.read_text(),
        dialer=Dialer(lambda _host, _port: ("127.0.0.1", port), lambda host, port: None),
        resend=never_again,
    ) as proxy:
        connection = await tunnel(proxy, "discord.com:443")
        await connection.start_tls(proxy.certificate, "discord.com")
        for _ in range(2):
            reply = await connection.ask(f"GET / HTTP/1.1\r\nHost: discord.com\r\n{AUTH}\r\n")
            assert reply.status == 200
            await asyncio.sleep(0.1)
        connection.close()
    server.close()
    assert [f"Authorization: Bearer {CANARY}".encode() in head for head in heads] == [True, True]
    assert names == ["discord.com"] * 2


async def test_events_arrive_one_by_one(standin: StandIn) -> None:
    async with proxied(standin) as wire:
        connection = await wire.tls("discord.com:443", "discord.com", verify=True)
        request = f"GET /standin/events?n=3&interval=0.3 HTTP/1.1\r\nHost: discord.com\r\n{AUTH}\r\n"
        connection.writer.write(request.encode())
        loop = asyncio.get_running_loop()
        arrivals: list[float] = []
        while len(arrivals) < 3:
            data = await connection.reader.read(65536)
            arrivals += [loop.time()] * data.count(b"data:")
        connection.close()
    assert arrivals[1] - arrivals[0] > 0.15
    assert arrivals[2] - arrivals[1] > 0.15


def written(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_no_library_writes_down_the_keys_of_a_connection(
    standin: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SSLKEYLOGFILE", "MITMPROXY_SSLKEYLOGFILE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    context = ssl.create_default_context
    assert context().keylog_filename == str(tmp_path / "SSLKEYLOGFILE")
    (tmp_path / "SSLKEYLOGFILE").unlink()
    async with proxied(standin, source=Source(recovery=NEWER)) as wire:
        assert (await wire.get(path="/standin/once-401")).status == 200
        assert context().keylog_filename is None
    assert written(tmp_path) == []
    assert "MITMPROXY_SSLKEYLOGFILE" not in os.environ


async def test_two_proxies_side_by_side_serve_only_their_own_children(standin: StandIn) -> None:
    async with proxied(standin) as first, proxied(standin) as second:
        assert first.proxy.password != second.proxy.password
        first_certificate = ssl.create_default_context(cadata=first.proxy.certificate)
        connection = await second.connect("discord.com:443")
        with pytest.raises(ssl.SSLCertVerificationError):
            await connection.writer.start_tls(first_certificate, server_hostname="discord.com")
        connection.close()
        other = await second.open()
        reply = await other.ask(f"GET http://evil.example/ HTTP/1.1\r\nHost: x\r\n{first.credentials()}\r\n")
        other.close()
        assert reply.status == 407


async def test_a_client_that_insists_on_http2_fails_in_the_handshake(standin: StandIn) -> None:
    async with proxied(standin) as wire:
        connection = await wire.connect("discord.com:443")
        context = ssl.create_default_context(cadata=wire.proxy.certificate)
        context.set_alpn_protocols(["h2"])
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await connection.writer.start_tls(context, server_hostname="discord.com")
        connection.close()
    assert standin.seen == []


async def test_a_client_without_alpn_speaks_http1(standin: StandIn) -> None:
    async with proxied(standin) as wire:
        connection = await wire.connect("discord.com:443")
        context = ssl.create_default_context(cadata=wire.proxy.certificate)
        await connection.writer.start_tls(context, server_hostname="discord.com")
        reply = await connection.ask(f"GET /standin/echo HTTP/1.1\r\nHost: discord.com\r\n{AUTH}\r\n")
        connection.close()
    assert reply.status == 200


async def test_the_upstream_is_offered_http1_only(standin: StandIn) -> None:
    async with proxied(standin) as wire:
        await wire.get()
    assert standin.seen[0].alpn == "http/1.1"


async def send_for_ever(connection: Connection) -> None:
    for _ in range(1000):
        connection.writer.write(b"x" * 100_000)
        await connection.writer.drain()


async def test_a_refused_request_with_an_endless_body_is_cut_off(standin: StandIn) -> None:
    async with proxied(standin) as wire:
        connection = await wire.tls("discord.com:443", "discord.com", verify=True)
        head = f"POST / HTTP/1.1\r\nHost: evil.example\r\n{AUTH}Content-Length: 100000000\r\n\r\n"
        connection.writer.write(head.encode())
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await send_for_ever(connection)
        connection.close()
    assert standin.seen == []


async def test_an_endless_head_inside_the_tunnel_is_cut_off(standin: StandIn) -> None:
    async with proxied(standin) as wire:
        connection = await wire.tls("discord.com:443", "discord.com", verify=True)
        connection.writer.write(b"GET / HTTP/1.1\r\nHost: discord.com\r\nX: ")
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await send_for_ever(connection)
        connection.close()
    assert standin.seen == []


async def test_headers_beyond_the_limit_are_refused_and_below_it_are_not(standin: StandIn) -> None:
    async with proxied(standin) as wire:
        assert (await wire.get(AUTH + f"X: {'x' * 70_000}\r\n")).refused == Reason.TOO_LARGE
        assert (await wire.get(AUTH + f"X: {'x' * 30_000}\r\n")).status == 200


async def test_long_requests_on_one_connection_are_not_mistaken_for_an_endless_head(standin: StandIn) -> None:
    async with proxied(standin) as wire:
        connection = await wire.tls("discord.com:443", "discord.com", verify=True)
        head = f"POST /standin/upload HTTP/1.1\r\nHost: discord.com\r\n{AUTH}Content-Length: 400000\r\n\r\n"
        for _ in range(3):
            assert (await connection.ask(head + "x" * 400_000)).status == 200
        connection.close()


async def test_a_refused_request_with_a_small_body_is_told_why(standin: StandIn) -> None:
    async with proxied(standin) as wire:
        connection = await wire.tls("discord.com:443", "discord.com", verify=True)
        reply = await connection.ask(
            f"POST / HTTP/1.1\r\nHost: evil.example\r\n{AUTH}Content-Length: 100000\r\n\r\n" + "x" * 100_000
        )
        connection.close()
    assert reply.refused == Reason.HOST_MISMATCH


def test_the_rule_of_these_tests_is_for_discord_alone() -> None:
    assert DISCORD.origin == Origin("discord.com", 443)


async def test_a_wire_says_where_a_canary_leaked(standin: StandIn) -> None:
    """The searching itself must find: a canary sent by the test shows up."""
    async with proxied(standin) as wire:
        connection = await wire.tls("evil.example:443", "evil.example")
        await connection.ask(f"GET /standin/echo HTTP/1.1\r\nHost: evil.example\r\nX: {CANARY}\r\n\r\n")
        connection.close()
        assert isinstance(wire, Wire)
        assert wire.leaks() == ["evil.example"]
