"""The audit: JSON lines about decisions, in files that are rotated by size.

A run has its share of them (`launcher.run.audit_share`). Of a file that is dropped, the lines about
credentials that were handed out are kept apart, so that nothing else pushes them out.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from launcher.notices import Notices, Silent
from launcher.run.audit_share import Entry, Share
from launcher.times import utc
from proxy.audit import DECISION_CIRCUIT, DECISION_EXPORT, DECISION_INJECT
from proxy.model import Event
from vault.files import PRIVATE_FILE
from vault.locks import locked

CURRENT: Final = "audit.jsonl"

LOCK: Final = ".lock"
"""In the same folder. Held for the length of one write, or of reading all files."""

MAX_BYTES: Final = 5_000_000
"""Of one file: some 20,000 decisions, and still quick to read with a pager."""

KEPT_FILES: Final = 5
"""Older files, `audit.1.jsonl` being the youngest. With the current one, 30 MB at most."""

USED: Final = "used.jsonl"
"""The lines about credentials that were handed out, of files that were dropped; rotated likewise."""

MOST_BYTES: Final = 2 * (1 + KEPT_FILES) * MAX_BYTES
"""Of the whole audit."""

_HANDED_OUT: Final = tuple(
    f'"decision": "{decision}"'.encode() for decision in (DECISION_INJECT, DECISION_EXPORT, DECISION_CIRCUIT)
)
"""One of them is in every such line, and in no other: within a text of JSON its quotes would be escaped."""


@dataclass(slots=True)
class AuditLog:
    """Takes the events of one run. Several processes may write to one folder, which must exist."""

    folder: Path
    run: str
    profile: str
    now: Callable[[], float]
    max_bytes: int = MAX_BYTES
    share: Share = field(default_factory=Share)
    _failed: bool = False
    _unwritten: list[Entry] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        """Keep an event, if only in a sum that is written later. Raises: OSError."""
        now = self.now()
        # After a failure each event is written, until one is: what cannot be told must not seem to be kept.
        self._write([Entry(event)] if self._failed else self.share.take(event, now), now)

    def finish(self) -> None:
        """Write the sums that are left, at the end of the run. Raises: OSError."""
        now = self.now()
        self._write(self.share.rest(now), now)

    def _write(self, entries: Sequence[Entry], now: float) -> None:
        entries = [*self._unwritten, *entries]
        if not entries:
            return
        lines = [json.dumps(_line(entry, self.run, self.profile, now)).encode() + b"\n" for entry in entries]
        self._failed, self._unwritten = True, [entry for entry in entries if entry.count > 1]
        with locked(self.folder / LOCK):  # no line goes to a file while it is rotated
            for line in lines:
                _append(self.folder, CURRENT, line, self.max_bytes)
        self._failed, self._unwritten = False, []


def read_audit(folder: Path, notices: Notices = Silent()) -> list[str]:  # noqa: B008
    """The lines of all files, the oldest first. Each is a JSON object with all fields of an event.

    `notices` hears of damaged lines, which are left out. Raises: OSError.
    """
    if not folder.is_dir():
        return []
    with locked(folder / LOCK):
        texts = [path.read_bytes() for path in _files(folder)]
    lines = [line for text in texts for line in text.splitlines()]
    whole = [text for line in lines if (text := _whole(line)) is not None]
    if damaged := len(lines) - len(whole):
        notices.warning(f"{damaged} damaged {'line' if damaged == 1 else 'lines'} of the audit left out")
    return whole


def answered_locally(count: int) -> str:
    """How many requests were kept from a provider, for people."""
    return f"{'1 request was' if count == 1 else f'{count} requests were'} answered locally"


def reach(folder: Path) -> float | None:
    """When the oldest decision that is kept was made, in seconds since the epoch; None where there is none.

    Raises: OSError.
    """
    if not folder.is_dir():
        return None
    with locked(folder / LOCK):
        for path in _files(folder):
            with path.open("rb") as file:
                for line in file:
                    if (text := _whole(line)) is not None:
                        return datetime.fromisoformat(str(json.loads(text)["time"])).timestamp()
    return None


def _whole(line: bytes) -> str | None:
    """None where it is damaged, as after a loss of power."""
    try:
        text = line.decode()
        entry = json.loads(text)
    except (ValueError, RecursionError):  # a UnicodeDecodeError is the first
        return None
    return text if isinstance(entry, dict) and entry.keys() >= _NAMES else None


def _line(entry: Entry, run: str, profile: str, now: float) -> dict[str, str | int | None]:
    """The members of a line; `count` stands in those of sums alone."""
    fields = _fields(entry.event, run, profile, now)
    return fields if entry.count == 1 else fields | {"count": entry.count}


def _fields(event: Event, run: str, profile: str, now: float) -> dict[str, str | int | None]:
    provider, _, connection = (event.connection or "").partition("/")
    return {
        "time": utc(now),
        "run": run,
        "profile": profile,
        "provider": provider or None,
        "connection": connection or None,
        "host": event.host,
        "method": event.method,
        "path": event.path.partition("?")[0],
        "decision": event.decision,
        "reason": event.reason,
        "status": event.status,
    }


_NAMES: Final = _fields(Event("", "", "", ""), "", "", 0).keys()


def _files(folder: Path) -> list[Path]:
    """Those that exist, the oldest first."""
    names = [*reversed(_family(USED)), *reversed(_family(CURRENT))]
    return [path for name in names if (path := folder / name).exists()]


def _family(name: str) -> list[str]:
    """The files that `name` is rotated through, the youngest first."""
    stem = name.removesuffix(".jsonl")
    return [name, *(f"{stem}.{number}.jsonl" for number in range(1, KEPT_FILES + 1))]


def _append(folder: Path, name: str, text: bytes, max_bytes: int) -> None:
    path = folder / name
    if _size(path) + len(text) > max_bytes:
        _rotate(folder, name, max_bytes)
    size = _size(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, PRIVATE_FILE)
    try:
        if os.write(descriptor, text) < len(text):  # the disk is full
            os.ftruncate(descriptor, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(descriptor)


def _rotate(folder: Path, name: str, max_bytes: int) -> None:
    names = _family(name)
    if name == CURRENT and (oldest := folder / names[-1]).exists():
        with oldest.open("rb") as file:
            kept = b"".join(line for line in file if any(mark in line for mark in _HANDED_OUT))
        if kept:
            _append(folder, USED, kept, max_bytes)
    for younger, older in reversed(list(itertools.pairwise(names))):
        if (folder / younger).exists():
            (folder / younger).replace(folder / older)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
