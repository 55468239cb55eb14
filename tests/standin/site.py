"""Which route answers a request: Discord, another tenant of the same front, or the utilities."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from urllib.parse import urlsplit

from tests.standin import utility
from tests.standin.authorize import authorize
from tests.standin.http import Answer, Fault, Mishap, Request, json_answer, redirect
from tests.standin.rest import INVALID_VERSION, NOT_ALLOWED, NOT_FOUND, SERVER, Rest
from tests.standin.state import Discord
from tests.standin.token import HEADERS, revoke, token

DISCORD = "discord.com"

_API = re.compile(r"/api(?:/v(?P<version>\d+))?(?P<rest>/.*)")
_VERSIONS = frozenset({None, "6", "7", "8", "9", "10"})

Endpoint = Callable[[Discord, Request], Awaitable[Answer]]


class Site:
    """Routes by Host alone, as a shared front does once TLS has ended.

    `apis` are the hosts that serve Discord's routes; the other tenants have none.
    """

    def __init__(self, discord: Discord, apis: Collection[str] = (DISCORD,)) -> None:
        self._discord = discord
        self._apis = frozenset(apis)
        self._rest = Rest(discord)

    async def serve(self, request: Request) -> Answer:
        if request.method == "TRACE":
            return Answer(200, (("Content-Type", "message/http"),), request.head)
        if request.path.startswith(utility.PREFIX):
            return await utility.serve(request)
        if request.host not in self._apis:
            return json_answer(200, {"tenant": request.host})
        if not request.tls:
            fault = _next(self._discord.rest_faults)
            url = urlsplit(request.target)._replace(scheme="https", netloc=request.host).geturl()
            return fault if isinstance(fault, Answer) else _after(redirect(url, 301), fault)
        return await self._discord_route(request)

    async def _discord_route(self, request: Request) -> Answer:
        if request.path == "/oauth2/authorize":
            return await authorize(self._discord, request)
        api = _API.fullmatch(request.path)
        if api is None:
            return json_answer(404, NOT_FOUND, SERVER)
        if api["version"] not in _VERSIONS:
            return json_answer(400, INVALID_VERSION, SERVER)
        match api["rest"]:
            case "/oauth2/authorize":
                return redirect(f"https://{request.host}/oauth2/authorize?{request.raw_query}")
            case "/oauth2/token":
                return await self._posted(request, token, self._discord.token_faults)
            case "/oauth2/token/revoke":
                return await self._posted(request, revoke, self._discord.revoke_faults)
            case path:
                fault = _next(self._discord.rest_faults)
                return fault if isinstance(fault, Answer) else _after(self._rest.serve(path, request), fault)

    async def _posted(self, request: Request, endpoint: Endpoint, faults: deque[Fault]) -> Answer:
        if request.method != "POST":
            return json_answer(405, NOT_ALLOWED, (("Allow", "POST"), *HEADERS))
        fault = _next(faults)
        return fault if isinstance(fault, Answer) else _after(await endpoint(self._discord, request), fault)


def _next(faults: deque[Fault]) -> Fault | None:
    try:
        return faults.popleft()
    except IndexError:
        return None


def _after(answer: Answer, mishap: Mishap | None) -> Answer:
    return answer if mishap is None else replace(answer, delay=mishap.delay, ending=mishap.ending)
