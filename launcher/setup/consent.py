"""What a user agreed to when a connection was stored. Pure."""

from __future__ import annotations

from launcher.errors import NotConfirmed
from oauth.outcome import unconfirmed
from oauth.provider import Provider
from oauth.reach import reach_of, widened
from vault.model import Connection, ConnectionKey


def require_confirmed(key: ConnectionKey, connection: Connection, provider: Provider) -> None:
    """Raises: NotConfirmed where the definition has become wider."""
    if ways := widened(connection.reach, reach_of(provider)):
        refused = unconfirmed(key, ways)
        raise NotConfirmed(refused.message, refused.hint)
