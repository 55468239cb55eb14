"""The network of a sandbox: everything a program dials arrives at the launcher, or nowhere."""

from __future__ import annotations

import json
import socket
import threading

import pytest

from tests.isolation.world import CANARY, World, interpreter

CLIENT = """
import json, socket, sys

def dial(host, port, family=socket.AF_INET):
    with socket.socket(family) as client:
        client.settimeout(5)
        try:
            client.connect((host, port))
            return client.recv(200).decode()
        except OSError as error:
            return type(error).__name__

for argument in json.loads(sys.argv[1]):
    print(json.dumps(dial(*argument)))
"""

ASK = """
import socket, struct, sys

def question(name):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!HHHHHH", 5, 256, 1, 0, 0, 0) + labels + bytes(1) + struct.pack("!HH", 1, 1)

server = sys.argv[1]
family = socket.AF_INET6 if ":" in server else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as client:
    client.settimeout(5)
    client.connect((server, 53))
    client.send(question("one.example"))
    print(socket.inet_ntoa(client.recv(500)[-4:]))
with socket.socket(family) as client:
    client.settimeout(5)
    client.connect((server, 53))
    message = question("one.example")
    for part in (len(message).to_bytes(2, "big"), message):
        client.send(part)
    length = int.from_bytes(client.recv(2), "big")
    print(socket.inet_ntoa(client.recv(length)[-4:]))
"""


def dial(around: World, addresses: list[tuple[object, ...]], **more: object) -> list[str]:
    argv = (interpreter(around.uid), "-c", CLIENT, json.dumps(addresses))
    ended = around.run("sandbox", *argv, serve=True, **more)
    assert (ended.status, ended.errors) == (0, "")
    return [json.loads(line) for line in ended.output.splitlines()]


@pytest.mark.parametrize(
    ("address", "captured"),
    [
        (("1.2.3.4", 443), ["TLS", "1.2.3.4", 443]),
        (("169.254.169.254", 80), ["HTTP", "169.254.169.254", 80]),
        (("127.0.0.1", 3128), ["PROXY", "127.0.0.1", 3128]),
        (("discord.com", 443), ["TLS", "discord.com", 443]),
        (("Discord.COM", 80), ["HTTP", "discord.com", 80]),
        (("2606:4700::1", 443, int(socket.AF_INET6)), ["TLS", "2606:4700::1", 443]),
    ],
)
def test_a_connection_arrives_with_what_the_program_dialled(
    around: World, address: tuple[object, ...], captured: list[object]
) -> None:
    (line,) = dial(around, [address])
    assert json.loads(line) == captured


def test_a_port_that_nobody_captures_is_refused_at_every_address(around: World) -> None:
    addresses: list[tuple[object, ...]] = [("1.2.3.4", 22), ("127.0.0.1", 22), ("2606:4700::1", 22, 10)]
    assert dial(around, addresses) == ["ConnectionRefusedError"] * 3


def test_an_address_that_stands_for_no_name_leads_nowhere(around: World) -> None:
    assert dial(around, [("198.19.9.9", 443)]) == [""]


def test_a_port_of_this_machine_is_reached_only_where_it_was_wished_for(around: World) -> None:
    port = int(around.environ["LOOPBACK_PORT"])
    assert dial(around, [("127.0.0.1", port)]) == ["ConnectionRefusedError"]
    assert dial(around, [("127.0.0.1", port)], ports=[port]) == [CANARY]


@pytest.mark.parametrize("server", ["127.0.0.53", "10.255.255.53", "8.8.8.8", "2001:4860:4860::8888"])
def test_every_name_server_answers_alike(around: World, server: str) -> None:
    # A connected datagram socket takes an answer only from the address that it asked.
    ended = around.run("sandbox", interpreter(around.uid), "-c", ASK, server, serve=True)
    assert (ended.output, ended.errors) == ("198.18.0.1\n198.18.0.1\n", "")


def test_programs_of_a_sandbox_can_serve_each_other(around: World) -> None:
    script = (
        "import socket; s = socket.create_server(('127.0.0.1', 8000));"
        "c = socket.create_connection(('127.0.0.1', 8000)); s.accept()[0].send(b'own');"
        "print(c.recv(9).decode())"
    )
    assert around.run("sandbox", interpreter(around.uid), "-c", script).output == "own\n"


def test_a_listener_outside_hears_nothing(around: World) -> None:
    heard: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        port = listener.getsockname()[1]

        def listen() -> None:
            try:
                connection, peer = listener.accept()
            except TimeoutError:
                return
            connection.close()
            heard.append(peer)

        assert dial(around, [("127.0.0.1", port)]) == ["ConnectionRefusedError"]
        thread = threading.Thread(target=listen)
        thread.start()
        thread.join()
    assert heard == []
