"""What `authsome doctor` says of connections whose requests were answered in their provider's place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from typing import Final, assert_never

from launcher.actions.finding import Finding, State
from launcher.run.audit_log import KeptBack, KeptReason, answered_locally, read_kept_back
from launcher.setup.app import App
from launcher.setup.key_sources import key_file_of
from launcher.setup.settings import RUN_VARIABLE
from launcher.times import utc
from oauth.outcome import check_command, login_command
from proxy.model import Reason
from vault.envelope import Kind
from vault.errors import VaultError
from vault.model import NAME, Connection, ConnectionKey, Health, OAuthTokens, Versioned
from vault.storage import SqliteStorage
from vault.vault import Vault

RECENT_DAYS: Final = 7
"""How far back a refused credential is worth a word: a job may run weekly."""

_DAY: Final = 86_400
"""Seconds."""


def circuits(app: App) -> Iterator[Finding]:
    """The connections of the profile whose requests did not reach the provider."""
    if app.environ.get(RUN_VARIABLE):
        return
    folder = app.settings.audit_folder
    try:
        kept = list(read_kept_back(folder, app.now() - RECENT_DAYS * _DAY))
    except OSError as error:
        problem = (error.strerror or "unreadable").lower()
        text = f"cannot read the audit in {folder}: {problem}"
        yield Finding("circuit", State.WARNING, text, "check its permissions")
        return
    try:
        good_at = _last_good(app) if kept else {}
    except VaultError:
        return  # the finding about the home or the key says it
    found = circuit_findings(kept, good_at)
    text = f"no connection is known to be refused, by the audit of {RECENT_DAYS} days"
    yield from found or [Finding("circuit", State.OK, text)]


def circuit_findings(
    kept: Iterable[KeptBack], good_at: Mapping[ConnectionKey, float | None]
) -> list[Finding]:
    """One for each connection that was refused and, as far as is known, not mended since.

    `good_at` has every stored connection, and when it was last good: None where that is not known.
    """
    refused: dict[ConnectionKey, list[KeptBack]] = {}
    for one in kept:
        # Not in the same second: a program that retries is refused until the very moment of the login.
        if one.key in good_at and one.at > (good_at[one.key] or 0.0):
            refused.setdefault(one.key, []).append(one)
    return [
        _circuit_finding(key, requests, good_at[key] is not None) for key, requests in sorted(refused.items())
    ]


def _circuit_finding(key: ConnectionKey, requests: Sequence[KeptBack], certain: bool) -> Finding:
    last = requests[-1]
    told = answered_locally(sum(request.count for request in requests))
    text = f"{key}: {told}, last at {utc(last.at)}: {last.reason}"
    unless = "" if certain else "unless you have logged in since, "
    return Finding("circuit", State.WARNING, text, f"{unless}run '{_command(key, last.reason)}'")


def _command(key: ConnectionKey, reason: KeptReason) -> str:
    match reason:
        case Reason.LOGIN_NEEDED:
            return login_command(key)
        case Reason.CREDENTIAL_DEAD:  # the provider's 401s are no proof of it
            return check_command(key)
        case _:
            assert_never(reason)


def _last_good(app: App) -> dict[ConnectionKey, float | None]:
    """The stored connections, and when each was last good; None where nobody can tell without a key.

    Raises: VaultError.
    """
    if not app.has_vault:
        return {}
    profile, path = app.settings.profile, app.settings.vault_file
    with closing(SqliteStorage(path)) as storage:  # who is there stands beside the sealed records
        records = storage.records(profile, Kind.CONNECTION)
    known: dict[ConnectionKey, float | None] = {
        ConnectionKey(profile, record.provider, record.name): None
        for record in records
        if NAME.fullmatch(record.provider) and NAME.fullmatch(record.name)  # not so where others wrote it
    }
    # The key file and no other source: those may ask the user. Where it does not fit, nothing is known.
    with suppress(VaultError), Vault.open(SqliteStorage(path), key_file_of(app.settings)) as vault:
        for key, found in vault.connections(profile):
            if isinstance(found, Versioned):
                known[key] = _good_at(found.value)
    return known


def _good_at(connection: Connection) -> int:
    """When the last login, refresh or check went well; to the second, as times are in the audit."""
    times = [connection.created_at]
    match connection.credential:
        case OAuthTokens(issued_at=issued_at):
            times.append(issued_at)
    if connection.checked and connection.checked.health in (Health.HEALTHY, Health.EXPIRING):
        times.append(connection.checked.at)
    return int(max(times))
