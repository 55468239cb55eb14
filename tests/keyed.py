"""Any number of connections with static keys, each to a host of its own."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from tests.oauth.process import agreed, open_vault
from vault.model import ApiKey, Connection, ConnectionKey

EXAMPLE: Final = Path(__file__).parent.parent / "examples/providers/keyed.json"


def add_keyed(home: Path, count: int) -> list[str]:
    """Define and store `count` connections in a home folder; their keys."""
    folder = home / "providers"
    folder.mkdir(mode=0o700, exist_ok=True)
    keys = [f"CANARY-key-{number:04}-of-many" for number in range(count)]
    for number, key in enumerate(keys):
        name = f"keyed-{number}"
        definition = json.loads(EXAMPLE.read_text()) | {"name": name}
        definition["proxy"]["hosts"] = [f"{name}.example"]
        definition["env"]["api_key"] = f"KEYED_{number}_API_KEY"
        path = os.open(folder / f"{name}.json", os.O_WRONLY | os.O_CREAT, 0o600)
        with open(path, "w") as file:
            json.dump(definition, file)
        connection = Connection(
            credential=ApiKey(value=SecretStr(key)), created_at=0.0, updated_at=0.0, reach=agreed(home, name)
        )
        with open_vault(home) as vault:
            vault.put_connection(ConnectionKey("default", name, "default"), connection, expected=None)
    return keys
