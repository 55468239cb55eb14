"""The messages of RFC 6749, 7636 and 7009, built and taken apart.

Pure: the time and every random byte are arguments. What a provider says about an error is shown to the
user only as a known code and a short description without control characters and without anything that
looks like a token.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, assert_never
from urllib.parse import quote, quote_plus, urlencode, urlsplit, urlunsplit

from pydantic import BaseModel, Field, SecretStr, ValidationError

from oauth.answer import member, read_object, read_tokens, token
from oauth.errors import ClientRefused, GrantRefused, OAuthError, ProviderUnavailable, RequestRefused
from oauth.provider import SCOPE, OAuth2
from vault.model import ClientRegistration, OAuthTokens

LOGIN_PORT: Final = 7998
"""The loopback port of the login page; users register it with their provider, so it cannot change."""

CALLBACK_PATH: Final = "/auth/callback/oauth"

REDIRECT_URI: Final = f"http://127.0.0.1:{LOGIN_PORT}{CALLBACK_PATH}"
"""Compared by providers character for character (RFC 6749 section 3.1.2.3)."""

RANDOM_BYTES: Final = 32
"""Bytes of a state and of a PKCE verifier: 256 bits (RFC 7636 section 7.1)."""

MAX_LIFETIME: Final = 10 * 365 * 86400.0
"""Seconds. A longer lifetime is cut to this, so that no arithmetic on times overflows."""

TokenKind = Literal["access_token", "refresh_token"]

_ERROR_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_DESCRIPTION_LENGTH: Final = 200
_WORD_LENGTH: Final = 16
"""Characters; a longer word of a description that is not plain letters may be a token, and is hidden."""


@dataclass(frozen=True, slots=True)
class FormRequest:
    """A POST of a form to a token or revocation endpoint; form and headers hold secrets."""

    url: str
    form: tuple[tuple[str, str], ...] = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def body(self) -> bytes:
        """The form as sent (application/x-www-form-urlencoded); holds secrets."""
        return urlencode(self.form).encode("ascii")


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """What a token endpoint said (RFC 6749 section 5.1); None where it said nothing."""

    access_token: SecretStr
    refresh_token: SecretStr | None
    scopes: tuple[str, ...] | None
    issued_at: float
    expires_at: float | None

    def as_tokens(self, scopes: Sequence[str], refresh_token: SecretStr | None = None) -> OAuthTokens:
        """The token set to keep.

        `scopes` are those that were asked for: they were granted where the answer is silent (RFC 6749
        section 5.1). `refresh_token` is the one in use, which stays where no new one came (section 6).
        """
        return OAuthTokens(
            access_token=self.access_token,
            refresh_token=self.refresh_token or refresh_token,
            scopes=tuple(scopes) if self.scopes is None else self.scopes,
            issued_at=self.issued_at,
            expires_at=self.expires_at,
        )


def url_safe(random: bytes) -> str:
    """A state or PKCE verifier from random bytes; 32 of them give 43 characters (RFC 7636 section 4.1)."""
    if not 32 <= len(random) <= 96:
        raise ValueError("a PKCE verifier has 43 to 128 characters, so 32 to 96 bytes")
    return _base64url(random)


def pkce_challenge(verifier: str) -> str:
    """The S256 challenge of a verifier (RFC 7636 section 4.2)."""
    return _base64url(hashlib.sha256(verifier.encode("ascii")).digest())


def same_state(expected: str, received: str) -> bool:
    """Whether the callback carries the state of this login; takes the same time for every wrong one."""
    return hmac.compare_digest(expected.encode(), received.encode("utf-8", "surrogatepass"))


def parse_scopes(text: str) -> tuple[str, ...]:
    """The scopes of `--scopes "a,b c"`, in order and each once.

    Raises: ValueError where one is no scope (RFC 6749 section 3.3).
    """
    scopes = tuple(dict.fromkeys(word for word in re.split(r"[\s,]+", text) if word))
    for scope in scopes:
        if not SCOPE.fullmatch(scope):
            raise ValueError(f"{scope!r} is not a scope")
    return scopes


def scope_warnings(auth: OAuth2, scopes: Iterable[str]) -> list[str]:
    """What the user should know before asking for these scopes, one sentence each."""
    warnings = []
    for scope in scopes:
        if scope in auth.approval_scopes:
            warnings.append(f"the scope '{scope}' is granted only to applications the provider has approved")
        elif auth.known_scopes and scope not in auth.known_scopes:
            warnings.append(f"the scope '{scope}' is not one the provider documents")
    return warnings


def authorization_url(
    auth: OAuth2,
    client_id: str,
    *,
    scopes: Sequence[str],
    state: str,
    redirect_uri: str = REDIRECT_URI,
    verifier: str | None = None,
) -> str:
    """Where the user's browser goes to approve (RFC 6749 section 4.1.1).

    With a verifier, its S256 challenge goes along (RFC 7636 section 4.3).
    """
    query = {"response_type": "code", "client_id": client_id, "redirect_uri": redirect_uri, "state": state}
    if scopes:
        query["scope"] = " ".join(scopes)
    if verifier is not None:
        query |= {"code_challenge": pkce_challenge(verifier), "code_challenge_method": "S256"}
    parts = urlsplit(auth.authorization_url)
    joined = "&".join(filter(None, (parts.query, urlencode(query, quote_via=quote))))
    return urlunsplit(parts._replace(query=joined))


def code_request(
    auth: OAuth2,
    client: ClientRegistration,
    code: SecretStr,
    *,
    redirect_uri: str = REDIRECT_URI,
    verifier: str | None = None,
) -> FormRequest:
    """Exchange a code for tokens (RFC 6749 section 4.1.3, RFC 7636 section 4.5)."""
    form = [("grant_type", "authorization_code"), ("code", code.get_secret_value())]
    form.append(("redirect_uri", redirect_uri))
    if verifier is not None:
        form.append(("code_verifier", verifier))
    return _authenticated(auth, client, auth.token_url, form)


def refresh_request(auth: OAuth2, client: ClientRegistration, refresh_token: SecretStr) -> FormRequest:
    """Exchange a refresh token for new tokens (RFC 6749 section 6)."""
    form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token.get_secret_value())]
    return _authenticated(auth, client, auth.token_url, form)


def revoke_request(
    auth: OAuth2, client: ClientRegistration, token: SecretStr, kind: TokenKind
) -> FormRequest:
    """Revoke a token (RFC 7009 section 2.1).

    Raises: ValueError where the provider has no revocation endpoint.
    """
    if auth.revocation_url is None:
        raise ValueError("the provider has no revocation endpoint")
    form = [("token", token.get_secret_value()), ("token_type_hint", kind)]
    return _authenticated(auth, client, auth.revocation_url, form)


def parse_token_answer(status: int, body: bytes, now: float, retry_after: float | None = None) -> TokenAnswer:
    """Take a token endpoint's answer apart; lenient in all that does not decide where a token goes.

    A refresh has already killed the earlier token, so that an answer refused here may be a login lost.
    `retry_after` is the header of that name, in seconds.

    Raises: what `refusal` gives for anything but tokens.
    """
    if not 200 <= status < 300:
        raise refusal(status, body, retry_after)
    answer = read_tokens(body)
    access_token = token(member(answer, "access_token")) if answer is not None else None
    if answer is None or access_token is None:
        # Some providers send errors with status 200.
        raise refusal(status, body)
    kind = member(answer, "token_type")
    if isinstance(kind, str) and kind.strip().lower() not in ("", "bearer"):
        raise RequestRefused(
            "the provider issued a token that is not a bearer token", "check the provider's definition"
        )
    refresh_token = token(member(answer, "refresh_token"))
    lifetime = _lifetime(member(answer, "expires_in"))
    return TokenAnswer(
        access_token=SecretStr(access_token),
        refresh_token=None if refresh_token is None else SecretStr(refresh_token),
        scopes=_granted(member(answer, "scope")),
        issued_at=now,
        expires_at=None if lifetime is None else now + lifetime,
    )


def check_revoke_answer(status: int, body: bytes) -> None:
    """Accept a revocation endpoint's answer: 200, also for unknown tokens (RFC 7009 section 2.2).

    Raises: what `refusal` gives for anything else.
    """
    if not 200 <= status < 300:
        raise refusal(status, body)


def refusal(status: int, body: bytes, retry_after: float | None = None) -> OAuthError:
    """The error that an answer without tokens means (RFC 6749 section 5.2).

    Only a 4xx answer (or a 2xx that is an error in disguise) with an OAuth error code says anything
    about a token; all else may be the network's, a rate limit's or an outage's.
    """
    if status == 429:
        return _rate_limited(body, retry_after)
    if status in _PASSING or 500 <= status < 600:
        return _no_token_answer(status, again=retry_after or 0.0)
    if not (200 <= status < 300 or 400 <= status < 500):
        return _no_token_answer(status)
    said_so = read_object(body)
    try:
        answer = _ErrorBody.model_validate(said_so)
    except ValidationError:
        if said_so and _is_about_the_client_id(said_so):
            return ClientRefused(
                "the provider takes this for no client ID at all: check the client ID",
                "check the client ID in the provider's developer portal, then log in again with it",
            )
        return _blocked(status) if status == 403 else _no_token_answer(status)
    if not _ERROR_CODE.fullmatch(answer.error):
        return _no_token_answer(status)
    said = f"{answer.error}{_description(answer.error_description)}"
    match answer.error:
        case "invalid_grant":
            return GrantRefused(f"the provider refused the grant: {said}", "log in again")
        case "invalid_client" | "unauthorized_client":
            return ClientRefused(
                f"the provider refused the client id or secret: {said}",
                "check the client id and secret in the provider's developer portal, then log in again",
            )
        case "server_error" | "temporarily_unavailable" | "slow_down":
            return _no_token_answer(status, again=retry_after or 0.0)
        case _:
            return RequestRefused(
                f"the provider refused the request: {said}", "check scopes and redirect URI"
            )


class _ErrorBody(BaseModel):
    error: str
    error_description: object = None


class _LimitBody(BaseModel):
    retry_after: float = Field(ge=0, allow_inf_nan=False)
    """Seconds; Discord writes them into the body as well, in old versions of its API as milliseconds."""


_INVALID_FORM: Final = 50035
"""Discord's code for a value of the wrong form. Of what is sent to its token endpoint it judges so the client
ID alone, which must be a number; `errors` names what is meant."""


def _is_about_the_client_id(answer: Mapping[str, object]) -> bool:
    errors = answer.get("errors")
    if isinstance(errors, dict) and errors:
        return "client_id" in errors
    return answer.get("code") == _INVALID_FORM or isinstance(answer.get("client_id"), list)


_PASSING: Final = frozenset({408, 425})
"""Client-error statuses, besides 429, that are about the moment and not about the request."""


_MILLISECONDS: Final = 1000
"""From here on a whole number in a body, with no header beside it, is one of milliseconds: Discord's seconds
have a fraction, and who asks too early is told so once more."""


def _no_token_answer(status: int, again: float | None = None) -> ProviderUnavailable:
    message = f"the provider gave no usable answer (status {status})"
    return ProviderUnavailable(message, "try again later", again=again)


def _rate_limited(body: bytes, retry_after: float | None) -> ProviderUnavailable:
    if retry_after is None:
        try:
            retry_after = _LimitBody.model_validate(read_object(body)).retry_after
            if retry_after >= _MILLISECONDS and retry_after.is_integer():
                retry_after /= 1000
        except ValidationError:
            retry_after = 0.0
    when = f"in {math.ceil(retry_after)} seconds" if retry_after else "in some minutes"
    return ProviderUnavailable(
        "the provider limits how often it may be asked (status 429)", f"try again {when}", again=retry_after
    )


def _blocked(status: int) -> ProviderUnavailable:
    """A front such as Cloudflare's answers a blocked address with a page of its own."""
    return ProviderUnavailable(
        f"the provider's front blocked the request (status {status})",
        "wait some minutes before you try again, or use another network",
    )


def _authenticated(
    auth: OAuth2, client: ClientRegistration, url: str, form: Iterable[tuple[str, str]]
) -> FormRequest:
    """Add the client's id and secret where the provider wants them (RFC 6749 section 2.3.1)."""
    secret = client.client_secret.get_secret_value() if client.client_secret else None
    identified = (*form, ("client_id", client.client_id))
    if secret is None:
        return FormRequest(url, identified)
    match auth.client_auth:
        case "client_secret_post":
            return FormRequest(url, (*identified, ("client_secret", secret)))
        case "client_secret_basic":
            pair = f"{quote_plus(client.client_id)}:{quote_plus(secret)}"
            basic = base64.b64encode(pair.encode("ascii")).decode("ascii")
            return FormRequest(url, tuple(form), (("Authorization", f"Basic {basic}"),))
        case "none":
            return FormRequest(url, identified)
        case never:
            assert_never(never)


def _lifetime(value: object) -> float | None:
    """Seconds from an `expires_in` of any JSON type; None where it says nothing usable.

    Less than a second counts as unknown: taken literally they would have every request refresh the token.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{1,18}(\.[0-9]{1,18})?", value.strip()):
        return None
    if isinstance(value, int):
        value = min(value, int(MAX_LIFETIME))
    seconds = float(value)
    return min(seconds, MAX_LIFETIME) if seconds >= 1 else None  # and so for NaN


def _granted(value: object) -> tuple[str, ...] | None:
    """Scopes from a string (some providers separate them by commas) or a list; None where absent."""
    if isinstance(value, list):
        words = [word for word in value if isinstance(word, str)]
    elif isinstance(value, str):
        words = re.split(r"[ ,]+", value)
    else:
        return None
    return tuple(dict.fromkeys(word for word in words if SCOPE.fullmatch(word)))


def _description(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        return ""
    # ASCII alone: it goes to a terminal, where direction marks and look-alikes can lie.
    plain = "".join(letter if " " <= letter <= "~" else " " for letter in value)
    words = [word if _is_plain(word) else "[hidden]" for word in plain.split()]
    text = " ".join(words).rstrip(".")
    return f" ({text[:_DESCRIPTION_LENGTH]})"


def _is_plain(word: str) -> bool:
    return len(word) < _WORD_LENGTH or bool(re.fullmatch(r"[\"'(]*[a-z_]{1,40}[\"').,:;]*", word))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
