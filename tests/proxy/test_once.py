"""A request that cannot be sent again is under way until its answer begins, or can no longer come."""

from __future__ import annotations

import asyncio

import pytest

from proxy.model import Reason, Unavailable
from tests.proxy.wire import AUTH, Source, proxied
from tests.standin import StandIn


def request(path: str, body: str = "{}") -> str:
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"POST /standin/{path} HTTP/1.1\r\nHost: discord.com\r\n{AUTH}{length}\r\n{body}"


async def until(source: Source, flights: int) -> None:
    async with asyncio.timeout(20):
        while source.flights != flights:  # noqa: ASYNC110  (nobody tells)
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("path", ["echo", "status/401", "status/403", "status/500", "close"])
async def test_it_ends_with_its_answer(standin: StandIn, path: str) -> None:
    source = Source()
    async with proxied(standin, source=source) as wire:
        client = await wire.tls("discord.com:443", "discord.com")
        await client.ask(request(path))
        assert source.flights == 0
        client.close()


async def test_it_is_under_way_while_the_server_thinks_and_ends_with_its_client(standin: StandIn) -> None:
    source = Source()
    async with proxied(standin, source=source) as wire:
        client = await wire.tls("discord.com:443", "discord.com")
        client.writer.write(request("slow?seconds=30").encode())
        await until(source, 1)
        client.close()
        await until(source, 0)


async def test_one_without_a_body_or_without_a_credential_is_not_counted(standin: StandIn) -> None:
    bodiless, refused = Source(), Source(answer=Unavailable(Reason.LOGIN_NEEDED, "x"))
    for source, text in ((bodiless, request("slow?seconds=1", "")), (refused, request("echo"))):
        async with proxied(standin, source=source) as wire:
            client = await wire.tls("discord.com:443", "discord.com")
            asking = asyncio.create_task(client.ask(text))
            await asyncio.sleep(0.3)
            assert source.flights == 0
            await asking
            client.close()
