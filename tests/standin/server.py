"""The stand-in as a server: its own event loop in a thread, a TLS and a cleartext listener."""

from __future__ import annotations

import asyncio
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from weakref import WeakKeyDictionary, WeakSet

from cryptography import x509
from cryptography.x509.oid import NameOID

from tests.standin.authority import Authority
from tests.standin.connection import Connection, Peer
from tests.standin.seen import Seen, SeenLog
from tests.standin.site import DISCORD, Site
from tests.standin.state import Discord

HOSTS = (
    DISCORD,
    "evil.example",
    "discord.com.evil.example",
    "evildiscord.com",
    "sub.discord.com",
    "acme.example",
    "keyed.example",
)
"""Tenants of the front; the first one's certificate is shown where the SNI names none of them."""

LOOPBACK = "127.0.0.1"

SHUTDOWN_TIMEOUT = 1.0
"""Seconds to wait for a peer's close_notify before its connection is dropped."""


class StandIn:
    """A local Discord with neighbours, on ephemeral ports of the loopback interface.

    `apis` are the hosts that serve Discord's routes.
    `directory` is where certificates go; without one, a private folder that lives as long as the stand-in.
    `on_seen` is called in the server's thread for each request, before its answer leaves.
    Leaving the context raises what went wrong inside the server, if anything did.
    """

    def __init__(
        self,
        *,
        hosts: Sequence[str] = HOSTS,
        apis: Collection[str] = (DISCORD,),
        clock: Callable[[], float] = time.time,
        token_lifetime: float = 604800.0,
        require_client_certificate: bool = False,
        directory: Path | None = None,
        on_seen: Callable[[Seen], None] | None = None,
    ) -> None:
        self.hosts = tuple(hosts)
        self.discord = Discord(clock, token_lifetime)
        self.https_port = 0
        self.http_port = 0
        self.connections = 0
        """TCP connections accepted so far, those without a handshake included."""
        self._require_client = require_client_certificate
        self._directory = directory
        self._log = SeenLog(on_seen)
        self._route = Site(self.discord, apis).serve
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._sni: WeakKeyDictionary[ssl.SSLObject, str] = WeakKeyDictionary()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: WeakSet[asyncio.StreamWriter] = WeakSet()
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._failures: list[Exception] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stand-in")

    def __enter__(self) -> Self:
        self._temporary = None if self._directory else tempfile.TemporaryDirectory(prefix="standin-")
        self.dir = self._directory or Path(self._temporary.name if self._temporary else "")
        self._authority = Authority(self.dir)
        self._thread.start()
        self._ready.wait()
        if not self.https_port:
            self.__exit__(None, None, None)
            raise RuntimeError("the stand-in did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.https_port:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        if self._temporary:
            self._temporary.cleanup()
        if self._failures and error is None:
            raise ExceptionGroup("the stand-in failed", self._failures)

    @property
    def ca_file(self) -> Path:
        """PEM file of the private CA."""
        return self._authority.ca_file

    @property
    def connect_to(self) -> list[str]:
        """`HOST:PORT:ADDRESS:PORT` for every tenant, as curl's --connect-to takes it."""
        tls = [f"{host}:443:{LOOPBACK}:{self.https_port}" for host in self.hosts]
        return tls + [f"{host}:80:{LOOPBACK}:{self.http_port}" for host in self.hosts]

    @property
    def seen(self) -> list[Seen]:
        """What was received so far, in order of arrival; a copy."""
        return self._log.snapshot()

    def forget(self) -> None:
        """Empty `seen`."""
        self._log.clear()

    def wire_contains(self, needle: bytes) -> list[Seen]:
        """Requests with `needle` in the kept part of their bytes, framing and malformed requests included."""
        return [seen for seen in self.seen if needle in seen.wire or needle in seen.body]

    def client_certificate(self, name: str = "client.example") -> Path:
        """A PEM file with a key and certificate that `require_client_certificate` accepts."""
        return self._authority.leaf(name)

    def _run(self) -> None:
        try:
            with _listener() as https, _listener() as http:
                asyncio.run(self._serve(https, http))
        except OSError as error:
            self._failures.append(error)
        finally:
            self._ready.set()

    async def _serve(self, https: socket.socket, http: socket.socket) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        context = self._authority.server_context(self.hosts[0], self._require_client)
        self._contexts[self.hosts[0]] = context
        context.sni_callback = self._choose_certificate
        self._loop.add_reader(https, self._accept, https, context)
        self._loop.add_reader(http, self._accept, http, None)
        self.http_port, self.https_port = (int(sock.getsockname()[1]) for sock in (http, https))
        self._ready.set()
        await self._stop.wait()
        self._loop.remove_reader(https)
        self._loop.remove_reader(http)
        await self._end_connections()

    async def _end_connections(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in list(self._writers):
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()
        for accepted in list(self._sockets):
            accepted.close()  # of a task that was cancelled before its first step

    def _accept(self, listener: socket.socket, context: ssl.SSLContext | None) -> None:
        """Accept by hand: asyncio's own server knows nothing of a connection before its handshake is done."""
        try:
            accepted, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        accepted.setblocking(False)
        self.connections += 1
        self._sockets.add(accepted)
        self._start(self._connection(accepted, context))

    async def _connection(self, accepted: socket.socket, context: ssl.SSLContext | None) -> None:
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        timeout = None if context is None else SHUTDOWN_TIMEOUT
        try:
            transport, _ = await self._loop.connect_accepted_socket(
                lambda: protocol, accepted, ssl=context, ssl_shutdown_timeout=timeout
            )
        except OSError:
            return  # the client did not like the handshake, or we did not like its certificate
        writer = asyncio.StreamWriter(transport, protocol, reader, self._loop)
        self._writers.add(writer)
        await Connection(reader, writer, self._peer(writer), self._log, self._route).serve()

    def _choose_certificate(
        self, tls: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext
    ) -> None:
        if not isinstance(tls, ssl.SSLObject) or name is None:
            return
        self._sni[tls] = name
        if name in self.hosts:
            if name not in self._contexts:
                self._contexts[name] = self._authority.server_context(name, self._require_client)
            tls.context = self._contexts[name]

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self._failures.append(error)

    def _peer(self, writer: asyncio.StreamWriter) -> Peer:
        tls: ssl.SSLObject | None = writer.get_extra_info("ssl_object")
        if tls is None:
            return Peer(tls=False, sni=None, alpn=None, client=None)
        return Peer(True, self._sni.get(tls), tls.selected_alpn_protocol(), _common_name(tls))


def _listener() -> socket.socket:
    """An ephemeral port.

    The protocol is named because asyncio turns Nagle's delay off only where it reads TCP.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setblocking(False)
    listener.bind((LOOPBACK, 0))
    listener.listen(128)
    return listener


def _common_name(tls: ssl.SSLObject) -> str | None:
    der = tls.getpeercert(binary_form=True)
    if der is None:
        return None
    names = x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else None
