"""One house a user for all the tests that leave it as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hostile.build import house
from tests.hostile.world import House
from tests.isolation.world import USERS


@pytest.fixture(scope="module")
def mine() -> Iterator[House]:
    """A house of whoever runs the tests."""
    with house(USERS[0]) as made:
        yield made


@pytest.fixture(scope="module", params=USERS)
def theirs(request: pytest.FixtureRequest) -> Iterator[House]:
    """A house of root and one of an ordinary user, or of whoever runs the tests."""
    with house(request.param) as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def at_the_login_port(alone_at_the_login_port: None) -> None:
    """Some runs here come with a login."""
