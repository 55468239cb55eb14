"""`running_proxy()`: the proxy of one run, in the caller's event loop."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import secrets
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from proxy.accept import accepting
from proxy.addon import Addon
from proxy.authority import make_authority
from proxy.dial import Dialer
from proxy.engine.handler import make_terminate
from proxy.errors import ProxyError
from proxy.front import USER, Front
from proxy.model import AuditSink, CredentialSource, Rule
from proxy.resend import Resend
from proxy.tls import client_context, server_context

LOOPBACK: Final = "127.0.0.1"
BACKLOG: Final = 512
"""Connections that may wait to be accepted."""

KEYLOG_VARIABLES: Final = ("SSLKEYLOGFILE", "MITMPROXY_SSLKEYLOGFILE")
"""With one of these set, TLS libraries write down the secrets of both sides."""


@dataclass(frozen=True, slots=True)
class RunningProxy:
    """How a child reaches the proxy of its run."""

    port: int
    certificate: str
    """PEM of the run's certificate authority."""
    password: str = field(repr=False)
    front: Front = field(repr=False)

    def url(self, port: int | None = None) -> str:
        """The proxy URL with the run's credentials, a secret outside of the run.

        `port` is where it is reached, if not at its own.
        """
        return f"http://{USER}:{self.password}@{LOOPBACK}:{port or self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection to the proxy that another listener accepted."""
        await self.front.serve(reader, writer)

    async def capture(
        self, host: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Serve a connection that a child meant for `host`, accepted where only this run can connect."""
        await self.front.capture(host, port, reader, writer)


@asynccontextmanager
async def running_proxy(
    *,
    rules: Sequence[Rule],
    source: CredentialSource,
    audit: AuditSink,
    roots: str,
    dialer: Dialer,
    resend: Resend,
) -> AsyncIterator[RunningProxy]:
    """Serve until the block ends; then every connection is closed.

    `roots` are the certificates (PEM) that upstreams are verified against; `resend` must trust no others.

    Raises: ProxyError.
    """
    for name in KEYLOG_VARIABLES:
        os.environ.pop(name, None)
    authority = make_authority((rule.origin.host for rule in rules), dt.datetime.now(dt.UTC))
    password = secrets.token_urlsafe(24)
    addon = Addon(
        rules=rules,
        source=source,
        sink=audit,
        child_contexts={host: server_context(leaf) for host, leaf in authority.leaves.items()},
        upstream_context=client_context(roots),
        resend=resend,
    )
    front = Front(
        password=password,
        origins={rule.origin for rule in rules},
        dialer=dialer,
        terminate=make_terminate(addon, dialer),
        audit=audit,
    )
    listener = _listen()
    port: int = listener.getsockname()[1]
    async with accepting(listener, front.serve):
        yield RunningProxy(port, authority.certificate, password, front)


def _listen() -> socket.socket:
    # With the protocol left at 0 asyncio would not set TCP_NODELAY on what is accepted, which costs
    # 40 ms a request.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.bind((LOOPBACK, 0))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ProxyError(f"cannot listen on {LOOPBACK}: {error.strerror}") from error
    listener.setblocking(False)
    return listener
