"""A real proxy with the real keeper over the real vault, before a real stand-in, in this process."""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from launcher.run.credentials import KeeperSource
from launcher.run.rules import rules_for
from oauth.client import OAuthClient
from oauth.keeper.keeper import Keeper
from oauth.provider import Provider
from oauth.registry import Registry
from proxy.model import Fresh, Unavailable
from tests.oauth.process import ToLoopback, open_vault
from tests.proxy.wire import AUTH, Connection, Reply, Wire, proxied
from tests.standin import StandIn
from vault.model import ConnectionKey


class Watched(KeeperSource):
    """Notes how often a request had to wait for its credential."""

    def __init__(self, keeper: Keeper, keys: Sequence[ConnectionKey]) -> None:
        super().__init__(keeper, keys)
        self.asked = 0
        self.waited: list[float] = []
        """Seconds, of each request that did not get its credential at once."""

    async def fresh(self, connection: str) -> Fresh | Unavailable:
        self.asked += 1
        return await _Timed(lambda: super(Watched, self).fresh(connection), self.waited)


class _Timed:
    """Awaits something, and notes how long it took unless it took no wait at all."""

    def __init__(self, start: Callable[[], Any], waited: list[float]) -> None:
        self._start = start
        self._waited = waited

    def __await__(self) -> Generator[Any, None, Fresh | Unavailable]:
        began = time.monotonic()
        awaited = self._start().__await__()
        try:
            first = next(awaited)
        except StopIteration as ended:
            answer: Fresh | Unavailable = ended.value
            return answer
        try:
            yield first
            answer = yield from awaited
        finally:
            self._waited.append(time.monotonic() - began)
        return answer


@dataclass
class Live:
    wire: Wire
    keeper: Keeper
    source: Watched

    async def client(self, host: str) -> Connection:
        """A keep-alive connection to a rule's host through the proxy."""
        return await self.wire.tls(f"{host}:443", host, verify=True)


async def get(connection: Connection, host: str, path: str = "/api/v10/users/@me") -> Reply:
    """One request with the placeholder."""
    return await connection.ask(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{AUTH}\r\n")


@asynccontextmanager
async def live(
    home: Path,
    standin: StandIn,
    keys: Sequence[ConnectionKey],
    make_source: type[Watched] = Watched,
) -> AsyncIterator[Live]:
    """Everything that `authsome run` starts, less the child."""
    registry = Registry(home / "providers")

    def provider(name: str) -> Provider:
        return registry.get(name).provider

    transport = ToLoopback(standin.https_port, ssl.create_default_context(cafile=standin.ca_file))
    async with httpx.AsyncClient(transport=transport) as http:
        with open_vault(home) as vault:
            keeper = Keeper(vault, provider, OAuthClient(http, time.time), time.time)
            source = make_source(keeper, keys)
            rules = rules_for(keys, {key.provider: provider(key.provider) for key in keys})
            try:
                async with keeper.keep_fresh(keys), proxied(standin, source=source, rules=rules) as wire:
                    yield Live(wire, keeper, source)
            finally:
                await keeper.aclose()
