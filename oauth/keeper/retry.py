"""How long to wait after a failed refresh, and what is worth another try. Pure."""

from __future__ import annotations

from typing import Final

from oauth.errors import OAuthError, ProviderUnavailable

TRIES: Final = 3
"""Requests to the token endpoint in one refresh, for a connection that breaks once in a while."""

FIRST_WAIT: Final = 0.5
"""Seconds before the second try; doubled before each further one."""

RETRY_BUDGET: Final = 10.0
"""Seconds from the first request within which another may begin.

Other processes wait for the lock meanwhile: with one exchange on top (`patience.EXCHANGE_PATIENCE`) it must
stay below the keeper's LOCK_WAIT.
"""

FAILURE_PAUSE: Final = 10.0
"""Seconds after a failed refresh in which nobody tries again; doubled for each failure in a row."""

LONGEST_PAUSE: Final = 300.0
"""Seconds; an outage of an hour costs the provider less than 20 refreshes, and ends for us soon after."""

LONGEST_OBEYED: Final = 3600.0
"""Seconds of a provider's Retry-After that are believed while nobody waits."""

LONGEST_WAITED: Final = 60.0
"""Seconds of a pause that the provider asked for after which a request that needs the credential has it tried
again: a wait may be named wrongly, as in milliseconds, and one try a minute offends nobody."""


def wait_before_retry(error: OAuthError, tries: int, spent: float, random: float) -> float | None:
    """Seconds until the next request of the same refresh; None to give it up.

    `tries` were made, `spent` seconds ago the first began. `random`, of [0, 1), keeps processes that
    failed together from asking together.
    """
    if not isinstance(error, ProviderUnavailable) or error.again is None or tries >= TRIES:
        return None
    wait = max(error.again, FIRST_WAIT * 2.0 ** (tries - 1)) * (1 + random / 2)
    return wait if spent + wait <= RETRY_BUDGET else None


def patience_after(error: Exception, failures: int) -> float:
    """As `pause_after`, for a request that cannot do without."""
    pause = pause_after(error, failures)
    asked_for = isinstance(error, ProviderUnavailable) and error.again
    return min(pause, LONGEST_WAITED) if asked_for else pause


def pause_after(error: Exception, failures: int) -> float:
    """Seconds until the next refresh may begin; `failures` in a row, this one included."""
    pause = min(LONGEST_PAUSE, FAILURE_PAUSE * 2.0 ** min(failures - 1, 10))
    if isinstance(error, ProviderUnavailable) and error.again is not None:
        pause = max(pause, min(LONGEST_OBEYED, error.again))
    return pause
