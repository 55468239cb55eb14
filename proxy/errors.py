"""What can go wrong in the proxy outside of one request's decision."""

from __future__ import annotations


class ProxyError(Exception):
    """The proxy could not start; `hint` says what the reader can do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class DialFailed(ProxyError):
    """No connection to an address: it does not resolve, refuses, times out, or the upstream proxy says no."""
