"""What `export` does: a credential leaves the vault, and the audit says so."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import assert_never

from pydantic import SecretStr

from launcher.errors import LauncherError, LoginNeeded, UsageProblem, not_connected
from launcher.run.audit_log import AuditLog
from launcher.setup.app import App
from launcher.setup.settings import RUN_VARIABLE
from oauth.keeper.keeper import FreshCredential, NotUsable, Why
from proxy.audit import DECISION_EXPORT
from proxy.model import Event
from vault.files import private_folders
from vault.model import ConnectionKey


@dataclass(frozen=True, slots=True)
class Exported:
    """The real credential, and the variable in which the provider's programs look for it."""

    variable: str
    value: SecretStr


def export(app: App, key: ConnectionKey, reason: str) -> Exported:
    """The access token or key of a connection, refreshed when due. `reason` is for the audit.

    Raises: LauncherError inside of a run, or where there is none to be had; UsageProblem, VaultError.
    """
    if RUN_VARIABLE in app.environ:
        raise LauncherError("credentials are not exported inside of a run", "call this outside of <run>")
    variable = app.registry.get(key.provider).provider.env_name
    if variable is None:
        raise UsageProblem(
            f"the provider {key.provider!r} names no environment variable",
            f"add one under 'env' in its file; see <inspect {key.provider}>",
        )
    credential = asyncio.run(_fresh(app, key))
    _record(app, key, reason)  # before anybody has it
    return Exported(variable, credential.value)


async def _fresh(app: App, key: ConnectionKey) -> FreshCredential:
    if not app.has_vault:
        raise not_connected(key)
    async with app.keeper() as keeper:
        outcome = await keeper.fresh(key)
    match outcome:
        case FreshCredential():
            return outcome
        case NotUsable(why=Why.NOT_CONNECTED):
            raise not_connected(key)
        case NotUsable(why=Why.UNAVAILABLE | Why.UNCONFIRMED):
            raise LauncherError(outcome.message, outcome.hint)
        case NotUsable():
            raise LoginNeeded(outcome.message, outcome.hint)
        case _:
            assert_never(outcome)


def _record(app: App, key: ConnectionKey, reason: str) -> None:
    """Tell the audit, by which one can see later what was handed out. Raises: LauncherError, VaultError."""
    folder = app.settings.audit_folder
    private_folders(app.settings.home, folder)
    event = Event("", "", "", DECISION_EXPORT, connection=str(key), reason=reason)
    try:
        AuditLog(folder, "", key.profile, app.now)(event)
    except OSError as error:
        problem = (error.strerror or "not possible").lower()
        raise LauncherError(
            f"{key} is not exported: cannot write to the audit in {folder}: {problem}",
            "check its permissions and the space on its disk",
        ) from error
