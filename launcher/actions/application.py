"""The OAuth application that the logins of a provider share: shown by its client ID, and forgotten."""

from __future__ import annotations

from typing import TypedDict

from launcher.errors import UnknownConnection
from launcher.setup.app import App
from vault.errors import FormatTooNew, RecordDamaged


class Application(TypedDict):
    """What may be shown: never the secret."""

    client_id: str
    refused: bool


def application(app: App, provider: str) -> Application | None:
    """The stored one, if it can be read."""
    if not app.has_vault:
        return None
    try:
        stored = app.vault.client(app.settings.profile, provider)
    except (RecordDamaged, FormatTooNew) as error:
        app.notices.warning(f"the application of {provider}: {error}", error.hint)
        return None
    return Application(client_id=stored.value.client_id, refused=stored.value.refused) if stored else None


def forget(app: App, provider: str) -> None:
    """Forget it; the next login asks for another. Raises: UnknownConnection, VaultError."""
    profile = app.settings.profile
    if not app.has_vault or not app.vault.delete_client(profile, provider):
        raise UnknownConnection(f"no application is stored for {provider}", "see <list>")
    app.notices.note(f"the application of {provider} is forgotten on this machine")
    if left := [str(key) for key, _ in app.vault.connections(profile) if key.provider == provider]:
        app.notices.warning(
            f"without it these can be neither refreshed nor revoked: {', '.join(left)}",
            f"run <login {provider}>",
        )
