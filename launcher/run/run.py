"""What `authsome run` does once its child is forked."""

from __future__ import annotations

import asyncio
import resource
import signal
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, assert_never

from pydantic import SecretStr

from launcher.child.child import Child, start_refusals_mapped
from launcher.child.signals import ending, hold
from launcher.errors import NotConfirmed
from launcher.isolation.model import Use
from launcher.isolation.outside.gateway import Captured, gateway
from launcher.isolation.outside.levels import Isolated
from launcher.isolation.plan import PROXY_PORT
from launcher.notices import Notices
from launcher.run.audit_log import AuditLog, answered_locally
from launcher.run.choose import choose, named_providers
from launcher.run.credentials import KeeperSource
from launcher.run.environment import RunValues, Value, child_environment, inherited_files
from launcher.run.folder import RunFolder
from launcher.run.hand_down import Wanted, hand_down
from launcher.run.rules import permits, rules_for
from launcher.setup.app import App
from launcher.setup.consent import require_confirmed
from launcher.setup.trust import joined, read_certificates
from launcher.startup import seal_imports
from oauth.errors import ProviderInvalid, ProviderUnknown
from oauth.keeper.circuit import CircuitState
from oauth.outcome import log_in
from oauth.provider import Provider
from proxy.audit import DECISION_CIRCUIT
from proxy.dial import Dialer
from proxy.model import PLACEHOLDER, Event, Rule
from proxy.permits import READ_ONLY, Permit
from proxy.resend import resend_over
from proxy.server import RunningProxy, running_proxy
from vault.errors import FormatTooNew, RecordDamaged
from vault.files import private_folders
from vault.model import DEFAULT_NAME, ApiKey, ConnectionKey, OAuthTokens, Status
from vault.vault import StoredConnection, readable

BUNDLE: Final = "bundle.pem"
EXTRA: Final = "ca.pem"

LAST_WAIT: Final = 3.0
"""Seconds that a refresh has to end in when a signal comes after the program's end.

An answer that is on its way holds the only copy of the login, so that it is worth waiting for. Most come
within one second.
"""


@dataclass(frozen=True, slots=True)
class RunInput:
    """The options of `run`, as typed."""

    program: Sequence[str]
    providers: Sequence[str] = ()
    connections: Sequence[str] = ()
    allow: Sequence[str] = ()
    read_only: bool = False
    environment: Wanted = field(default_factory=Wanted)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a run offers to its child."""

    keys: Sequence[ConnectionKey]
    providers: Mapping[str, Provider]
    rules: Sequence[Rule]
    inherited: Mapping[str, str]
    """Variables of the launcher that the child gets as they are."""


def run(app: App, given: RunInput, isolated: Isolated[Child], folder: RunFolder) -> int:
    """Run the program; the return value is the exit status.

    Raises: LauncherError, and the errors of the other packages, before the program was started.
    """
    plan = _plan(app, given)
    private_folders(app.settings.home, app.settings.audit_folder)
    app.vault.version()
    _allow_descriptors()
    return asyncio.run(_serve(app, plan, folder, given.program, isolated))


def _allow_descriptors() -> None:
    """Two for each connection of the program, which has the limit of its own."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # macOS takes no "unlimited"
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _serve(
    app: App, plan: _Plan, folder: RunFolder, program: Sequence[str], isolated: Isolated[Child]
) -> int:
    mask = hold()  # what comes before the program has started takes effect on it when it has
    routes = app.routes
    audit = AuditLog(app.settings.audit_folder, folder.name, app.settings.profile, app.now)
    status: int | None = None
    try:
        async with (
            app.http() as http,
            app.keeper(unseen=True) as keeper,
            keeper.keep_fresh(plan.keys),
            running_proxy(
                rules=plan.rules,
                source=KeeperSource(keeper, plan.keys, app.notices.words),
                audit=audit,
                roots=app.roots,
                dialer=Dialer(routes.address_of, routes.proxy_of, routes.is_named, app.notices.words),
                resend=resend_over(http),
            ) as proxy,
            gateway(isolated.listeners, _captured(proxy)),
        ):
            _write_certificates(app, folder, proxy)
            port = PROXY_PORT if isolated.listeners else proxy.port
            seal_imports()
            try:
                status = await _run(isolated.child, program, _environment(plan, folder, proxy.url(port)))
            finally:
                _end_on_signal(mask)
                _keep_sums(audit, keeper.circuits(), app.notices)
    except asyncio.CancelledError:  # by `_end_on_signal`
        if status is None:
            raise KeyboardInterrupt from None
    finally:
        hold()
    return status


async def _run(child: Child, program: Sequence[str], environ: Mapping[str, str]) -> int:
    with ThreadPoolExecutor(1) as waiting:
        with start_refusals_mapped():
            waiting.submit(int)  # begins the thread; when the program runs it must not be refused
        child.start(program, environ)
        return await asyncio.get_running_loop().run_in_executor(waiting, child.wait)


def _end_on_signal(mask: set[int]) -> None:
    """Let a signal end what may still go on when the program has ended, such as a refresh.

    `mask` is what will be blocked then.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is not None:
        for number in ending():
            loop.add_signal_handler(number, lambda: loop.call_later(LAST_WAIT, task.cancel))
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _keep_sums(audit: AuditLog, circuits: Iterable[CircuitState], notices: Notices) -> None:
    try:
        for circuit in circuits:
            audit(_told(circuit))
        audit.finish()
    except OSError as error:  # the program's status counts for more
        notices.warning(f"cannot write to the audit: {(error.strerror or 'not possible').lower()}")


def _told(circuit: CircuitState) -> Event:
    """The sum of a run, for people: each request that was kept from the provider has a line of its own."""
    reason = f"{circuit.reason}; {answered_locally(circuit.answered)}"
    return Event("", "", "", DECISION_CIRCUIT, connection=str(circuit.key), reason=reason)


def _captured(proxy: RunningProxy) -> Captured:
    """What a sandbox's own listeners take in goes to the proxy of the run."""

    async def captured(
        use: Use, host: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if use is Use.PROXY:
            await proxy.serve(reader, writer)
        else:
            await proxy.capture(host, port, reader, writer)

    return captured


def _plan(app: App, given: RunInput) -> _Plan:
    for name in named_providers(given.providers, given.connections):
        app.registered(name)
    stored = dict(app.vault.connections(app.settings.profile)) if app.has_vault else {}
    available = list(stored)
    if not given.providers and not given.connections:
        defaults = [key for key in stored if key.name == DEFAULT_NAME]
        available = [key for key in available if key not in defaults or _is_usable(app, key, stored[key])]
    keys = choose(available, app.settings.profile, given.providers, given.connections)
    for key in keys:
        connection = readable(stored[key])
        require_confirmed(key, connection, app.registry.get(key.provider).provider)
        if connection.current_status(app.now()) is Status.EXPIRED:
            app.notices.warning(f"{key} has expired: its requests will be refused", f"run {log_in(key)}")
    providers = {key.provider: app.registry.get(key.provider).provider for key in keys}
    known = [found.provider for found in app.registry.valid()]
    known += providers.values()
    inherited = hand_down(app.environ, given.environment, known, _secrets(app, stored), app.notices)
    return _Plan(keys, providers, rules_for(keys, providers, _limits(given)), inherited)


def _secrets(app: App, stored: Mapping[ConnectionKey, StoredConnection]) -> set[str]:
    """What the vault holds of this profile, in the clear: to be compared with, and forgotten."""
    found: list[SecretStr | None] = []
    for record in stored.values():
        with suppress(RecordDamaged, FormatTooNew):
            match readable(record).credential:
                case OAuthTokens(access_token=access, refresh_token=refresh):
                    found += [access, refresh]
                case ApiKey(value=key):
                    found.append(key)
                case _ as unknown:
                    assert_never(unknown)
    for provider in {key.provider for key in stored}:
        with suppress(RecordDamaged, FormatTooNew):  # a login is told of that
            client = app.vault.client(app.settings.profile, provider)
            found.append(client.value.client_secret if client else None)
    return {secret.get_secret_value() for secret in found if secret is not None}


def _limits(given: RunInput) -> list[tuple[Permit, ...]]:
    return [permits(given.allow, "<set allow>"), (READ_ONLY,) if given.read_only else ()]


def _is_usable(app: App, key: ConnectionKey, record: StoredConnection) -> bool:
    """Whether a connection that nobody named can be offered; one that cannot must not stop the others."""
    try:
        provider = app.registry.get(key.provider).provider
        require_confirmed(key, readable(record), provider)
    except (ProviderUnknown, ProviderInvalid, RecordDamaged, FormatTooNew, NotConfirmed) as error:
        app.notices.warning(f"{key} is not offered: {error}", error.hint)
        return False
    return True


def _write_certificates(app: App, folder: RunFolder, proxy: RunningProxy) -> None:
    earlier = {value: _earlier(app.environ, value) for value in (Value.BUNDLE, Value.EXTRA)}
    folder.write(
        {
            BUNDLE: joined([proxy.certificate, app.roots, *earlier[Value.BUNDLE]]),
            EXTRA: joined([proxy.certificate, *earlier[Value.EXTRA]]),
        }
    )


def _earlier(environ: Mapping[str, str], value: Value) -> list[str]:
    """What the variables that are about to be replaced name: it stays trusted by the child, not by us."""
    found = []
    for name in inherited_files(environ, value):
        with suppress(OSError):  # the tools themselves pass over a file that is not there
            found.append(read_certificates(Path(name)))
    return found


def _environment(plan: _Plan, folder: RunFolder, proxy_url: str) -> dict[str, str]:
    offered = [provider.env_name for provider in plan.providers.values()]
    values = RunValues(
        run=folder.name,
        proxy_url=proxy_url,
        bundle=str(folder.path / BUNDLE),
        extra=str(folder.path / EXTRA),
        placeholder=PLACEHOLDER,
        offered=tuple(name for name in offered if name),
    )
    return child_environment(plan.inherited, values, ())
