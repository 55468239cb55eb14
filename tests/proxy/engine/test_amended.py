"""What is put in the place of mitmproxy's own is still needed: unamended, it lacks each of these.

Each of these tests fails when mitmproxy has learnt it, and the amendment in `proxy.engine.http1` can go.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType

import h11
import pytest
from mitmproxy import connection, http, options
from mitmproxy.net import http as net
from mitmproxy.proxy import commands, context, events
from mitmproxy.proxy.layers.http import _base, _events

INTERIM = b"HTTP/1.1 103 Early Hints\r\n\r\n"
FINAL = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def plain() -> Iterator[ModuleType]:
    """mitmproxy's HTTP/1.1 layer in a copy of its own, as it comes."""
    name = "mitmproxy.proxy.layers.http._http1"
    amended, head = sys.modules.pop(name), net.http1.read_response_head
    net.http1.read_response_head = sys.modules["mitmproxy.net.http.http1.read"].read_response_head
    try:
        yield importlib.import_module(name)
    finally:
        net.http1.read_response_head = head
        sys.modules[name] = amended
        sys.modules[name.rpartition(".")[0]]._http1 = amended  # type: ignore[attr-defined]


def _context() -> context.Context:
    client = connection.Client(
        peername=("127.0.0.1", 1),
        sockname=("127.0.0.1", 2),
        timestamp_start=0,
        state=connection.ConnectionState.OPEN,
    )
    made = context.Context(client, options.Options())
    made.server.state = connection.ConnectionState.OPEN
    return made


def _heads(layer: _base.HttpConnection, received: list[bytes]) -> list[http.Response | http.Request]:
    """The heads that a layer makes of what it receives."""
    found: list[http.Response | http.Request] = []
    for data in received:
        for command in layer.handle_event(events.DataReceived(layer.conn, data)):
            if isinstance(command, _base.ReceiveHttp):
                match command.event:
                    case _events.RequestHeaders(request=request):
                        found.append(request)
                    case _events.ResponseHeaders(response=response):
                        found.append(response)
                    case _:
                        pass
    return found


def _server(plain: ModuleType) -> _base.HttpConnection:
    layer: _base.HttpConnection = plain.Http1Server(_context())
    list(layer.handle_event(events.Start()))
    return layer


def _client(plain: ModuleType) -> _base.HttpConnection:
    layer: _base.HttpConnection = plain.Http1Client(_context())
    list(layer.handle_event(events.Start()))
    request = http.Request.make("GET", "https://discord.com/")
    sent = list(layer.handle_event(_events.RequestHeaders(1, request, True)))
    assert any(isinstance(command, commands.SendData) for command in sent)
    return layer


def test_its_error_page_quotes_what_the_server_sent(plain: ModuleType) -> None:
    assert b"quoted-words" in plain.make_error_response(502, "quoted-words")


def test_its_buffer_takes_any_number_of_bytes(plain: ModuleType) -> None:
    buffer = plain.ReceiveBuffer()
    buffer += b"x" * (8 * 1024 * 1024)
    assert len(buffer) == 8 * 1024 * 1024


def test_its_reader_of_chunks_hands_trailers_on(plain: ModuleType) -> None:
    buffer = plain.ReceiveBuffer()
    buffer += b"0\r\nX-Sum: 1\r\n\r\n"
    event = plain.ChunkedReader()(buffer)
    assert isinstance(event, h11.EndOfMessage)
    assert list(event.headers) == [(b"x-sum", b"1")]


def test_its_parser_takes_what_python_takes_for_a_number(plain: ModuleType) -> None:
    (head,) = _heads(_client(plain), [b"HTTP/1.1 2_0_0 OK\r\nContent-Length: 0\r\n\r\n"])
    assert isinstance(head, http.Response)
    assert head.status_code == 200


def test_its_server_side_waits_for_more_behind_two_empty_lines(plain: ModuleType) -> None:
    request = b"GET / HTTP/1.1\r\nHost: discord.com\r\n\r\n"
    assert len(_heads(_server(plain), [request])) == 1
    assert _heads(_server(plain), [b"\r\n\r\n" + request]) == []


def test_its_client_side_takes_an_interim_answer_for_the_final_one(plain: ModuleType) -> None:
    (head,) = _heads(_client(plain), [INTERIM, FINAL])
    assert isinstance(head, http.Response)
    assert head.status_code == 103
