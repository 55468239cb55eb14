"""Times as text. Pure."""

from __future__ import annotations

from datetime import UTC, datetime


def utc(seconds: float) -> str:
    """A time in seconds since the epoch as RFC 3339 writes it, in UTC, to the second."""
    return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")
