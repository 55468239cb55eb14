"""What isolation costs, at each level and without: a whole `authsome run -- true`, and the set-up alone.

`python -m tests.heavy.cost [ROUNDS]` prints it. The levels take turns, so that what else the machine does
falls on all of them; nothing is asserted, as a number of milliseconds says more about the machine.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from launcher.isolation.inside import enter  # noqa: F401  (not to be imported in each child)
from launcher.isolation.measure.survey import survey
from launcher.isolation.model import Facts, Level
from launcher.isolation.outside.levels import fork_as_planned
from launcher.isolation.plan import make_plan
from launcher.isolation.progress import Ready
from tests.isolation import hosts
from tests.launcher.cli import PROGRAM, Program

ROUNDS: Final = 25

SHORTER: Final = 8
"""How many more rounds there are of the set-up alone."""

LEVELS: Final[dict[str, tuple[tuple[str, ...], str]]] = {
    "no-sandbox": (("--no-sandbox",), ""),
    "guard": ((), ""),
    "guard-nopid": ((), "masked-proc"),
    "landlock": ((), "docker"),
    "sandbox": (("--sandbox",), ""),
}
"""The options, and the kind of machine that leads there: a fallback costs the attempts before it as well."""


def once(program: Program, options: Sequence[str], host: str) -> float:
    """Milliseconds from the start of the launcher to its end."""
    argv = [*PROGRAM, "run", *options, "--", "true"]
    begun = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        try:
            if host:
                hosts.become(host)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            os.execve(argv[0], argv, program.environ)  # noqa: S606
        finally:
            os._exit(126)
    _, status = os.waitpid(pid, 0)
    if status:
        raise SystemExit(f"could not run at this level: {os.waitstatus_to_exitcode(status)}")
    return (time.perf_counter() - begun) * 1000


def set_up(level: Level, facts: Facts) -> float:
    """Milliseconds from the fork of a child to its report that all is set up, and its end."""
    begun = time.perf_counter()
    child, outcome = fork_as_planned(make_plan(level, facts), _fork)
    if not isinstance(outcome, Ready):
        raise SystemExit(f"could not {outcome.step}")
    child.abandon()
    taken = (time.perf_counter() - begun) * 1000
    for listener in outcome.sockets:
        listener.close()
    return taken


@dataclass(frozen=True, slots=True)
class _Child:
    pid: int

    def abandon(self) -> None:
        os.waitpid(self.pid, 0)


def _fork(prepare: Callable[[], None]) -> _Child:
    pid = os.fork()
    if pid:
        return _Child(pid)
    try:
        prepare()
    finally:
        os._exit(0)


def print_table(title: str, taken: Mapping[str, Sequence[float]]) -> None:
    """Each against the first: of the medians, of the minima, and the median of the rounds' differences."""
    base = next(iter(taken.values()))
    print(f"\n{title}, {len(base)} rounds, milliseconds")
    print(f"{'level':<12} {'median':>8} {'min':>8} {'+median':>8} {'+min':>8} {'paired':>8}")
    for level, values in taken.items():
        paired = statistics.median(value - without for value, without in zip(values, base, strict=True))
        middle, least = statistics.median(values), min(values)
        print(
            f"{level:<12} {middle:>8.1f} {least:>8.1f}"
            f" {middle - statistics.median(base):>+8.1f} {least - min(base):>+8.1f} {paired:>+8.1f}"
        )


def main() -> None:
    """Print both tables. The first round of each fills the caches and does not count."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    whole: dict[str, list[float]] = {level: [] for level in LEVELS}
    alone: dict[str, list[float]] = {level: [] for level in reversed(Level)}
    with tempfile.TemporaryDirectory() as folder:
        program = Program(Path(folder) / "home")
        program.connect()
        facts = survey(hidden=[program.home], visible=[])
        for number in range(rounds * SHORTER + 1):
            for kind, values in alone.items():
                milliseconds = set_up(Level(kind), facts)
                if number:
                    values.append(milliseconds)
        for number in range(rounds + 1):
            for level, (options, host) in LEVELS.items():
                milliseconds = once(program, options, host)
                if number:
                    whole[level].append(milliseconds)
    print_table("the set-up alone", alone)
    print_table("authsome run -- true", whole)


if __name__ == "__main__":
    main()
