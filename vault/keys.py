"""Where the master key comes from."""

from __future__ import annotations

import base64
import binascii
import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from vault.envelope import KEY_BYTES
from vault.errors import FormatTooNew, KeyUnavailable
from vault.files import make_private_folder, refusals_mapped, require_private, sync_folder

KEY_FORMAT: Final = 1
"""The number in the first word of a key file."""

_LINE = re.compile(rb"authsome-key-([1-9][0-9]{0,8}):([^\r\n]*)\r?\n?")

_READ_LIMIT: Final = 4096
"""Bytes read of a key file: far more than any format needs, so that a wrong file is not slurped."""


class MasterKeySource(Protocol):
    """Keeps the 32 bytes that every other key is derived from."""

    def load(self) -> bytes:
        """The key that exists.

        Raises: KeyUnavailable, LoosePermissions, FormatTooNew.
        """
        ...

    def create(self) -> bytes:
        """Make a key durably, or give the one that exists: all callers get the same key.

        Raises: what `load` raises, and StorageUnavailable.
        """
        ...


class KeyFile:
    """The master key in a file that only its owner can read: `authsome-key-1:` and base64."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> bytes:
        key = self._read()
        if key is None:
            raise KeyUnavailable(
                f"the master key {self._path} is missing",
                "put the key file back from a backup; without it the stored connections cannot be opened",
            )
        return key

    def create(self) -> bytes:
        key = self._read()
        if key is not None:
            return key
        with refusals_mapped(self._path):
            make_private_folder(self._path.parent)
            self._write_once(os.urandom(KEY_BYTES))
        return self.load()

    def _read(self) -> bytes | None:
        try:
            with open(self._path, "rb") as file:
                require_private(self._path, os.fstat(file.fileno()))
                text = file.read(_READ_LIMIT)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise KeyUnavailable(
                f"the master key {self._path} cannot be read", "make it a file that you can read"
            ) from exc
        return _parse(text, self._path)

    def _write_once(self, key: bytes) -> None:
        """Give a finished, synced file its name, unless another process was first.

        A link, because a rename would replace the other process's key after it was used.
        """
        folder = self._path.parent
        handle, temporary = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=folder)  # mode 0600, O_EXCL
        try:
            with open(handle, "wb") as file:
                file.write(b"authsome-key-%d:%s\n" % (KEY_FORMAT, base64.b64encode(key)))
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(temporary, self._path)
        finally:
            os.unlink(temporary)
        sync_folder(folder)


def _parse(text: bytes, path: Path) -> bytes:
    match = _LINE.fullmatch(text)
    if match and int(match[1]) > KEY_FORMAT:
        raise FormatTooNew(
            f"the master key {path} was made by a newer version of authsome", "update authsome"
        )
    try:
        key = base64.b64decode(match[2], validate=True) if match else b""
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise KeyUnavailable(f"{path} does not hold a master key", "put the key file back from a backup")
    return key
