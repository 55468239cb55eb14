import subprocess
import sys

import pytest

from tests.leftovers import end_leftovers, running_children

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def test_a_process_that_was_left_running_is_named_and_killed() -> None:
    before = running_children()
    with subprocess.Popen(["sleep", "60"]) as process:
        assert end_leftovers(before, grace=0.0) == ["sleep 60"]
        assert process.wait(timeout=10) == -9


def test_a_process_that_has_ended_or_was_there_before_is_left_alone() -> None:
    before = running_children()
    with subprocess.Popen(["true"]):
        assert end_leftovers(before) == []
    with subprocess.Popen(["sleep", "60"]) as process:
        assert end_leftovers(running_children(), grace=0.0) == []
        assert process.poll() is None
        process.kill()
