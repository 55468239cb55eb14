"""How a login or logout goes, one function per flow. All that acts is injected.

A flow that fails raises an error of `oauth.errors` (or, from what stores, of `vault.errors`), and the
browser that was waiting is shown the same words. A cancelled flow (Ctrl-C) closes its page and leaves
nothing behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, assert_never

from pydantic import SecretStr

from oauth.client import OAuthClient
from oauth.errors import ClientRefused, GrantRefused, LoginFailed, OAuthError
from oauth.login.page import AccessDenied, Brought, Code, CodeRoutes, KeyRoutes
from oauth.login.page_door import Door
from oauth.login.page_server import LOOPBACK, listen, serving
from oauth.protocol import CALLBACK_PATH, LOGIN_PORT, RANDOM_BYTES, authorization_url, url_safe
from oauth.provider import OAuth2, Provider, StaticKey, as_oauth2
from oauth.reach import reach_of
from vault.model import ApiKey, ClientRegistration, Connection, OAuthTokens, tokens_of

LOGIN_TIMEOUT: Final = 600.0
"""Seconds that a login waits for the browser: long enough to register an application meanwhile."""


LINGER: Final = 1.0
"""Seconds that the page stays after a login, for a browser that loads it again."""

_BY_HAND: Final = "open that address by hand, on this machine; waiting"

_BROWSER_SECONDS: Final = 5.0
"""For a browser that was opened to come; some cannot read the file that sends them on, and say so."""


@dataclass(frozen=True, slots=True)
class LoginResult:
    """A new connection, and the client registration it was made with."""

    connection: Connection
    client: ClientRegistration


async def browser_login(
    provider: Provider,
    client: ClientRegistration | None,
    scopes: Sequence[str] | None = None,
    *,
    oauth: OAuthClient,
    now: Callable[[], float],
    randbytes: Callable[[int], bytes],
    open_browser: Callable[[str], bool],
    announce: Callable[[str], None],
    on_client: Callable[[ClientRegistration], None],
    on_login: Callable[[LoginResult], None],
    command: str | None = None,
    words: Callable[[str], str] = str,
    port: int = LOGIN_PORT,
    timeout: float = LOGIN_TIMEOUT,  # noqa: ASYNC109  (it covers only the wait for the browser)
    linger: float = LINGER,
) -> LoginResult:
    """Log in by the authorization-code grant over a loopback redirect (RFC 8252 section 7.3).

    Without a `client` the page asks for one, and `on_client` is called with each that is submitted,
    before the provider has judged it: after ClientRefused the caller should ask for another.
    `on_login` stores the connection; only when it has returned does the page say that it worked.
    `scopes` are the provider's where None. `open_browser` runs in a thread and says whether it opened
    one; the address is announced in any case. It is good for the first browser that opens it, and to be
    shown to nobody else. `command` is this login as hints name it, and the page shows what `words` makes of
    them. The page stays for `linger` seconds when all is done.

    Raises: LoginFailed (denied, timeout, port in use), GrantRefused, ClientRefused, RequestRefused,
        ProviderUnavailable, and what `on_client` and `on_login` raise.
    """
    auth = _oauth2(provider)
    command = command or f"<login {provider.name}>"
    with listen(port) as listener:
        origin = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        attempt = _Attempt(
            provider=provider,
            auth=auth,
            scopes=tuple(auth.scopes if scopes is None else scopes),
            redirect_uri=f"{origin}{CALLBACK_PATH}",
            state=url_safe(randbytes(RANDOM_BYTES)),
            verifier=url_safe(randbytes(RANDOM_BYTES)) if auth.pkce else None,
            command=command,
        )
        callback: Brought[Code | AccessDenied] = Brought(command, words)
        path, door = _door(randbytes, announce)
        routes = CodeRoutes(
            provider=provider,
            auth=auth,
            redirect_uri=attempt.redirect_uri,
            client=client,
            authorize=attempt.url,
            on_client=on_client,
            state=attempt.state,
            door=door,
            callback=callback,
            warn=announce,
        )
        inviting = _inviting(f"{origin}{path}", open_browser, announce, door)
        async with serving(listener, routes.answer), inviting:
            with callback:
                try:
                    brought = await callback.wait(timeout)
                except TimeoutError:
                    raise attempt.timed_out(timeout, entered=routes.client is not None) from None
                result = await attempt.complete(brought, oauth, now, announce)
                on_login(result)
                callback.show(result.connection, provider)
            await asyncio.sleep(linger)
            return result


@dataclass(frozen=True, slots=True)
class _Attempt:
    """The values of one OAuth login."""

    provider: Provider
    auth: OAuth2
    scopes: tuple[str, ...]
    redirect_uri: str
    state: str = field(repr=False)
    verifier: str | None = field(repr=False)
    command: str

    def url(self, client: ClientRegistration) -> str:
        """Where `client` is approved; holds the state."""
        return authorization_url(
            self.auth,
            client.client_id,
            scopes=self.scopes,
            state=self.state,
            redirect_uri=self.redirect_uri,
            verifier=self.verifier,
        )

    async def complete(
        self,
        brought: Code | AccessDenied,
        oauth: OAuthClient,
        now: Callable[[], float],
        announce: Callable[[str], None],
    ) -> LoginResult:
        """Turn what the provider called back with into a connection."""
        match brought:
            case AccessDenied(error):
                raise _denied(error, self.provider.display_name, self.command)
            case Code(client, value):
                tokens = await self._exchange(client, value, oauth)
                account = await _account(self.auth, tokens, oauth, announce)
                connection = _connection(self.provider, tokens, now(), self.scopes, account)
                return LoginResult(connection, client)

    async def _exchange(self, client: ClientRegistration, code: SecretStr, oauth: OAuthClient) -> OAuthTokens:
        try:
            return await oauth.exchange_code(
                self.auth,
                client,
                code,
                scopes=self.scopes,
                redirect_uri=self.redirect_uri,
                verifier=self.verifier,
            )
        except GrantRefused as error:
            advice = f"a code is good once and for a short time: {_again(self.command)} and approve at once"
            raise GrantRefused(str(error), advice) from error
        except ClientRefused as error:
            advice = (
                f"check the client ID, copy both anew from the provider, then run {_replace(self.command)}"
            )
            raise ClientRefused(str(error), advice) from error

    def timed_out(self, seconds: float, *, entered: bool) -> LoginFailed:
        """`entered`: there is a client, so the browser was sent to the provider and never came back."""
        if not entered:
            return LoginFailed(_no_answer(seconds), _again(self.command))
        return LoginFailed(
            _no_answer(seconds),
            f"if the provider showed an error, register exactly {self.redirect_uri} there as redirect URI "
            f"and check the client ID; then {_again(self.command)}, "
            f"or replace the client with {_replace(self.command)}",
        )


async def key_login(
    provider: Provider,
    value: SecretStr | None,
    *,
    now: Callable[[], float],
    randbytes: Callable[[int], bytes],
    open_browser: Callable[[str], bool],
    announce: Callable[[str], None],
    on_login: Callable[[Connection], None],
    command: str | None = None,
    words: Callable[[str], str] = str,
    port: int = LOGIN_PORT,
    timeout: float = LOGIN_TIMEOUT,  # noqa: ASYNC109  (it covers only the wait for the browser)
    linger: float = LINGER,
) -> Connection:
    """Log in with a static key: `value`, or where that is None what the user enters in the page.

    `on_login` stores the connection, before the page says that it worked.

    Raises: LoginFailed (timeout, port in use), and what `on_login` raises.
    """
    auth = _static_key(provider)
    if value is not None:
        connection = _connection(provider, ApiKey(value=value), now())
        on_login(connection)
        return connection
    command = command or f"<login {provider.name}>"
    with listen(port) as listener:
        key: Brought[SecretStr] = Brought(command, words)
        path, door = _door(randbytes, announce)
        routes = KeyRoutes(provider=provider, auth=auth, door=door, key=key)
        url = f"http://{LOOPBACK}:{listener.getsockname()[1]}{path}"
        async with serving(listener, routes.answer), _inviting(url, open_browser, announce, door):
            with key:
                try:
                    entered = await key.wait(timeout)
                except TimeoutError:
                    raise LoginFailed(_no_answer(timeout), _again(command)) from None
                connection = _connection(provider, ApiKey(value=entered), now())
                on_login(connection)
                key.show(connection, provider)
            await asyncio.sleep(linger)
            return connection


async def revoke(
    provider: Provider, connection: Connection, client: ClientRegistration | None, *, oauth: OAuthClient
) -> bool:
    """Revoke a connection's credential at the provider (RFC 7009), the refresh token where there is one.

    False where that is not possible: a static key, no revocation endpoint, no stored client.

    Raises: the errors of `oauth.errors` where the provider did not confirm; the token may still live.
    """
    auth, tokens = as_oauth2(provider.auth), tokens_of(connection.credential)
    if auth is None or tokens is None or auth.revocation_url is None or client is None:
        return False
    if tokens.refresh_token is not None:
        await oauth.revoke(auth, client, tokens.refresh_token, "refresh_token")
    else:
        await oauth.revoke(auth, client, tokens.access_token, "access_token")
    return True


def _oauth2(provider: Provider) -> OAuth2:
    auth = as_oauth2(provider.auth)
    if auth is None:
        raise ValueError("the provider does not use OAuth")
    return auth


def _static_key(provider: Provider) -> StaticKey:
    match provider.auth:
        case StaticKey() as auth:
            return auth
        case OAuth2():
            raise ValueError("the provider has no static key")
        case never:
            assert_never(never)


def _door(randbytes: Callable[[int], bytes], warn: Callable[[str], None]) -> tuple[str, Door]:
    """The path of a one-time address, and the door there."""
    path = f"/{url_safe(randbytes(RANDOM_BYTES))}"
    return path, Door(path, url_safe(randbytes(RANDOM_BYTES)), warn)


@asynccontextmanager
async def _inviting(
    url: str, open_browser: Callable[[str], bool], announce: Callable[[str], None], door: Door
) -> AsyncIterator[None]:
    """Ask for the browser while the page is served already: a text browser returns only when it is left."""
    announce(f"log in at {url}")

    async def opened() -> None:
        if not await asyncio.to_thread(open_browser, url):
            announce(f"no browser was opened: {_BY_HAND}")
            return
        await asyncio.sleep(_BROWSER_SECONDS)
        if not door.opened:
            announce(f"no browser has come yet: {_BY_HAND}")

    opening = asyncio.create_task(opened())
    try:
        yield
    finally:
        opening.cancel()
        # Not `await opening`: its cancellation could not be told from one of this flow, and hide that.
        await asyncio.wait([opening])
        if not opening.cancelled():
            opening.result()


async def _account(
    auth: OAuth2, tokens: OAuthTokens, oauth: OAuthClient, announce: Callable[[str], None]
) -> str | None:
    """The account's name; a login without it is as good."""
    try:
        return await oauth.fetch_account(auth, tokens.access_token)
    except OAuthError as error:
        announce(f"the account's name could not be read: {error}")
        return None


def _connection(
    provider: Provider,
    credential: OAuthTokens | ApiKey,
    at: float,
    requested: tuple[str, ...] = (),
    account: str | None = None,
) -> Connection:
    return Connection(
        credential=credential,
        reach=reach_of(provider),
        requested_scopes=requested,
        account=account,
        created_at=at,
        updated_at=at,
    )


def _denied(error: str, name: str, command: str) -> LoginFailed:
    """What an error code on the callback means (RFC 6749 section 4.1.2.1)."""
    match error:
        case "access_denied":
            return LoginFailed(
                f"access to {name} was denied in the browser",
                f"run {command} again and approve, or ask for fewer scopes with <set scopes>",
            )
        case "invalid_scope":
            return LoginFailed(
                f"{name} refused a scope that was asked for",
                f"choose others with {_with(command, 'scopes=a,b')}; some need the provider's approval",
            )
        case "server_error" | "temporarily_unavailable":
            return LoginFailed(f"{name} cannot log in anyone now: {error}", f"later, {_again(command)}")
        case _:
            return LoginFailed(
                f"{name} called back with an error and no code: {error}",
                f"check the application's settings at the provider, then {_again(command)}",
            )


def _no_answer(seconds: float) -> str:
    return f"no answer came from the browser in {seconds:g} s"


def _again(command: str) -> str:
    return f"run {command} again"


def _replace(command: str) -> str:
    return command if "new_application" in command else _with(command, "new_application")


def _with(command: str, given: str) -> str:
    return f"{command.removesuffix('>')} {given}>"
