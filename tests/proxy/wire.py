"""A real proxy before a real stand-in, and a child that says exactly what a test wants on the wire."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from pydantic import SecretStr

from launcher.setup.http import http_client
from launcher.setup.routes import Routes
from launcher.setup.settings import parse_connect_to
from launcher.setup.trust import provider_context
from proxy.dial import Dialer
from proxy.model import (
    AuditSink,
    CredentialSource,
    Event,
    Fresh,
    Origin,
    Reason,
    Rule,
    Slot,
    Unavailable,
)
from proxy.resend import Resent, resend_over
from proxy.server import RunningProxy, running_proxy
from proxy.slots import Headers
from tests.standin import StandIn

CANARY = "CANARY-access-token-4f1d"
PLACEHOLDER = "authsome-proxy-managed"
AUTH = f"Authorization: Bearer {PLACEHOLDER}\r\n"

DISCORD = Rule(
    connection="discord/default",
    origin=Origin("discord.com", 443),
    slot=Slot("Authorization", "Bearer"),
    never_paths=("/api/oauth2/token", "/api/oauth2/token/revoke"),
)


@dataclass
class Source:
    """Hands out one answer, and remembers what it was asked and told."""

    answer: Fresh | Unavailable = field(default_factory=lambda: Fresh(SecretStr(CANARY), 1))
    asked: list[str] = field(default_factory=list)
    rejections: list[tuple[str, int]] = field(default_factory=list)

    async def fresh(self, connection: str) -> Fresh | Unavailable:
        self.asked.append(connection)
        return self.answer

    recovery: Fresh | Unavailable = field(
        default_factory=lambda: Unavailable(Reason.CREDENTIAL_UNAVAILABLE, "the provider vouches for it")
    )
    known: tuple[SecretStr, ...] = ()
    recoveries: list[tuple[str, int, bytes]] = field(default_factory=list)
    acceptances: list[tuple[str, int]] = field(default_factory=list)

    async def fresh_once(self, connection: str) -> Fresh | Unavailable:
        answer = await self.fresh(connection)
        self.flights += isinstance(answer, Fresh)
        return answer

    def ended(self, connection: str, generation: int) -> None:
        self.flights -= 1

    flights: int = 0

    def rejected(self, connection: str, generation: int, body: bytes = b"") -> None:
        self.rejections.append((connection, generation))

    def accepted(self, connection: str, generation: int) -> None:
        self.acceptances.append((connection, generation))

    def stored(self) -> tuple[SecretStr, ...]:
        return self.known

    async def recovered(self, connection: str, generation: int, body: bytes = b"") -> Fresh | Unavailable:
        self.recoveries.append((connection, generation, body))
        return self.recovery


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def refused(self) -> str | None:
        return self.headers.get("x-authsome-refused")


@dataclass
class Wire:
    """A proxy in front of a stand-in."""

    standin: StandIn
    proxy: RunningProxy
    events: list[Event]

    async def open(self) -> Connection:
        return await _open(self.proxy)

    def credentials(self, password: str | None = None) -> str:
        return _credentials(self.proxy.password if password is None else password)

    async def connect(self, authority: str) -> Connection:
        """CONNECT, which must succeed."""
        return await tunnel(self.proxy, authority)

    async def tls(self, authority: str, sni: str | None = None, *, verify: bool = False) -> Connection:
        """CONNECT, then TLS with any server name; unverified unless told, as a hostile child would."""
        connection = await self.connect(authority)
        await connection.start_tls(self.proxy.certificate, sni, verify=verify)
        return connection

    async def get(self, headers: str = AUTH, path: str = "/standin/echo") -> Reply:
        """An honest client's request to discord.com."""
        connection = await self.tls("discord.com:443", "discord.com", verify=True)
        try:
            return await connection.ask(f"GET {path} HTTP/1.1\r\nHost: discord.com\r\n{headers}\r\n")
        finally:
            connection.close()

    def leaks(self, host_seen: str = "discord.com") -> list[str]:
        """Where the canary arrived, apart from the one host it may go to."""
        return [seen.host for seen in self.standin.wire_contains(CANARY.encode()) if seen.host != host_seen]


@dataclass
class Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def start_tls(self, roots: str, sni: str | None, *, verify: bool = True) -> None:
        context = ssl.create_default_context(cadata=roots)
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["http/1.1"])
        await self.writer.start_tls(context, server_hostname=sni or "")

    async def ask(self, request: str | bytes, *, body: bool = True) -> Reply:
        """Send bytes as they are, read one response."""
        self.writer.write(request.encode("latin-1") if isinstance(request, str) else request)
        await self.writer.drain()
        return await self.reply(body=body)

    async def reply(self, *, body: bool = True) -> Reply:
        async with asyncio.timeout(20):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            lines = head.rstrip("\r\n").split("\r\n")
            headers = {
                name.strip().lower(): value.strip()
                for name, _, value in (line.partition(":") for line in lines[1:])
            }
            length = int(headers.get("content-length", "0")) if body else 0
            content = await self.reader.readexactly(length)
        return Reply(int(lines[0].split()[1]), headers, content)

    async def ended(self) -> bool:
        """Whether the other side closes without another byte."""
        async with asyncio.timeout(20):
            try:
                return await self.reader.read() == b""
            except OSError:
                return True

    def close(self) -> None:
        self.writer.close()


async def _open(proxy: RunningProxy) -> Connection:
    return Connection(*await asyncio.open_connection("127.0.0.1", proxy.port))


def _credentials(password: str) -> str:
    return f"Proxy-Authorization: Basic {base64.b64encode(f'authsome:{password}'.encode()).decode()}\r\n"


async def tunnel(proxy: RunningProxy, authority: str) -> Connection:
    """CONNECT with the run's credentials, which must succeed."""
    connection = await _open(proxy)
    head = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{_credentials(proxy.password)}\r\n"
    reply = await connection.ask(head, body=False)
    assert reply.status == 200, reply
    return connection


def redirected(standin: StandIn) -> Dialer:
    """Every host is the stand-in: ports 80 and 443 of it."""
    ports = {443: standin.https_port, 80: standin.http_port}
    return Dialer(
        lambda host, port: ("127.0.0.1", ports.get(port, port)),
        lambda host, port: None,
        lambda host, port: True,
    )


@asynccontextmanager
async def proxied(
    standin: StandIn,
    *,
    source: CredentialSource | None = None,
    audit: AuditSink | None = None,
    rules: tuple[Rule, ...] = (DISCORD,),
    dialer: Dialer | None = None,
    roots: str | None = None,
) -> AsyncIterator[Wire]:
    events: list[Event] = []
    trusted = roots or standin.ca_file.read_text()
    entries = tuple(parse_connect_to(entry, "test") for entry in standin.connect_to)
    async with (
        http_client(Routes(entries, None, ""), provider_context(trusted)) as http,
        running_proxy(
            rules=rules,
            source=source or Source(),
            audit=audit or events.append,
            roots=trusted,
            dialer=dialer or redirected(standin),
            resend=resend_over(http),
        ) as proxy,
    ):
        yield Wire(standin, proxy, events)


async def never_again(origin: Origin, method: str, path: str, headers: Headers) -> Resent | None:
    """For tests in which nothing may be sent twice."""
    raise AssertionError(f"sent {method} {path} to {origin} again")
