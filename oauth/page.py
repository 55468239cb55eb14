"""The loopback page of a login: what its routes do, and what they hand to the flow.

A route never decides how a login ends. It hands the flow what the browser brought, waits, and shows
what the flow made of it, so that the page tells the truth.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from pydantic import SecretStr

from oauth.errors import OAuthError
from oauth.page_html import MAX_VALUE, client_form, connected, key_form, notice
from oauth.page_http import Page, Redirect, Request, Response
from oauth.protocol import CALLBACK_PATH, same_state
from oauth.provider import OAuth2, Provider, StaticKey
from vault.errors import VaultError
from vault.model import ApiKey, ClientRegistration, Connection, OAuthTokens

_VALUE: Final = re.compile(rf"[!-~]{{1,{MAX_VALUE}}}")
_ERROR_CODE: Final = re.compile(r"[a-z_]{1,40}")
_STALE: Final = "the form had expired or was not from this login; nothing was saved, so send it once more"
_MALFORMED: Final = "has a space or a character that cannot be part of it; copy it again"


class Brought[T]:
    """One thing a login waits for, taken once; the request that brought it waits for what came of it.

    As a context manager it tells that request how the block ended, unless `show` was called.
    """

    def __init__(self, command: str) -> None:
        self._command = command
        self._value: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._shown: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    @property
    def taken(self) -> bool:
        """Whether it was brought already, or the login has failed."""
        return self._value.done()

    async def wait(self, seconds: float) -> T:
        """What was brought. Raises: TimeoutError, or what `fail` was given."""
        return await asyncio.wait_for(self._value, seconds)

    async def bring(self, value: T) -> Response:
        """Hand over `value` and wait for the page to show."""
        self._value.set_result(value)
        return await self._shown

    def fail(self, error: OAuthError | VaultError) -> Response:
        """End the login with `error`, raised in `wait`."""
        self._value.set_exception(error)
        return _failure(error)

    def show(self, connection: Connection, provider: Provider) -> None:
        """The login succeeded."""
        match connection.credential:
            case OAuthTokens(scopes=scopes):
                pass
            case ApiKey():
                scopes = ()
        self._shown.set_result(Page(connected(provider, connection.account, scopes)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._value.cancel()
        if self._shown.done():
            return
        if isinstance(error, OAuthError | VaultError):
            self._shown.set_result(_failure(error))
        else:
            message = "the login was interrupted in the terminal before it was complete"
            page = notice("Not connected", message, f"run '{self._command}' again", good=False)
            self._shown.set_result(Page(page, 410))


@dataclass(frozen=True, slots=True)
class Code:
    """The provider called back with an authorization code for this client."""

    client: ClientRegistration
    value: SecretStr


@dataclass(frozen=True, slots=True)
class Denied:
    """The provider called back without a code (RFC 6749 section 4.1.2.1)."""

    error: str
    """The provider's error code; `no_code` where it gave none, `unknown` where it is no such code."""


class CodeRoutes:
    """The routes of an OAuth login: the form where no client is stored, and the callback.

    `authorize` gives the authorization URL of a client; `on_client` stores a submitted one. The form can
    be submitted again until the provider has called back, because only the provider's page tells a
    wrong client id.
    """

    def __init__(
        self,
        *,
        provider: Provider,
        auth: OAuth2,
        redirect_uri: str,
        client: ClientRegistration | None,
        authorize: Callable[[ClientRegistration], str],
        on_client: Callable[[ClientRegistration], None],
        state: str,
        guard: str,
        callback: Brought[Code | Denied],
        warn: Callable[[str], None],
    ) -> None:
        self.client = client
        self._provider = provider
        self._auth = auth
        self._redirect_uri = redirect_uri
        self._known = client
        self._authorize = authorize
        self._on_client = on_client
        self._state = state
        self._guard = guard
        self._callback = callback
        self._warn = warn
        self._warned = False

    async def answer(self, request: Request) -> Response:
        """Answer one request that passed the server's own checks."""
        if self._callback.taken:
            return _gone()
        match request.method, request.path:
            case "GET", "/":
                return Redirect(self._authorize(self._known)) if self._known else self._form()
            case "POST", "/client" if self._known is None:
                return self._submitted(request)
            case "GET", path if path == CALLBACK_PATH:
                return await self._called_back(request)
            case _:
                return _elsewhere(request, {"/", "/client", CALLBACK_PATH})

    def _form(self, problem: str = "", status: int = 400) -> Response:
        html = client_form(self._provider, self._auth, self._redirect_uri, self._guard, problem)
        return Page(html, status if problem else 200, form=True)

    def _submitted(self, request: Request) -> Response:
        if not same_state(self._guard, request.fields.get("guard", "")):
            return self._form(_STALE, 403)
        client_id = request.fields.get("client_id", "").strip()
        secret = request.fields.get("client_secret", "").strip()
        if not _VALUE.fullmatch(client_id):
            return self._form(f"the client ID is missing or {_MALFORMED}")
        if self._auth.client_auth == "none":
            client = ClientRegistration(client_id=client_id)
        elif not _VALUE.fullmatch(secret):
            return self._form(f"the client secret is missing or {_MALFORMED}")
        else:
            client = ClientRegistration(client_id=client_id, client_secret=SecretStr(secret))
        try:
            self._on_client(client)
        except (OAuthError, VaultError) as error:
            return self._callback.fail(error)
        self.client = client
        return Redirect(self._authorize(client))

    async def _called_back(self, request: Request) -> Response:
        # A wrong state leaves the true one alone: otherwise any web page could end a login by
        # navigating here. It cannot be guessed, so trying again gains nothing.
        if self.client is None or not same_state(self._state, request.fields.get("state", "")):
            if not self._warned:  # once: another page could fill the terminal
                self._warn("refused a callback that does not belong to this login; still waiting")
            self._warned = True
            message = "this answer does not belong to the login that is waiting, so it was not used"
            hint = "use the page that was opened last, or start again from the terminal"
            return Page(notice("Not accepted", message, hint, good=False), 400)
        if error := request.fields.get("error"):
            return await self._callback.bring(Denied(error if _ERROR_CODE.fullmatch(error) else "unknown"))
        if code := request.fields.get("code"):
            return await self._callback.bring(Code(self.client, SecretStr(code)))
        return await self._callback.bring(Denied("no_code"))


class KeyRoutes:
    """The routes of a login with a static key: one form."""

    def __init__(self, *, provider: Provider, auth: StaticKey, guard: str, key: Brought[SecretStr]) -> None:
        self._provider = provider
        self._auth = auth
        self._guard = guard
        self._key = key

    async def answer(self, request: Request) -> Response:
        """Answer one request that passed the server's own checks."""
        if self._key.taken:
            return _gone()
        match request.method, request.path:
            case "GET", "/":
                return self._form()
            case "POST", "/key":
                return await self._submitted(request)
            case _:
                return _elsewhere(request, {"/", "/key"})

    def _form(self, problem: str = "", status: int = 400) -> Response:
        html = key_form(self._provider, self._auth, self._guard, problem)
        return Page(html, status if problem else 200, form=True)

    async def _submitted(self, request: Request) -> Response:
        if not same_state(self._guard, request.fields.get("guard", "")):
            return self._form(_STALE, 403)
        key = request.fields.get("key", "").strip()
        if not _VALUE.fullmatch(key):
            return self._form(f"the key is missing or {_MALFORMED}")
        return await self._key.bring(SecretStr(key))


def _failure(error: OAuthError | VaultError) -> Response:
    return Page(notice("Not connected", str(error), error.hint, good=False), 400)


def _gone() -> Response:
    message = "this login has had its answer, and it is used once"
    return Page(notice("No longer valid", message, "go back to the terminal", good=False), 410)


def _elsewhere(request: Request, paths: set[str]) -> Response:
    if request.path in paths:
        return Page(notice("Not available", "this address takes another method", "", good=False), 405)
    return Page(notice("Not available", "there is nothing at this address", "", good=False), 404)
