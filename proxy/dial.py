"""Where the proxy connects to: through `--connect-to`, and through an upstream proxy where there is one."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

import h11

from proxy.errors import DialFailed
from proxy.model import Origin

CONNECT_TIMEOUT: Final = 30.0
"""Seconds for resolving, connecting and an upstream proxy's answer."""

HAPPY_EYEBALLS_DELAY: Final = 0.25
"""Seconds before the next address is tried as well (RFC 8305 section 8)."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Dialer:
    """Opens connections to origins."""

    address_of: Callable[[str, int], tuple[str, int]]
    """The host and port to connect to in place of the given ones (`--connect-to`)."""
    proxy_of: Callable[[str, int], str | None]
    """The `http://` URL of the upstream proxy for a host and port, or None to connect directly."""

    async def dial(self, origin: Origin) -> Streams:
        """Connect. Raises: DialFailed, with a message that names the address."""
        host, port = self.address_of(origin.host, origin.port)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                proxy = self.proxy_of(host, port)
                if proxy is None:
                    return await _connect(host, port)
                return await _connect_through(urlsplit(proxy), Origin(host, port))
        except TimeoutError:
            raise DialFailed(f"{host}:{port} did not answer in {CONNECT_TIMEOUT:.0f} seconds") from None
        except OSError as error:
            raise DialFailed(f"cannot connect to {host}:{port}: {error.strerror or error}") from error


async def _connect(host: str, port: int) -> Streams:
    return await asyncio.open_connection(host, port, happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY)


async def _connect_through(proxy: SplitResult, origin: Origin) -> Streams:
    """A tunnel through an HTTP proxy (RFC 9110 section 9.3.6)."""
    if proxy.scheme != "http" or not proxy.hostname:
        raise DialFailed("the upstream proxy in HTTPS_PROXY must be an http:// URL")
    reader, writer = await _connect(proxy.hostname, proxy.port or 80)
    try:
        status = await _ask_for_tunnel(reader, writer, proxy, origin)
    except BaseException:
        writer.close()
        raise
    if not 200 <= status < 300:
        writer.close()
        raise DialFailed(f"the upstream proxy answered {status} for {origin.host}:{origin.port}")
    return reader, writer


async def _ask_for_tunnel(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, proxy: SplitResult, origin: Origin
) -> int:
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    authority = f"{host}:{origin.port}".encode()
    headers = [(b"Host", authority)]
    if proxy.username is not None:
        user = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
        headers.append((b"Proxy-Authorization", b"Basic " + base64.b64encode(user)))
    http = h11.Connection(h11.CLIENT)
    writer.write(http.send(h11.Request(method=b"CONNECT", target=authority, headers=headers)) or b"")
    writer.write(http.send(h11.EndOfMessage()) or b"")
    try:
        while (event := http.next_event()) is h11.NEED_DATA:
            http.receive_data(await reader.read(65536))
    except h11.RemoteProtocolError:
        raise DialFailed("the upstream proxy does not speak HTTP") from None
    if not isinstance(event, h11.Response):
        raise DialFailed("the upstream proxy closed the connection")
    # Nothing was awaited since the read, so the reader's buffer is empty and this keeps the order.
    reader.feed_data(http.trailing_data[0])
    return event.status_code
