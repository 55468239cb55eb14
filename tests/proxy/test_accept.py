"""Connections of a listener, and what becomes of them when it ends."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from contextlib import suppress

import pytest

from proxy.accept import PAUSE, accepting


def listening() -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    return listener


async def ended(client: socket.socket) -> bool:
    """Whether the other side closed, within seconds and without a byte."""
    client.setblocking(False)
    with suppress(ConnectionResetError):
        async with asyncio.timeout(5):
            return await asyncio.get_running_loop().sock_recv(client, 1) == b""
    return True


async def test_a_connection_is_closed_when_it_was_served() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(4))

    with listening() as listener:
        async with accepting(listener, echo):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(b"ping")
            async with asyncio.timeout(5):
                assert await reader.read() == b"ping"
            writer.close()


async def test_what_is_still_served_at_the_end_is_cancelled_and_closed() -> None:
    cancelled: list[bool] = []

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    with socket.socket() as client:
        listener = listening()
        async with accepting(listener, wait):
            client.connect(listener.getsockname())
            await asyncio.sleep(0.1)
        assert cancelled == [True]
        assert await ended(client)
    assert listener.fileno() == -1


class Full(socket.socket):
    """A listener that finds no descriptor for the first connections."""

    left = 3

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        if self.left:
            self.left -= 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return super().accept()


async def test_without_a_descriptor_a_connection_waits_for_one(caplog: pytest.LogCaptureFixture) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")

    with Full() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        async with accepting(listener, greet):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            async with asyncio.timeout(10):
                assert await reader.read() == b"hello"
            writer.close()
    assert listener.left == 0
    assert caplog.records == []


async def test_the_end_does_not_wait_for_a_descriptor(caplog: pytest.LogCaptureFixture) -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError

    listener = Full()
    listener.left = 1_000_000
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    listener.setblocking(False)
    with socket.socket() as client:
        async with accepting(listener, never):
            client.connect(listener.getsockname())
            await asyncio.sleep(0.05)
        assert await ended(client)
        await asyncio.sleep(2 * PAUSE)  # a timer that still ran would find the listener closed
    assert caplog.records == []


@pytest.mark.parametrize("turns", range(8))
async def test_a_connection_that_comes_at_the_end_is_closed_too(turns: int) -> None:
    """However far the loop got with it: before it has a transport, and before its task's first step."""

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    listener = listening()
    with socket.socket() as client:
        async with accepting(listener, wait):
            client.connect(listener.getsockname())
            for _ in range(turns):
                await asyncio.sleep(0)
        assert await ended(client)
