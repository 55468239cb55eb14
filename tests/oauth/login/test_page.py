"""The login page over real sockets: what it serves, and what other web pages cannot make it do."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from launcher.text.words import words
from oauth.errors import LoginFailed
from oauth.login.page import AccessDenied, Brought, Code, CodeRoutes, KeyRoutes
from oauth.login.page_door import Door
from oauth.login.page_html import connected, notice
from oauth.login.page_http import COOKIE, MAX_BODY, MAX_HEAD, Head, Refused, parse_head
from oauth.login.page_server import listen, serving
from oauth.provider import OAuth2, Provider, StaticKey, parse_provider
from vault.errors import StorageUnavailable
from vault.model import ClientRegistration, Connection, OAuthTokens

ROOT = Path(__file__).parents[3]
DISCORD = parse_provider((ROOT / "oauth/providers/discord.json").read_bytes(), "discord.json")
STATE = "state-canary-0123456789"
SEAL = "seal-canary-0123456789"
HOME = "/one-time-canary-0123456789"
CALLBACK = "/auth/callback/oauth"
SECRET = "client-secret-canary"
CLIENT = ClientRegistration(client_id="1234567890", client_secret=SecretStr(SECRET))
AUTHORIZE = "https://discord.com/oauth2/authorize"
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


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: str

    @property
    def text(self) -> str:
        return f"{self.headers}\n{self.body}"


@dataclass
class Served:
    """A page under test, and a browser's way of talking to it: that in which the login began."""

    port: int
    callback: Brought[Code | AccessDenied]
    registered: list[ClientRegistration] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def raw(self, data: bytes) -> Answer:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            await writer.drain()
            async with asyncio.timeout(5):
                head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        finally:
            writer.close()
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        assert len(headers) == len(lines)
        return Answer(int(first.split()[1]), headers, body.decode())

    async def get(self, target: str, **headers: str) -> Answer:
        return await self.raw(self.head("GET", target, headers) + b"\r\n")

    async def post(self, target: str, body: str, **headers: str) -> Answer:
        fields = {
            "origin": f"http://{self.authority}",
            "content_type": "application/x-www-form-urlencoded",
            "content_length": str(len(body)),
            **headers,
        }
        return await self.raw(self.head("POST", target, fields) + b"\r\n" + body.encode())

    def head(self, method: str, target: str, headers: dict[str, str]) -> bytes:
        fields = {"host": self.authority, "cookie": f"theme=dark; {COOKIE}={SEAL}", **headers}
        lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items() if value]
        return (f"{method} {target} HTTP/1.1\r\n" + "".join(lines)).encode()


def oauth2(provider: Provider) -> OAuth2:
    assert isinstance(provider.auth, OAuth2)
    return provider.auth


@asynccontextmanager
async def login_page(
    *,
    known: bool = False,
    provider: Provider = DISCORD,
    register: Callable[[ClientRegistration], None] = lambda _client: None,
) -> AsyncIterator[Served]:
    with listen(0) as listener:
        callback: Brought[Code | AccessDenied] = Brought("<login discord>", words)
        served = Served(listener.getsockname()[1], callback)

        def on_client(client: ClientRegistration) -> None:
            register(client)
            served.registered.append(client)

        routes = CodeRoutes(
            provider=provider,
            auth=oauth2(provider),
            redirect_uri=f"http://{served.authority}/auth/callback/oauth",
            client=CLIENT if known else None,
            authorize=lambda client: f"{AUTHORIZE}?client_id={client.client_id}",
            on_client=on_client,
            state=STATE,
            door=Door(HOME, SEAL, served.warnings.append),
            callback=callback,
            warn=served.warnings.append,
        )
        async with serving(listener, routes.answer):
            with callback:
                yield served


def connection() -> Connection:
    tokens = OAuthTokens(access_token=SecretStr("token-canary"), scopes=("identify", "email"), issued_at=1.0)
    return Connection(credential=tokens, account="nelly", created_at=1.0, updated_at=1.0)


def form(**changes: str) -> str:
    fields = {"client_id": "1234567890", "client_secret": SECRET, **changes}
    return "&".join(f"{name}={value}" for name, value in fields.items())


async def test_the_form_shows_the_steps_the_portal_and_the_exact_redirect_uri() -> None:
    async with login_page() as page:
        answer = await page.get(HOME)
    assert answer.status == 200
    assert f"<code>http://127.0.0.1:{page.port}/auth/callback/oauth</code>" in answer.body
    assert 'href="https://discord.com/developers/applications"' in answer.body
    assert all(f'name="{name}"' in answer.body for name in ("client_id", "client_secret"))
    for step in oauth2(DISCORD).client_setup_steps:
        assert step.replace("'", "&#x27;") in answer.body


async def test_a_submitted_client_is_registered_and_the_browser_sent_on() -> None:
    async with login_page() as page:
        answer = await page.post(HOME, form())
    assert (answer.status, answer.headers["location"]) == (303, f"{AUTHORIZE}?client_id=1234567890")
    assert page.registered == [CLIENT]
    assert SECRET not in answer.text


async def test_blanks_around_pasted_values_are_dropped() -> None:
    async with login_page() as page:
        await page.post(HOME, form(client_id="+1234567890+", client_secret=f"%09{SECRET}%0A"))
    assert page.registered == [CLIENT]


async def test_a_client_can_be_corrected_until_the_provider_calls_back() -> None:
    async with login_page() as page:
        await page.post(HOME, form(client_id="wrong"))
        assert (await page.get(HOME)).status == 200
        await page.post(HOME, form(client_id="right"))
    assert [client.client_id for client in page.registered] == ["wrong", "right"]


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": ""},
        {"client_secret": ""},
        {"client_id": "a+b"},
        {"client_secret": "%E2%98%83"},
        {"client_secret": "x" * 513},
        {"client_id": "a%0D%0Ab"},
    ],
)
async def test_an_impossible_client_is_asked_for_again_without_echo(changes: dict[str, str]) -> None:
    async with login_page() as page:
        answer = await page.post(HOME, form(**changes))
        assert not page.callback.taken
    assert answer.status == 400
    assert 'role="alert"' in answer.body
    assert SECRET not in answer.text
    assert "1234567890" not in answer.text
    assert page.registered == []


async def test_a_public_client_is_not_asked_for_a_secret() -> None:
    auth = oauth2(DISCORD).model_copy(update={"client_auth": "none"})
    async with login_page(provider=DISCORD.model_copy(update={"auth": auth})) as page:
        assert "client_secret" not in (await page.get(HOME)).body
        await page.post(HOME, "client_id=1")
    assert page.registered == [ClientRegistration(client_id="1")]


async def test_with_a_known_client_the_page_only_sends_the_browser_on() -> None:
    async with login_page(known=True) as page:
        answer = await page.get(HOME)
        assert (answer.status, answer.headers["location"]) == (303, f"{AUTHORIZE}?client_id=1234567890")
        assert (await page.post(HOME, form())).status == 303
    assert page.registered == []


async def test_a_vault_that_cannot_store_the_client_ends_the_login_and_says_so() -> None:
    def full(_client: ClientRegistration) -> None:
        raise StorageUnavailable("the disk is full", "free some space")

    async with login_page(register=full) as page:
        answer = await page.post(HOME, form())
        with pytest.raises(StorageUnavailable, match="the disk is full"):
            await page.callback.wait(1)
    assert "The disk is full." in answer.body
    assert "Free some space." in answer.body


async def test_the_callback_waits_for_what_came_of_its_code() -> None:
    async with login_page(known=True) as page:
        asked = asyncio.create_task(page.get(f"/auth/callback/oauth?code=code-canary&state={STATE}"))
        assert await page.callback.wait(5) == Code(CLIENT, SecretStr("code-canary"))
        await asyncio.sleep(0.05)
        assert not asked.done()
        page.callback.show(connection(), DISCORD)
        answer = await asked
    assert answer.status == 200
    assert "Discord is connected" in answer.body
    assert "nelly" in answer.body
    assert "identify, email" in answer.body
    assert "canary" not in answer.text


async def waiting_browser_sees(error: BaseException) -> Answer:
    """What the browser that brought the code is shown when the login then ends with `error`."""
    with suppress(type(error)):
        async with login_page(known=True) as page:
            asked = asyncio.create_task(page.get(f"/auth/callback/oauth?code=c&state={STATE}"))
            await page.callback.wait(5)
            raise error
    return await asked


async def test_the_callback_shows_the_error_its_code_led_to() -> None:
    answer = await waiting_browser_sees(LoginFailed("discord refused the code", "run <login discord> again"))
    assert answer.status == 400
    assert "Discord refused the code." in answer.body
    assert "Run &#x27;authsome login discord&#x27; again." in answer.body


async def test_an_interrupted_login_tells_the_waiting_browser() -> None:
    answer = await waiting_browser_sees(KeyboardInterrupt())
    assert "interrupted" in answer.body
    assert "Run &#x27;authsome login discord&#x27; again." in answer.body


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("error=access_denied&error_description=No", "access_denied"),
        ("error=access_denied&code=c", "access_denied"),
        ("error=%3Cscript%3E", "unknown"),
        ("", "no_code"),
        ("code=", "no_code"),
    ],
)
async def test_a_callback_without_a_code_is_a_denial(query: str, error: str) -> None:
    async with login_page(known=True) as page:
        asked = asyncio.create_task(page.get(f"/auth/callback/oauth?state={STATE}&{query}"))
        assert await page.callback.wait(5) == AccessDenied(error)
    await asked


@pytest.mark.parametrize(
    "query",
    [
        "code=evil&state=wrong",
        "code=evil",
        "error=access_denied",
        "code=evil&state=",
        "code=evil&state=%C3%BC",
        f"code=evil&state={STATE}&state={STATE}",
        f"code=evil&state={STATE}x",
        f"code=evil&state={STATE[:-1]}",
    ],
)
async def test_a_callback_without_the_state_is_refused_and_spends_nothing(query: str) -> None:
    async with login_page(known=True) as page:
        answer = await page.get(f"/auth/callback/oauth?{query}")
        assert answer.status == 400
        assert not page.callback.taken
        asked = asyncio.create_task(page.get(f"/auth/callback/oauth?code=true&state={STATE}"))
        assert await page.callback.wait(5) == Code(CLIENT, SecretStr("true"))
        page.callback.show(connection(), DISCORD)
        assert (await asked).status == 200


async def test_a_callback_before_a_client_was_entered_is_refused_and_spends_nothing() -> None:
    async with login_page() as page:
        assert (await page.get(f"/auth/callback/oauth?code=c&state={STATE}")).status == 400
        assert not page.callback.taken


async def test_a_corrected_client_is_the_one_its_code_belongs_to() -> None:
    async with login_page() as page:
        await page.post(HOME, form(client_id="wrong"))
        await page.post(HOME, form())
        asked = asyncio.create_task(page.get(f"/auth/callback/oauth?code=c&state={STATE}"))
        assert await page.callback.wait(5) == Code(CLIENT, SecretStr("c"))
    await asked


async def test_a_wrong_state_is_reported_in_the_terminal_once() -> None:
    async with login_page() as page:
        for _ in range(3):
            await page.get("/auth/callback/oauth?code=evil&state=wrong")
    assert page.warnings == ["refused a callback that does not belong to this login; still waiting"]


async def test_the_state_is_consumed_by_its_first_use() -> None:
    async with login_page(known=True) as page:
        first = asyncio.create_task(page.get(f"{CALLBACK}?code=one&state={STATE}"))
        assert await page.callback.wait(5) == Code(CLIENT, SecretStr("one"))
        replay = asyncio.create_task(page.get(f"{CALLBACK}?code=two&state={STATE}"))
        await asyncio.sleep(0.05)
        assert not replay.done()
        page.callback.show(connection(), DISCORD)
        assert (await first).status == 200
        assert await replay == await first
        assert await page.callback.wait(1) == Code(CLIENT, SecretStr("one"))


async def test_after_the_callback_nothing_is_taken_any_more() -> None:
    """The browser sees what came of it, however it asks; then the port is closed."""
    async with login_page() as page:
        await page.post(HOME, form())
        asked = asyncio.create_task(page.get(f"{CALLBACK}?error=access_denied&state={STATE}"))
        await page.callback.wait(5)
        page.callback.show(connection(), DISCORD)
        shown = await asked
        for answer in (
            await page.get(f"{CALLBACK}?error=access_denied&state={STATE}"),
            await page.get(HOME),
            await page.post(HOME, form(client_id="another")),
        ):
            assert (answer.status, answer.body) == (200, shown.body)
        assert (await page.get("/")).status == 404
    assert page.registered == [CLIENT]
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", page.port)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:{port}",
        "localhost:{port}",
        "127.0.0.1",
        "127.0.0.1:1",
        "127.0.0.1:{port}.evil.example",
        "[::1]:{port}",
        "evil.example, 127.0.0.1:{port}",
        "",
    ],
)
async def test_a_rebound_name_reads_nothing(host: str) -> None:
    async with login_page(known=True) as page:
        answer = await page.get(HOME, host=host.format(port=page.port))
    assert answer.status == 421
    assert "location" not in answer.headers
    assert STATE not in answer.text


async def test_a_second_host_header_is_refused() -> None:
    async with login_page() as page:
        head = page.head("GET", HOME, {}) + b"Host: evil.example\r\n\r\n"
        assert (await page.raw(head)).status == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": ""},
        {"origin": "null"},
        {"origin": "http://evil.example"},
        {"origin": "http://localhost:7998"},
        {"origin": "http://127.0.0.1"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_mode": "cors"},
        {"sec_fetch_dest": "iframe"},
    ],
)
async def test_a_form_of_another_site_is_refused(headers: dict[str, str]) -> None:
    async with login_page() as page:
        answer = await page.post(HOME, form(), **headers)
    assert answer.status == 403
    assert page.registered == []


@pytest.mark.parametrize("dest", ["iframe", "frame", "image", "script", "empty", "object"])
async def test_nothing_is_served_into_another_page(dest: str) -> None:
    async with login_page(known=True) as page:
        answer = await page.get(f"/auth/callback/oauth?code=c&state={STATE}", sec_fetch_dest=dest)
        assert not page.callback.taken
    assert answer.status == 403


@pytest.mark.parametrize("target", [HOME, "/", "/nothing", "/auth/callback/oauth?state=wrong"])
async def test_every_page_forbids_frames_scripts_caches_and_referrers(target: str) -> None:
    async with login_page() as page:
        answer = await page.get(target)
    assert answer.headers["x-frame-options"] == "deny"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == ("same-origin" if target == HOME else "no-referrer")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert ("form-action 'self' https:" if target == HOME else "form-action 'none'") in policy
    assert not [name for name in answer.headers if name.startswith("access-control") or name == "server"]
    assert "<script" not in answer.body


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/client", 404),
        ("GET", "/favicon.ico", 404),
        ("GET", f"/{HOME}", 404),
        ("GET", "/auth/callback/oauth/", 404),
        ("OPTIONS", HOME, 405),
        ("PUT", HOME, 405),
        ("TRACE", HOME, 405),
        ("GET", "http://127.0.0.1/", 400),
        ("get", "/", 400),
        ("GET", "/ü", 400),
    ],
)
async def test_only_the_known_methods_and_addresses_are_served(method: str, target: str, status: int) -> None:
    async with login_page() as page:
        answer = await page.raw(page.head(method, target, {}) + b"\r\n")
    assert answer.status == status
    assert SECRET not in answer.text


async def test_a_huge_body_is_refused_before_it_is_read() -> None:
    async with login_page() as page:
        answer = await page.post(HOME, form(), content_length=str(MAX_BODY + 1))
        endless = await page.post(HOME, form(), content_length="9" * 19)
        whole = form(padding="x" * (MAX_BODY - len(form()) - len("&padding=")))
        assert len(whole) == MAX_BODY
        assert (await page.post(HOME, whole)).status == 303
    assert (answer.status, endless.status) == (413, 413)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content_type": "application/json"}, 415),
        ({"content_type": "text/plain"}, 415),
        ({"content_type": "multipart/form-data"}, 415),
        ({"transfer_encoding": "chunked"}, 400),
        ({"content_length": "-1"}, 400),
        ({"content_length": "1e3"}, 400),
    ],
)
async def test_only_a_plain_form_with_a_length_is_read(headers: dict[str, str], status: int) -> None:
    async with login_page() as page:
        assert (await page.post(HOME, form(), **headers)).status == status
    assert page.registered == []


async def test_a_get_has_no_body() -> None:
    async with login_page() as page:
        assert (await page.get(HOME, content_length="0")).status == 200
        assert (await page.get(HOME, content_length="1")).status == 400


async def test_endless_headers_are_cut() -> None:
    async with login_page() as page:
        answer = await page.raw(page.head("GET", HOME, {"x": "y" * MAX_HEAD}) + b"\r\n")
    assert answer.status == 431


async def test_idle_and_broken_connections_hold_nothing_up() -> None:
    async with login_page() as page:
        idle = [await asyncio.open_connection("127.0.0.1", page.port) for _ in range(3)]
        idle[0][1].write(b"GET /one HT")
        idle[1][1].close()
        assert (await page.get(HOME)).status == 200
        started = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - started < 1
    for _, writer in idle:
        writer.close()


@pytest.mark.parametrize("turns", range(8))
async def test_a_connection_that_comes_at_the_end_is_closed_too(turns: int) -> None:
    """However far the loop got with it: before its task's first step too."""
    with socket.socket() as late:
        async with login_page() as page:
            late.connect(("127.0.0.1", page.port))
            for _ in range(turns):
                await asyncio.sleep(0)
        late.setblocking(False)
        with suppress(ConnectionResetError):
            async with asyncio.timeout(5):
                assert await asyncio.get_running_loop().sock_recv(late, 1) == b""


def test_a_taken_port_is_an_error_that_names_it() -> None:
    with listen(0) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(LoginFailed, match=f"port {port} .* is in use") as caught:
            listen(port)
    assert f"lsof -nP -iTCP:{port}" in caught.value.hint


def test_nobody_can_share_the_port() -> None:
    with listen(0) as holder, socket.socket() as thief:
        assert holder.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == 0
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            thief.bind(("127.0.0.1", holder.getsockname()[1]))
        assert holder.getsockname()[0] == "127.0.0.1"


async def test_the_port_is_free_again_at_once() -> None:
    async with login_page() as page:
        await page.get(HOME)
    listen(page.port).close()


def test_names_of_a_provider_or_account_are_escaped() -> None:
    provider = DISCORD.model_copy(update={"display_name": "<b>&"})
    html = connected(provider, "<script>alert(1)</script>", ('"><img>',))
    html += notice("<i>", "'<u>", "<s>", good=True)
    body = html.replace("<style>", "")
    assert not re.search(r"<(b|script|img|i|u|s)>", body)
    assert "&lt;script&gt;" in html


@given(st.binary(max_size=300))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    assert isinstance(parse_head(data), Head | Refused)


@given(st.sampled_from(["\r", "\n", "\0", " \r\n folded", "\x7f"]), st.integers(0, 40))
def test_a_control_character_anywhere_in_a_head_is_refused(character: str, place: int) -> None:
    head = "GET /path?query=1 HTTP/1.1\r\nHost: 127.0.0.1:7998\r\nAccept: text/html\r\n\r\n"
    place = min(place, len("GET /path?query=1 HTTP/1.1"))
    assert isinstance(parse_head((head[:place] + character + head[place:]).encode()), Refused)


@asynccontextmanager
async def key_page() -> AsyncIterator[tuple[Served, Brought[SecretStr]]]:
    assert isinstance(KEYED.auth, StaticKey)
    with listen(0) as listener:
        key: Brought[SecretStr] = Brought("<login keyed>", words)
        unused: Brought[Code | AccessDenied] = Brought("")
        routes = KeyRoutes(provider=KEYED, auth=KEYED.auth, door=Door(HOME, SEAL, print), key=key)
        async with serving(listener, routes.answer):
            with key:
                yield Served(listener.getsockname()[1], unused), key


async def test_a_static_key_is_taken_once_and_never_echoed() -> None:
    async with key_page() as (page, key):
        shown = await page.get(HOME)
        assert 'href="https://keyed.example/keys"' in shown.body
        asked = asyncio.create_task(page.post(HOME, "key=key-canary"))
        assert await key.wait(5) == SecretStr("key-canary")
        again = asyncio.create_task(page.post(HOME, "key=another"))
        key.show(connection(), KEYED)
        answer = await asked
        assert await again == answer
    assert (answer.status, "Keyed is connected" in answer.body) == (200, True)
    assert "key-canary" not in answer.text


async def test_an_impossible_key_is_asked_for_again_without_echo() -> None:
    async with key_page() as (page, key):
        answer = await page.post(HOME, "key=key-canary+b")
        assert not key.taken
    assert answer.status == 400
    assert "key-canary" not in answer.text
