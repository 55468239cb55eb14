"""A world for every test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.isolation.world import USERS, World, world


@pytest.fixture(params=USERS)
def around(request: pytest.FixtureRequest) -> Iterator[World]:
    """A home with a vault, and its user: root and an ordinary one, or whoever runs the tests."""
    with world(request.param) as made:
        yield made
