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


SKEW: Final = 60.0
"""Seconds by which a token may seem to come from the future before its times count as meaningless.

Clocks that are kept in step differ by less; a clock that was set back by more would keep a dead token in
use for as long."""


def margin(tokens: OAuthTokens) -> float:
    """Seconds before its expiry at which a token set is due."""
    if tokens.expires_at is None:
        return 0.0
    return min(MARGIN, max(0.0, tokens.expires_at - tokens.issued_at) * MARGIN_SHARE)


def is_due(tokens: OAuthTokens, now: float, ahead: float = 0.0) -> bool:
    """Whether to refresh, `ahead` margins earlier than a request would insist on it.

    Never so where the provider named no lifetime. At once where the token was issued in the future: the
    clock was set back since, and nobody knows when the token ends. The refresh itself repairs that.
    """
    if tokens.expires_at is None:
        return False
    due_at = tokens.expires_at - margin(tokens) * (1 + ahead)
    return now >= due_at or now < tokens.issued_at - SKEW


def due_in(tokens: OAuthTokens, now: float, ahead: float = 0.0) -> float | None:
    """Seconds until `is_due`; None for never."""
    if tokens.expires_at is None:
        return None
    if is_due(tokens, now, ahead):
        return 0.0
    return tokens.expires_at - margin(tokens) * (1 + ahead) - now


def is_alive(tokens: OAuthTokens, now: float) -> bool:
    """Whether the token can still work, were it handed out now."""
    return tokens.expires_at is None or now < tokens.expires_at
