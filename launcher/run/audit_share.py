"""How much of the audit one run may fill with lines of its own, and how the rest is summed. Pure.

A program decides how many requests it makes, and would otherwise push out of the files what it, and what
other runs, did before.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from proxy.audit import DECISION_INJECT
from proxy.model import Event


@dataclass(frozen=True, slots=True)
class Limit:
    """Lines of one kind that a run may write."""

    burst: int
    pause: float
    """Seconds until one more may be written, once those are used up."""


INJECTED: Final = Limit(10_000, 10.0)
"""For requests that carried a credential: 2.5 MB, and 2 MB a day."""

OTHER: Final = Limit(2_000, 60.0)
"""For each other decision: 0.5 MB, and 0.4 MB a day."""

SUM_COUNTS: Final = 100
"""A sum is written when it has reached this many requests, then ten times as many, and so on: now and then,
however fast they come."""

SUM_PAUSE: Final = 3600.0
"""Seconds after which a sum is written in any case, with the next request."""

MAX_SUMS: Final = 64
"""Sums that tell hosts and methods apart; a program could think of any number of those."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What one line tells."""

    event: Event
    count: int = 1
    """How many requests it stands for; with more than one, path and status are not told."""


@dataclass(slots=True)
class _Sum:
    since: float
    count: int = 0
    due: int = SUM_COUNTS


@dataclass(slots=True)
class _Left:
    lines: float
    at: float


@dataclass(slots=True)
class Share:
    """The share of one run."""

    injected: Limit = INJECTED
    other: Limit = OTHER
    _left: dict[str, _Left] = field(default_factory=dict)
    _sums: dict[Event, _Sum] = field(default_factory=dict)

    def take(self, event: Event, now: float) -> list[Entry]:
        """What is to be written for an event at `now`, in seconds: its line, a sum, or nothing yet."""
        if self._has_room(event.decision, now):
            return [Entry(event)]
        what = replace(event, path="", status=None)
        if what not in self._sums and len(self._sums) >= MAX_SUMS:
            what = replace(what, method="", host="")
        found = self._sums.setdefault(what, _Sum(now))
        found.count += 1
        if found.count < found.due and now - found.since < SUM_PAUSE:
            return []
        return [self._told(what, found, now)]

    def rest(self, now: float) -> list[Entry]:
        """The sums that were not written yet."""
        return [self._told(what, found, now) for what, found in self._sums.items() if found.count]

    def _told(self, what: Event, found: _Sum, now: float) -> Entry:
        entry = Entry(what, found.count)
        if found.count >= found.due:
            found.due *= 10
        found.count, found.since = 0, now
        return entry

    def _has_room(self, decision: str, now: float) -> bool:
        limit = self.injected if decision == DECISION_INJECT else self.other
        left = self._left.setdefault(decision, _Left(limit.burst, now))
        left.lines = min(limit.burst, left.lines + max(0.0, now - left.at) / limit.pause)
        left.at = now
        if left.lines < 1:
            return False
        left.lines -= 1
        return True
