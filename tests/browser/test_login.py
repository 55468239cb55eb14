"""`login` in a real browser, against the stand-in Discord over real TLS."""

from __future__ import annotations

import asyncio
import json
import secrets
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from launcher.text.words import words
from oauth.client import OAuthClient
from oauth.errors import ClientRefused, LoginFailed
from oauth.login.flows import LoginResult, browser_login, key_login
from oauth.login.page_server import listen
from oauth.provider import Provider, parse_provider
from tests.browser.webdriver import Browser, chromium
from tests.standin import StandIn
from vault.model import ApiKey, ClientRegistration, Connection, OAuthTokens

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
DISCORD = parse_provider((ROOT / "oauth/providers/discord.json").read_bytes(), "discord.json")
SECRET = "client-secret-canary-000000000000"
CLIENT = ClientRegistration(client_id="112233445566778899", client_secret=SecretStr(SECRET))
KEYED = Provider.model_validate_json(
    json.dumps(
        {
            "schema": 1,
            "name": "keyed",
            "display_name": "Keyed",
            "auth": {"type": "api_key", "key_setup_url": "https://keyed.example/keys"},
            "proxy": {"hosts": ["keyed.example"], "header": "X-Api-Key"},
            "env": {"api_key": "KEYED_API_KEY"},
        }
    )
)


class Redial(httpx.AsyncHTTPTransport):
    """Dials the stand-in whatever the host, and verifies the certificate for the original name."""

    def __init__(self, standin: StandIn) -> None:
        super().__init__(verify=ssl.create_default_context(cafile=str(standin.ca_file)))
        self._port = standin.https_port

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions["sni_hostname"] = request.url.host
        request.url = request.url.copy_with(host="127.0.0.1", port=self._port)
        return await super().handle_async_request(request)


@dataclass
class Scene:
    """A login that waits, and the browser that was opened for it."""

    browser: Browser
    task: asyncio.Task[LoginResult]
    origin: str
    address: str
    """The one that was opened."""
    said: list[str]
    stored: list[ClientRegistration]
    standin: StandIn

    async def enter(self, client_id: str = CLIENT.client_id, secret: str = SECRET) -> None:
        """Fill in the form, and send it."""
        await self.browser.type("#client_id", client_id)
        await self.browser.type("#client_secret", secret)
        await self.browser.click("button")


@asynccontextmanager
async def scene(client: ClientRegistration | None = None) -> AsyncIterator[Scene]:
    with listen(0) as free:
        port = int(free.getsockname()[1])
    origin = f"http://127.0.0.1:{port}"
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[str] = loop.create_future()
    said: list[str] = []
    stored: list[ClientRegistration] = []

    def open_browser(url: str) -> bool:
        loop.call_soon_threadsafe(opened.set_result, url)
        return True

    with StandIn() as standin:
        standin.discord.register_app(CLIENT.client_id, SECRET, [f"{origin}/auth/callback/oauth"])
        hosts = {
            "discord.com": f"127.0.0.1:{standin.https_port}",
            "evil.example": f"127.0.0.1:{standin.http_port}",
        }
        async with httpx.AsyncClient(transport=Redial(standin)) as http, chromium(hosts) as browser:
            task = asyncio.create_task(
                browser_login(
                    DISCORD,
                    client,
                    oauth=OAuthClient(http, time.time),
                    now=time.time,
                    randbytes=secrets.token_bytes,
                    open_browser=open_browser,
                    words=words,
                    announce=said.append,
                    on_client=stored.append,
                    on_login=lambda _result: None,
                    port=port,
                    timeout=60,
                )
            )
            try:
                await browser.open(await opened)
                yield Scene(browser, task, origin, await opened, said, stored, standin)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


def tokens_of(connection: Connection) -> OAuthTokens:
    assert isinstance(connection.credential, OAuthTokens)
    return connection.credential


async def test_form_approve_success() -> None:
    async with scene() as login:
        browser = login.browser
        await browser.shows("Connect Discord")
        assert await browser.text("code") == f"{login.origin}/auth/callback/oauth"
        assert await browser.style("main", "border-top-left-radius") == "14px"
        await browser.screenshot("1-form")
        await login.enter()
        await browser.shows("Approve")
        assert (await browser.url()).startswith("https://discord.com/oauth2/authorize?")
        assert login.stored == [CLIENT]
        await browser.screenshot("2-authorize")
        await browser.click("#approve")
        result = await login.task
        await browser.shows("Discord is connected")
        page = await browser.source()
        await browser.screenshot("3-success")
    tokens = tokens_of(result.connection)
    assert tokens.scopes == ("identify", "email", "guilds", "connections")
    assert tokens.refresh_token is not None
    assert result.connection.account is not None
    assert result.connection.account in page
    for hidden in (tokens.access_token, tokens.refresh_token, SecretStr(SECRET)):
        assert hidden.get_secret_value() not in page + "".join(login.said)


async def test_with_a_stored_client_the_provider_page_opens_directly() -> None:
    async with scene(CLIENT) as login:
        await login.browser.click("#approve")
        assert (await login.task).client == CLIENT
        await login.browser.shows("Discord is connected")
    assert login.stored == []


async def test_deny() -> None:
    async with scene(CLIENT) as login:
        await login.browser.click("#deny")
        with pytest.raises(LoginFailed, match="access to Discord was denied in the browser"):
            await login.task
        await login.browser.shows("Not connected")
        await login.browser.shows("Access to Discord was denied")
        await login.browser.screenshot("4-denied")


async def test_wrong_state() -> None:
    async with scene(CLIENT) as login:
        authorize = await login.browser.url()
        await login.browser.open(f"{login.origin}/auth/callback/oauth?code=evil&state=wrong")
        await login.browser.shows("Not accepted")
        await login.browser.screenshot("5-wrong-state")
        assert not login.task.done()
        assert "refused a callback that does not belong to this login; still waiting" in login.said
        assert not [seen for seen in login.standin.seen if "token" in seen.target]
        await login.browser.open(authorize)
        await login.browser.click("#approve")
        await login.task


async def test_wrong_secret() -> None:
    async with scene() as login:
        await login.enter(secret="wrong-secret-canary")
        await login.browser.click("#approve")
        with pytest.raises(ClientRefused) as caught:
            await login.task
        await login.browser.shows("Not connected")
        page = await login.browser.text("main")
        await login.browser.screenshot("6-wrong-secret")
    assert "<login discord new_application>" in caught.value.hint
    assert words(caught.value.hint)[1:] in page
    assert "canary" not in page


async def test_a_client_id_that_the_provider_does_not_know_is_corrected_in_the_form() -> None:
    async with scene() as login:
        await login.enter(client_id="999999999999999999")
        await login.browser.shows("Unknown Application")
        await login.browser.open(login.address)
        await login.enter()
        await login.browser.click("#approve")
        assert (await login.task).client == CLIENT
    assert login.stored[-1] == CLIENT


async def test_an_impossible_value_is_asked_for_again() -> None:
    async with scene() as login:
        await login.enter(client_id="two words")
        await login.browser.shows("The client ID is missing or has a space")
        await login.browser.screenshot("7-problem")
    assert login.stored == []


async def test_a_form_on_another_site_is_refused() -> None:
    async with scene() as login:
        await login.browser.open("http://evil.example/standin/echo")
        await login.browser.run(
            f"""const form = document.createElement('form');
            form.method = 'post'; form.action = '{login.address}';
            form.innerHTML = '<input name=client_id value=1><input name=client_secret value=2>';
            document.body.append(form); form.submit();"""
        )
        await login.browser.shows("This form was not sent from this page")
        assert await login.browser.url() == login.address
    assert login.stored == []


async def test_another_site_cannot_frame_the_page() -> None:
    async with scene() as login:
        await login.browser.open("http://evil.example/standin/echo")
        await login.browser.run(
            f"""const frame = document.createElement('iframe'); frame.src = '{login.address}';
            frame.onload = () => document.body.append(
                Object.assign(document.createElement('p'), {{textContent: 'frame loaded'}}));
            document.body.append(frame);"""
        )
        await login.browser.shows("frame loaded")
        frame = await login.browser.frame_source("iframe")
    assert "client_secret" not in frame


async def test_a_static_key_is_entered_in_the_page() -> None:
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[str] = loop.create_future()

    def open_browser(url: str) -> bool:
        loop.call_soon_threadsafe(opened.set_result, url)
        return True

    async with chromium({}) as browser:
        task = asyncio.create_task(
            key_login(
                KEYED,
                None,
                now=time.time,
                randbytes=secrets.token_bytes,
                open_browser=open_browser,
                on_login=lambda _connection: None,
                announce=lambda _text: None,
                port=0,
                timeout=60,
            )
        )
        await browser.open(await opened)
        await browser.screenshot("8-key")
        await browser.type("#key", "key-canary")
        await browser.click("button")
        connection = await task
        await browser.shows("Keyed is connected")
        assert "key-canary" not in await browser.source()
    assert connection.credential == ApiKey(value=SecretStr("key-canary"))
