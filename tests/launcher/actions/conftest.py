"""What the tests of the actions share."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module", autouse=True)
def at_the_login_port(alone_at_the_login_port: None) -> None:
    """Most of these log in, or have `doctor` look at the port."""
