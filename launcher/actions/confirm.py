"""Agreeing to a definition that sends a connection's credential to more places than before."""

from __future__ import annotations

from launcher.errors import not_connected
from launcher.setup.app import LOCK_SECONDS, App
from oauth.reach import reach_of, widened
from vault.model import ConnectionKey


def to_confirm(app: App, key: ConnectionKey) -> list[str]:
    """What there is to agree to, a phrase each. Raises: LoginNeeded, UnknownConnection."""
    found = app.vault.connection(key) if app.has_vault else None
    if found is None:
        raise not_connected(key)
    return widened(found.value.reach, reach_of(app.registry.get(key.provider).provider))


def confirm(app: App, key: ConnectionKey) -> None:
    """Store that the definition, as it was read by this process, is agreed to. As `to_confirm`."""
    with app.vault.lock(key, LOCK_SECONDS):
        current = app.vault.connection(key)
        if current is None:
            raise not_connected(key)
        agreed = reach_of(app.registry.get(key.provider).provider)
        changed = current.value.model_copy(update={"reach": agreed})
        app.vault.put_connection(key, changed, expected=current.generation)
