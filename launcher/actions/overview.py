"""What `list` shows: every provider, its application and its connections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from launcher.actions.application import Application, application
from launcher.actions.describe import Shown, describe, describe_damaged, last_check
from launcher.setup.app import App
from oauth.errors import ProviderInvalid, ProviderUnknown
from oauth.reach import reach_of
from oauth.registry import Definition, Registered
from vault.errors import FormatTooNew, RecordDamaged
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
    connections = _connections(app)  # first: a vault that is refused is said once, and alone
    sources = _sources(app, definitions)
    for name in {listed.key.provider for listed in connections} - sources.keys():
        sources[name] = _why_not(app, name)
    return [
        Listing(name, source, application(app, name), [c for c in connections if c.key.provider == name])
        for name, source in sorted(sources.items())
    ]


def _sources(app: App, definitions: Sequence[Definition]) -> dict[str, str]:
    """Where each provider's definition comes from; a file that is wrong hides no other."""
    sources: dict[str, str] = {}
    for found in definitions:
        match found:
            case Registered(provider=provider, source=source):
                sources[provider.name] = source
            case ProviderInvalid():
                app.notices.warning(str(found), found.hint)
            case never:
                assert_never(never)
    return sources


def _why_not(app: App, name: str) -> str:
    """What stands in the place of a source that was not found."""
    try:
        return app.registry.get(name).source
    except ProviderUnknown:
        return "missing"
    except ProviderInvalid:
        return "invalid"


def _connections(app: App) -> list[Listed]:
    found = []
    wanted = {r.provider.name: reach_of(r.provider) for r in app.registry.valid()}
    stored = app.vault.connections(app.settings.profile) if app.has_vault else []
    for key, record in stored:
        match record:
            case Versioned(value=connection):
                now = app.now()
                shown = describe(key, connection, now, wanted.get(key.provider))
                found.append(Listed(key, shown, last_check(connection, now)))
            case RecordDamaged() | FormatTooNew():
                app.notices.warning(f"{key}: {record}", record.hint)
                found.append(Listed(key, describe_damaged(key), ""))
            case never:
                assert_never(never)
    return found
