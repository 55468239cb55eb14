"""A home with one connection to the stand-in, for tests that ask for its token from many processes."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from pydantic import SecretStr

from tests.heavy.forks import ROOT, Place
from tests.oauth.process import KEY, agreed, open_vault
from tests.standin import CLIENT_ID, CLIENT_SECRET, StandIn, Tokens
from vault.model import ClientRegistration, Connection, ConnectionKey, OAuthTokens

WEEK = 604800.0
"""Seconds that the stand-in's tokens live; one more on the date makes each of them due."""


def make_home(home: Path, standin: StandIn) -> Place:
    """A vault with a client registration and a connection."""
    standin.discord.register_app()
    client = ClientRegistration(client_id=CLIENT_ID, client_secret=SecretStr(CLIENT_SECRET))
    with open_vault(home) as vault:
        vault.put_client(KEY.profile, KEY.provider, client, expected=None)
    log_in(home, standin, 0.0)
    return Place(home, standin.https_port, standin.ca_file)


def log_in(home: Path, standin: StandIn, offset: float) -> None:
    """Store new tokens of the user, issued `offset` seconds from now."""
    put_tokens(home, standin, KEY, lifetime=WEEK, offset=offset)


def put_tokens(
    home: Path, standin: StandIn, key: ConnectionKey, *, lifetime: float, offset: float = 0.0
) -> None:
    """Store new tokens for any connection; `lifetime` is what the stand-in is set to."""
    app = standin.discord.app(CLIENT_ID)
    assert app
    with open_vault(home) as vault:
        stored = vault.connection(key)
        vault.put_connection(
            key,
            _connection(standin.discord.grant(app), time.time() + offset, lifetime).model_copy(
                update={"reach": agreed(home, key.provider)}
            ),
            expected=stored.generation if stored else None,
        )


def add_provider(home: Path, name: str, host: str) -> None:
    """A custom provider that is Discord by another name, and at another host. Before its tokens are put."""
    folder = home / "providers"
    folder.mkdir(mode=0o700)
    definition = json.loads((ROOT / "oauth/providers/discord.json").read_text())
    definition["name"] = name
    definition["proxy"]["hosts"] = [host]
    with open(os.open(folder / f"{name}.json", os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        json.dump(definition, file)


def stored_tokens(home: Path) -> OAuthTokens:
    """What the vault holds; it must open."""
    with open_vault(home) as vault:
        found = vault.connection(KEY)
    assert found
    assert isinstance(found.value.credential, OAuthTokens)
    return found.value.credential


def _connection(granted: Tokens, now: float, lifetime: float) -> Connection:
    assert granted.refresh_token
    tokens = OAuthTokens(
        access_token=SecretStr(granted.access_token),
        refresh_token=SecretStr(granted.refresh_token),
        scopes=granted.scopes,
        issued_at=now,
        expires_at=now + lifetime,
    )
    return Connection(credential=tokens, created_at=now, updated_at=now)
