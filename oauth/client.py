"""The endpoints of a provider over an injected HTTP client; every failure of the network is mapped here."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from oauth.answer import read_object
from oauth.errors import ProviderUnavailable
from oauth.health import Probed
from oauth.patience import EXCHANGE_PATIENCE, patience
from oauth.protocol import (
    REDIRECT_URI,
    FormRequest,
    TokenKind,
    check_revoke_answer,
    code_request,
    parse_token_answer,
    refresh_request,
    revoke_request,
)
from oauth.provider import OAuth2, Provider
from oauth.salvage import is_whole, overhearing, tokens_in
from vault.model import ClientRegistration, OAuthTokens

MAX_ANSWER: Final = 1024 * 1024
"""Bytes of an answer that are read. A token answer has about 300; with Discord's scope `bot` it has a whole
guild, whose 250 roles alone come to 100,000."""

CONNECT_TIMEOUT: Final = 10.0
"""Seconds for TCP, and as many for TLS: nothing was sent yet, so that nothing can be lost."""

TIMEOUT: Final = httpx.Timeout(15.0, connect=CONNECT_TIMEOUT)
"""Seconds without progress, where no tokens are at stake."""

TOTAL_TIMEOUT: Final = 30.0
"""Seconds for the whole of that, against an endpoint that sends a byte at a time."""

LAST_BYTES: Final = 1.0
"""Seconds that are waited for the end of an answer once it is whole, whatever length was announced."""

_EXCHANGE: Final = httpx.Timeout(None, connect=CONNECT_TIMEOUT, pool=CONNECT_TIMEOUT)

MAX_ACCOUNT: Final = 80
"""Characters of an account name that are kept; it is shown and trusted for nothing."""

_FORM: Final = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes = field(repr=False)
    retry_after: float | None = None
    challenge: str = ""


class OAuthClient:
    """Talks to token, revocation and user-info endpoints.

    `now` gives seconds since the epoch. Methods raise the errors of `oauth.errors`, whose messages hold
    neither tokens nor bodies.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        now: Callable[[], float],
        *,
        total_timeout: float = TOTAL_TIMEOUT,
        exchange_patience: float = EXCHANGE_PATIENCE,
    ) -> None:
        self._http = http
        self._now = now
        self._total_timeout = total_timeout
        self._exchange_patience = exchange_patience

    async def exchange_code(
        self,
        auth: OAuth2,
        client: ClientRegistration,
        code: SecretStr,
        *,
        scopes: Sequence[str],
        redirect_uri: str = REDIRECT_URI,
        verifier: str | None = None,
    ) -> OAuthTokens:
        """The tokens of a code; `scopes` are those asked for, kept where the answer names none."""
        request = code_request(auth, client, code, redirect_uri=redirect_uri, verifier=verifier)
        answer = await self._exchange(auth, request)
        parsed = parse_token_answer(answer.status, answer.body, self._now(), answer.retry_after)
        return parsed.as_tokens(scopes)

    async def refresh(self, auth: OAuth2, client: ClientRegistration, tokens: OAuthTokens) -> OAuthTokens:
        """The tokens that replace `tokens`, which the provider may have killed by now.

        Raises: ValueError where there is no refresh token.
        """
        if tokens.refresh_token is None:
            raise ValueError("there is no refresh token")
        answer = await self._exchange(auth, refresh_request(auth, client, tokens.refresh_token))
        parsed = parse_token_answer(answer.status, answer.body, self._now(), answer.retry_after)
        return parsed.as_tokens(tokens.scopes, tokens.refresh_token)

    async def revoke(
        self, auth: OAuth2, client: ClientRegistration, token: SecretStr, kind: TokenKind
    ) -> None:
        """Revoke a token (RFC 7009).

        Raises: ValueError where the provider has no revocation endpoint.
        """
        answer = await self._post(auth, revoke_request(auth, client, token, kind))
        check_revoke_answer(answer.status, answer.body)

    async def fetch_account(self, auth: OAuth2, access_token: SecretStr) -> str | None:
        """How the provider names the account; None where it cannot be asked, or does not say."""
        if auth.userinfo_url is None or auth.account_field is None:
            return None
        bearer = f"Bearer {access_token.get_secret_value()}"
        headers = {"Authorization": bearer, "User-Agent": auth.user_agent}
        answer = await self._send("GET", auth.userinfo_url, headers, b"")
        if answer.status != 200:
            raise ProviderUnavailable(
                f"the provider did not name the account (status {answer.status})", "try again later"
            )
        name = (read_object(answer.body) or {}).get(auth.account_field)
        return name[:MAX_ACCOUNT] if isinstance(name, str) and name.isprintable() and name else None

    async def probe(self, provider: Provider, url: str, value: SecretStr) -> Probed:
        """Ask an API with a credential in its slot, to learn whether it still knows it."""
        slot, secret = provider.proxy, value.get_secret_value()
        headers = {"User-Agent": provider.auth.user_agent}
        headers[slot.header] = f"{slot.scheme} {secret}" if slot.scheme else secret
        answer = await self._send("GET", url, headers, b"")
        return Probed(answer.status, answer.body, answer.challenge)

    async def _post(self, auth: OAuth2, request: FormRequest) -> _Answer:
        return await self._send("POST", request.url, _headers(auth, request), request.body)

    async def _exchange(self, auth: OAuth2, request: FormRequest) -> _Answer:
        """As `_post`, where the answer may be the only copy of a login: nothing of it is given up."""
        # What is left of an answer on a connection would be taken for the next one.
        headers = {"Connection": "close", **_headers(auth, request)}
        limit = patience(self._exchange_patience)
        with overhearing() as heard:
            try:
                answer = await self._send("POST", request.url, headers, request.body, _EXCHANGE, limit)
            except ProviderUnavailable:
                if (saved := tokens_in(heard)) is None:
                    raise
                return _Answer(*saved)
            if not is_whole(answer.body) and (saved := tokens_in(heard)) is not None:
                return _Answer(*saved)
            return answer

    async def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        timeout: httpx.Timeout = TIMEOUT,  # noqa: ASYNC109  (of single steps)
        limit: AbstractAsyncContextManager[object] | None = None,
    ) -> _Answer:
        # Uncompressed, so that the limit below bounds what is held in memory.
        asked = {"Accept": "application/json", "Accept-Encoding": "identity", **headers}
        with _mapped_errors(urlsplit(url).hostname or "the provider"):
            async with (
                limit or asyncio.timeout(self._total_timeout),
                self._http.stream(
                    method, url, headers=asked, content=body, timeout=timeout, follow_redirects=False
                ) as response,
            ):
                retry_after = _seconds(response.headers.get("Retry-After", ""), self._now())
                challenge = response.headers.get("WWW-Authenticate", "")
                return _Answer(response.status_code, await _read(response), retry_after, challenge)


def _headers(auth: OAuth2, request: FormRequest) -> dict[str, str]:
    return {"Content-Type": _FORM, "User-Agent": auth.user_agent, **dict(request.headers)}


async def _read(response: httpx.Response) -> bytes:
    held, loop = bytearray(), asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as rest:
            async for chunk in response.aiter_bytes():
                held += chunk
                if len(held) > MAX_ANSWER:
                    raise ProviderUnavailable("the provider's answer is too large", "try again later")
                if is_whole(held):
                    rest.reschedule(loop.time() + LAST_BYTES)
    except (httpx.HTTPError, TimeoutError):
        # A length that was announced wrongly, or a connection that broke where nothing was missing.
        if not is_whole(held):
            raise
    return bytes(held)


def _seconds(retry_after: str, now: float) -> float | None:
    """Seconds from a Retry-After header: a number of them, or a date (RFC 9110 section 10.2.3)."""
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", retry_after):
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - now)
    except (ValueError, OverflowError):
        return None


@contextmanager
def _mapped_errors(host: str) -> Iterator[None]:
    """Map what httpx raises.

    `from None`: its exceptions hold the request, and some of their messages quote header values.
    """
    try:
        yield
    except (httpx.TimeoutException, TimeoutError):
        raise ProviderUnavailable(f"{host} did not answer in time", "try again later", again=0.0) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        if _is_untrusted(error):
            raise ProviderUnavailable(
                f"the certificate of {host} could not be verified",
                "name the file of your private certificate authority in SSL_CERT_FILE",
            ) from None
        if isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError) and not isinstance(
            error, httpx.ConnectError
        ):
            raise ProviderUnavailable(
                f"{host} broke off the connection", "try again later", again=0.0
            ) from None
        raise ProviderUnavailable(
            f"could not reach {host}", "check the network connection", again=0.0
        ) from None


def _is_untrusted(error: BaseException) -> bool:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
