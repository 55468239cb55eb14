import asyncio
import base64
import shutil
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from proxy.dial import LOOKUP_TIMEOUT, Dialer, Lookups, first_of, is_own
from proxy.errors import DialFailed
from proxy.model import Origin
from tests.proxy.wire import CANARY, Source, proxied
from tests.standin import StandIn

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[int]:
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def through(port: int, scheme: str = "http", user: str = "") -> Dialer:
    return Dialer(lambda host, port: (host, port), lambda _host, _port: f"{scheme}://{user}127.0.0.1:{port}")


class UpstreamProxy:
    """A CONNECT proxy that sends every tunnel to one port and remembers the heads it was sent."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.heads: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(65536):
                    sink.write(data)
                    await sink.drain()
            except OSError:
                pass
            finally:
                sink.close()

        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))


async def test_an_upstream_proxy_is_asked_for_a_tunnel_with_its_credentials(standin: StandIn) -> None:
    upstream = UpstreamProxy(standin.https_port)
    async with (
        serving(upstream) as port,
        proxied(standin, source=Source(), dialer=through(port, user="me:p%40ss@")) as wire,
    ):
        reply = await wire.get()
        tunnel = await wire.tls("evil.example:443", "evil.example")
        await tunnel.ask("GET /standin/echo HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        tunnel.close()
    assert reply.status == 200
    assert standin.wire_contains(CANARY.encode())
    assert [head.split()[1] for head in upstream.heads] == [b"discord.com:443", b"evil.example:443"]
    user = b"Basic " + base64.b64encode(b"me:p@ss")
    assert all(user in head for head in upstream.heads)


@pytest.mark.parametrize(
    ("host", "asked"),
    [
        ("169.254.169.254", False),
        ("0.0.0.0", False),  # noqa: S104
        ("127.0.0.1", False),
        ("::1", False),
        ("fd00:ec2:0::254", False),
        ("localhost", False),
        ("127.1", False),
        ("192.0.2.1", True),
        ("no-such-host.invalid", True),
        (f"{'long' * 20}.example", True),
    ],
)
async def test_an_upstream_proxy_is_asked_for_no_address_of_this_machine_or_its_link(
    host: str, asked: bool
) -> None:
    heads: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    async with serving(listen) as port:
        with pytest.raises(DialFailed, match="the upstream proxy" if asked else "not dialled for a program"):
            await through(port).dial(Origin(host, 80))
    assert len(heads) == asked


class SlowNames:
    """A resolver that answers when it is let."""

    def __init__(self) -> None:
        self.answered = threading.Event()
        self.asked = self.waiting = self.most = 0
        self._counting = threading.Lock()

    def __call__(self, host: str, port: int) -> list[str]:
        with self._counting:
            self.asked += 1
            self.waiting += 1
            self.most = max(self.most, self.waiting)
        if host.endswith(".slow.example"):
            self.answered.wait()
        with self._counting:
            self.waiting -= 1
        return ["127.0.0.1"]


async def test_an_upstream_proxy_does_not_wait_long_for_a_name_that_is_hard_to_find() -> None:
    names = SlowNames()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()

    async with serving(listen) as port:
        dialer = replace(through(port), lookups=Lookups(names))
        _, writer = await dialer.dial(Origin("a.slow.example", 443))
        writer.close()
    names.answered.set()


async def test_a_lookup_that_has_no_turn_yet_is_waited_for() -> None:
    """Else a program with many slow names would have an upstream proxy asked for what was not checked."""
    names = SlowNames()
    dialer = replace(through(1), lookups=Lookups(names, at_once=1))
    slow = asyncio.create_task(dialer.lookups.addresses("a.slow.example", 443))
    await asyncio.sleep(0)
    dialling = asyncio.create_task(dialer.dial(Origin("here.example", 80)))
    done, _ = await asyncio.wait({dialling}, timeout=LOOKUP_TIMEOUT + 1)
    assert done == set()
    names.answered.set()
    assert await slow == ["127.0.0.1"]
    with pytest.raises(DialFailed, match="not dialled for a program"):
        await dialling


async def test_names_that_are_slow_to_resolve_take_no_thread_from_anything_else() -> None:
    names = SlowNames()
    dialer = Dialer(lambda host, port: (host, port), lambda host, port: None, lookups=Lookups(names, 3))
    slow = [asyncio.create_task(dialer.dial(Origin(f"{n}.slow.example", 443))) for n in range(60)]
    async with asyncio.timeout(20):
        await asyncio.sleep(0)
        await asyncio.gather(*(asyncio.to_thread(threading.get_ident) for _ in range(10)))
    slow.pop(0).cancel()
    names.answered.set()
    refused = await asyncio.gather(*slow, return_exceptions=True)
    assert {type(error) for error in refused} == {DialFailed}
    assert names.asked == 60, "a thread that nobody waits for gives its place back"
    assert names.most == 3, "the others wait without a thread"


def test_a_lookup_does_not_hold_up_the_end_of_the_process() -> None:
    script = """
        import asyncio, time
        from proxy.dial import Lookups

        async def main():
            asked = asyncio.Event()
            loop = asyncio.get_running_loop()

            def slow(host, port):
                loop.call_soon_threadsafe(asked.set)
                time.sleep(600)

            lookup = asyncio.create_task(Lookups(slow).addresses("a.slow.example", 443))
            await asked.wait()

        asyncio.run(main())
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=120)


async def test_a_name_that_cannot_be_one_is_refused_as_one_that_is_not_there() -> None:
    dialer = Dialer(lambda host, port: (host, port), lambda host, port: None)
    with pytest.raises(DialFailed, match="not the name of a host"):
        await dialer.dial(Origin(f"{'long' * 20}.example", 443))


async def test_an_upstream_proxy_that_says_no_is_a_clear_refusal(standin: StandIn) -> None:
    async def no(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with serving(no) as port, proxied(standin, dialer=through(port)) as wire:
        reply = await wire.get()
    assert reply.refused == "upstream-unreachable"
    assert b"the upstream proxy answered 407 for discord.com:443" in reply.body


@pytest.mark.parametrize("said", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 999999 X\r\n\r\n"])
async def test_what_is_no_proxy_gives_no_tunnel(said: bytes) -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.close()

    async with serving(other) as port:
        with pytest.raises(DialFailed, match="upstream proxy"):
            await through(port).dial(Origin("discord.com", 443))


async def test_bytes_behind_the_proxys_answer_belong_to_the_tunnel() -> None:
    async def greeting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nSSH-2.0-server\r\n")
        writer.close()

    async with serving(greeting) as port:
        reader, writer = await through(port).dial(Origin("host.example", 22))
        assert await reader.readline() == b"SSH-2.0-server\r\n"
        writer.close()


async def test_a_proxy_of_another_kind_is_named_as_the_fault() -> None:
    with pytest.raises(DialFailed, match="must be an http:// URL"):
        await through(1, scheme="socks5").dial(Origin("discord.com", 443))


async def test_a_name_that_does_not_resolve_is_named() -> None:
    dialer = Dialer(lambda host, port: (host, port), lambda host, port: None)
    with pytest.raises(DialFailed, match=r"cannot connect to no-such-host\.invalid:443"):
        await dialer.dial(Origin("no-such-host.invalid", 443))


async def test_connect_to_changes_the_address_and_nothing_else(standin: StandIn) -> None:
    asked: list[tuple[str, int]] = []

    def address_of(host: str, port: int) -> tuple[str, int]:
        asked.append((host, port))
        return "127.0.0.1", standin.https_port

    async with proxied(standin, dialer=Dialer(address_of, lambda host, port: None)) as wire:
        assert (await wire.get()).status == 200
    assert asked == [("discord.com", 443)]
    assert standin.seen[0].sni == "discord.com"


OWN = [
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",  # noqa: S104
    "::1",
    "::",
    "169.254.169.254",
    "fe80::1",
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
    "168.63.129.16",
    "192.0.0.192",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd20:ce::254",
    "fd00:c1::a9fe:a9fe",
    "fd00:c1:0::a9fe:a9fe",
    "fd00:42::42",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
]


@pytest.mark.parametrize("address", OWN)
async def test_an_address_of_this_machine_or_its_link_is_not_dialled(address: str) -> None:
    dialer = Dialer(lambda host, port: (host, port), lambda host, port: None)
    assert is_own(address)
    with pytest.raises(DialFailed, match="not dialled for a program"):
        await dialer.dial(Origin(address, 443))


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "2606:2800:220:1::1", "10.255.255.1", "64:ff9b::808:808"]
)
def test_other_addresses_are_not_this_machines(address: str) -> None:
    assert not is_own(address)


@pytest.mark.skipif(not shutil.which("unshare"), reason="only Linux binds to addresses of others")
def test_where_sockets_can_be_bound_to_any_address_only_those_of_interfaces_are_this_machines() -> None:
    prepare = """
        ip link set lo up && ip route add default dev lo || exit 1
        ip addr add 10.0.0.5/24 dev lo && ip addr add 10.0.0.6/24 dev lo || exit 1
        ip -6 addr add 2001:db8::5/64 dev lo nodad; ip -6 addr add 2001:db8::6/64 dev lo nodad
        echo 1 > /proc/sys/net/ipv6/ip_nonlocal_bind
        echo 1 > /proc/sys/net/ipv4/ip_nonlocal_bind && echo prepared && exec "$0" -c "$1"
    """
    script = """
        import socket
        from proxy.dial import is_own

        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).bind(("192.0.2.1", 0))
        own = ["10.0.0.5", "10.0.0.6", "127.0.0.1", "::1"]
        abroad = ["10.0.1.7", "192.0.2.1", "162.159.135.232"]
        try:
            socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).bind(("2001:db8::6", 0))
        except OSError:
            pass  # no IPv6 here
        else:
            own += ["2001:db8::5", "2001:db8::6"]
            abroad += ["2001:db8::7", "2606:4700::1"]
        assert [address for address in own + abroad if is_own(address)] == own
    """
    command = ["unshare", "-n", "sh", "-c", prepare, sys.executable, textwrap.dedent(script)]
    done = subprocess.run(command, check=False, timeout=60, capture_output=True, text=True)
    if done.stdout != "prepared\n":
        pytest.skip(f"no network of its own: {done.stderr}")
    assert done.returncode == 0, done.stderr


async def test_a_name_that_leads_here_is_not_dialled_unless_the_user_named_the_address() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    async with serving(answer) as port:
        direct = Dialer(lambda host, port: (host, port), lambda host, port: None)
        with pytest.raises(DialFailed, match="not dialled") as caught:
            await direct.dial(Origin("localhost", port))
        assert "<set connect_to>" in caught.value.hint
        named = Dialer(lambda _host, _port: ("127.0.0.1", port), lambda host, port: None)
        reader, writer = await named.dial(Origin("dev.example", 443))
        assert await reader.read() == b"hello"
        writer.close()


@pytest.mark.parametrize("is_named", [True, False])
async def test_another_port_of_a_host_is_still_that_host_unless_the_user_named_it(is_named: bool) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    async with serving(answer) as port:
        dialer = Dialer(
            lambda host, _port: (host, port), lambda host, port: None, lambda host, port: is_named
        )
        if is_named:
            reader, writer = await dialer.dial(Origin("127.0.0.1", 443))
            assert await reader.read() == b"hello"
            writer.close()
        else:
            with pytest.raises(DialFailed, match="not dialled"):
                await dialer.dial(Origin("127.0.0.1", 443))


async def test_a_child_cannot_reach_loopback_services_through_the_proxy(standin: StandIn) -> None:
    dialer = Dialer(lambda host, port: (host, port), lambda host, port: None)
    async with proxied(standin, dialer=dialer) as wire:
        for authority in (f"127.0.0.1:{standin.https_port}", f"localhost:{standin.https_port}"):
            connection = await wire.open()
            head = f"CONNECT {authority} HTTP/1.1\r\nHost: x\r\n{wire.credentials()}\r\n"
            reply = await connection.ask(head)
            connection.close()
            assert (reply.status, reply.refused) == (502, "upstream-unreachable")
        connection = await wire.open()
        reply = await connection.ask(
            f"GET http://127.0.0.1:{standin.http_port}/ HTTP/1.1\r\nHost: x\r\n{wire.credentials()}\r\n"
        )
        connection.close()
    assert reply.status == 502
    assert standin.connections == 0


async def test_the_next_address_is_tried_where_the_first_one_refuses() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    async with serving(answer) as port:
        reader, writer = await first_of(["127.0.0.2", "127.0.0.1"], port)
        assert await reader.read() == b"hello"
        writer.close()
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await first_of(["127.0.0.2", "127.0.0.3"], port)
