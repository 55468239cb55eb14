"""Key sources: where the key comes from that unwraps a vault's own key; and the key file, the usual one."""

from __future__ import annotations

import base64
import binascii
import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from vault.envelope import KEY_BYTES
from vault.errors import FormatTooNew, KeyUnavailable, VaultError
from vault.files import make_private_folder, new_file, refusals_mapped, require_private, sync_folder
from vault.keys.wrapping import FromFile, KeyOrigin, KeySlot, key_id

KEY_FORMAT: Final = 1
"""The number in the first word of a key as text."""

_LINE = re.compile(rb"authsome-key-([1-9][0-9]{0,8}):([^\r\n]*)\r?\n?")

ANEW: Final = "if it is lost for good, move vault.db away and log in again"
"""What is left to do without the key."""

_GARBLED: Final = (
    "put the key file back from a backup; if it is lost for good, move it and vault.db away and log in again"
)

KEY_ID: Final = re.compile(r"[0-9a-f]{16}")
"""What a key's id looks like; a kept key is found by it."""

READ_LIMIT: Final = 4096
"""Bytes read of a key or a passphrase: far more than any needs, so that a wrong file is not slurped."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to wrap a vault's key with, and what a slot has to say about it."""

    key: bytes = field(repr=False)
    """Secret."""
    origin: KeyOrigin


class KeySource(Protocol):
    """Keeps, derives or is given the key that unwraps a vault's key.

    A change of key is: `stage` the new one, `leave` the old one if another source takes over, one write
    of the vault, `settle`. A process may be killed anywhere between: `unlock` works at every moment.

    Every method may raise KeyUnavailable, LoosePermissions, FormatTooNew and StorageUnavailable.
    """

    def create(self) -> NewKey:
        """The key for a new vault, kept durably; one that is there is used."""
        ...

    def unlock(self, slot: KeySlot) -> bytes:
        """The key that `slot.key_id` names."""
        ...

    def stage(self, present: KeySlot) -> NewKey:
        """Another key, kept durably beside the one that `present` names."""
        ...

    def leave(self, present: KeySlot) -> None:
        """Prepare for the key that `present` names not to be needed any more, and keep it at hand."""
        ...

    def settle(self, slot: KeySlot, former: KeySlot | None = None) -> None:
        """Keep the key that `slot` names, and none that never counted; `former` is where a change began.

        A key that did count stays as well, under its id. `slot` is the stored one, and its lock is held.
        """
        ...

    @property
    def unsettled(self) -> bool:
        """Whether a change of key is under way, or was not finished; must be cheap."""
        ...


class NothingKept:
    """The part of a key source that has nothing to clean up."""

    def leave(self, present: KeySlot) -> None:
        """The user keeps the key."""

    def settle(self, slot: KeySlot, former: KeySlot | None = None) -> None:
        """Nothing is left over."""

    @property
    def unsettled(self) -> bool:
        return False


class KeyFile:
    """The key in a file that only its owner can read: `authsome-key-1:` and base64.

    A key that has counted is kept beside it, in a file whose name ends with the key's id, until `forget`.

    While the key is changed there is one more, whose name ends with `.pending`: the new key that is not yet
    needed, or the old one that soon is not. The slot says which of the two counts. Whatever the change is
    about to replace or to move has been kept before the vault is written, so that the other can go.

    A `shared` file is one that other vaults may need as well: it is neither replaced nor removed. A new key
    is written beside it, under its id, and none is ever taken away.
    """

    def __init__(self, path: Path, *, shared: bool = False) -> None:
        self._path = path
        self._shared = shared
        self._pending = path.with_name(f"{path.name}.pending")

    def create(self) -> NewKey:
        key = self._read(self._path)
        if key is None and self._read_pending() is not None:
            self._rename(self._pending, self._path)  # a change was cut off, and then the database was lost
            key = self.load()
        if key is None:
            with refusals_mapped(self._path):
                _make_folder(self._path)
                # Another process that was first has made the vault's key.
                with suppress(FileExistsError):
                    _write(self._path, os.urandom(KEY_BYTES))
            key = self.load()
        return NewKey(key, FromFile())

    def load(self) -> bytes:
        """The key of the file itself."""
        key = self._read(self._path)
        if key is None:
            raise KeyUnavailable(
                f"the master key {self._path} is missing",
                f"{'check AUTHSOME_KEY_FILE, or ' if self._shared else ''}"
                f"put the key file back from a backup; {ANEW}",
            )
        return key

    def place(self, slot: KeySlot) -> Path:
        """The file for the key that `slot` names."""
        own = self._own(slot.key_id)
        return own if os.path.lexists(own) else self._path

    def unlock(self, slot: KeySlot) -> bytes:
        # Each twice: whichever way a change of key renames or removes them meanwhile, the key is met once.
        for read in (self._read_pending, lambda: self._read(self.place(slot))) * 2:
            key = read()
            if key is not None and key_id(key) == slot.key_id:
                return key
        self.load()
        raise KeyUnavailable(
            f"the master key {self._path} is not the one that this vault was made with",
            f"put the right key back, or restore the vault if it was changed; {ANEW}",
        )

    def stage(self, present: KeySlot) -> NewKey:  # noqa: ARG002  (other sources need it)
        key = os.urandom(KEY_BYTES)
        if self._shared:
            place = self._own(key_id(key)) if os.path.lexists(self._path) else self._path
            with refusals_mapped(place):
                _make_folder(place)
                _write(place, key)
            return NewKey(key, FromFile())
        replaced = self._read(self._path)  # one that cannot be read could not be kept: nothing is begun
        with refusals_mapped(self._pending):
            _make_folder(self._pending)
            self._pending.unlink(missing_ok=True)  # what a change that was cut off has left
            _write(self._pending, key)
        self._keep(replaced)
        return NewKey(key, FromFile())

    def leave(self, present: KeySlot) -> None:
        if self._shared:
            return
        key = self._read(self._path)
        if key is not None and key_id(key) == present.key_id:
            self._rename(self._path, self._pending)
            self._keep(key)

    def settle(self, slot: KeySlot, former: KeySlot | None = None) -> None:  # noqa: ARG002
        if not self.unsettled:
            return
        pending = self._read_pending()
        counts = pending is not None and key_id(pending) == slot.key_id
        try:
            replaced = self._read(self._path)
        except VaultError:
            if counts:
                return  # the vault opens as it is, and what lies in the way is the user's to judge
            replaced = None
        # The pending file goes last: as long as it is there, this is done again.
        if counts:
            self._remove(self._own(slot.key_id))
            self._rename(self._pending, self._path)
            return
        if replaced is not None:
            self._remove(self._own(key_id(replaced)))
        self._remove(self._pending)

    @property
    def unsettled(self) -> bool:
        with refusals_mapped(self._pending):
            return not self._shared and os.path.lexists(self._pending)

    def after(self, slot: KeySlot) -> Path:
        """The file for the key that `slot` names once another counts."""
        return self.place(slot) if self._shared else self._own(slot.key_id)

    def kept(self, slot: KeySlot) -> dict[str, Path]:
        """The files with other keys than the one that `slot` names, by the keys' ids."""
        found: dict[str, Path] = {}
        with suppress(VaultError):
            if (key := self._read(self._path)) is not None:
                found[key_id(key)] = self._path
        with suppress(OSError):  # a folder may let its files be opened and not be listed
            for name in sorted(os.listdir(self._path.parent)):
                start, _, ending = name.rpartition(".")
                if start == self._path.name and KEY_ID.fullmatch(ending):
                    found[ending] = self._path.with_name(name)
        found.pop(slot.key_id, None)
        return found

    def forget(self, name: str, slot: KeySlot) -> bool:
        """Remove a kept key; whether there was one. The lock of `slot`, the stored one, is held.

        Raises: KeyUnavailable for one that other vaults may need.
        """
        place = self.kept(slot).get(name)
        if place is None:
            return False
        if self._shared:
            raise KeyUnavailable(
                f"the key {name} in {place} may be that of another vault", "remove the file if it is not"
            )
        self._remove(place)
        if self._path != place and name in self.kept(slot):
            self._remove(self._path)  # it was there twice
        return True

    def _own(self, name: str) -> Path:
        """The file beside the usual one for the key with the id `name`."""
        return self._path.with_name(f"{self._path.name}.{name}")

    def _keep(self, key: bytes | None) -> None:
        if key is not None and not os.path.lexists(own := self._own(key_id(key))):
            with refusals_mapped(own):
                _write(own, key)

    def _remove(self, path: Path) -> None:
        with refusals_mapped(path):
            path.unlink(missing_ok=True)
            sync_folder(path.parent)

    def _rename(self, here: Path, there: Path) -> None:
        with refusals_mapped(here):
            here.replace(there)
            sync_folder(there.parent)

    def _read(self, path: Path) -> bytes | None:
        try:
            with open(path, "rb") as file:
                require_private(path, os.fstat(file.fileno()))
                if file.isatty():  # what is typed there would be seen
                    raise KeyUnavailable(
                        f"the master key {path} is a terminal",
                        "give a file, or set AUTHSOME_KEY_FD to a descriptor",
                    )
                text = file.read(READ_LIMIT)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise KeyUnavailable(
                f"the master key {path} cannot be read", "make it a file that you can read"
            ) from exc
        return parse_key(text, str(path), _GARBLED)

    def _read_pending(self) -> bytes | None:
        # A key that was not written to its end cannot be the one that a slot names.
        with suppress(KeyUnavailable):
            return self._read(self._pending)
        return None


def key_text(key: bytes) -> bytes:
    """A key as one line of text."""
    return b"authsome-key-%d:%s\n" % (KEY_FORMAT, base64.b64encode(key))


def parse_key(text: bytes, place: str, hint: str) -> bytes:
    """The key in a line of text; `place` is where it was found.

    Raises: KeyUnavailable, FormatTooNew; neither quotes the text.
    """
    match = _LINE.fullmatch(text)
    if match and int(match[1]) > KEY_FORMAT:
        raise FormatTooNew(
            f"the master key {place} was made by a newer version of authsome", "update authsome"
        )
    try:
        key = base64.b64decode(match[2], validate=True) if match else b""
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise KeyUnavailable(f"{place} does not hold a master key", hint)
    return key


def _make_folder(path: Path) -> None:
    # One that is there, such as a folder of the system's for secrets, may let others in: the file does not.
    if not path.parent.exists():
        make_private_folder(path.parent)


def _write(path: Path, key: bytes) -> None:
    with new_file(path) as temporary:
        temporary.write_bytes(key_text(key))
