"""What was last written of each record, kept beside the database.

A database cannot tell by itself that its last writes are missing: SQLite ends reading a journal at the
first sum that is wrong, and an older copy of the file is as good as any. So each write leaves a mark, one
line in the file of the record's lock:

    JSON | a space | CRC-32 of the JSON (8 hexadecimal digits)

A mark is written after its write is durable (by a rewrite of everything: under another name of the vault)
and taken away before its record is, so that one that says more than the database does means that something
was lost. It is not synced: one that is missing or unreadable says nothing.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from vault.envelope import RecordId
from vault.files import PRIVATE_FILE

_LIMIT: Final = 4096
"""Bytes read of a mark."""


class Mark(BaseModel):
    """The last write of a record that this machine knows of. Says nothing that the database keeps secret."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    record: tuple[str, str, str, str]
    """The four words of the record."""
    generation: int
    vault: str
    """Of which vault, under which key."""
    place: int
    """The number of the file that it was written to; 0 where it was put back from a backup."""

    @property
    def of(self) -> RecordId:
        """The record that it is about."""
        return RecordId(*self.record)


def lock_name(record: RecordId) -> str:
    """The name of a record's lock, which fits any file system."""
    return hashlib.sha256(record.encoded()).hexdigest()


def vault_name(slot: bytes | None) -> str:
    """The name of a vault under its present key, by what is stored in its key slot."""
    return hashlib.sha256(slot or b"").hexdigest()[:16]


def encode(mark: Mark) -> bytes:
    """The line that is stored."""
    text = mark.model_dump_json().encode()
    return b"%s %08x\n" % (text, zlib.crc32(text))


def parse(line: bytes) -> Mark | None:
    """None for what is no whole mark, such as the line of a lock that was never written under."""
    text, _, check = line.removesuffix(b"\n").rpartition(b" ")
    if check != b"%08x" % zlib.crc32(text):
        return None
    try:
        return Mark.model_validate_json(text)
    except ValidationError:
        return None


class Marks:
    """The marks in the folder of the locks. That one cannot be written or read is no failure."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def note(self, mark: Mark) -> None:
        """Remember a write that is durable."""
        self._write(mark.of, encode(mark))

    def forget(self, record: RecordId) -> None:
        """Take the mark away of a record that is about to go."""
        if self.read(record) is not None:
            self._write(record, b"")

    def read(self, record: RecordId) -> Mark | None:
        """What is known of a record."""
        found = _read(self._folder / lock_name(record))
        return found if found and found.of == record else None

    def all(self) -> Iterator[Mark]:
        """Every mark there is."""
        with suppress(OSError):
            for path in sorted(self._folder.iterdir()):
                if (mark := _read(path)) and path.name == lock_name(mark.of):
                    yield mark

    def _write(self, record: RecordId, line: bytes) -> None:
        path = self._folder / lock_name(record)
        with suppress(OSError):
            # The file stays the same one: it is the record's lock.
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE_FILE)
            try:
                os.pwrite(handle, line, 0)
                os.ftruncate(handle, len(line))
            finally:
                os.close(handle)


def _read(path: Path) -> Mark | None:
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            return parse(os.read(handle, _LIMIT))
        finally:
            os.close(handle)
    return None
