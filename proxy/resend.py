"""Sends a request once more, with another credential, when the first one was answered 401."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from proxy.model import Origin
from proxy.slots import Headers, values

MAX_ANSWER: Final = 1024 * 1024
"""Bytes of an answer that is held for the child; a longer one is given up, and the 401 passed on."""

TIMEOUT: Final = 20.0
"""Seconds for the whole answer; a stream has no end, and common clients give up after 30."""

_ADDED: Final = frozenset({b"user-agent", b"accept"})
"""What the HTTP client would say of itself: this is the program's request."""

_FRAMING: Final = frozenset({b"transfer-encoding", b"content-length", b"connection", b"keep-alive"})


@dataclass(frozen=True, slots=True)
class Resent:
    """The answer to a request that was sent again."""

    status: int
    headers: Headers
    body: bytes = field(repr=False)


Resend = Callable[[Origin, str, str, Headers], Coroutine[Any, Any, Resent | None]]
"""Sends method, path and headers to an origin; None where there is no usable answer."""


def is_repeatable(method: str, headers: Headers) -> bool:
    """Whether a request has no body, which would be gone."""
    lengths = values(headers, b"content-length")
    bodiless = all(value.strip() == b"0" for value in lengths) and not values(headers, b"transfer-encoding")
    return bodiless and method != "HEAD"


def resend_over(http: httpx.AsyncClient) -> Resend:
    """Resend with a client that verifies certificates, follows no redirects and keeps no cookies."""

    async def resend(origin: Origin, method: str, path: str, headers: Headers) -> Resent | None:
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        target = path.encode(errors="surrogateescape")
        kept = [pair for pair in headers if pair[0].lower() not in _FRAMING]
        try:
            url = httpx.URL(scheme="https", host=host, port=origin.port, raw_path=target)
            if url.raw_path != target:
                return None  # httpx would ask for something else than was decided on
            request = http.build_request(method, url, headers=kept)
            for name in _ADDED - {pair[0].lower() for pair in kept}:
                request.headers.pop(name.decode(), None)
            async with (
                asyncio.timeout(TIMEOUT),
                aclosing(await http.send(request, stream=True, follow_redirects=False)) as response,
            ):
                body = bytearray()
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > MAX_ANSWER:
                        return None
                if not 200 <= response.status_code < 600:
                    return None
                answered = tuple(pair for pair in response.headers.raw if pair[0].lower() not in _FRAMING)
                return Resent(response.status_code, answered, bytes(body))
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
            return None

    return resend
