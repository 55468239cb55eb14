"""A loopback TLS server that answers with the very bytes it is given, for what no well-behaved one sends."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.standin.authority import Authority

HOST = "localhost"

Script = Callable[[ssl.SSLSocket], None]


def answer(status: int, body: bytes, *headers: bytes) -> bytes:
    """A whole HTTP/1.1 answer that closes its connection."""
    head = [b"HTTP/1.1 %d Any" % status, b"Content-Length: %d" % len(body), b"Connection: close", *headers]
    return b"\r\n".join([*head, b"", body])


def reset(connection: ssl.SSLSocket) -> None:
    """End the connection with a TCP reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Endpoint:
    """Takes one request after the other; `answers` are sent in order, `requests` are what came."""

    def __init__(self, folder: Path) -> None:
        authority = Authority(folder)
        self._context = authority.server_context(HOST, require_client=False)
        self.ca_file = authority.ca_file
        self.answers: deque[bytes | Script] = deque()
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://{HOST}:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # shutdown, because a close alone does not wake the accept in the other thread.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                raw = self._listener.accept()[0]
            except OSError:
                return
            with suppress(OSError), raw, self._context.wrap_socket(raw, server_side=True) as connection:
                connection.settimeout(5)
                self.requests.append(_request(connection))
                script = self.answers.popleft()
                if isinstance(script, bytes):
                    connection.sendall(script)
                else:
                    script(connection)


def _request(connection: ssl.SSLSocket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _received(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    while len(body) < int(fields.get(b"content-length", b"0")):
        body += _received(connection)
    return head + b"\r\n\r\n" + body


def _received(connection: ssl.SSLSocket) -> bytes:
    """The next bytes. Raises: ConnectionError at the end, where a loop over `recv` would never end."""
    data = connection.recv(65536)
    if not data:
        raise ConnectionError
    return data
