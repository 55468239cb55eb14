"""`authsome`, watched: notes which code it takes up when its program is running.

`python -I watched.py LOG ARGUMENT …`: LOG gets a line for each module that it tries to import then, and one
for each file that it began to execute after the fork of the child.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

LOG, *ARGUMENTS = sys.argv[1:]
sys.path.append(str(Path(__file__).resolve().parents[2]))

from launcher.cli import run_command_line  # noqa: E402
from launcher.isolation.measure.mountinfo import parse_executed  # noqa: E402
from launcher.startup import Sealed  # noqa: E402


def executed() -> set[str]:
    return set(parse_executed(Path("/proc/self/maps").read_text()))


def note(*words: str) -> None:
    with open(LOG, "a", encoding="utf-8") as log:
        print(*words, file=log)


def main() -> None:
    launcher, forked = os.getpid(), set[str]()

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event == "os.fork" and os.getpid() == launcher:
            forked.update(executed())
        if event == "import" and isinstance(sys.meta_path[0], Sealed) and os.getpid() == launcher:
            note("import", str(arguments[0]))

    sys.addaudithook(watch)
    status = run_command_line(ARGUMENTS)
    for path in sorted(executed() - forked):
        note("execute", path)
    sys.stdout.flush()
    os._exit(status)


main()
