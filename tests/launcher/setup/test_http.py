import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from launcher.errors import UsageProblem
from launcher.setup.http import http_client
from launcher.setup.routes import Routes, routes
from launcher.setup.settings import ConnectTo, parse_connect_to
from launcher.setup.trust import provider_context
from tests.standin import Answer, StandIn


def context_of(standin: StandIn) -> ssl.SSLContext:
    return provider_context(standin.ca_file.read_text())


def entries(*texts: str) -> tuple[ConnectTo, ...]:
    return tuple(parse_connect_to(text, "--connect-to") for text in texts)


@asynccontextmanager
async def upstream_proxy(target: int) -> AsyncIterator[tuple[int, list[str]]]:
    """A proxy that tunnels every CONNECT to one local port; gives its own port and what it was asked for."""
    asked: list[str] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.split()[1].decode())
        there, back = await asyncio.open_connection("127.0.0.1", target)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(pump(reader, back), pump(there, writer), return_exceptions=True)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], asked


async def test_a_redirected_connection_keeps_name_certificate_and_host_header(standin: StandIn) -> None:
    way = Routes(entries(*standin.connect_to), None, "")
    async with http_client(way, context_of(standin)) as http:
        answer = await http.get("https://discord.com/standin/echo")
    assert answer.status_code == 200
    assert [(seen.sni, seen.host) for seen in standin.seen] == [("discord.com", "discord.com")]
    assert answer.url == "https://discord.com/standin/echo"


async def test_a_redirected_connection_to_a_server_of_another_name_is_refused(standin: StandIn) -> None:
    way = Routes(entries(f"stranger.example:443:127.0.0.1:{standin.https_port}"), None, "")
    async with http_client(way, context_of(standin)) as http:
        with pytest.raises(httpx.ConnectError):
            await http.get("https://stranger.example/standin/echo")
    assert not standin.seen


async def test_a_server_whose_root_is_not_trusted_is_refused(standin: StandIn) -> None:
    way = Routes(entries(*standin.connect_to), None, "")
    with StandIn() as other:
        async with http_client(way, context_of(other)) as http:
            with pytest.raises(httpx.ConnectError):
                await http.get("https://discord.com/standin/echo")


async def test_the_upstream_proxy_is_asked_for_the_host_by_name(standin: StandIn) -> None:
    async with upstream_proxy(standin.https_port) as (port, asked):
        way = routes((), {"HTTPS_PROXY": f"http://127.0.0.1:{port}"})
        async with http_client(way, context_of(standin)) as http:
            answer = await http.get("https://discord.com/standin/echo")
    assert answer.status_code == 200
    assert asked == ["discord.com:443"]


async def test_a_redirected_connection_does_not_go_through_the_upstream_proxy(standin: StandIn) -> None:
    async with upstream_proxy(standin.https_port) as (port, asked):
        way = routes(entries(*standin.connect_to), {"HTTPS_PROXY": f"http://127.0.0.1:{port}"})
        async with http_client(way, context_of(standin)) as http:
            answer = await http.get("https://discord.com/standin/echo")
    assert answer.status_code == 200
    assert asked == []


async def test_redirects_of_a_server_are_not_followed(standin: StandIn) -> None:
    way = Routes(entries(*standin.connect_to), None, "")
    async with http_client(way, context_of(standin)) as http:
        assert not http.follow_redirects
        assert not http.trust_env


async def test_no_cookie_is_kept_from_one_request_for_another(standin: StandIn) -> None:
    standin.discord.rest_faults.append(Answer(200, (("Set-Cookie", "account=first; Path=/"),)))
    async with http_client(Routes(entries(*standin.connect_to), None, ""), context_of(standin)) as http:
        first = await http.get("https://discord.com/api/v10/users/@me")
        await http.get("https://discord.com/standin/echo", headers={"Cookie": "own=1"})
        await http.get("https://discord.com/standin/echo")
    assert first.headers["Set-Cookie"] == "account=first; Path=/"
    sent = [[value for name, value in seen.headers if name.lower() == b"cookie"] for seen in standin.seen]
    assert sent == [[], [b"own=1"], []]


def test_the_first_entry_that_applies_wins() -> None:
    way = Routes(entries("a.example:443:one:1", "::two:2"), None, "")
    assert way.address_of("a.example", 443) == ("one", 1)
    assert way.address_of("a.example", 80) == ("two", 2)
    assert Routes((), None, "").address_of("a.example", 443) == ("a.example", 443)


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ("a.example:443:one:1", True),
        ("a.example:443:a.example:8443", True),
        ("::one:", True),
        (":443::8443", False),
        ("a.example:::8443", False),
        ("b.example:443:one:1", False),
    ],
)
def test_another_port_alone_names_no_host(entry: str, named: bool) -> None:
    assert Routes(entries(entry), None, "").is_named("a.example", 443) is named
    assert not Routes(entries(":443::8443", entry), None, "").is_named("a.example", 443)


PROXY = "http://corporate:3128"


@pytest.mark.parametrize(
    ("host", "no_proxy", "proxy"),
    [
        ("discord.com", "", PROXY),
        ("discord.com", "discord.com", None),
        ("api.discord.com", "discord.com", None),
        ("api.discord.com", ".discord.com", None),
        ("evildiscord.com", "discord.com", PROXY),
        ("discord.com", "other.example, DISCORD.com:443", None),
        ("discord.com", "discord.com:8443", PROXY),
        ("discord.com", "*", None),
        ("localhost", "", None),
        ("127.0.0.2", "", None),
        ("::1", "", None),
        ("10.0.0.1", "", PROXY),
    ],
)
def test_no_proxy_names_hosts_and_what_is_below_them(host: str, no_proxy: str, proxy: str | None) -> None:
    assert routes((), {"https_proxy": PROXY, "no_proxy": no_proxy}).proxy_of(host, 443) == proxy


def test_an_address_named_by_connect_to_is_dialled_directly() -> None:
    way = routes(entries("discord.com:443:staging:8443"), {"HTTPS_PROXY": PROXY})
    assert way.proxy_of("staging", 8443) is None
    assert way.proxy_of("staging", 443) == PROXY


def test_without_a_variable_there_is_no_upstream_proxy() -> None:
    assert routes((), {"HTTP_PROXY": PROXY, "HTTPS_PROXY": ""}).proxy_of("discord.com", 443) is None


def test_a_proxy_without_a_scheme_is_an_http_proxy() -> None:
    assert routes((), {"HTTPS_PROXY": "corporate:3128"}).proxy == PROXY


@pytest.mark.parametrize("url", ["socks5://h:1", "https://h:1", "http://", "http://h:x"])
def test_a_proxy_that_cannot_be_used_is_a_usage_error_that_keeps_its_password_to_itself(url: str) -> None:
    with pytest.raises(UsageProblem, match="HTTPS_PROXY") as caught:
        routes((), {"HTTPS_PROXY": url.replace("://", "://user:CANARY@")})
    assert "CANARY" not in str(caught.value) + caught.value.hint
