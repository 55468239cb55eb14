"""What every test may ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.standin import StandIn


@pytest.fixture
def standin() -> Iterator[StandIn]:
    """A fresh stand-in Discord; it takes a few milliseconds to start."""
    with StandIn() as server:
        yield server
