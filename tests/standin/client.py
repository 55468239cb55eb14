"""An HTTP client whose every connection ends at a stand-in, whatever host the URL names."""

from __future__ import annotations

import ssl
from html.parser import HTMLParser

import httpx

from tests.standin.server import LOOPBACK, StandIn


class _ToStandIn(httpx.HTTPTransport):
    """Dials the stand-in; SNI, certificate check and Host stay those of the URL."""

    def __init__(self, https_port: int, http_port: int, context: ssl.SSLContext) -> None:
        super().__init__(verify=context)
        self._https_port = https_port
        self._http_port = http_port

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        tls = request.url.scheme == "https"
        if tls:
            request.extensions = {"sni_hostname": request.url.host} | dict(request.extensions)
        port = self._https_port if tls else self._http_port
        request.url = request.url.copy_with(host=LOOPBACK, port=port)
        return super().handle_request(request)


def client_of(standin: StandIn, context: ssl.SSLContext | None = None) -> httpx.Client:
    """A client that trusts the stand-in's CA alone, unless `context` says otherwise."""
    context = context or ssl.create_default_context(cafile=standin.ca_file)
    return client_at(standin.https_port, standin.http_port, context)


def client_at(https_port: int, http_port: int, context: ssl.SSLContext) -> httpx.Client:
    """The same, of a stand-in in another process."""
    return httpx.Client(transport=_ToStandIn(https_port, http_port, context), trust_env=False, timeout=10)


def press(client: httpx.Client, authorize_url: str, button: str = "approve") -> str:
    """Press `approve` or `deny` on the authorize page; gives the URL the browser is sent to."""
    page = client.get(authorize_url, follow_redirects=True)
    form = _Form(button)
    form.feed(page.raise_for_status().text)
    url = httpx.URL(authorize_url).join(form.action)
    return client.post(url, data={form.name: form.value}).headers["location"]


class _Form(HTMLParser):
    """The one form of a page, and the button with the given id."""

    def __init__(self, button: str) -> None:
        super().__init__()
        self._button = button
        self.action = self.name = self.value = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "form":
            self.action = values["action"] or ""
        elif tag == "button" and values.get("id") == self._button:
            self.name, self.value = values["name"] or "", values["value"] or ""
