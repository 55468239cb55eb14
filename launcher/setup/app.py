"""The only place where vault, registry, keeper and HTTP client are constructed."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Final, Self

from launcher.errors import LauncherError, UsageProblem
from launcher.notices import Notices, Silent
from launcher.setup.key_sources import KeySources
from launcher.setup.nearness import did_you_mean, near
from launcher.setup.routes import Routes, routes
from launcher.setup.settings import HOME_VARIABLE, RUN_VARIABLE, Settings
from launcher.setup.trust import provider_context, root_certificates
from oauth.errors import ProviderInvalid, ProviderUnknown
from oauth.registry import Registered, Registry
from vault.files import private_folders
from vault.model import NAME, ConnectionKey
from vault.storage import SqliteStorage
from vault.vault import Vault

if TYPE_CHECKING:
    import httpx

    from oauth.client import OAuthClient
    from oauth.keeper.keeper import Keeper


SILENT_SECONDS: Final = 2.0
"""How long the end of a command waits for a refresh without a word."""

LOCK_SECONDS: Final = 60.0
"""How long a command waits for a refresh of the same connection by another process."""


class App:
    """The parts of one command, each made when it is first asked for."""

    now = staticmethod(time.time)

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        notices: Notices = Silent(),  # noqa: B008
    ) -> None:
        self.settings = settings
        self.environ = environ
        self.notices = notices
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @cached_property
    def registry(self) -> Registry:
        self._require_folder()
        return Registry(self.settings.providers_folder)

    @cached_property
    def routes(self) -> Routes:
        return routes(self.settings.connect_to, self.environ)

    @cached_property
    def roots(self) -> str:
        """PEM of the trusted roots."""
        return root_certificates(self.environ)

    @cached_property
    def vault(self) -> Vault:
        """The vault; made where there is none yet. Raises: VaultError."""
        self.make_folders()
        storage = SqliteStorage(self.settings.vault_file)
        return self._stack.enter_context(Vault.open(storage, self.key_sources, create=True))

    @cached_property
    def key_sources(self) -> KeySources:
        """Where the vault's key comes from; asks and reads nothing yet."""
        return KeySources(self.settings)

    @property
    def has_vault(self) -> bool:
        """Whether anything was ever stored; what only reads must not make a vault. Raises: LauncherError."""
        self.require_outside()
        return self.settings.vault_file.exists()

    def require_outside(self) -> None:
        """Raises: LauncherError inside of a run, unless it is one that hides nothing; UsageProblem."""
        self._require_folder()
        if self.environ.get(RUN_VARIABLE) and not self.settings.vault_file.exists():
            raise LauncherError("this is inside of a run, which has no vault", "call this outside of <run>")

    def _require_folder(self) -> None:
        home = self.settings.home
        if home.exists() and not home.is_dir():
            raise UsageProblem(
                f"{home} is not a folder", f"set {HOME_VARIABLE} to a folder, or move that file away"
            )

    def make_folders(self) -> None:
        """Make AUTHSOME_HOME and the folder the user may put provider files into.

        Raises: VaultError, LauncherError.
        """
        self.require_outside()
        private_folders(self.settings.home, self.settings.providers_folder)

    def registered(self, name: str) -> Registered:
        """The definition of a provider as the user names it. Raises: ProviderUnknown, ProviderInvalid."""
        try:
            return self.registry.get(name)
        except ProviderUnknown as error:
            names = [found.provider.name for found in self.registry.valid()]
            raise ProviderUnknown(str(error), did_you_mean(near(name, names), error.hint)) from error

    def key(self, provider: str, name: str) -> ConnectionKey:
        """The key of a connection as the user names it. Raises: ProviderUnknown, UsageProblem."""
        self.registered(provider)
        if not NAME.fullmatch(name):
            raise UsageProblem(
                f"{name!r} is not a valid connection name", "use lower-case letters, digits, '.', '_' and '-'"
            )
        return ConnectionKey(self.settings.profile, provider, name)

    def stored_key(self, provider: str, name: str) -> ConnectionKey:
        """As `key`, also for a stored connection whose provider has no definition now."""
        try:
            return self.key(provider, name)
        except (ProviderUnknown, ProviderInvalid):
            stored = self.vault.connections(self.settings.profile) if self.has_vault else []
            for key, _ in stored:
                if (key.provider, key.name) == (provider, name):
                    return key
            raise

    @asynccontextmanager
    async def http(self) -> AsyncIterator[httpx.AsyncClient]:
        """The client for providers."""
        # Here and not at the top: most commands need no HTTP, and its import takes longer than they do.
        from launcher.setup.http import http_client

        async with http_client(self.routes, provider_context(self.roots)) as http:
            yield http

    @asynccontextmanager
    async def oauth(self) -> AsyncIterator[OAuthClient]:
        """The client of token endpoints."""
        from oauth.client import OAuthClient

        async with self.http() as http:
            yield OAuthClient(http, self.now)

    @asynccontextmanager
    async def keeper(self, *, unseen: bool = False) -> AsyncIterator[Keeper]:
        """The keeper over this vault; a refresh that is under way at the end is finished first.

        `unseen`: what it answers goes to a program, so that the user is told at the end which login was lost.
        """
        from oauth.keeper.keeper import Keeper

        async with self.oauth() as oauth:
            keeper = Keeper(self.vault, lambda name: self.registry.get(name).provider, oauth, self.now)
            try:
                yield keeper
            finally:
                await _close(keeper, unseen, self.notices)


async def _close(keeper: Keeper, unseen: bool, notices: Notices) -> None:
    """End what is under way in good order, and say what is lost with it all the same."""
    import asyncio  # was imported by whoever has an event loop

    closing = asyncio.create_task(keeper.aclose())
    try:
        done, _ = await asyncio.wait({closing}, timeout=SILENT_SECONDS)
        if not done:
            notices.note("waiting for a refresh to be finished: it may hold the only copy of a login")
        await closing
    finally:
        closing.cancel()
        for loss in (*keeper.losses(), *(keeper.refusals() if unseen else ())):
            notices.warning(loss.message, loss.hint)
