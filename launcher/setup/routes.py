"""Where connections really go: `--connect-to` and the upstream proxy."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from launcher.errors import UsageProblem
from launcher.setup.settings import ConnectTo

PROXY_VARIABLES: Final = ("https_proxy", "HTTPS_PROXY")
"""The first that is set wins, as in curl and urllib."""

BYPASS_VARIABLES: Final = ("no_proxy", "NO_PROXY")


@dataclass(frozen=True, slots=True)
class Routes:
    """Where a connection really goes. An address named by `--connect-to` is dialled as it is, never
    through the upstream proxy: that proxy could hardly reach it."""

    connect_to: tuple[ConnectTo, ...]
    proxy: str | None
    """An `http://` URL; may hold the password of the upstream proxy."""
    bypass: str

    def address_of(self, host: str, port: int) -> tuple[str, int]:
        """What is dialled for `host` and `port`; the first entry that applies wins."""
        entry = self._entry(host, port)
        return entry.address(host, port) if entry else (host, port)

    def is_named(self, host: str, port: int) -> bool:
        """Whether what is dialled for `host` and `port` is a host that the user wrote, be it the same one.

        Another port alone names no host: `:443::8443` is for every host there is.
        """
        entry = self._entry(host, port)
        return entry is not None and bool(entry.to_host)

    def proxy_of(self, host: str, port: int) -> str | None:
        """The upstream proxy for an address as `address_of` gave it; None to connect directly."""
        if self.proxy is None or _is_loopback(host) or self._is_written(host, port):
            return None
        return None if _is_bypassed(host, port, self.bypass) else self.proxy

    def _entry(self, host: str, port: int) -> ConnectTo | None:
        return next((entry for entry in self.connect_to if entry.applies(host, port)), None)

    def _is_written(self, host: str, port: int) -> bool:
        return any(
            entry.to_host in ("", host) and entry.to_port in (None, port) and (entry.to_host or entry.to_port)
            for entry in self.connect_to
        )


def routes(connect_to: tuple[ConnectTo, ...], environ: Mapping[str, str]) -> Routes:
    """The routes of this process. Raises: UsageProblem for a proxy that cannot be used."""
    proxy = _first(environ, PROXY_VARIABLES)
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"  # as curl reads it
    if proxy and not _is_http_proxy(proxy):
        raise UsageProblem(
            "the proxy in HTTPS_PROXY is not an http:// URL with a host",
            "set HTTPS_PROXY=http://HOST:PORT, or unset it",
        )
    return Routes(connect_to, proxy or None, _first(environ, BYPASS_VARIABLES))


def _first(environ: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((value for name in names if (value := environ.get(name))), "")


def _is_http_proxy(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme == "http" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_bypassed(host: str, port: int, bypass: str) -> bool:
    """Whether NO_PROXY names the host, one of its parents, either with the port, or everything."""
    names = [name.strip().lower().removeprefix(".") for name in bypass.split(",")]
    spellings = (host.lower(), f"{host.lower()}:{port}")
    return "*" in names or any(
        spelling == name or spelling.endswith(f".{name}") for name in names if name for spelling in spellings
    )
