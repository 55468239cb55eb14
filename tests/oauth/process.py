"""One process that asks its keeper for a token, for tests that start several: HOME PORT CA_FILE [LOCK_WAIT].

Says `ready`, waits for a line, then prints what it was handed.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import time
from pathlib import Path

import httpx

from oauth.client import OAuthClient
from oauth.errors import OAuthError
from oauth.keeper.keeper import FreshCredential, Keeper
from oauth.reach import reach_of
from oauth.registry import Registry
from vault.keys.file import KeyFile
from vault.model import ConnectionKey, Reach
from vault.storage import SqliteStorage
from vault.vault import Vault

KEY = ConnectionKey("default", "discord", "default")


def open_vault(home: Path) -> Vault:
    """The vault of a home folder, made where it is missing."""
    return Vault.open(SqliteStorage(home / "vault.db"), KeyFile(home / "master.key"), create=True)


def agreed(home: Path, provider: str) -> Reach:
    """What a login agrees to with the definition that is in force there; nothing where there is none."""
    try:
        return reach_of(Registry(home / "providers").get(provider).provider)
    except OAuthError:
        return Reach()


class ToLoopback(httpx.AsyncHTTPTransport):
    """Dials a loopback port; SNI, certificate check and Host stay those of the URL."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        super().__init__(verify=context, trust_env=False)
        self._port = port

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions = {**request.extensions, "sni_hostname": request.url.host}
        request.url = request.url.copy_with(host="127.0.0.1", port=self._port)
        return await super().handle_async_request(request)


async def ask(home: Path, port: int, ca_file: Path, lock_wait: float) -> str:
    """The token, or why there is none."""
    transport = ToLoopback(port, ssl.create_default_context(cafile=ca_file))
    async with httpx.AsyncClient(transport=transport) as http:
        with open_vault(home) as vault:
            registry = Registry(home / "providers")
            keeper = Keeper(
                vault,
                lambda name: registry.get(name).provider,
                OAuthClient(http, time.time),
                time.time,
                lock_wait=lock_wait,
            )
            print("ready", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            outcome = await keeper.fresh(KEY)
            if isinstance(outcome, FreshCredential):
                return outcome.value.get_secret_value()
            return f"{outcome.why}: {outcome.message}"


if __name__ == "__main__":
    _, home_, port_, ca_file_, lock_wait_ = sys.argv
    print(asyncio.run(ask(Path(home_), int(port_), Path(ca_file_), float(lock_wait_))), flush=True)
