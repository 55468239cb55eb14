"""The audit: one JSON line for each decision, in files that are rotated by size."""

from __future__ import annotations

import errno
import itertools
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, get_args

from pydantic import AwareDatetime, BaseModel, Field

from launcher import report
from launcher.render import utc
from launcher.runs import locked
from proxy.model import Event, Reason
from vault.model import ConnectionKey

CURRENT: Final = "audit.jsonl"

LOCK: Final = ".lock"
"""In the same folder. Held for the length of one write, or of reading all files."""

MAX_BYTES: Final = 5_000_000
"""Of one file: some 20,000 decisions, and still quick to read with a pager."""

KEPT_FILES: Final = 5
"""Older files, `audit.1.jsonl` being the youngest. With the current one, 30 MB at most."""

KeptReason = Literal[Reason.LOGIN_NEEDED, Reason.CREDENTIAL_DEAD]
"""Why a request was answered in the place of the provider, which was not asked."""

_MARKS: Final = tuple(f'"{reason}"'.encode() for reason in get_args(KeptReason))
"""One of them is in every line about such a request, and in hardly another: what lacks both is not parsed."""

_END: Final = datetime(9999, 1, 1, tzinfo=UTC)
"""Times near the last that Python knows cannot all be written again."""


@dataclass(frozen=True, slots=True)
class KeptBack:
    """A request that was kept from its provider."""

    key: ConnectionKey
    reason: KeptReason
    at: float
    """Seconds since the epoch."""


class _Line(BaseModel):
    """A line about such a request, as far as it is read. The files could hold anything."""

    time: AwareDatetime = Field(lt=_END)
    profile: str
    provider: str
    connection: str
    decision: Literal["refuse"]
    reason: KeptReason


@dataclass(frozen=True, slots=True)
class AuditLog:
    """Takes the events of one run. Several processes may write to one folder, which must exist."""

    folder: Path
    run: str
    profile: str
    now: Callable[[], float]
    max_bytes: int = MAX_BYTES

    def __call__(self, event: Event) -> None:
        """Keep an event. Raises: OSError."""
        line = json.dumps(_fields(event, self.run, self.profile, self.now())).encode() + b"\n"
        with locked(self.folder / LOCK):  # no line goes to a file while it is rotated
            current = self.folder / CURRENT
            if _size(current) + len(line) > self.max_bytes:
                _rotate(self.folder)
            size = _size(current)
            descriptor = os.open(current, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                if os.write(descriptor, line) < len(line):  # the disk is full
                    os.ftruncate(descriptor, size)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(current))
            finally:
                os.close(descriptor)


def read_audit(folder: Path) -> list[str]:
    """The lines of all files, the oldest first. Each is a JSON object with all fields of an event.

    The user is warned of damaged lines, which are left out. Raises: OSError.
    """
    if not folder.is_dir():
        return []
    with locked(folder / LOCK):
        texts = [path.read_bytes() for path in _files(folder)]
    lines = [line for text in texts for line in text.splitlines()]
    whole = [text for line in lines if (text := _whole(line)) is not None]
    if damaged := len(lines) - len(whole):
        report.warning(f"{damaged} damaged {'line' if damaged == 1 else 'lines'} of the audit left out")
    return whole


def read_kept_back(folder: Path, since: float) -> Iterator[KeptBack]:
    """The requests that were kept from providers, the oldest first; `since` is in seconds since the epoch.

    Costs little where the audit is large: a file that nobody has written to since is not opened.

    Raises: OSError.
    """
    if not folder.is_dir():
        return
    with locked(folder / LOCK):
        recent = [path for path in _files(folder) if path.stat().st_mtime >= since]
        lines = [line for path in recent for line in _marked(path)]
    for line in lines:
        kept = _kept_back(line)
        if kept is not None and kept.at >= since:
            yield kept


def answered_locally(count: int) -> str:
    """How many requests were kept from a provider, for people."""
    return f"{'1 request was' if count == 1 else f'{count} requests were'} answered locally"


def _marked(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        return [line for line in file if any(mark in line for mark in _MARKS)]


def _kept_back(text: bytes) -> KeptBack | None:
    """None where the line is about something else, or is damaged."""
    try:
        line = _Line.model_validate_json(text)
        key = ConnectionKey(line.profile, line.provider, line.connection)
    except ValueError:  # a ValidationError is one
        return None
    return KeptBack(key, line.reason, line.time.timestamp())


def _whole(line: bytes) -> str | None:
    """None where it is damaged, as after a loss of power."""
    try:
        text = line.decode()
        entry = json.loads(text)
    except (ValueError, RecursionError):  # a UnicodeDecodeError is the first
        return None
    return text if isinstance(entry, dict) and entry.keys() >= _NAMES else None


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
