import subprocess
import sys
from pathlib import Path

from tests import login_port

ROOT = Path(__file__).parent.parent
HOLDER = """
from tests.login_port import login_port
with login_port(), login_port():
    print("held", flush=True)
    input()
"""


def test_who_needs_the_port_waits_for_it() -> None:
    """The second of two that share a network."""
    command = [sys.executable, "-c", HOLDER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as first:  # type: ignore[call-overload]
        assert first.stdout.readline() == "held\n"
        with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as second:  # type: ignore[call-overload]
            waits = "import fcntl, sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)"
            tried = [sys.executable, "-c", waits, str(login_port._LOCK)]
            assert subprocess.run(tried, capture_output=True, timeout=30).returncode == 1
            first.communicate("\n", timeout=30)
            assert second.stdout.readline() == "held\n"
            second.communicate("\n", timeout=30)
