"""The audit: one JSON line for each decision, in files that are rotated by size."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from launcher.render import utc
from proxy.model import Event

CURRENT: Final = "audit.jsonl"

MAX_BYTES: Final = 5_000_000
"""Of one file: some 20,000 decisions, and still quick to read with a pager."""

KEPT_FILES: Final = 5
"""Older files, `audit.1.jsonl` being the youngest. With the current one, 30 MB at most."""


@dataclass(frozen=True, slots=True)
class AuditLog:
    """Takes the events of one run. Several processes may write to one folder, which must exist."""

    folder: Path
    run: str
    now: Callable[[], float]
    max_bytes: int = MAX_BYTES

    def __call__(self, event: Event) -> None:
        """Keep an event. Raises: OSError."""
        line = json.dumps(_fields(event, self.run, self.now())).encode() + b"\n"
        with _locked(self.folder):
            current = self.folder / CURRENT
            if _size(current) + len(line) > self.max_bytes:
                _rotate(self.folder)
            descriptor = os.open(current, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)


def read_audit(folder: Path) -> list[str]:
    """The lines of all files, the oldest first. Raises: OSError."""
    if not folder.is_dir():
        return []
    with _locked(folder):
        names = [_older(number) for number in range(KEPT_FILES, 0, -1)] + [CURRENT]
        texts = [path.read_text(encoding="utf-8") for name in names if (path := folder / name).exists()]
    return [line for text in texts for line in text.splitlines()]


def _fields(event: Event, run: str, now: float) -> dict[str, str | int | None]:
    provider, _, connection = (event.connection or "").partition("/")
    return {
        "time": utc(now),
        "run": run,
        "provider": provider or None,
        "connection": connection or None,
        "host": event.host,
        "method": event.method,
        "path": event.path.partition("?")[0],
        "decision": event.decision,
        "reason": event.reason,
        "status": event.status,
    }


def _older(number: int) -> str:
    return f"audit.{number}.jsonl"


def _rotate(folder: Path) -> None:
    names = [CURRENT, *(_older(number) for number in range(1, KEPT_FILES + 1))]
    for younger, older in reversed(list(itertools.pairwise(names))):
        if (folder / younger).exists():
            (folder / younger).replace(folder / older)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Held for the length of one write, so that no line goes to a file while it is rotated."""
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
