"""Tries each level for real, in a child that ends at once. Settings alone do not tell what works."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, assert_never

from launcher.isolation.causes import Cause, Host, explain
from launcher.isolation.measure.survey import survey
from launcher.isolation.model import Facts, Level
from launcher.isolation.outside.levels import fork_as_planned
from launcher.isolation.plan import make_plan
from launcher.isolation.progress import Failed, Ready
from launcher.isolation.steps import Step
from launcher.isolation.syscalls import unavailable

PROBED: Final = (Level.SANDBOX, Level.GUARD, Level.GUARD_HOST_PROC, Level.LANDLOCK)


@dataclass(frozen=True, slots=True)
class Works:
    """A level that was set up."""

    level: Level
    missing: tuple[Step, ...]
    """Second fences that are not there."""


@dataclass(frozen=True, slots=True)
class Fails:
    """A level that was not."""

    level: Level
    step: Step
    number: int
    """The errno, 0 where there is none."""
    cause: Cause


Probe = Works | Fails


def working_level(probe: Probe) -> Level | None:
    """The level, where it works."""
    match probe:
        case Works(level):
            return level
        case Fails():
            return None
        case never:
            assert_never(never)


@dataclass(slots=True)
class _Trial:
    pid: int

    def abandon(self) -> None:
        os.waitpid(self.pid, 0)


def probe() -> list[Probe]:
    """One result a level. Not to be called while threads run. Raises: OSError."""
    if reason := unavailable():
        cause = Cause(reason, "give <set no_sandbox> to run without isolation")
        return [Fails(level, Step.SYSTEM, 0, cause) for level in PROBED]
    host = read_host()
    with tempfile.TemporaryDirectory() as folder:
        visible = Path(folder, "hidden", "visible")
        visible.mkdir(parents=True)
        facts = survey(hidden=[visible.parent], visible=[visible])
        return [_probe(level, facts, host) for level in PROBED]


def _probe(level: Level, facts: Facts, host: Host) -> Probe:
    trial, outcome = fork_as_planned(make_plan(level, facts), _fork)
    trial.abandon()
    match outcome:
        case Ready(missing, sockets):
            for listener in sockets:
                listener.close()
            return Works(level, missing)
        case Failed(step, number):
            return Fails(level, step, number, explain(step, number, host))
        case never:
            assert_never(never)


def _fork(prepare: Callable[[], None]) -> _Trial:
    pid = os.fork()
    if pid:
        return _Trial(pid)
    try:
        prepare()
    finally:
        os._exit(0)


def read_host() -> Host:
    """What this machine's settings say."""
    apparmor = _number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
    clone = _number("/proc/sys/kernel/unprivileged_userns_clone")
    return Host(
        apparmor_restricts=None if apparmor is None else apparmor != 0,
        user_namespaces=_number("/proc/sys/user/max_user_namespaces"),
        unprivileged_clone=None if clone is None else clone != 0,
        filtered=_is_filtered(),
    )


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _is_filtered() -> bool:
    with suppress(OSError), open("/proc/self/status", encoding="utf-8") as file:
        return any(line.split() == ["Seccomp:", "2"] for line in file)
    return False
