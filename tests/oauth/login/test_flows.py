"""The login and logout flows: a browser's requests on one side, a provider's answers on the other."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from pydantic import SecretStr

from oauth.client import OAuthClient
from oauth.errors import (
    ClientRefused,
    GrantRefused,
    LoginFailed,
    OAuthError,
    ProviderUnavailable,
    RequestRefused,
)
from oauth.login.flows import LoginResult, browser_login, key_login, revoke
from oauth.login.page_server import listen
from oauth.protocol import pkce_challenge
from oauth.provider import OAuth2, Provider, parse_provider
from oauth.reach import reach_of
from vault.errors import KeyUnavailable, StorageUnavailable
from vault.model import ApiKey, ClientRegistration, Connection, OAuthTokens

ROOT = Path(__file__).parents[3]
DISCORD = parse_provider((ROOT / "oauth/providers/discord.json").read_bytes(), "discord.json")
CLIENT = ClientRegistration(client_id="1234567890", client_secret=SecretStr("client-secret-canary"))
NOW = 1_700_000_000.0
TOKENS = {
    "access_token": "access-canary",
    "token_type": "Bearer",
    "expires_in": 604800,
    "refresh_token": "refresh-canary",
    "scope": "identify guilds",
}
KEYED = Provider.model_validate_json(
    json.dumps(
        {
            "schema": 1,
            "name": "keyed",
            "display_name": "Keyed",
            "auth": {"type": "api_key"},
            "proxy": {"hosts": ["keyed.example"], "header": "X-Api-Key"},
            "env": {"api_key": "KEYED_API_KEY"},
        }
    )
)


@dataclass
class Endpoints:
    """A provider's token, revocation and user-info endpoints, reduced to values."""

    token: httpx.Response = field(default_factory=lambda: httpx.Response(200, json=TOKENS))
    account: httpx.Response = field(default_factory=lambda: httpx.Response(200, json={"username": "nelly"}))
    revocation: httpx.Response = field(default_factory=lambda: httpx.Response(200, json={}))
    asked: list[httpx.Request] = field(default_factory=list)

    def form(self, path: str) -> dict[str, str]:
        """The one form that was sent to `path`."""
        [request] = [request for request in self.asked if request.url.path == path]
        return {name: values[0] for name, values in parse_qs(request.content.decode()).items()}

    async def handle(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.asked.append(request)
        match request.url.path:
            case "/api/oauth2/token":
                return self.token
            case "/api/oauth2/token/revoke":
                return self.revocation
            case _:
                return self.account


def refusing(error: str, status: int = 400) -> Endpoints:
    return Endpoints(token=httpx.Response(status, json={"error": error}))


@asynccontextmanager
async def client_of(endpoints: Endpoints) -> AsyncIterator[OAuthClient]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(endpoints.handle)) as http:
        yield OAuthClient(http, lambda: NOW)


@dataclass
class Login:
    """A login under way: what it said, what it opened, and a browser for its page."""

    task: asyncio.Task[LoginResult]
    opened: asyncio.Future[str]
    said: list[str]
    stored: list[ClientRegistration]
    browser: httpx.AsyncClient

    @property
    def text(self) -> str:
        return "\n".join(self.said)

    async def home(self) -> str:
        """The address that is opened."""
        return await asyncio.wait_for(asyncio.shield(self.opened), 5)

    async def address(self) -> str:
        """The address at the provider to which that leads."""
        return (await self.browser.get(await self.home())).headers["location"]

    async def submit(self, **fields: str) -> httpx.Response:
        """Send the form of the page."""
        home = await self.home()
        await self.browser.get(home)
        return await self.browser.post(home, data=fields, headers={"Origin": home.rpartition("/")[0]})

    async def approve_at(self, authorize_url: str, **answer: str) -> httpx.Response:
        """Call back as the provider would after `authorize_url`."""
        query = parse_qs(urlsplit(authorize_url).query)
        params = {"code": "code-canary", "state": query["state"][0]} | answer
        return await self.browser.get(query["redirect_uri"][0], params=params)

    async def failure[E: Exception](self, kind: type[E]) -> E:
        with pytest.raises(kind) as caught:
            await self.task
        return caught.value


@asynccontextmanager
async def logging_in(
    endpoints: Endpoints,
    *,
    client: ClientRegistration | None = CLIENT,
    provider: Provider = DISCORD,
    scopes: tuple[str, ...] | None = None,
    browse: Callable[[], bool] = lambda: True,
    on_client: Callable[[ClientRegistration], None] = lambda _client: None,
    on_login: Callable[[LoginResult], None] = lambda _result: None,
    command: str | None = None,
    port: int = 0,
    timeout: float = 30,  # noqa: ASYNC109
    linger: float = 0,
) -> AsyncIterator[Login]:
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[str] = loop.create_future()
    said: list[str] = []
    stored: list[ClientRegistration] = []

    def open_browser(url: str) -> bool:
        loop.call_soon_threadsafe(opened.set_result, url)
        return browse()

    def store(client: ClientRegistration) -> None:
        on_client(client)
        stored.append(client)

    async with client_of(endpoints) as oauth, httpx.AsyncClient() as browser:
        task = asyncio.create_task(
            browser_login(
                provider,
                client,
                scopes,
                oauth=oauth,
                now=lambda: NOW,
                randbytes=secrets.token_bytes,
                open_browser=open_browser,
                announce=said.append,
                on_client=store,
                on_login=on_login,
                command=command,
                port=port,
                timeout=timeout,
                linger=linger,
            )
        )
        try:
            yield Login(task, opened, said, stored, browser)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def query_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


async def test_with_a_stored_client_the_browser_is_sent_on_at_once() -> None:
    endpoints = Endpoints()
    async with logging_in(endpoints) as login:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{43}", await login.home())
        url = await login.address()
        assert url.startswith("https://discord.com/oauth2/authorize?")
        query = query_of(url)
        assert query["scope"] == "identify email guilds connections"
        assert query["response_type"] == "code"
        assert "code_challenge" not in query
        answer = await login.approve_at(url)
        result = await login.task
    assert "Discord is connected" in answer.text
    assert "identify, guilds" in answer.text
    assert result.client == CLIENT
    assert result.connection == Connection(
        credential=OAuthTokens(
            access_token=SecretStr("access-canary"),
            refresh_token=SecretStr("refresh-canary"),
            scopes=("identify", "guilds"),
            issued_at=NOW,
            expires_at=NOW + 604800,
        ),
        reach=reach_of(DISCORD),
        requested_scopes=("identify", "email", "guilds", "connections"),
        account="nelly",
        created_at=NOW,
        updated_at=NOW,
    )
    form = endpoints.form("/api/oauth2/token")
    assert form["code"] == "code-canary"
    assert form["redirect_uri"] == query["redirect_uri"]
    assert "canary" not in login.text + answer.text


async def test_without_a_client_the_form_comes_first_and_its_client_is_stored_before_anything_else() -> None:
    endpoints = Endpoints()
    async with logging_in(endpoints, client=None) as login:
        sent = await login.submit(client_id="1234567890", client_secret="client-secret-canary")
        assert sent.status_code == 303
        assert login.stored == [CLIENT]
        assert endpoints.asked == []
        await login.approve_at(sent.headers["location"])
        assert (await login.task).client == CLIENT


async def test_state_and_verifier_are_fresh_at_every_login() -> None:
    random = set()
    for _ in range(3):
        async with logging_in(Endpoints()) as login:
            random.add(query_of(await login.address())["state"])
            random.add((await login.home()).rpartition("/")[2])
            random.update(login.browser.cookies.values())
    assert len(random) == 9
    assert set(map(len, random)) == {43}


async def test_pkce_is_used_where_the_provider_says_so() -> None:
    assert isinstance(DISCORD.auth, OAuth2)
    provider = DISCORD.model_copy(update={"auth": DISCORD.auth.model_copy(update={"pkce": True})})
    endpoints = Endpoints()
    async with logging_in(endpoints, provider=provider) as login:
        url = await login.address()
        await login.approve_at(url)
        await login.task
    query = query_of(url)
    assert query["code_challenge_method"] == "S256"
    verifier = endpoints.form("/api/oauth2/token")["code_verifier"]
    assert pkce_challenge(verifier) == query["code_challenge"]
    assert verifier not in login.text + url


async def test_scopes_of_the_user_replace_those_of_the_provider() -> None:
    async with logging_in(Endpoints(), scopes=("identify",)) as login:
        url = await login.address()
        await login.approve_at(url)
        result = await login.task
    assert query_of(url)["scope"] == "identify"
    assert result.connection.requested_scopes == ("identify",)


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        ("access_denied", "access to Discord was denied in the browser", "again and approve"),
        ("invalid_scope", "Discord refused a scope that was asked for", "scopes=a,b"),
        ("server_error", "Discord cannot log in anyone now: server_error", "later, run"),
        ("unauthorized_client", "an error and no code: unauthorized_client", "application's settings"),
        ("<b>", "an error and no code: unknown", "application's settings"),
    ],
)
async def test_a_denial_is_told_in_the_terminal_and_in_the_page(error: str, message: str, hint: str) -> None:
    endpoints = Endpoints()
    async with logging_in(endpoints) as login:
        page = await login.approve_at(await login.address(), error=error, code="")
        failure = await login.failure(LoginFailed)
    assert message in str(failure)
    assert hint in failure.hint
    assert "<login discord" in failure.hint
    assert page.status_code == 400
    assert message[1:] in page.text
    assert endpoints.asked == []


@pytest.mark.parametrize(
    ("endpoints", "kind", "hint"),
    [
        (refusing("invalid_grant"), GrantRefused, "run <login discord> again and approve at once"),
        (
            refusing("invalid_client", 401),
            ClientRefused,
            "<login discord new_application>",
        ),
        (refusing("invalid_scope"), RequestRefused, "scopes"),
        (Endpoints(token=httpx.Response(503)), ProviderUnavailable, "later"),
        (Endpoints(token=httpx.Response(200, text="<html>")), ProviderUnavailable, "later"),
    ],
)
async def test_a_failed_exchange_is_told_in_the_terminal_and_in_the_page(
    endpoints: Endpoints, kind: type[OAuthError], hint: str
) -> None:
    async with logging_in(endpoints) as login:
        page = await login.approve_at(await login.address())
        failure = await login.failure(kind)
    assert page.status_code == 400
    assert "connected</h1>" in page.text
    assert "is connected" not in page.text
    assert hint in failure.hint
    assert "canary" not in f"{failure}{failure.hint}{page.text}{login.text}"


async def test_a_wrong_state_neither_ends_the_login_nor_reaches_the_provider() -> None:
    endpoints = Endpoints()
    async with logging_in(endpoints) as login:
        url = await login.address()
        page = await login.approve_at(url, state="wrong", code="evil")
        assert page.status_code == 400
        assert "does not belong to the login" in page.text
        assert "does not belong to this login; still waiting" in login.text
        assert endpoints.asked == []
        await login.approve_at(url)
        await login.task
    assert endpoints.form("/api/oauth2/token")["code"] == "code-canary"


async def test_a_replayed_callback_exchanges_nothing() -> None:
    endpoints = Endpoints()
    async with logging_in(endpoints) as login:
        url = await login.address()
        answers = await asyncio.gather(*(login.approve_at(url) for _ in range(4)))
        await login.task
    assert {answer.status_code for answer in answers} == {200}
    assert endpoints.form("/api/oauth2/token")["code"] == "code-canary"


async def test_an_account_name_that_cannot_be_read_does_not_fail_the_login() -> None:
    async with logging_in(Endpoints(account=httpx.Response(500))) as login:
        page = await login.approve_at(await login.address())
        result = await login.task
    assert result.connection.account is None
    assert "the account's name could not be read" in login.text
    assert page.status_code == 200


async def test_without_a_browser_the_address_is_announced_and_the_login_waits() -> None:
    async with logging_in(Endpoints(), browse=lambda: False) as login:
        url = await login.home()
        await asyncio.sleep(0.02)
        assert login.said[0] == f"log in at {url}"
        assert "open that address by hand" in login.said[1]
        await login.approve_at(await login.address())
        assert (await login.task).client == CLIENT


async def test_a_browser_that_returns_only_when_it_is_left_does_not_hold_the_login_up() -> None:
    left = threading.Event()
    async with logging_in(Endpoints(), browse=left.wait) as login:
        try:
            await login.approve_at(await login.address())
            assert (await asyncio.wait_for(login.task, 5)).client == CLIENT
        finally:
            left.set()


async def test_a_timeout_names_the_exact_redirect_uri_to_register() -> None:
    async with logging_in(Endpoints(), timeout=0.1) as login:
        redirect_uri = query_of(await login.address())["redirect_uri"]
        failure = await login.failure(LoginFailed)
    assert str(failure) == "no answer came from the browser in 0.1 s"
    assert f"register exactly {redirect_uri} there" in failure.hint
    assert "new_application" in failure.hint


async def test_a_timeout_of_the_form_says_only_to_start_again() -> None:
    async with logging_in(
        Endpoints(), client=None, timeout=0.1, command="<login default/discord/x>"
    ) as login:
        failure = await login.failure(LoginFailed)
    assert failure.hint == "run <login default/discord/x> again"


async def test_the_timeout_does_not_cut_an_exchange_that_has_begun() -> None:
    class Slow(Endpoints):
        async def handle(self, request: httpx.Request) -> httpx.Response:
            await asyncio.sleep(0.3)
            return await super().handle(request)

    async with logging_in(Slow(), timeout=0.5) as login:
        page = await login.approve_at(await login.address())
        assert (await login.task).connection.account == "nelly"
    assert page.status_code == 200


async def test_a_taken_port_fails_before_anything_is_opened() -> None:
    with listen(0) as holder:
        port = holder.getsockname()[1]
        async with logging_in(Endpoints(), port=port) as login:
            failure = await login.failure(LoginFailed)
    assert f"port {port} of 127.0.0.1 is in use by another program" in str(failure)
    assert not login.opened.done()


async def test_a_vault_that_cannot_store_the_client_ends_the_login() -> None:
    def locked(_client: ClientRegistration) -> None:
        raise KeyUnavailable("the master key is missing", "restore it")

    async with logging_in(Endpoints(), client=None, on_client=locked) as login:
        page = await login.submit(client_id="1", client_secret="2")
        await login.failure(KeyUnavailable)
    assert "The master key is missing." in page.text


async def test_a_vault_that_cannot_store_the_connection_is_told_in_the_page() -> None:
    def full(_result: LoginResult) -> None:
        raise StorageUnavailable("the disk is full", "make room")

    async with logging_in(Endpoints(), on_login=full) as login:
        page = await login.approve_at(await login.address())
        await login.failure(StorageUnavailable)
    assert "The disk is full." in page.text
    assert "is connected" not in page.text


async def test_an_interrupted_login_frees_the_port_at_once() -> None:
    async with logging_in(Endpoints(), client=None) as login:
        home = await login.home()
        login.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await login.task
        with pytest.raises(httpx.ConnectError):
            await login.browser.get(home)
    listen(urlsplit(home).port or 0).close()


async def test_the_page_stays_for_a_moment_after_a_login() -> None:
    """For a browser that loads it again; whoever logged in is told at once."""
    done = asyncio.Event()
    async with logging_in(Endpoints(), on_login=lambda _result: done.set(), linger=0.5) as login:
        url = await login.address()
        first = await login.approve_at(url)
        assert done.is_set()
        again = await login.approve_at(url, code="another")
        assert (again.status_code, again.text) == (200, first.text)
        assert not login.task.done()
        await login.task
        with pytest.raises(httpx.ConnectError):
            await login.approve_at(url)


async def test_nobody_else_can_log_in_with_an_account_of_his_own() -> None:
    endpoints = Endpoints()
    async with logging_in(endpoints) as login, httpx.AsyncClient() as stranger:
        state = query_of(await login.address())["state"]
        home = await login.home()
        origin = home.rpartition("/")[0]
        for address in (f"{origin}/", home, f"{origin}/auth/callback/oauth?code=theirs&state={state}"):
            answer = await stranger.get(address)
            assert answer.status_code >= 400
            assert "location" not in answer.headers
        assert endpoints.asked == []
        await login.approve_at(await login.address())
        await login.task
    assert endpoints.form("/api/oauth2/token")["code"] == "code-canary"


async def test_a_given_key_needs_no_page() -> None:
    kept: list[Connection] = []
    connection = await key_login(
        KEYED,
        SecretStr("key-canary"),
        now=lambda: NOW,
        randbytes=secrets.token_bytes,
        open_browser=lambda _url: pytest.fail("opened a browser"),
        announce=lambda text: pytest.fail(f"said {text}"),
        on_login=kept.append,
    )
    assert kept == [connection]
    assert connection == Connection(
        credential=ApiKey(value=SecretStr("key-canary")),
        reach=reach_of(KEYED),
        created_at=NOW,
        updated_at=NOW,
    )


async def enter_key(opened: asyncio.Future[str]) -> str:
    """Enter a key in the page at the address that is opened; what the page shows then."""
    home = await opened
    async with httpx.AsyncClient() as browser:
        await browser.get(home)
        origin = home.rpartition("/")[0]
        return (await browser.post(home, data={"key": "key-canary"}, headers={"Origin": origin})).text


async def test_a_key_is_asked_for_in_the_page() -> None:
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[str] = loop.create_future()

    def open_browser(url: str) -> bool:
        loop.call_soon_threadsafe(opened.set_result, url)
        return True

    async with asyncio.timeout(5):
        entering = asyncio.create_task(enter_key(opened))
        connection = await key_login(
            KEYED,
            None,
            now=lambda: NOW,
            randbytes=secrets.token_bytes,
            open_browser=open_browser,
            announce=lambda _text: None,
            on_login=lambda _connection: None,
            port=0,
        )
        assert "Keyed is connected" in await entering
    assert connection.credential == ApiKey(value=SecretStr("key-canary"))


async def test_a_key_that_nobody_enters_times_out() -> None:
    with pytest.raises(LoginFailed, match=r"no answer came from the browser in 0\.05 s"):
        await key_login(
            KEYED,
            None,
            now=lambda: NOW,
            randbytes=secrets.token_bytes,
            open_browser=lambda _url: True,
            announce=lambda _text: None,
            on_login=lambda _connection: None,
            port=0,
            timeout=0.05,
        )


def connection(refresh_token: str | None) -> Connection:
    tokens = OAuthTokens(
        access_token=SecretStr("access-canary"),
        refresh_token=SecretStr(refresh_token) if refresh_token else None,
        issued_at=NOW,
    )
    return Connection(credential=tokens, created_at=NOW, updated_at=NOW)


@pytest.mark.parametrize(
    ("refresh_token", "token", "kind"),
    [("refresh-canary", "refresh-canary", "refresh_token"), (None, "access-canary", "access_token")],
)
async def test_logout_revokes_the_refresh_token_or_else_the_access_token(
    refresh_token: str | None, token: str, kind: str
) -> None:
    endpoints = Endpoints()
    async with client_of(endpoints) as oauth:
        assert await revoke(DISCORD, connection(refresh_token), CLIENT, oauth=oauth)
    form = endpoints.form("/api/oauth2/token/revoke")
    assert (form["token"], form["token_type_hint"]) == (token, kind)


async def test_a_revocation_that_the_provider_did_not_confirm_is_an_error() -> None:
    async with client_of(Endpoints(revocation=httpx.Response(503))) as oauth:
        with pytest.raises(ProviderUnavailable):
            await revoke(DISCORD, connection("refresh-canary"), CLIENT, oauth=oauth)


async def test_what_cannot_be_revoked_is_said_to_be_so() -> None:
    assert isinstance(DISCORD.auth, OAuth2)
    mute = DISCORD.model_copy(update={"auth": DISCORD.auth.model_copy(update={"revocation_url": None})})
    key = Connection(credential=ApiKey(value=SecretStr("key-canary")), created_at=NOW, updated_at=NOW)
    endpoints = Endpoints()
    async with client_of(endpoints) as oauth:
        assert not await revoke(mute, connection("refresh-canary"), CLIENT, oauth=oauth)
        assert not await revoke(DISCORD, connection("refresh-canary"), None, oauth=oauth)
        assert not await revoke(KEYED, key, None, oauth=oauth)
    assert endpoints.asked == []


async def test_a_flow_refuses_a_provider_of_another_kind() -> None:
    async with client_of(Endpoints()) as oauth:
        with pytest.raises(ValueError, match="does not use OAuth"):
            await browser_login(
                KEYED,
                None,
                oauth=oauth,
                now=lambda: NOW,
                randbytes=secrets.token_bytes,
                open_browser=lambda _url: True,
                announce=lambda _text: None,
                on_client=lambda _client: None,
                on_login=lambda _result: None,
            )
