"""Routes under /standin/, on every host. They are no Discord API: they exist to try a proxy out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

from tests.standin.http import Answer, Ending, Request, json_answer

PREFIX = "/standin/"
_ALT_SVC = ("Alt-Svc", 'h3=":443"; ma=86400')
_CHUNK = bytes(range(256)) * 256  # 64 KiB


async def serve(request: Request) -> Answer:
    """Answer a request whose path begins with `PREFIX`."""
    name, _, argument = request.path.removeprefix(PREFIX).partition("/")
    match name:
        case "echo":
            return await _echo(request)
        case "events":
            events = _events(int(request.query("n", "5")), float(request.query("interval", "0.2")))
            return Answer(200, (("Content-Type", "text/event-stream"), ("Cache-Control", "no-store")), events)
        case "download":
            size = int(request.query("bytes", "65536"))
            headers = (("Content-Type", "application/octet-stream"), ("Content-Length", str(size)))
            return Answer(200, headers, _pattern(size))
        case "upload":
            return json_answer(200, {"received": await _count(request)})
        case "status":
            return json_answer(int(argument), {"status": int(argument)})
        case "once-401":
            answer = await _echo(request) if _is_repeated(request) else json_answer(401, {"again": True})
            return replace(answer, headers=(*answer.headers, _ALT_SVC))
        case "alt-svc":
            return json_answer(200, {}, (_ALT_SVC,))
        case "slow":
            await asyncio.sleep(float(request.query("seconds", "1")))
            return json_answer(200, {})
        case "close":
            return Answer(200, (), b"closing", ending=Ending.CLOSE)
        case _:
            return json_answer(404, {"unknown": request.path})


def _is_repeated(request: Request) -> bool:
    """Whether the credential says that it is a newer one; for what is sent again after a 401."""
    return any(b"newer" in value for name, value in request.headers if name.lower() == b"authorization")


async def _echo(request: Request) -> Answer:
    headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.headers]
    body = (await request.body()).decode("latin-1")
    return json_answer(
        200, {"method": request.method, "target": request.target, "headers": headers, "body": body}
    )


async def _events(count: int, interval: float) -> AsyncGenerator[bytes]:
    for number in range(count):
        if number:
            await asyncio.sleep(interval)
        yield f"id: {number}\ndata: event {number}\n\n".encode()


async def _pattern(size: int) -> AsyncGenerator[bytes]:
    while size > 0:
        yield _CHUNK[:size]
        size -= len(_CHUNK)


async def _count(request: Request) -> int:
    received = 0
    async for chunk in request.chunks():
        received += len(chunk)
    return received
