"""What the tests of the launcher share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.launcher.cli import Program


@pytest.fixture
def authsome(tmp_path: Path) -> Program:
    """The real program with an empty home, which does not exist yet."""
    return Program(tmp_path / "home")
