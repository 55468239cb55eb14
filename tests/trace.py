"""Makes one request in a real run; `python -m tests.trace` prints the files it went through, in order."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.e2e.desk import Desk
from tests.standin import StandIn

ROOT: Final = Path(__file__).parent.parent

ASK: Final = 'curl -sS -H "Authorization: Bearer $DISCORD_ACCESS_TOKEN" https://discord.com/api/v10/users/@me'

LAUNCHER: Final = """
import os, sys
root, out, *sys.argv[1:] = sys.argv[1:]
sys.path.append(root)
reached = {}
def start(code, offset):
    if not code.co_filename.startswith(root + "/") or "/.venv/" in code.co_filename:
        return sys.monitoring.DISABLE
    name = os.path.relpath(code.co_filename, root)
    if code.co_qualname == "Front.serve" or reached:  # from the connection of the program on
        reached.setdefault(name, code.co_qualname)
        return sys.monitoring.DISABLE
monitor = sys.monitoring
monitor.use_tool_id(monitor.PROFILER_ID, "trace")
monitor.register_callback(monitor.PROFILER_ID, monitor.events.PY_START, start)
from launcher.__main__ import main
import launcher.commands.run, launcher.startup
launcher.startup.load_everything()
import proxy.server  # whatever runs when a module is imported is no part of the path
monitor.set_events(monitor.PROFILER_ID, monitor.events.PY_START)
status = main()
monitor.set_events(monitor.PROFILER_ID, 0)
with open(out, "w") as file:
    file.writelines(f"{name} {function}\\n" for name, function in reached.items())
sys.exit(status)
"""


def trace(desk: Desk, out: Path) -> list[tuple[str, str]]:
    """The files of ours that a request goes through, each with the function by which it is first entered."""
    subprocess.run(
        [sys.executable, "-c", LAUNCHER, str(ROOT), str(out), "run", "--", "sh", "-c", ASK],
        env=desk.environ(),
        cwd=desk.work,
        stdout=subprocess.DEVNULL,
        timeout=60,
        check=True,
    )
    return [(file, function) for file, function in map(str.split, out.read_text().splitlines())]


if __name__ == "__main__":
    with StandIn() as standin, tempfile.TemporaryDirectory() as folder:
        desk = Desk(standin, Path(folder))
        desk.login()
        for file, function in trace(desk, Path(folder) / "trace"):
            print(f"{file:<36}{function}")
