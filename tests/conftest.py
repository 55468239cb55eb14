"""What every test may ask for."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.standin import StandIn

# A shell that starts the tests in the background has them, and all their children, ignore ^C; several
# tests are about what ^C does.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def standin() -> Iterator[StandIn]:
    """A fresh stand-in Discord; it takes a few milliseconds to start."""
    with StandIn() as server:
        yield server
