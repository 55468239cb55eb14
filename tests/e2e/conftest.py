"""One login for the tests that only use it, a fresh desk for those that change it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.desk import Desk
from tests.standin import StandIn


@pytest.fixture
def desk(standin: StandIn, tmp_path: Path) -> Desk:
    """Nobody has logged in yet."""
    return Desk(standin, tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Logged in once for a whole file; tests must leave it so."""
    with StandIn() as standin:
        desk = Desk(standin, tmp_path_factory.mktemp("desk"))
        desk.login()
        yield desk


@pytest.fixture
def connected(shared: Desk) -> Desk:
    """Logged in, with nothing seen by the stand-in yet."""
    shared.standin.forget()
    return shared


@pytest.fixture(scope="module", autouse=True)
def at_the_login_port(alone_at_the_login_port: None) -> None:
    """Nearly every test here logs in."""
