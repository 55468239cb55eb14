"""What can go wrong between this machine and a provider. No message holds a token or an answer's body."""

from __future__ import annotations


class OAuthError(Exception):
    """A login or refresh did not succeed; `hint` says what the reader can do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ProviderInvalid(OAuthError):
    """A provider file is not valid; the message names the file and the field."""


class ProviderUnknown(OAuthError):
    """No bundled or user file defines the provider."""


class GrantRefused(OAuthError):
    """The provider will never accept this code or refresh token (`invalid_grant`, RFC 6749 section 5.2)."""


class ClientRefused(OAuthError):
    """The provider does not accept the client id and secret (`invalid_client`)."""


class RequestRefused(OAuthError):
    """The provider refused for another stated reason (`invalid_scope`, `invalid_request`, ...)."""


class ProviderUnavailable(OAuthError):
    """No usable answer: network, timeout, 429, 5xx, or no token answer at all. Trying later may help.

    `again` is in how many seconds: what the provider asked for, 0 where it named no time, and None
    where nothing suggests that another try soon would end otherwise.
    """

    def __init__(self, message: str, hint: str = "", *, again: float | None = None) -> None:
        super().__init__(message, hint)
        self.again = again


class LoginFailed(OAuthError):
    """The browser part of a login ended without a code: denied, wrong state, timeout, port in use."""
