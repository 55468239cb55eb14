"""Whatever raises in a hook, nothing goes upstream that should not, and no answer comes down undecided."""

import asyncio
import datetime as dt
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

import pytest
from mitmproxy import http, tls
from mitmproxy.proxy.layers.http._http1 import Http1Client

from proxy.addon import Addon
from proxy.authority import make_authority
from proxy.dial import Dialer
from proxy.engine.handler import make_terminate
from proxy.engine.http1 import MAX_UNDECIDED
from proxy.front import Front
from proxy.model import Event, Fresh, Rule, Unavailable
from proxy.server import RunningProxy
from proxy.tls import client_context, server_context
from tests.proxy.wire import (
    AUTH,
    CANARY,
    DISCORD,
    Connection,
    Reply,
    Source,
    Wire,
    never_again,
    proxied,
    redirected,
)
from tests.standin import StandIn


class Fault(Exception):
    """What a test's hook raises."""


class InClientHello(Addon):
    def tls_clienthello(self, data: tls.ClientHelloData) -> None:
        raise Fault


class InChildTls(Addon):
    def tls_start_client(self, data: tls.TlsData) -> None:
        raise Fault


class InUpstreamTls(Addon):
    def tls_start_server(self, data: tls.TlsData) -> None:
        raise Fault


class InRequest(Addon):
    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        raise Fault


class AfterInjecting(Addon):
    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        await super().requestheaders(flow)
        assert CANARY in flow.request.headers["Authorization"]
        raise Fault


class InResponse(Addon):
    def responseheaders(self, flow: http.HTTPFlow) -> None:
        raise Fault


class Harmless(Addon):
    """The same wiring without a fault, so that the tests above are known to reach the stand-in."""


@asynccontextmanager
async def hosting(
    standin: StandIn, kind: type[Addon], rules: tuple[Rule, ...] = (DISCORD,)
) -> AsyncIterator[Wire]:
    """A proxy around an addon of the test's."""
    authority = make_authority(["discord.com"], dt.datetime.now(dt.UTC))
    events: list[Event] = []
    addon = kind(
        rules=rules,
        source=Source(),
        sink=events.append,
        child_contexts={host: server_context(leaf) for host, leaf in authority.leaves.items()},
        upstream_context=client_context(standin.ca_file.read_text()),
        resend=never_again,
    )
    front = Front(
        password="password",
        origins={DISCORD.origin},
        dialer=redirected(standin),
        terminate=make_terminate(addon, redirected(standin)),
        audit=events.append,
    )
    server = await asyncio.start_server(front.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield Wire(standin, RunningProxy(port, authority.certificate, "password", front), events)
    finally:
        server.close()


async def attempt(wire: Wire) -> Reply | None:
    """An honest request; None where the connection ended without an answer."""
    connection = await wire.connect("discord.com:443")
    try:
        with suppress(OSError, ssl.SSLError, asyncio.IncompleteReadError):
            await connection.start_tls(wire.proxy.certificate, "discord.com")
            return await connection.ask(f"GET /standin/echo HTTP/1.1\r\nHost: discord.com\r\n{AUTH}\r\n")
        return None
    finally:
        connection.close()


async def test_without_a_fault_the_request_arrives(standin: StandIn) -> None:
    async with hosting(standin, Harmless) as wire:
        reply = await attempt(wire)
    assert reply is not None
    assert reply.status == 200
    assert standin.wire_contains(CANARY.encode())


@pytest.mark.parametrize("kind", [InClientHello, InChildTls, InUpstreamTls])
async def test_a_fault_before_the_request_ends_the_connection(standin: StandIn, kind: type[Addon]) -> None:
    async with hosting(standin, kind) as wire:
        reply = await attempt(wire)
    assert reply is None or reply.refused is not None
    assert standin.seen == []


@pytest.mark.parametrize("kind", [InRequest, AfterInjecting])
async def test_a_fault_in_deciding_refuses_the_request(standin: StandIn, kind: type[Addon]) -> None:
    async with hosting(standin, kind) as wire:
        reply = await attempt(wire)
    assert reply is not None
    assert reply.refused == "internal-error"
    assert CANARY.encode() not in reply.body
    assert standin.seen == []


async def test_a_fault_in_the_response_lets_nothing_down(standin: StandIn) -> None:
    async with hosting(standin, InResponse) as wire:
        assert await attempt(wire) is None


async def test_a_rule_that_makes_the_decision_raise_refuses(standin: StandIn) -> None:
    broken = replace(DISCORD, never_paths=(None,))  # type: ignore[arg-type]
    async with hosting(standin, Harmless, (broken,)) as wire:
        reply = await attempt(wire)
    assert reply is not None
    assert reply.refused == "internal-error"
    assert standin.seen == []


class Unheard:
    """A decision of a kind that nobody knows."""


@pytest.fixture
def unheard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.addon.decide", lambda rules, target: Unheard())


@pytest.mark.usefixtures("unheard")
async def test_a_decision_of_an_unknown_kind_refuses_and_is_recorded(standin: StandIn) -> None:
    async with hosting(standin, Harmless) as wire:
        reply = await attempt(wire)
    assert reply is not None
    assert reply.refused == "internal-error"
    assert standin.seen == []
    assert [(event.decision, event.reason, event.status) for event in wire.events] == [
        ("refuse", "internal-error", 403)
    ]


@pytest.mark.usefixtures("unheard")
async def test_an_unknown_decision_refuses_even_where_exceptions_are_only_logged(standin: StandIn) -> None:
    """As mitmproxy's own dispatcher does, which then goes on."""

    class Logged(Addon):
        async def requestheaders(self, flow: http.HTTPFlow) -> None:
            with suppress(Exception):
                await super().requestheaders(flow)

    async with hosting(standin, Logged) as wire:
        reply = await attempt(wire)
    assert reply is not None
    assert reply.refused == "internal-error"
    assert standin.seen == []
    assert [event.decision for event in wire.events] == ["refuse"]


@pytest.mark.parametrize("kind", [InRequest, AfterInjecting])
async def test_a_fault_in_deciding_is_recorded_as_a_refusal(standin: StandIn, kind: type[Addon]) -> None:
    async with hosting(standin, kind) as wire:
        await attempt(wire)
    assert [(event.decision, event.reason, event.status) for event in wire.events] == [
        ("refuse", "internal-error", 403)
    ]


class Undecided(Addon):
    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        pass


async def test_an_answer_to_what_nobody_decided_on_does_not_come_down(standin: StandIn) -> None:
    async with hosting(standin, Undecided) as wire:
        assert await attempt(wire) is None


async def test_a_crash_of_the_http_layer_ends_the_connection(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """mitmproxy writes of it in its log, and goes on waiting."""

    def crash(*_: object) -> None:
        raise Fault

    monkeypatch.setattr(Http1Client, "send", crash)
    async with hosting(standin, Harmless) as wire:
        connection = await wire.tls("discord.com:443", "discord.com")
        connection.writer.write(f"GET / HTTP/1.1\r\nHost: discord.com\r\n{AUTH}\r\n".encode())
        assert await connection.ended()
        connection.close()
    assert standin.seen == []


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def cleartext(standin: StandIn, serve: Serve) -> AsyncIterator[tuple[Wire, Connection]]:
    """A proxy for which each host is `serve`, and a connection to it."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    dialer = Dialer(lambda host, _port: ("127.0.0.1", port), lambda host, port: None)
    try:
        async with proxied(standin, dialer=dialer) as wire:
            connection = await wire.open()
            yield wire, connection
            connection.close()
    finally:
        server.close()


def plain(wire: Wire, headers: str = "") -> bytes:
    """A cleartext request to a host that no rule names."""
    head = f"GET http://plain.example/ HTTP/1.1\r\nHost: plain.example\r\n{wire.credentials()}{headers}\r\n"
    return head.encode()


@pytest.mark.parametrize("line", [b"X-%d: " + b"a" * 16000 + b"\r\n", b"X-%d: " + b"a" * 16000])
async def test_an_answer_whose_head_does_not_end_is_given_up(standin: StandIn, line: bytes) -> None:
    sent = 0
    ended = asyncio.Event()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n")
        with suppress(OSError):
            while sent < 200 * MAX_UNDECIDED:
                writer.write(line % sent)
                await writer.drain()
                sent += len(line)
        writer.close()
        ended.set()

    async with cleartext(standin, endless) as (wire, connection):
        reply = await connection.ask(plain(wire))
        async with asyncio.timeout(20):
            await ended.wait()
    assert (reply.status, reply.refused) == (502, "upstream-unreachable")
    assert sent < 200 * MAX_UNDECIDED
    assert [event.status for event in wire.events] == [None]


@pytest.mark.parametrize("framing", [b"1;", b"1\r\na\r\n0\r\nX: "], ids=["chunk size", "trailer"])
async def test_a_line_in_a_body_that_does_not_end_ends_the_connection(
    standin: StandIn, framing: bytes
) -> None:
    sent = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framing)
        with suppress(OSError):
            while sent < 200 * MAX_UNDECIDED:
                writer.write(b"a" * 16000)
                await writer.drain()
                sent += 16000
        writer.close()

    async with cleartext(standin, endless) as (wire, connection):
        assert (await connection.ask(plain(wire))).status == 200
        async with asyncio.timeout(20):
            with suppress(OSError):
                assert len(await connection.reader.read()) < 100
    assert sent < 200 * MAX_UNDECIDED


async def test_an_endless_row_of_interim_answers_is_given_up(standin: StandIn) -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        with suppress(OSError):
            while True:
                writer.write(b"HTTP/1.1 102 Processing\r\n\r\n" * 100)
                await writer.drain()
        writer.close()

    async with cleartext(standin, endless) as (wire, connection):
        async with asyncio.timeout(20):
            reply = await connection.ask(plain(wire))
    assert (reply.status, reply.refused) == (502, "upstream-unreachable")


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("interim", ["100 Continue", "103 Early Hints\r\nLink: </x>", "199 "])
async def test_the_final_answer_is_the_one_passed_on(standin: StandIn, interim: str, apart: bool) -> None:
    async def hint(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(f"HTTP/1.1 {interim}\r\n\r\n".encode() * 2)
                if apart:
                    await asyncio.sleep(0.1)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
        writer.close()

    async with cleartext(standin, hint) as (wire, connection):
        replies = [await connection.ask(plain(wire)) for _ in range(2)]
    assert [(reply.status, reply.body) for reply in replies] == [(200, b"done")] * 2
    assert [event.status for event in wire.events] == [200, 200]


async def test_trailers_are_dropped_on_both_ways(standin: StandIn) -> None:
    received = bytearray()

    async def trailing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.extend(await reader.readuntil(b"0\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n")
        await reader.read()
        writer.close()

    async with cleartext(standin, trailing) as (wire, connection):
        head = plain(wire, "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n").replace(b"GET", b"POST")
        connection.writer.write(head + b"2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n")
        async with asyncio.timeout(20):
            answer = await connection.reader.readuntil(b"0\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n2\r\nok\r\n0\r\n\r\n")
    assert received.endswith(b"\r\n\r\n2\r\nhi\r\n0\r\n\r\n")


EMPTY = [b"\r\n", b"\n", b"\r\n" * 5, b"\n\r\n"]
"""What RFC 9112 section 2.2 has a server pass over before a request; clients do so before an answer."""


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("empty", EMPTY)
async def test_empty_lines_before_requests_are_passed_over(
    standin: StandIn, empty: bytes, *, apart: bool
) -> None:
    request = f"POST /standin/echo HTTP/1.1\r\nHost: discord.com\r\n{AUTH}Content-Length: 2\r\n\r\nhi"
    async with proxied(standin) as wire:
        connection = await wire.tls("discord.com:443", "discord.com")
        for _ in range(3):
            connection.writer.write(empty)
            if apart:
                await connection.writer.drain()
                await asyncio.sleep(0.05)
            assert (await connection.ask(request)).status == 200
        connection.close()
    assert [seen.body for seen in standin.seen] == [b"hi"] * 3


@pytest.mark.parametrize("empty", EMPTY)
async def test_empty_lines_between_requests_that_come_at_once_are_passed_over(
    standin: StandIn, empty: bytes
) -> None:
    request = f"GET /standin/echo HTTP/1.1\r\nHost: discord.com\r\n{AUTH}\r\n".encode()
    async with proxied(standin) as wire:
        connection = await wire.tls("discord.com:443", "discord.com")
        replies = [await connection.ask(request + empty + request + empty), await connection.reply()]
        connection.close()
    assert [reply.status for reply in replies] == [200, 200]


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("empty", EMPTY)
async def test_empty_lines_before_what_is_asked_of_the_proxy_are_passed_over(
    standin: StandIn, empty: bytes, *, apart: bool
) -> None:
    async with proxied(standin) as wire:
        head = f"CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n{wire.credentials()}\r\n".encode()
        clear = plain(wire).replace(b"plain", b"evil")
        for request, times in ((head, 1), (clear, 3)):
            connection = await wire.open()
            for _ in range(times):
                connection.writer.write(empty)
                if apart:
                    await connection.writer.drain()
                    await asyncio.sleep(0.05)
                assert (await connection.ask(request)).status in (200, 404)
            connection.close()


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("empty", EMPTY)
async def test_empty_lines_before_an_answer_are_passed_over(
    standin: StandIn, empty: bytes, *, apart: bool
) -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                for piece in (
                    empty,
                    b"HTTP/1.1 103 Early Hints\r\n\r\n",
                    empty,
                    b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone" + empty,
                ):
                    writer.write(piece)
                    if apart:
                        await asyncio.sleep(0.05)
        writer.close()

    async with cleartext(standin, slow) as (wire, connection):
        replies = [await connection.ask(plain(wire)) for _ in range(3)]
    assert [(reply.status, reply.body) for reply in replies] == [(200, b"done")] * 3


async def send_empty_lines_for_ever(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"\r\n" * 10_000)
        await writer.drain()


async def test_an_endless_row_of_empty_lines_before_an_answer_is_given_up(standin: StandIn) -> None:
    async def empty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        with suppress(OSError):
            await send_empty_lines_for_ever(writer)
        writer.close()

    async with cleartext(standin, empty) as (wire, connection), asyncio.timeout(20):
        assert (await connection.ask(plain(wire))).status == 502


async def test_an_endless_row_of_empty_lines_before_a_request_ends_the_connection(standin: StandIn) -> None:
    async with proxied(standin) as wire, asyncio.timeout(20):
        connection = await wire.tls("discord.com:443", "discord.com")
        with pytest.raises((OSError, ssl.SSLError)):
            await send_empty_lines_for_ever(connection.writer)
        connection.close()


async def test_requests_that_come_before_their_turn_are_not_kept_without_limit(standin: StandIn) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def send_many(wire: Wire, connection: Connection) -> None:
        for _ in range(200):
            connection.writer.write(plain(wire) * 1000)
            await connection.writer.drain()

    async with cleartext(standin, silent) as (wire, connection):
        with pytest.raises(ConnectionError):
            await send_many(wire, connection)


async def test_a_large_head_and_a_larger_body_are_passed_on(standin: StandIn) -> None:
    head = b"HTTP/1.1 200 OK\r\nX: " + b"a" * 60_000 + b"\r\nContent-Length: %d\r\n\r\n" % (4 * MAX_UNDECIDED)

    async def large(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(head + b"b" * 4 * MAX_UNDECIDED)
        writer.close()

    async with cleartext(standin, large) as (wire, connection):
        for _ in range(3):
            assert len((await connection.ask(plain(wire))).body) == 4 * MAX_UNDECIDED


async def test_what_is_said_after_an_upgrade_has_no_limit(standin: StandIn) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async with cleartext(standin, echo) as (wire, connection):
        reply = await connection.ask(plain(wire, "Upgrade: echo\r\nConnection: Upgrade\r\n"))
        assert reply.status == 101
        async with asyncio.timeout(20):
            for _ in range(8):
                connection.writer.write(b"x" * 65536)
                assert await connection.reader.readexactly(65536) == b"x" * 65536


async def test_a_refusal_reaches_a_client_that_waits_before_it_sends_its_body(standin: StandIn) -> None:
    async with proxied(standin) as wire:
        connection = await wire.tls("discord.com:443", "discord.com", verify=True)
        reply = await connection.ask(
            "POST /api/oauth2/token HTTP/1.1\r\nHost: discord.com\r\nExpect: 100-continue\r\n"
            f"{AUTH}Content-Length: 3000000\r\n\r\n"
        )
        assert (reply.status, reply.refused) == (403, "token-endpoint")
        assert reply.headers["connection"] == "close"
        connection.close()
    assert standin.seen == []


@pytest.mark.parametrize("length", [0, 5, 30_000])
async def test_a_refusal_reaches_a_client_that_says_it_waits_and_does_not(
    standin: StandIn, length: int
) -> None:
    async with proxied(standin) as wire:
        connection = await wire.tls("discord.com:443", "discord.com", verify=True)
        head = (
            "POST /api/oauth2/token HTTP/1.1\r\nHost: discord.com\r\nExpect: 100-continue\r\n"
            f"{AUTH}Content-Length: {length}\r\n\r\n"
        )
        reply = await connection.ask(head.encode() + b"b" * length)
        assert (reply.status, reply.refused) == (403, "token-endpoint")
        assert await connection.ended()
        connection.close()


async def test_a_body_that_is_waited_for_is_asked_for(standin: StandIn) -> None:
    async with proxied(standin) as wire:
        connection = await wire.tls("discord.com:443", "discord.com", verify=True)
        asked = await connection.ask(
            "POST /standin/echo HTTP/1.1\r\nHost: discord.com\r\nExpect: 100-continue\r\n"
            f"{AUTH}Content-Length: 4\r\n\r\n"
        )
        assert asked.status == 100
        assert (await connection.ask(b"body")).status == 200
        connection.close()


async def test_what_helps_against_a_refused_address_is_said(standin: StandIn) -> None:
    dialer = Dialer(lambda host, port: (host, port), lambda host, port: None)
    here = replace(DISCORD, origin=replace(DISCORD.origin, host="localhost"))
    async with proxied(standin, rules=(here,), dialer=dialer) as wire:
        by_name = await wire.tls("localhost:443", "localhost")
        connections = [await wire.open(), await wire.open(), by_name]
        replies = [
            await connections[0].ask(f"CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: x\r\n{wire.credentials()}\r\n"),
            await connections[1].ask(
                f"GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: 127.0.0.1:1\r\n{wire.credentials()}\r\n"
            ),
            await by_name.ask("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ]
        for connection in connections:
            connection.close()
    for reply, host in zip(replies, ("127.0.0.1:1", "127.0.0.1:1", "localhost:443"), strict=True):
        assert (reply.status, reply.refused) == (502, "upstream-unreachable")
        assert b"is not dialled for a program" in reply.body
        assert f"name it with <set connect_to> {host}:ADDRESS:PORT".encode() in reply.body


@dataclass
class Hesitant(Source):
    """Never has a credential."""

    asking: asyncio.Event = field(default_factory=asyncio.Event)

    async def fresh(self, connection: str) -> Fresh | Unavailable:
        self.asking.set()
        return await asyncio.Future()


async def test_nothing_of_a_run_goes_on_after_its_end(standin: StandIn) -> None:
    before = asyncio.all_tasks()
    source = Hesitant()
    async with proxied(standin, source=source) as wire:
        deciding, idle, silent = [await wire.tls("discord.com:443", "discord.com") for _ in range(3)]
        assert (await idle.ask("GET /standin/echo HTTP/1.1\r\nHost: discord.com\r\n\r\n")).status == 200
        deciding.writer.write(f"GET /standin/echo HTTP/1.1\r\nHost: discord.com\r\n{AUTH}\r\n".encode())
        async with asyncio.timeout(20):
            await source.asking.wait()
        during = asyncio.all_tasks() - before
    assert during
    assert asyncio.all_tasks() <= before
    for connection in (deciding, idle, silent):
        connection.close()
