"""One process that waits for an answer and can be stopped meanwhile: HOW SECONDS PORT [CA_FILE].

HOW is `patience` or `timeout`, of a plain connection, or `exchange` for a refresh over TLS. Says `waiting`
when there is nothing left but to wait (an exchange says nothing: its request tells), then what came.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import time

import httpx
from pydantic import SecretStr

from oauth.client import OAuthClient
from oauth.errors import OAuthError
from oauth.patience import patience
from oauth.provider import OAuth2
from vault.model import ClientRegistration, OAuthTokens


async def plain(how: str, seconds: float, port: int) -> str:
    """What a plain connection brings."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with patience(seconds, 0.2) if how == "patience" else asyncio.timeout(seconds):
            print("waiting", flush=True)
            return (await reader.read(100)).decode()
    except TimeoutError:
        return "nothing"
    finally:
        writer.close()


async def exchange(seconds: float, port: int, ca_file: str) -> str:
    """The token that a refresh brings."""
    url = f"https://localhost:{port}"
    auth = OAuth2(
        type="oauth2",
        flow="pkce",
        pkce=False,
        authorization_url=f"{url}/authorize",
        token_url=f"{url}/token",
        client_auth="none",
        scopes=("a",),
    )
    old = OAuthTokens(access_token=SecretStr("old"), refresh_token=SecretStr("r"), issued_at=0)
    async with httpx.AsyncClient(verify=ssl.create_default_context(cafile=ca_file), trust_env=False) as http:
        client = OAuthClient(http, time.time, exchange_patience=seconds)
        try:
            tokens = await client.refresh(auth, ClientRegistration(client_id="i"), old)
        except OAuthError as error:
            return str(error)
    return tokens.access_token.get_secret_value()


if __name__ == "__main__":
    _, how_, seconds_, port_, *ca_file_ = sys.argv
    work = (
        exchange(float(seconds_), int(port_), *ca_file_)
        if how_ == "exchange"
        else plain(how_, float(seconds_), int(port_))
    )
    print(asyncio.run(work), flush=True)
