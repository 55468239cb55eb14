"""The audit: one JSON line for each decision, in files that are rotated by size."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from launcher.render import utc
from proxy.audit import DECISION_CIRCUIT
from proxy.model import Event
from vault.model import NAME

CURRENT: Final = "audit.jsonl"

MAX_BYTES: Final = 5_000_000
"""Of one file: some 20,000 decisions, and still quick to read with a pager."""

KEPT_FILES: Final = 5
"""Older files, `audit.1.jsonl` being the youngest. With the current one, 30 MB at most."""

_MARK: Final = json.dumps(DECISION_CIRCUIT).encode()
"""In every line about a circuit, and in hardly another: what lacks it is not parsed."""

_KEPT_BACK: Final = re.compile(r"(?P<reason>.*); (?P<count>[0-9]{1,15}) requests were answered locally")
"""The reason of such a line, as `launcher.run` writes it."""

_NAME: Final = rf"^{NAME.pattern}$"

_END: Final = datetime(9999, 1, 1, tzinfo=UTC)
"""Times near the last that Python knows cannot all be written again."""


@dataclass(frozen=True, slots=True)
class KeptBack:
    """What one run kept from a provider."""

    connection: str
    """As the user writes it: `discord/work`. The profile is not in the audit."""
    reason: str
    count: int
    """Requests that were answered locally."""
    at: float
    """When the run ended, in seconds since the epoch."""


class _Line(BaseModel):
    """A line about a circuit, as far as it is read. The files could hold anything."""

    model_config = ConfigDict(frozen=True)

    time: AwareDatetime = Field(lt=_END)
    provider: str = Field(pattern=_NAME)
    connection: str = Field(pattern=_NAME)
    decision: str
    reason: str


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
        texts = [path.read_text(encoding="utf-8") for path in _files(folder)]
    return [line for text in texts for line in text.splitlines()]


def read_kept_back(folder: Path, since: float) -> list[KeptBack]:
    """What runs have kept from providers, the oldest first; `since` is in seconds since the epoch.

    Costs little where the audit is large: a file that nobody has written to since is not opened.

    Raises: OSError.
    """
    if not folder.is_dir():
        return []
    with _locked(folder):
        recent = [path for path in _files(folder) if path.stat().st_mtime >= since]
        lines = [line for path in recent for line in _marked(path)]
    found = [_kept_back(line) for line in lines]
    return [told for told in found if told is not None and told.at >= since]


def _marked(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        return [line for line in file if _MARK in line]


def _kept_back(text: bytes) -> KeptBack | None:
    """None where the line is about something else, or is damaged."""
    try:
        line = _Line.model_validate_json(text)
    except ValidationError:
        return None
    said = _KEPT_BACK.fullmatch(line.reason)
    if line.decision != DECISION_CIRCUIT or said is None:
        return None
    connection = f"{line.provider}/{line.connection}"
    return KeptBack(connection, said["reason"], int(said["count"]), line.time.timestamp())


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


def _files(folder: Path) -> list[Path]:
    """Those that exist, the oldest first."""
    names = [_older(number) for number in range(KEPT_FILES, 0, -1)] + [CURRENT]
    return [path for name in names if (path := folder / name).exists()]


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
