"""The HTTP client of OAuth, over the routes of this process."""

from __future__ import annotations

import ssl
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import httpx

from launcher.setup.routes import Routes
from oauth.salvage import overheard

TIMEOUT_SECONDS: Final = 30.0
"""For each of connecting, sending and waiting for the next bytes of an answer."""


def http_client(routes: Routes, context: ssl.SSLContext) -> httpx.AsyncClient:
    """The client for token endpoints: no redirects, no cookies kept, nothing read from the environment."""
    return httpx.AsyncClient(
        transport=_RoutedTransport(routes, context),
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        timeout=TIMEOUT_SECONDS,
        follow_redirects=False,
        trust_env=False,
    )


class _RoutedTransport(httpx.AsyncBaseTransport):
    """Sends each request over its route; TLS verifies the name of the URL, whatever address is dialled."""

    def __init__(self, routes: Routes, context: ssl.SSLContext) -> None:
        self._routes = routes
        context = overheard(context)  # a token answer of any framing is to be found in what came
        self._direct = httpx.AsyncHTTPTransport(verify=context, trust_env=False)
        self._proxied = routes.proxy and httpx.AsyncHTTPTransport(
            verify=context, trust_env=False, proxy=httpx.Proxy(routes.proxy)
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        port = url.port or {"https": 443, "http": 80}[url.scheme]
        host, dialled_port = self._routes.address_of(url.host, port)
        if self._proxied and self._routes.proxy_of(host, dialled_port):
            return await self._proxied.handle_async_request(request)
        if (host, dialled_port) != (url.host, port):
            # The Host header was set when the request was built, and stays.
            request.extensions = {**request.extensions, "sni_hostname": url.host}
            request.url = url.copy_with(host=host, port=dialled_port)
        try:
            return await self._direct.handle_async_request(request)
        finally:
            request.url = url

    async def aclose(self) -> None:
        await self._direct.aclose()
        if self._proxied:
            await self._proxied.aclose()
