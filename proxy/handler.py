"""mitmproxy's connection handler, embedded: no master, no listener, no addon manager.

mitmproxy's addon manager logs an exception of an addon and goes on, which forwards the request. Here
the addon's hooks are called directly, and any exception refuses the request or ends the connection.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Literal, Optional, cast

from mitmproxy import connection, http, options
from mitmproxy.net.http import http1
from mitmproxy.proxy import commands, events, layer, mode_specs, server, tunnel
from mitmproxy.proxy.layers import ClientTLSLayer, HttpLayer, ServerTLSLayer
from mitmproxy.proxy.layers.http import HTTPMode, _http1

from proxy.addon import Addon, refusing
from proxy.dial import Dialer
from proxy.errors import DialFailed
from proxy.front import Prefixed, Terminate
from proxy.model import Origin, Reason, Refuse

IDLE_TIMEOUT: Final = 3600
"""Seconds without a byte in either direction before a connection is closed.

Also the longest an upstream may think: mitmproxy counts that as idle time.
"""

MAX_UNDECIDED: Final = 256 * 1024
"""Bytes that a client may send before its request head is complete; mitmproxy itself has no limit."""

MAX_REFUSED_BODY: Final = 1024 * 1024
"""Bytes read of a request that is refused, so that the child sees the refusal; then the connection ends."""


def make_terminate(addon: Addon, dialer: Dialer) -> Terminate:
    """The function that takes connections over from the front."""
    shared = _options()

    async def terminate(reader: Prefixed, writer: asyncio.StreamWriter, origin: Origin | None) -> None:
        handler = _Handler(reader, writer, shared, addon, dialer)
        handler.layer = _tls_stack(handler, origin) if origin else _cleartext_stack(handler)
        await handler.handle_client()

    return terminate


def _options() -> options.Options:
    """What the protocol layers read; the defaults are those of mitmproxy's `proxyserver` addon."""
    opts = options.Options()
    opts.add_option("connection_strategy", str, "eager", "")
    opts.add_option("store_streamed_bodies", bool, False, "")
    opts.add_option("stream_large_bodies", Optional[str], None, "")  # noqa: UP045  (read as a typespec)
    opts.add_option("body_size_limit", Optional[str], None, "")  # noqa: UP045
    opts.add_option("keep_host_header", bool, True, "")
    opts.add_option("normalize_outbound_headers", bool, True, "")
    opts.add_option("validate_inbound_headers", bool, True, "")
    opts.update(http2=False, websocket=False, rawtcp=True, tcp_timeout=IDLE_TIMEOUT)
    return opts


def _tls_stack(handler: _Handler, origin: Origin) -> layer.Layer:
    """TLS to the child, TLS to the origin, HTTP between; nothing else is spoken on this connection."""
    context = handler.layer.context
    context.server.address = (origin.host, origin.port)
    context.server.tls = True
    context.server.sni = origin.host
    stack = tunnel.LayerStack()
    stack /= ServerTLSLayer(context)
    stack /= ClientTLSLayer(context)
    stack /= HttpLayer(context, HTTPMode.transparent)
    return stack[0]


def _cleartext_stack(handler: _Handler) -> layer.Layer:
    return HttpLayer(handler.layer.context, HTTPMode.regular)


def _error_page(status_code: int, message: str = "") -> bytes:
    """What the child is told of a message that is not HTTP/1.1: never mitmproxy's `message`.

    That quotes what the server sent, and nobody has searched it for credentials.
    """
    del message
    if status_code < 500:
        reason, said = Reason.MALFORMED_HEADER, "the request is not valid HTTP/1.1"
    else:
        reason, said = Reason.UPSTREAM_UNREACHABLE, "there was no answer, or one that is not valid HTTP/1.1"
    response = refusing(Refuse(reason, said, status=status_code))
    response.headers["Connection"] = "close"
    page: bytes = http1.assemble_response(response)
    return page


_http1.make_error_response = _error_page  # mitmproxy has no hook for it


class _Handler(server.LiveConnectionHandler):
    """One client connection, its upstream connections, and one addon."""

    def __init__(
        self,
        reader: Prefixed,
        writer: asyncio.StreamWriter,
        opts: options.Options,
        addon: Addon,
        dialer: Dialer,
    ) -> None:
        mode = mode_specs.ProxyMode.parse("regular")
        # Of the reader mitmproxy uses `read` alone.
        super().__init__(cast(asyncio.StreamReader, reader), writer, opts, mode)
        self._addon = addon
        self._dialer = dialer
        self._deciding = 0
        self._decided = asyncio.Event()
        self._decided.set()
        self._undecided_bytes = 0
        self._between_requests = True
        self._refused_bytes: int | None = None

    async def handle_hook(self, hook: commands.StartHook) -> None:
        method = cast("Callable[..., Awaitable[None] | None] | None", getattr(self._addon, hook.name, None))
        if method is None:
            return
        self._deciding += 1
        self._decided.clear()
        try:
            pending = method(*hook.args())
            if inspect.isawaitable(pending):
                await pending
        except Exception:  # noqa: BLE001  (the fail-closed border: whatever went wrong, refuse)
            self._fail_closed(hook)
        finally:
            self._deciding -= 1
            if not self._deciding:
                self._decided.set()
        self._note_progress(hook)

    def _fail_closed(self, hook: commands.StartHook) -> None:
        flow = getattr(hook, "flow", None)
        if isinstance(flow, http.HTTPFlow) and hook.name == "requestheaders":
            self._addon.refuse_after_fault(flow)
        elif isinstance(flow, http.HTTPFlow) and flow.killable:
            flow.kill()
        else:
            self.close_connection(self.client)

    def _note_progress(self, hook: commands.StartHook) -> None:
        if hook.name == "requestheaders":
            flow = cast(http.HTTPFlow, getattr(hook, "flow"))  # noqa: B009
            self._between_requests = False
            self._refused_bytes = 0 if flow.response is not None else None
        elif hook.name in ("response", "error"):
            self._between_requests = True
            self._undecided_bytes = 0

    async def open_connection(self, command: commands.OpenConnection) -> None:
        """Dial by our own rules, where mitmproxy would use the system's resolver and no upstream proxy."""
        upstream = command.connection
        upstream.timestamp_start = time.time()
        try:
            reader, writer = await self._dialer.dial(Origin(*(upstream.address or ("", 0))[:2]))
        except DialFailed as error:
            upstream.error = str(error)
            await self.server_event(events.OpenConnectionCompleted(command, str(error)))
            return
        upstream.timestamp_tcp_setup = time.time()
        upstream.state = connection.ConnectionState.OPEN
        upstream.peername = writer.get_extra_info("peername")
        upstream.sockname = writer.get_extra_info("sockname")
        self.transports[upstream] = server.ConnectionIO(asyncio.current_task(), reader, writer)
        await self.server_event(events.OpenConnectionCompleted(command, None))
        try:
            await self.handle_connection(upstream)
        finally:
            upstream.timestamp_end = time.time()

    async def drain_writers(self) -> None:
        """Called before each read: nothing more is read while a decision is pending."""
        await self._decided.wait()
        await super().drain_writers()  # type: ignore[no-untyped-call]

    async def server_event(self, event: events.Event) -> None:
        if isinstance(event, events.DataReceived) and event.connection is self.client:
            if self._between_requests:
                self._undecided_bytes += len(event.data)
            if self._refused_bytes is not None:
                self._refused_bytes += len(event.data)
            if self._undecided_bytes > MAX_UNDECIDED or (self._refused_bytes or 0) > MAX_REFUSED_BODY:
                self.close_connection(self.client)
                return
        await super().server_event(event)

    def log(
        self,
        message: str,  # noqa: ARG002
        level: int = logging.INFO,  # noqa: ARG002
        exc_info: Literal[True]
        | tuple[type[BaseException], BaseException, TracebackType | None]
        | None = None,
    ) -> None:
        """Write nothing: mitmproxy's messages quote what a client sent, and go to the child's terminal.

        It also reports its own crashes here, and leaves the connection hanging: end it.
        """
        if exc_info and self.client in self.transports:
            self.close_connection(self.client)
