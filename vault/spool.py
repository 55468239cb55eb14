"""Where a sealed record waits that must not be lost and could not be stored.

A file a record, made and filled before it is needed, so that it can be written where the disk has no room
any more, as far as the file system writes in place. What it holds is sealed as it would be stored, and is for
one state of the store alone: a digest names the very bytes that it is to replace.

    version (1 byte) | generation (8) | SHA-256 of what it replaces (32) | length (4) | sealed record
"""

from __future__ import annotations

import errno
import hashlib
import os
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vault.files import PRIVATE_FILE, make_private_folder, sync_folder

FORMAT: Final = 1

RESERVE: Final = 64 * 1024
"""Bytes that a file has from the beginning; a Discord connection needs about one thousand."""

_HEAD: Final = struct.Struct(">BQ32sI")


@dataclass(frozen=True, slots=True)
class Aside:
    """A sealed record that waits."""

    blob: bytes
    generation: int
    replaces: bytes
    """The digest of what is stored in its place."""


def digest(blob: bytes) -> bytes:
    """What tells one sealed record from every other; each has a nonce of its own."""
    return hashlib.sha256(blob).digest()


class Spool:
    """Files in one folder, which is made when it is first needed. Methods raise OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> set[str]:
        """The names that are taken, be it only to reserve room."""
        try:
            return set(os.listdir(self._folder))
        except FileNotFoundError:
            return set()

    def reserve(self, name: str) -> None:
        """Make sure that something can be kept under this name."""
        make_private_folder(self._folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        handle = os.open(self._folder / name, flags, PRIVATE_FILE)
        try:
            _write(handle, bytes(RESERVE))
        except OSError:
            self.drop(name)
            raise
        finally:
            os.close(handle)
        sync_folder(self._folder)

    def keep(self, name: str, aside: Aside) -> bool:
        """Keep a record where room was reserved for it; False where none was."""
        head = _HEAD.pack(FORMAT, aside.generation, aside.replaces, len(aside.blob))
        try:
            handle = os.open(self._folder / name, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        try:
            _write(handle, head + aside.blob)
        finally:
            os.close(handle)
        return True

    def kept(self, name: str) -> Aside | None:
        """What is kept under this name; None for room that is only reserved, and for what was cut off."""
        try:
            handle = os.open(self._folder / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        with open(handle, "rb") as file:
            head = file.read(_HEAD.size)
            if len(head) < _HEAD.size or head[0] != FORMAT:
                return None
            _, generation, replaces, length = _HEAD.unpack(head)
            blob = file.read(length)
        return Aside(blob, generation, replaces) if len(blob) == length else None

    def drop(self, name: str) -> None:
        """Forget what is kept under this name."""
        with suppress(FileNotFoundError):
            (self._folder / name).unlink()


def _write(handle: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        written = os.write(handle, rest)
        if not written:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rest = rest[written:]
    os.fsync(handle)
