"""What `list` shows: every provider, its application and its connections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from launcher.actions.application import Application, application
from launcher.actions.describe import Shown, describe, describe_damaged, last_check
from launcher.setup.app import App
from oauth.errors import ProviderInvalid, ProviderUnknown
from oauth.reach import reach_of
from oauth.registry import Registered
from vault.model import ConnectionKey, Versioned


@dataclass(frozen=True, slots=True)
class Listed:
    """One connection."""

    key: ConnectionKey
    shown: Shown
    checked: str
    """The last check, as text."""


@dataclass(frozen=True, slots=True)
class Listing:
    """One provider."""

    provider: str
    source: str
    """Where its definition comes from."""
    application: Application | None
    connections: Sequence[Listed]


def overview(app: App) -> list[Listing]:
    """All providers by name, also those of a connection whose definition is gone."""
    definitions = app.registry.all()
    connections = _connections(app, definitions)  # first: a vault that is refused is said once, and alone
    sources = _sources(app, definitions)
    for name in {listed.key.provider for listed in connections} - sources.keys():
        sources[name] = _why_not(app, name)
    return [
        Listing(name, source, application(app, name), [c for c in connections if c.key.provider == name])
        for name, source in sorted(sources.items())
    ]


def _sources(app: App, definitions: Sequence[Registered | ProviderInvalid]) -> dict[str, str]:
    """Where each provider's definition comes from; a file that is wrong hides no other."""
    sources: dict[str, str] = {}
    for found in definitions:
        if isinstance(found, Registered):
            sources[found.provider.name] = found.source
        else:
            app.notices.warning(str(found), found.hint)
    return sources


def _why_not(app: App, name: str) -> str:
    """What stands in the place of a source that was not found."""
    try:
        return app.registry.get(name).source
    except ProviderUnknown:
        return "missing"
    except ProviderInvalid:
        return "invalid"


def _connections(app: App, definitions: Sequence[Registered | ProviderInvalid]) -> list[Listed]:
    found = []
    wanted = {r.provider.name: reach_of(r.provider) for r in definitions if isinstance(r, Registered)}
    stored = app.vault.connections(app.settings.profile) if app.has_vault else []
    for key, record in stored:
        if isinstance(record, Versioned):
            now = app.now()
            shown = describe(key, record.value, now, wanted.get(key.provider))
            found.append(Listed(key, shown, last_check(record.value, now)))
        else:
            app.notices.warning(f"{key}: {record}", record.hint)
            found.append(Listed(key, describe_damaged(key), ""))
    return found
