"""What the HTTP/1.1 of mitmproxy 12.3 lacks, and has no hooks for.

`tests/proxy/engine/test_amended.py` fails when it has learnt one of these.
"""

from __future__ import annotations

import re
from typing import Final

import h11
from h11._readers import ChunkedReader
from h11._receivebuffer import ReceiveBuffer
from mitmproxy.http import Response
from mitmproxy.net import http as net
from mitmproxy.net.http.http1 import assemble_response, read_response_head
from mitmproxy.proxy import events, layer
from mitmproxy.proxy.layers import http
from mitmproxy.proxy.layers.http import _http1

from proxy.addon import refusing
from proxy.front import EMPTY_LINES
from proxy.model import Reason, Refuse

MAX_UNDECIDED: Final = 256 * 1024
"""Bytes that a client may send before its request head is complete, and an upstream before its answer's head
is, TLS included; mitmproxy itself has no limit."""

MAX_UNPARSED: Final = 2 * MAX_UNDECIDED
"""Bytes that mitmproxy may keep unparsed, more than a head may have; then the connection ends."""

_INTERIM = re.compile(rb"HTTP/1\.[01] 1(?!01)[0-9]{2}(?: [^\n]*)?\r?\n(?:.*?\n)??\r?\n", re.DOTALL)
"""An answer before the final one (RFC 9110 section 15.2), but for the switch of protocols."""

_FINAL = re.compile(rb"HTTP/1\.[01] (?:[2-5][0-9]{2}|101)(?: [\t\x20-\x7e\x80-\xff]*)?")
"""The first line of any other (RFC 9112 section 4). mitmproxy takes whatever Python takes for a number."""


def amend() -> None:
    """Put what is here in the place of mitmproxy's own."""
    _http1.make_error_response = _error_page
    _http1.ReceiveBuffer = _Buffer  # type: ignore[attr-defined]
    _http1.ChunkedReader = _Chunked  # type: ignore[attr-defined]
    net.http1.read_response_head = _response_head
    http.Http1Server = _Server  # type: ignore[attr-defined]
    http.Http1Client = _Client  # type: ignore[attr-defined]


class Said(str):
    """A message of our own, among mitmproxy's."""

    __slots__ = ()


def _error_page(status_code: int, message: str = "") -> bytes:
    """What the child is told of a message that is not HTTP/1.1, or that has nowhere to go.

    Never mitmproxy's `message`: that quotes what the server sent, and nobody has searched it for credentials.
    """
    if status_code < 500:
        reason, said = Reason.MALFORMED_HEADER, "the request is not valid HTTP/1.1"
    elif isinstance(message, Said):
        reason, said = Reason.UPSTREAM_UNREACHABLE, message
    else:
        reason, said = Reason.UPSTREAM_UNREACHABLE, "there was no answer, or one that is not valid HTTP/1.1"
    response = refusing(Refuse(reason, said, status=status_code))
    response.headers["Connection"] = "close"
    page: bytes = assemble_response(response)
    return page


def _response_head(lines: list[bytes]) -> Response:
    if not _FINAL.fullmatch(lines[0]):
        raise ValueError("not the first line of an answer")
    response: Response = read_response_head(lines)
    return response


class _Buffer(ReceiveBuffer):
    """Bytes of one side that cannot be parsed yet: a line without an end, or requests before their turn."""

    def __iadd__(self, data: bytes | bytearray) -> ReceiveBuffer:
        super().__iadd__(data)
        if len(self) > MAX_UNPARSED:
            raise OverflowError("too much that cannot be parsed")
        return self

    def skip_empty_lines(self) -> None:
        """Pass over what is no message yet. mitmproxy does so for one line, then waits for more to come."""
        if self._data.startswith((b"\r", b"\n")):
            self.maybe_extract_at_most(len(self._data) - len(self._data.lstrip(EMPTY_LINES)))


class _Chunked(ChunkedReader):
    """Drops trailers, as any intermediary may (RFC 9110 section 6.5.1): mitmproxy fails on them."""

    def __call__(self, buf: ReceiveBuffer) -> h11.Data | h11.EndOfMessage | None:
        event = super().__call__(buf)
        return h11.EndOfMessage() if isinstance(event, h11.EndOfMessage) else event


class _Server(_http1.Http1Server):
    """Passes over empty lines."""

    buf: _Buffer

    def read_headers(self, event: events.ConnectionEvent) -> layer.CommandGenerator[None]:
        self.buf.skip_empty_lines()
        yield from super().read_headers(event)


class _Client(_http1.Http1Client):
    """Passes over empty lines, and over interim answers, which mitmproxy takes for the final one.

    The child asked for none.
    """

    buf: _Buffer

    def read_headers(self, event: events.ConnectionEvent) -> layer.CommandGenerator[None]:
        self.buf.skip_empty_lines()
        while self.request and (interim := _INTERIM.match(bytes(self.buf))):
            self.buf.maybe_extract_at_most(interim.end())
            self.buf.skip_empty_lines()
        if self.buf or not isinstance(event, events.DataReceived):
            yield from super().read_headers(event)
