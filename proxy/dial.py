"""Where the proxy connects to: through `--connect-to`, and through an upstream proxy where there is one."""

from __future__ import annotations

import asyncio
import base64
import errno
import ipaddress
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

import h11

from proxy.errors import DialFailed
from proxy.model import Origin

CONNECT_TIMEOUT: Final = 30.0
"""Seconds for resolving, connecting and an upstream proxy's answer."""

HAPPY_EYEBALLS_DELAY: Final = 0.25
"""Seconds before the next address is tried as well (RFC 8305 section 8)."""

MAX_LOOKUPS: Final = 64
"""Names that are looked up at once; the rest wait. Each takes a thread, and a slow one 10 seconds or more
(resolv.conf(5))."""

LOOKUP_TIMEOUT: Final = 2.0
"""Seconds that a name may take to be looked up which an upstream proxy is asked for anyway."""

METADATA: Final = frozenset(
    {
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "fd00:c1::a9fe:a9fe",
        "fd00:42::42",
    }
)
"""Metadata services of clouds that are not at a link-local address: Azure, Alibaba, Oracle; over IPv6 AWS,
its credentials for pods, Google, Oracle and Scaleway."""

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def _nothing_named(_host: str, _port: int) -> bool:
    return False


def _addresses(host: str, port: int) -> list[str]:
    """Raises: OSError, UnicodeError where the name cannot be one."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Lookups:
    """Looks names up, each in a thread of its own that nobody waits for.

    Not in the event loop's threads: names that are slow to resolve would take them from everything else in
    the process, and hold up its end.
    """

    def __init__(
        self, look_up: Callable[[str, int], list[str]] = _addresses, at_once: int = MAX_LOOKUPS
    ) -> None:
        self._look_up = look_up
        self._free = asyncio.Semaphore(at_once)

    async def addresses(self, host: str, port: int, seconds: float | None = None) -> list[str]:
        """The addresses of a name; `seconds` count from when its turn has come. Raises: OSError."""
        if _is_address(host):
            return [host]
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[str]] = loop.create_future()

        def settle(result: list[str] | OSError) -> None:
            self._free.release()
            if found.done():
                return
            if isinstance(result, OSError):
                found.set_exception(result)
            else:
                found.set_result(result)

        def work() -> None:
            result: list[str] | OSError
            try:
                result = self._look_up(host, port)
            except OSError as error:
                result = error
            except UnicodeError:
                result = socket.gaierror(socket.EAI_NONAME, "not the name of a host")
            with suppress(RuntimeError):  # the loop is closed: the run is over
                loop.call_soon_threadsafe(settle, result)

        try:
            threading.Thread(target=work, name="authsome-lookup", daemon=True).start()
        except RuntimeError:
            settle(OSError(errno.EAGAIN, "no thread is left to look it up"))
        async with asyncio.timeout(seconds):
            return await found


@dataclass(frozen=True, slots=True)
class Dialer:
    """Opens connections to origins."""

    address_of: Callable[[str, int], tuple[str, int]]
    """The host and port to connect to in place of the given ones (`--connect-to`)."""
    proxy_of: Callable[[str, int], str | None]
    """The `http://` URL of the upstream proxy for a host and port, or None to connect directly."""
    is_named: Callable[[str, int], bool] = _nothing_named
    """Whether the user named the host to connect to, be it the given one. Another one was always named."""
    words: Callable[[str], str] = str
    """Makes of a hint what the child is told."""
    lookups: Lookups = field(default_factory=Lookups)

    async def dial(self, origin: Origin) -> Streams:
        """Connect. Raises: DialFailed, with a message that names the address."""
        try:
            return await self._dial(origin)
        except DialFailed as error:
            error.hint = self.words(error.hint)
            raise

    async def _dial(self, origin: Origin) -> Streams:
        host, port = self.address_of(origin.host, origin.port)
        named = host != origin.host or self.is_named(origin.host, origin.port)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                proxy = self.proxy_of(host, port)
                if proxy is not None:
                    if not named:
                        await self._require_abroad(host, port)
                    return await self._connect_through(urlsplit(proxy), Origin(host, port))
                addresses = await self.lookups.addresses(host, port)
                # The address that was checked is the one dialled.
                return await first_of(addresses if named else _not_own(host, port, addresses), port)
        except TimeoutError:
            raise DialFailed(f"{host}:{port} did not answer in {CONNECT_TIMEOUT:.0f} seconds") from None
        except OSError as error:
            raise DialFailed(f"cannot connect to {host}:{port}: {error.strerror or error}") from error

    async def _require_abroad(self, host: str, port: int) -> None:
        """An upstream proxy may run on this machine, and would dial it. Raises: DialFailed.

        Which address it will dial is not known: any may be the one. A name that is not known here, or not in
        time, is left to it: many a network resolves nothing but through its proxy.
        """
        found: list[str] = []
        with suppress(OSError):
            found = await self.lookups.addresses(host, port, LOOKUP_TIMEOUT)
        if any(map(is_own, found)):
            raise _own(host, port)

    async def _connect_through(self, proxy: SplitResult, origin: Origin) -> Streams:
        """A tunnel through an HTTP proxy (RFC 9110 section 9.3.6)."""
        if proxy.scheme != "http" or not proxy.hostname:
            raise DialFailed("the upstream proxy in HTTPS_PROXY must be an http:// URL")
        port = proxy.port or 80
        reader, writer = await first_of(await self.lookups.addresses(proxy.hostname, port), port)
        try:
            status = await _ask_for_tunnel(reader, writer, proxy, origin)
        except BaseException:
            writer.close()
            raise
        if not 200 <= status < 300:
            writer.close()
            raise DialFailed(f"the upstream proxy answered {status} for {origin.host}:{origin.port}")
        return reader, writer


def _not_own(host: str, port: int, addresses: Sequence[str]) -> list[str]:
    allowed = [address for address in addresses if not is_own(address)]
    if not allowed:
        raise _own(host, port)
    return allowed


def _own(host: str, port: int) -> DialFailed:
    return DialFailed(
        f"{host} is an address of this machine or its network's own, which is not dialled for a program",
        f"name it with <set connect_to> {host}:{port}:ADDRESS:PORT if it is meant",
    )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def is_own(address: str) -> bool:
    """Whether an IP address leads to this machine, to its link, or to many.

    Behind these are services that trust whoever can reach them: cloud metadata on link-local addresses,
    debuggers and databases on loopback. An address is this machine's own if a socket can be bound to it,
    unless sockets can be bound to every address here.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and (inner := ip.ipv4_mapped or ip.sixtofour or _nat64(ip)):
        return is_own(str(inner))
    if ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip.is_reserved:
        return True
    if str(ip) in METADATA:
        return True
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
        return not _binds_everything(ip.version) or _is_assigned(probe, ip)


def _binds_everything(version: int) -> bool:
    """Whether the system binds sockets to addresses of others too (ip_nonlocal_bind in ip-sysctl)."""
    try:
        return Path(f"/proc/sys/net/ipv{version}/ip_nonlocal_bind").read_text(encoding="ascii").strip() != "0"
    except OSError:
        return False


def _is_assigned(probe: socket.socket, ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an interface of this machine has the address, whatever sockets can be bound to."""
    try:
        if ip.version == 4:
            # Names an interface by its address (ip(7)). The source of a connection would not tell: for the
            # second address of a network it is the first.
            probe.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, ip.packed)
            return True
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as connected:
            connected.connect((str(ip), 9))  # sends nothing; from oneself to oneself (RFC 6724 section 5)
            return ipaddress.ip_address(connected.getsockname()[0]) == ip
    except OSError:
        return False


def _nat64(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address inside one of the well-known prefix 64:ff9b::/96 (RFC 6052 section 2.1)."""
    return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None


async def first_of(addresses: Sequence[str], port: int) -> Streams:
    """The first connection that comes about; each next address is tried a little later (RFC 8305)."""
    pending: set[asyncio.Task[Streams]] = set()
    failures: list[OSError] = []
    waiting = list(addresses)
    try:
        while waiting or pending:
            if waiting:
                pending.add(asyncio.create_task(asyncio.open_connection(waiting.pop(0), port)))
            delay = HAPPY_EYEBALLS_DELAY if waiting else None
            done, pending = await asyncio.wait(pending, timeout=delay, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                match task.exception():
                    case None:
                        pending |= done - {task}
                        return task.result()
                    case OSError() as failure:
                        failures.append(failure)
                    case other:
                        raise other
        raise failures[0]
    finally:
        for task in pending:
            task.cancel()
            task.add_done_callback(_close_late)


def _close_late(task: asyncio.Task[Streams]) -> None:
    """A connection that came about after another one was taken."""
    if not task.cancelled() and task.exception() is None:
        task.result()[1].close()


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
