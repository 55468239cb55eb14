"""Attacks on a login that waits for its browser, with all that can be found out about it."""

from __future__ import annotations

import http.client
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from tests.isolation.attacks import VAULT

PORT = 7998
CALLBACK = "/auth/callback/oauth"
PROJECT = VAULT.parent / "project"
WAIT = 20.0
"""Seconds for the person to come."""


def reach(method: str, target: str, fields: dict[str, str] | None = None) -> bytes:
    """An answer of the login page that gives something away, or takes something; else nothing."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
    headers = {"Origin": f"http://127.0.0.1:{PORT}", "Content-Type": "application/x-www-form-urlencoded"}
    try:
        connection.request(method, target, urlencode(fields) if fields else None, headers if fields else {})
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    location = answer.getheader("Location") or ""
    return location.encode() + text if location or b"<form" in text or b"is connected" in text else b""


def login_page() -> bytes:
    """As anybody can ask, before the person comes."""
    return b"".join(reach("GET", target) for target in ("/", "/client", "/key", "/login", CALLBACK))


def login_form() -> bytes:
    """An application, and a key, of one's own."""
    fields = {"client_id": "1", "client_secret": "2", "key": "3", "guard": ""}
    return b"".join(reach("POST", target, fields) for target in ("/", "/client", "/key", CALLBACK))


def login_letter() -> bytes:
    """With the address in the file that sends the browser on."""
    return _with(VAULT.glob("*.html"))


def login_arguments() -> bytes:
    """With the address in the arguments of the browser."""
    return _with(Path("/proc").glob("[0-9]*/cmdline"))


def login_seen_address() -> bytes:
    """With the address, seen when it was used."""
    return reach("GET", urlsplit(_history()[0]).path)


def login_seen_state() -> bytes:
    """With the state, seen when it was used, and an account of one's own at the provider."""
    back = urlsplit(_history()[1])
    return reach("GET", f"{back.path}?{back.query}")


def _with(files: Iterator[Path]) -> bytes:
    mark = f"http://127.0.0.1:{PORT}/".encode()
    for file in files:
        try:
            text = file.read_bytes()
        except OSError:
            continue
        for piece in text.split(mark)[1:]:
            path = "/" + piece.replace(b"\0", b'"').partition(b'"')[0].decode()
            if found := reach("GET", path):
                return found
    return b""


def _history() -> list[str]:
    """What a browser keeps: addresses that were opened. The person comes when this is asked for."""
    (PROJECT / "come-now").touch() if os.access(PROJECT, os.W_OK) else None
    history, end = PROJECT / "history", time.monotonic() + WAIT
    while not history.exists() and time.monotonic() < end:
        time.sleep(0.02)
    return history.read_text().splitlines()


ATTACKS: tuple[Callable[[], bytes], ...] = (
    login_page,
    login_form,
    login_letter,
    login_arguments,
    login_seen_address,
    login_seen_state,
)
