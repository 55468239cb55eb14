"""Whatever raises in a hook, nothing goes upstream that should not, and no answer comes down undecided."""

import asyncio
import datetime as dt
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest
from mitmproxy import http, tls

from proxy.addon import Addon
from proxy.authority import make_authority
from proxy.front import Front
from proxy.handler import make_terminate
from proxy.model import Event, Rule
from proxy.server import RunningProxy
from proxy.tls import client_context, server_context
from tests.proxy.wire import AUTH, CANARY, DISCORD, Reply, Source, Wire, never_again, redirected
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


async def test_a_crash_of_the_http_layer_ends_the_connection(standin: StandIn) -> None:
    """A chunked body with trailers is more than mitmproxy's HTTP/1 can do; it must not hang."""
    async with hosting(standin, Harmless) as wire:
        connection = await wire.tls("discord.com:443", "discord.com")
        connection.writer.write(
            b"POST /standin/upload HTTP/1.1\r\nHost: discord.com\r\nTransfer-Encoding: chunked\r\n"
            b"Trailer: X\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n"
        )
        assert await connection.ended()
        connection.close()
