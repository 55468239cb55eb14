"""What `authsome login` does once its options are read."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, assert_never

from pydantic import SecretStr

from launcher.actions.browser import opening
from launcher.child.terminal import ask_secret, is_terminal
from launcher.errors import UsageProblem
from launcher.notices import Notices
from launcher.setup.app import App
from launcher.setup.consent import require_confirmed
from oauth.errors import ClientRefused
from oauth.login.flows import LoginResult, browser_login, key_login
from oauth.outcome import log_in
from oauth.protocol import parse_scopes, scope_warnings
from oauth.provider import OAuth2, Provider, StaticKey
from vault.errors import Conflict, LockTimeout, RecordDamaged
from vault.model import ApiKey, ClientRegistration, Connection, ConnectionKey, OAuthTokens

LOGIN_LOCK_SECONDS: Final = 5.0
"""How long a new login waits for another process that is busy with the connection."""

_ASKED: Final = {"<set client_secret_file>": "Client secret", "<set key_file>": "API key"}

MAX_SECRET: Final = 16384
"""Characters of a client secret or key; more is a wrong file."""


@dataclass(frozen=True, slots=True)
class LoginInput:
    """The options of `login`, as typed."""

    key: ConnectionKey
    scopes: str | None = None
    browser: bool = True
    client_id: str | None = None
    client_secret_file: str | None = None
    key_file: str | None = None
    new_application: bool = False
    timeout: float = 600.0
    """Seconds to wait for the browser."""


def login(app: App, given: LoginInput) -> None:
    """Log in and store the connection. Raises: UsageProblem, and the errors of oauth and vault."""
    provider = app.registry.get(given.key.provider).provider
    auth = provider.auth
    match auth:
        case OAuth2():
            _refuse(given.key, {"<set key_file>": given.key_file})
            client, scopes = _client(auth, given), _scopes(auth, given.scopes, app.notices)
            # Opened before anybody goes through a login: a vault that is refused must not waste it.
            _require_confirmed(app, given.key, provider)
            stored = _stored_client(app, given.key, provider, auth)
            client = client or (None if given.new_application else stored)
            with opening(app.settings.home, wanted=given.browser) as open_browser:
                asyncio.run(_browser_login(app, given, auth, client, scopes, open_browser, keep=stored))
        case StaticKey():
            names = {"<set client_id>": given.client_id, "<set client_secret_file>": given.client_secret_file}
            names["<set new_application>"] = "" if given.new_application else None
            _refuse(given.key, {**names, "<set scopes>": given.scopes})
            value = _secret(given.key_file, "<set key_file>") if given.key_file else None
            _require_confirmed(app, given.key, provider)
            with opening(app.settings.home, wanted=given.browser) as open_browser:
                asyncio.run(_key_login(app, given, provider, value, open_browser))
        case _:
            assert_never(auth)


def _require_confirmed(app: App, key: ConnectionKey, provider: Provider) -> None:
    """A login renews what was agreed to, and widens nothing by the way. Raises: NotConfirmed."""
    with suppress(RecordDamaged):
        if current := app.vault.connection(key):
            require_confirmed(key, current.value, provider)


def _stored_client(
    app: App, key: ConnectionKey, provider: Provider, auth: OAuth2
) -> ClientRegistration | None:
    """The registration of the last login, unless it was refused, or the definition would now send its secret
    elsewhere."""
    stored = app.vault.client(key.profile, key.provider)
    if stored is None:
        return None
    if stored.value.refused:
        app.notices.warning(
            f"{provider.display_name} refused the stored application {stored.value.client_id}",
            "enter its client ID and secret anew",
        )
        return None
    if stored.value.token_url == auth.token_url:
        return stored.value
    app.notices.warning(
        f"the stored application is for {stored.value.token_url}, and not for {auth.token_url}",
        "enter the one that belongs there",
    )
    return None


def store_connection(app: App, key: ConnectionKey, connection: Connection) -> None:
    """Store a new login over whatever was there, also over a record that no longer opens.

    A refresh of what was there may take minutes, and finds that the login came first; the login is spent, and
    would be lost if it were not stored.
    """
    with ExitStack() as held:
        with suppress(LockTimeout):
            held.enter_context(app.vault.lock(key, LOGIN_LOCK_SECONDS))
        while True:
            try:
                current = app.vault.connection(key)
            except RecordDamaged:
                app.vault.delete_connection(key)
                current = None
            with suppress(Conflict):
                app.vault.put_connection(key, connection, expected=current.generation if current else None)
                return


def store_client(app: App, key: ConnectionKey, client: ClientRegistration) -> None:
    """Store a client registration; where two logins do so at once, the last one counts."""
    while True:
        current = app.vault.client(key.profile, key.provider)
        try:
            app.vault.put_client(
                key.profile, key.provider, client, expected=current.generation if current else None
            )
        except Conflict:
            continue
        return


@contextmanager
def _refusal_kept(
    app: App, key: ConnectionKey, used: Callable[[], ClientRegistration | None]
) -> Iterator[None]:
    """Where the provider refuses the registration that is stored, remember that: it would lock the form."""
    try:
        yield
    except ClientRefused:
        registration, stored = used(), app.vault.client(key.profile, key.provider)
        if registration and stored and _same(registration, stored.value):
            with suppress(Conflict):  # replaced meanwhile
                refused = stored.value.model_copy(update={"refused": True})
                app.vault.put_client(key.profile, key.provider, refused, expected=stored.generation)
        raise


def _same(one: ClientRegistration, other: ClientRegistration) -> bool:
    return (one.client_id, one.client_secret) == (other.client_id, other.client_secret)


async def _browser_login(
    app: App,
    given: LoginInput,
    auth: OAuth2,
    client: ClientRegistration | None,
    scopes: Sequence[str],
    open_browser: Callable[[str], bool],
    *,
    keep: ClientRegistration | None,
) -> None:
    """`keep` is what is stored and good: what is entered replaces it only when it is accepted."""
    provider = app.registry.get(given.key.provider).provider
    used = client

    def accepted(registration: ClientRegistration) -> None:
        store_client(app, given.key, registration.model_copy(update={"token_url": auth.token_url}))

    def entered(registration: ClientRegistration) -> None:
        nonlocal used
        used = registration
        if keep is None:
            accepted(registration)

    def store(result: LoginResult) -> None:
        accepted(result.client)
        _finish(app, given.key, provider, result.connection)

    async with app.oauth() as oauth:
        with _refusal_kept(app, given.key, lambda: used):
            await browser_login(
                provider,
                client,
                scopes,
                oauth=oauth,
                now=app.now,
                randbytes=os.urandom,
                open_browser=open_browser,
                announce=app.notices.note,
                on_client=entered,
                on_login=store,
                command=log_in(given.key, *(["new_application"] if given.new_application else [])),
                words=app.notices.words,
                timeout=given.timeout,
            )


async def _key_login(
    app: App,
    given: LoginInput,
    provider: Provider,
    value: SecretStr | None,
    open_browser: Callable[[str], bool],
) -> None:
    await key_login(
        provider,
        value,
        now=app.now,
        randbytes=os.urandom,
        open_browser=open_browser,
        announce=app.notices.note,
        on_login=lambda connection: _finish(app, given.key, provider, connection),
        command=log_in(given.key),
        words=app.notices.words,
        timeout=given.timeout,
    )


def _client(auth: OAuth2, given: LoginInput) -> ClientRegistration | None:
    if given.client_id is None and given.client_secret_file is None:
        return None
    if given.new_application:
        raise UsageProblem("<set new_application> asks for what <set client_id> gives", "give one of them")
    if given.client_id is None:
        raise UsageProblem("<set client_secret_file> is given without <set client_id>", "give both")
    if given.client_secret_file is None and auth.client_auth != "none":
        raise UsageProblem(
            "<set client_id> is given without <set client_secret_file>", "give both; '-' reads standard input"
        )
    if not given.client_id.isascii() or not given.client_id.isprintable() or not given.client_id.strip():
        raise UsageProblem("<set client_id> is not a client id", "copy it anew from the provider")
    secret = given.client_secret_file and _secret(given.client_secret_file, "<set client_secret_file>")
    return ClientRegistration(client_id=given.client_id.strip(), client_secret=secret or None)


def _secret(path: str, option: str) -> SecretStr:
    """One line from a file or standard input, typed unseen where that is a terminal."""
    place = "/dev/stdin" if path == "-" else path
    try:
        if is_terminal(place):
            text = ask_secret(f"{_ASKED[option]}: ", "give the name of a file that holds it", place)
        elif path == "-":
            text = sys.stdin.read(MAX_SECRET + 1)
        else:
            with Path(path).open(encoding="utf-8") as file:
                text = file.read(MAX_SECRET + 1)
    except (OSError, UnicodeDecodeError) as error:
        problem, hint = "not text", "give a file that holds one line with the secret"
        if isinstance(error, OSError):
            problem, hint = (error.strerror or "unreadable").lower(), "check the path"
        raise UsageProblem(f"cannot read {option} {path!r}: {problem}", hint) from None
    secret = text.strip()
    if not secret or len(text) > MAX_SECRET or not secret.isascii() or not secret.isprintable():
        raise UsageProblem(
            f"{option} {path!r} does not hold one line with a secret", "check the file's content"
        )
    return SecretStr(secret)


def _scopes(auth: OAuth2, text: str | None, notices: Notices) -> tuple[str, ...]:
    try:
        scopes = auth.scopes if text is None else parse_scopes(text)
    except ValueError as error:
        raise UsageProblem(f"<set scopes>: {error}", "give scopes separated by commas") from None
    if text is not None and not scopes:
        raise UsageProblem("<set scopes> names no scope", "give scopes separated by commas")
    for line in scope_warnings(auth, scopes):
        notices.warning(line)
    return scopes


def _refuse(key: ConnectionKey, options: dict[str, str | None]) -> None:
    """Refuse options that the provider's way of logging in has no use for: a secret must not be dropped."""
    for option, value in options.items():
        if value is not None:
            raise UsageProblem(f"{option} means nothing for {key.provider}", f"see <inspect {key.provider}>")


def _finish(app: App, key: ConnectionKey, provider: Provider, connection: Connection) -> None:
    """Store a login and say so, at once: the page stays for a moment."""
    store_connection(app, key, connection)
    app.notices.note(_success(key, provider, connection))


def _success(key: ConnectionKey, provider: Provider, connection: Connection) -> str:
    who = f" as {connection.account}" if connection.account else ""
    line = f"logged in to {provider.display_name}{who}: {key}"
    match connection.credential:
        case OAuthTokens(scopes=scopes):
            return f"{line} (scopes: {', '.join(scopes) or 'none'})"
        case ApiKey():
            return line
        case never:
            assert_never(never)
