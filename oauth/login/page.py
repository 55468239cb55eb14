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
from oauth.login.page_door import Door
from oauth.login.page_html import MAX_VALUE, client_form, connected, key_form, notice
from oauth.login.page_http import Page, Redirect, Request, Response
from oauth.protocol import CALLBACK_PATH, same_state
from oauth.provider import OAuth2, Provider, StaticKey
from vault.errors import VaultError
from vault.model import ApiKey, ClientRegistration, Connection, OAuthTokens

_VALUE: Final = re.compile(rf"[!-~]{{1,{MAX_VALUE}}}")
_ERROR_CODE: Final = re.compile(r"[a-z_]{1,40}")
_MALFORMED: Final = "has a space or a character that cannot be part of it; copy it again"


class Brought[T]:
    """One thing a login waits for, taken once; the request that brought it waits for what came of it.

    As a context manager it tells that request how the block ended, unless `show` was called.
    """

    def __init__(self, command: str, words: Callable[[str], str] = str) -> None:
        """`words` makes of a hint what the page shows."""
        self._command = command
        self._words = words
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
        return await self.shown()

    async def shown(self) -> Response:
        """The page that says what came of it, also for who asks once more."""
        return await asyncio.shield(self._shown)  # it is not for one request alone

    def fail(self, error: OAuthError | VaultError) -> Response:
        """End the login with `error`, raised in `wait`."""
        self._value.set_exception(error)
        return _failure(error, self._words)

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
            self._shown.set_result(_failure(error, self._words))
        else:
            message = "the login was interrupted in the terminal before it was complete"
            page = notice("Not connected", message, self._words(f"run {self._command} again"), good=False)
            self._shown.set_result(Page(page, 410))


@dataclass(frozen=True, slots=True)
class Code:
    """The provider called back with an authorization code for this client."""

    client: ClientRegistration
    value: SecretStr


@dataclass(frozen=True, slots=True)
class AccessDenied:
    """The provider called back without a code (RFC 6749 section 4.1.2.1)."""

    error: str
    """The provider's error code; `no_code` where it gave none, `unknown` where it is no such code."""


class CodeRoutes:
    """The routes of an OAuth login: the form where no client is stored, and the callback.

    `authorize` gives the authorization URL of a client; `on_client` stores a submitted one. The form can
    be submitted again until the provider has called back, because only the provider's page tells a
    wrong client id. The callback's address is known, so it is taken by its state, and only from the browser
    that came in by the door: a state can be seen where that browser keeps its history.
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
        door: Door,
        callback: Brought[Code | AccessDenied],
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
        self._door = door
        self._callback = callback
        self._warn = warn
        self._warned = False

    async def answer(self, request: Request) -> Response:
        """Answer one request that passed the server's own checks."""
        if request.path == CALLBACK_PATH:
            return await self._called_back(request)
        if refused := self._door.refuse(request):
            return refused
        return self._door.sealed(await self._inside(request))

    async def _inside(self, request: Request) -> Response:
        if self._callback.taken:
            return await self._callback.shown()
        if request.method == "POST" and self._known is None:
            return self._submitted(request)
        return Redirect(self._authorize(self._known)) if self._known else self._form()

    def _form(self, problem: str = "") -> Response:
        html = client_form(self._provider, self._auth, self._redirect_uri, problem)
        return Page(html, 400 if problem else 200, form=True)

    def _submitted(self, request: Request) -> Response:
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
        if request.method != "GET" or not same_state(self._state, request.fields.get("state", "")):
            return self._not_accepted("this answer does not belong to the login that is waiting")
        if self.client is None or not self._door.knows(request):
            return self._not_accepted("this answer came in another browser than the login began in")
        if self._callback.taken:  # a page that is loaded again
            return await self._callback.shown()
        if error := request.fields.get("error"):
            return await self._callback.bring(
                AccessDenied(error if _ERROR_CODE.fullmatch(error) else "unknown")
            )
        if code := request.fields.get("code"):
            return await self._callback.bring(Code(self.client, SecretStr(code)))
        return await self._callback.bring(AccessDenied("no_code"))

    def _not_accepted(self, why: str) -> Response:
        if not self._warned:  # once: another page could fill the terminal
            self._warn("refused a callback that does not belong to this login; still waiting")
        self._warned = True
        hint = "open the address that the terminal shows, in one browser, or start again from there"
        return Page(notice("Not accepted", f"{why}, so it was not used", hint, good=False), 400)


class KeyRoutes:
    """The routes of a login with a static key: one form."""

    def __init__(self, *, provider: Provider, auth: StaticKey, door: Door, key: Brought[SecretStr]) -> None:
        self._provider = provider
        self._auth = auth
        self._door = door
        self._key = key

    async def answer(self, request: Request) -> Response:
        """Answer one request that passed the server's own checks."""
        if refused := self._door.refuse(request):
            return refused
        return self._door.sealed(await self._inside(request))

    async def _inside(self, request: Request) -> Response:
        if self._key.taken:
            return await self._key.shown()
        return await self._submitted(request) if request.method == "POST" else self._form()

    def _form(self, problem: str = "") -> Response:
        html = key_form(self._provider, self._auth, problem)
        return Page(html, 400 if problem else 200, form=True)

    async def _submitted(self, request: Request) -> Response:
        key = request.fields.get("key", "").strip()
        if not _VALUE.fullmatch(key):
            return self._form(f"the key is missing or {_MALFORMED}")
        return await self._key.bring(SecretStr(key))


def _failure(error: OAuthError | VaultError, words: Callable[[str], str]) -> Response:
    return Page(notice("Not connected", words(str(error)), words(error.hint), good=False), 400)
