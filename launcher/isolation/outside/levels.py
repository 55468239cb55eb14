"""Which level a run gets: the first that works, of those that the wanted one may fall back to."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, assert_never

from launcher.isolation.model import Facts, Level, Listen, Plan, Wishes
from launcher.isolation.plan import make_plan
from launcher.isolation.progress import Failed, Progress, Ready, receive, report_channel
from launcher.isolation.steps import Step

FALLBACKS: Final = {
    Level.SANDBOX: (Level.SANDBOX,),
    Level.GUARD: (Level.GUARD, Level.GUARD_HOST_PROC, Level.LANDLOCK),
    Level.GUARD_HOST_PROC: (Level.GUARD_HOST_PROC,),
    Level.LANDLOCK: (Level.LANDLOCK,),
    Level.NONE: (Level.NONE,),
}
"""What is tried for a level, in this order. All that guard falls back to keep its promise; nothing
else keeps the sandbox's."""


class Abandonable(Protocol):
    """A forked child that waits for its order."""

    def abandon(self) -> None:
        """End it."""


class Fork[C: Abandonable](Protocol):
    """Forks a child that calls `prepare` before it waits for its order."""

    def __call__(self, prepare: Callable[[], None], /) -> C: ...


@dataclass(frozen=True, slots=True)
class Attempt:
    """A level that does not work here."""

    level: Level
    failure: Failed


@dataclass(frozen=True, slots=True)
class Isolated[C: Abandonable]:
    """A child that is set up and waits."""

    child: C
    level: Level
    listeners: tuple[tuple[Listen, socket.socket], ...]
    """What a sandbox hands over."""
    missing: tuple[Step, ...]
    """What the level does without here."""
    failed: tuple[Attempt, ...]
    """The levels that were wanted more."""


@dataclass(frozen=True, slots=True)
class NotIsolated:
    """No level that would do works here; nothing is running."""

    failed: tuple[Attempt, ...]


type Isolation[C: Abandonable] = Isolated[C] | NotIsolated


def fork_isolated[C: Abandonable](wanted: Level, facts: Facts, wishes: Wishes, fork: Fork[C]) -> Isolation[C]:
    """Fork children until one is set up. Raises: OSError, where none can be forked."""
    failed: list[Attempt] = []
    for level in FALLBACKS[wanted]:
        plan = make_plan(level, facts, wishes)
        child, outcome = fork_as_planned(plan, fork)
        match outcome:
            case Ready(missing, sockets):
                listeners = tuple(zip(plan.listeners, sockets, strict=True))
                return Isolated(child, level, listeners, missing, tuple(failed))
            case Failed():
                child.abandon()
                failed.append(Attempt(level, outcome))
            case never:
                assert_never(never)
    return NotIsolated(tuple(failed))


def fork_as_planned[C: Abandonable](plan: Plan, fork: Fork[C]) -> tuple[C, Progress]:
    """Fork one child and wait for its report. Raises: OSError."""
    receiver, sender = report_channel()
    child = fork(lambda: _prepare(plan, receiver, sender))
    sender.close()
    return child, receive(receiver)


def _prepare(plan: Plan, receiver: socket.socket, sender: socket.socket) -> None:
    # Not at the top: what it imports exists on Unix alone, and is needed in the child alone.
    from launcher.isolation.inside.enter import enter

    receiver.close()
    enter(plan, sender)
