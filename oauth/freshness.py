"""When a token set is due for a refresh. Pure: the time is an argument."""

from __future__ import annotations

from typing import Final

from vault.model import OAuthTokens

MARGIN: Final = 300.0
"""Seconds of life that a token should still have when it is handed out.

Enough for a slow refresh with a few retries and for a request that takes its time; a small part of
Discord's seven days.
"""

MARGIN_SHARE: Final = 0.2
"""The margin of a short-lived token, as a part of its life: a fixed margin above the lifetime would have
every request refresh the token."""


def margin(tokens: OAuthTokens) -> float:
    """Seconds before its expiry at which a token set is due."""
    if tokens.expires_at is None:
        return 0.0
    return min(MARGIN, max(0.0, tokens.expires_at - tokens.issued_at) * MARGIN_SHARE)


def is_due(tokens: OAuthTokens, now: float) -> bool:
    """Whether to refresh before handing the token out; never so where the provider named no lifetime."""
    return tokens.expires_at is not None and now >= tokens.expires_at - margin(tokens)


def is_alive(tokens: OAuthTokens, now: float) -> bool:
    """Whether the token can still work, were it handed out now."""
    return tokens.expires_at is None or now < tokens.expires_at
