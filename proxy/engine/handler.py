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
from mitmproxy.proxy import commands, events, layer, mode_specs, server, tunnel
from mitmproxy.proxy.layers import ClientTLSLayer, HttpLayer, ServerTLSLayer
from mitmproxy.proxy.layers.http import HTTPMode, HttpStream
from mitmproxy.proxy.layers.http._events import RequestEndOfMessage

from proxy.addon import Addon
from proxy.dial import Dialer
from proxy.engine.http1 import MAX_UNDECIDED, Said, amend
from proxy.errors import DialFailed
from proxy.front import Prefixed, Terminate
from proxy.model import Origin

IDLE_TIMEOUT: Final = 3600
"""Seconds without a byte in either direction before a connection is closed.

Also the longest an upstream may think: mitmproxy counts that as idle time.
"""

_AT_ONCE: Final = "authsome at once"
"""A key in the metadata of a flow whose answer does not wait for the request's body."""

MAX_REFUSED_BODY: Final = 1024 * 1024
"""Bytes read of a request that is refused, so that the child sees the refusal; then the connection ends."""


def make_terminate(addon: Addon, dialer: Dialer) -> Terminate:
    """The function that takes connections over from the front."""
    shared = _options()

    async def terminate(reader: Prefixed, writer: asyncio.StreamWriter, origin: Origin | None) -> None:
        handler = _Handler(reader, writer, shared, addon, dialer)
        handler.layer = _tls_stack(handler, origin) if origin else _cleartext_stack(handler)
        await handler.serve()

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
    stack /= _Http(context, HTTPMode.transparent)
    return stack[0]


def _cleartext_stack(handler: _Handler) -> layer.Layer:
    return _Http(handler.layer.context, HTTPMode.regular)


class _Http(HttpLayer):
    """mitmproxy's, but a refusal does not wait for a body that waits for it (RFC 9110 section 10.1.1)."""

    def event_to_child(
        self, child: layer.Layer | HttpStream, event: events.Event
    ) -> layer.CommandGenerator[None]:
        yield from super().event_to_child(child, event)
        if (
            isinstance(event, events.HookCompleted)
            and isinstance(child, HttpStream)
            and child.client_state == child.state_consume_request_body
            and _AT_ONCE in child.flow.metadata
        ):
            # What still comes of the body finds no stream, and is dropped.
            yield from super().event_to_child(child, RequestEndOfMessage(child.stream_id))


amend()


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
        self._undecided_answer: int | None = 0
        self._hooks: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Serve the client. Cancelled, mitmproxy by itself would leave its tasks and connections behind."""
        serving = asyncio.create_task(self.handle_client())
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            for task in self._hooks:
                task.cancel()
            if io := self.transports.get(self.client):
                (io.handler or serving).cancel()  # the end of its client is what ends it in good order
            await asyncio.gather(serving, *self._hooks, return_exceptions=True)
            raise

    async def hook_task(self, hook: commands.StartHook) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._hooks.add(task)
        task.add_done_callback(self._hooks.discard)
        await super().hook_task(hook)

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
        flow = getattr(hook, "flow", None)
        if not isinstance(flow, http.HTTPFlow):
            return
        match hook.name:
            case "requestheaders":
                self._between_requests = False
                self._undecided_answer = 0
                self._refused_bytes = 0 if flow.response is not None else None
                if flow.response is not None and "Expect" in flow.request.headers:
                    del flow.request.headers["Expect"]  # else mitmproxy asks for the body
                    flow.response.headers["Connection"] = "close"
                    flow.metadata[_AT_ONCE] = True
            case "responseheaders":
                self._undecided_answer = None
            case "response" | "error":
                upgraded = flow.response is not None and flow.response.status_code == 101
                self._between_requests = not upgraded and _AT_ONCE not in flow.metadata
                self._undecided_bytes = 0

    async def open_connection(self, command: commands.OpenConnection) -> None:
        """Dial by our own rules, where mitmproxy would use the system's resolver and no upstream proxy."""
        upstream = command.connection
        upstream.timestamp_start = time.time()
        try:
            reader, writer = await self._dialer.dial(Origin(*(upstream.address or ("", 0))[:2]))
        except DialFailed as error:
            upstream.error = Said(f"{error}; {error.hint}" if error.hint else error)
            await self.server_event(events.OpenConnectionCompleted(command, upstream.error))
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
        elif isinstance(event, events.DataReceived) and self._undecided_answer is not None:
            self._undecided_answer += len(event.data)
            if self._undecided_answer > MAX_UNDECIDED:
                self.close_connection(event.connection)
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
