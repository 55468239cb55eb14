"""The stand-in as a server: certificates, routing, several side by side, clean ends."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import threading
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from tests.standin import HOSTS, Seen, StandIn, client_of

LOOPBACK = "127.0.0.1"


def handshake(standin: StandIn, sni: str, *, check: str | None = None) -> ssl.SSLSocket:
    """TLS with one SNI, the certificate compared with `check` (default: the SNI)."""
    context = ssl.create_default_context(cafile=standin.ca_file)
    context.set_alpn_protocols(["h2", "http/1.1"])
    if check is not None:
        context.check_hostname = False
    plain = socket.create_connection((LOOPBACK, standin.https_port), timeout=5)
    return context.wrap_socket(plain, server_hostname=sni)


@pytest.mark.parametrize("host", HOSTS)
def test_every_tenant_has_a_certificate_of_its_own_name(standin: StandIn, host: str) -> None:
    with client_of(standin) as client:
        assert client.get(f"https://{host}/standin/echo").status_code == 200


def test_a_client_without_the_private_ca_refuses_the_certificate(standin: StandIn) -> None:
    with (
        client_of(standin, ssl.create_default_context()) as client,
        pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        client.get("https://discord.com/")
    assert standin.seen == []


def test_the_ca_of_one_stand_in_does_not_vouch_for_another() -> None:
    with (
        StandIn() as one,
        StandIn() as other,
        client_of(one, ssl.create_default_context(cafile=other.ca_file)) as client,
        pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        client.get("https://discord.com/")


def test_an_unknown_sni_gets_the_first_tenants_certificate_which_does_not_match(standin: StandIn) -> None:
    with client_of(standin) as client, pytest.raises(httpx.ConnectError, match="Hostname mismatch"):
        client.get("https://elsewhere.example/")


def test_only_http_1_1_is_agreed_on(standin: StandIn) -> None:
    with handshake(standin, "discord.com") as tls:
        assert tls.selected_alpn_protocol() == "http/1.1"


def test_requests_are_routed_by_host_and_the_sni_is_kept_beside_it(standin: StandIn) -> None:
    with client_of(standin) as client:
        answer = client.get("https://discord.com/api/v10/gateway", headers={"Host": "Evil.Example:443"})
    (seen,) = standin.seen
    assert answer.json() == {"tenant": "evil.example"}
    assert (seen.host, seen.sni, seen.tls) == ("evil.example", "discord.com", True)


def test_neighbours_do_not_serve_discords_api(standin: StandIn) -> None:
    tokens = standin.discord.grant(standin.discord.register_app())
    with client_of(standin) as client:
        headers = {"Authorization": f"Bearer {tokens.access_token}"}
        for host in HOSTS[1:]:
            assert client.get(f"https://{host}/api/users/@me", headers=headers).json() == {"tenant": host}


def test_cleartext_discord_redirects_to_https_and_is_recorded_as_cleartext(standin: StandIn) -> None:
    with client_of(standin) as client:
        answer = client.get("http://discord.com/api/users/@me?x=1")
    (seen,) = standin.seen
    assert answer.status_code == 301
    assert answer.headers["location"] == "https://discord.com/api/users/@me?x=1"
    assert (seen.host, seen.sni, seen.tls, seen.alpn) == ("discord.com", None, False, None)


def test_connect_to_names_both_ports_of_every_tenant(standin: StandIn) -> None:
    assert f"discord.com:443:127.0.0.1:{standin.https_port}" in standin.connect_to
    assert f"acme.example:80:127.0.0.1:{standin.http_port}" in standin.connect_to
    assert len(standin.connect_to) == 2 * len(HOSTS)


def test_a_client_certificate_is_asked_for_and_its_name_recorded() -> None:
    with StandIn(hosts=["mtls.example"], require_client_certificate=True) as standin:
        context = ssl.create_default_context(cafile=standin.ca_file)
        context.load_cert_chain(standin.client_certificate("robot.example"))
        with client_of(standin, context) as client:
            assert client.get("https://mtls.example/standin/echo").status_code == 200
        assert standin.seen[0].client == "robot.example"


def test_without_a_client_certificate_the_connection_fails() -> None:
    with StandIn(hosts=["mtls.example"], require_client_certificate=True) as standin:
        with client_of(standin) as client, pytest.raises(httpx.TransportError):
            client.get("https://mtls.example/standin/echo")
        assert standin.seen == []


def test_connections_counts_also_those_without_a_request(standin: StandIn) -> None:
    assert standin.connections == 0
    handshake(standin, "discord.com").close()
    with client_of(standin) as client:
        client.get("https://discord.com/standin/echo")
    assert standin.connections == 2
    assert len(standin.seen) == 1


def test_a_client_that_never_begins_its_handshake_is_counted_and_holds_nothing_up() -> None:
    with ExitStack() as stack:
        with StandIn() as standin, client_of(standin) as client:
            address = (LOOPBACK, standin.https_port)
            silent = stack.enter_context(socket.create_connection(address, timeout=5))
            assert client.get("https://discord.com/").status_code == 404
            assert standin.connections == 2
        assert silent.recv(1) == b""


def test_connections_that_arrive_as_it_ends_are_closed_too() -> None:
    for _ in range(10):
        with ExitStack() as stack:
            with StandIn() as standin:
                address = (LOOPBACK, standin.https_port)
                late = [stack.enter_context(socket.create_connection(address, timeout=5)) for _ in range(5)]
            for client in late:
                with suppress(ConnectionResetError):
                    assert client.recv(1) == b""
            gc.collect()


def test_two_stand_ins_do_not_share_tokens_or_requests() -> None:
    with StandIn() as one, StandIn() as other, client_of(one) as client:
        tokens = other.discord.grant(other.discord.register_app())
        headers = {"Authorization": f"Bearer {tokens.access_token}"}
        assert client.get("https://discord.com/api/users/@me", headers=headers).status_code == 401
        assert other.seen == []


def test_leaving_closes_the_ports_and_removes_the_folder() -> None:
    with StandIn() as standin:
        assert standin.ca_file.is_file()
        assert standin.dir.stat().st_mode & 0o777 == 0o700
    assert not standin.dir.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOOPBACK, standin.https_port), timeout=5)


def test_leaving_does_not_wait_for_a_slow_answer() -> None:
    outcome: list[str] = []

    def ask() -> None:
        with client_of(standin) as client:
            try:
                client.get("https://discord.com/standin/slow?seconds=60")
            except httpx.TransportError as error:
                outcome.append(type(error).__name__)

    with StandIn() as standin:
        asking = threading.Thread(target=ask)
        asking.start()
        while not standin.seen:
            asking.join(0.01)
    asking.join(5)
    assert len(outcome) == 1


def test_a_failure_inside_the_server_is_raised_at_the_end() -> None:
    def fail(seen: Seen) -> None:
        raise ValueError(seen.method)

    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="GET")):  # noqa: SIM117
        with StandIn(on_seen=fail) as standin:
            with client_of(standin) as client, pytest.raises(httpx.RemoteProtocolError):
                client.get("https://discord.com/standin/echo")


def test_certificates_go_to_the_folder_that_is_named(tmp_path: Path) -> None:
    with StandIn(directory=tmp_path) as standin:
        assert standin.ca_file == tmp_path / "ca.pem"
    assert (tmp_path / "ca.pem").exists()


async def test_it_runs_beside_an_event_loop_of_the_test(standin: StandIn) -> None:
    context = ssl.create_default_context(cafile=standin.ca_file)
    reader, writer = await asyncio.open_connection(
        LOOPBACK, standin.https_port, ssl=context, server_hostname="discord.com"
    )
    writer.write(b"GET /api/gateway HTTP/1.1\r\nHost: discord.com\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 200")
    writer.close()
    await writer.wait_closed()
