"""Connections to store, and hands that reach into a vault's files."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from pydantic import SecretStr

from vault.envelope import Kind, RecordId, profile_key, seal
from vault.keys.file import KeyFile
from vault.keys.opening import unlocked
from vault.model import ApiKey, ClientRegistration, Connection, ConnectionKey, OAuthTokens, Status
from vault.storage import SqliteStorage

DEFAULT = ConnectionKey("default", "discord", "default")
WORK = ConnectionKey("default", "discord", "work")
OTHERS = ConnectionKey("other", "discord", "work")

TOKENS = Connection(
    credential=OAuthTokens(
        access_token=SecretStr("CANARY-access"),
        refresh_token=SecretStr("CANARY-refresh"),
        scopes=("identify", "email"),
        issued_at=1000.5,
        expires_at=605800.5,
    ),
    status=Status.EXPIRED,
    requested_scopes=("identify", "email", "guilds"),
    account="CANARY-account",
    created_at=900.0,
    updated_at=1000.5,
)
STATIC = Connection(credential=ApiKey(value=SecretStr("CANARY-key")), created_at=900.0, updated_at=900.0)
CLIENT = ClientRegistration(client_id="CANARY-id", client_secret=SecretStr("CANARY-secret"))

# Kept for ever: what a version once stored, every later version must read.
PAYLOAD_1 = (
    b'{"payload": 1, "value": {"credential": {"kind": "oauth_tokens", "access_token": "CANARY-access",'
    b' "refresh_token": "CANARY-refresh", "token_type": "Bearer", "scopes": ["identify", "email"],'
    b' "issued_at": 1000.5, "expires_at": 605800.5}, "status": "expired",'
    b' "requested_scopes": ["identify", "email", "guilds"], "account": "CANARY-account",'
    b' "created_at": 900.0, "updated_at": 1000.5}}'
)

PAYLOAD_1_REACH = (
    b'{"payload": 1, "value": {"credential": {"kind": "api_key", "value": "CANARY-key"}, "reach": {"slots":'
    b' ["discord.com in \'Authorization: Bearer\'", "other.example:8443 in \'X-Key\'"], "endpoints":'
    b' ["https://discord.com/api/oauth2/token"], "never_paths": ["/api/oauth2/token"], "allow": []},'
    b' "created_at": 900.0, "updated_at": 900.0}}'
)
"""The reach in words, as payload 1 had it."""


def contents(home: Path) -> dict[str, bytes]:
    """The files of a vault, byte for byte, but for the index that SQLite rebuilds at will."""
    names = ("vault.db", "vault.db-wal", "master.key")
    return {name: (home / name).read_bytes() for name in names if (home / name).exists()}


def tamper(home: Path, sql: str, *values: str | int | bytes) -> None:
    """Change the database as somebody would who has the file and no key."""
    with closing(sqlite3.connect(home / "vault.db")) as database, database:
        assert database.execute(sql, values).rowcount > 0


def put_sealed(home: Path, key: ConnectionKey, plaintext: bytes) -> None:
    """Store a payload that opens, whatever is in it."""
    record = RecordId(key.profile, key.provider, key.name, Kind.CONNECTION)
    with closing(SqliteStorage(home / "vault.db")) as storage:
        vault_key = unlocked(storage, KeyFile(home / "master.key")).key
        storage.put(record, seal(profile_key(vault_key, key.profile), bytes(12), record, 1, plaintext), 1)
