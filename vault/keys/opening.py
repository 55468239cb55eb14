"""From a key source and the key slot to the vault's key."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from vault.envelope import KEY_BYTES, NONCE_BYTES, SLOT
from vault.errors import KeyUnavailable, LockTimeout, RecordDamaged, VaultError
from vault.keys.file import KeySource
from vault.keys.wrapping import KeySlot, encode, parse, unwrap, wrap
from vault.storage import Premise, Storage, StoredRecord

CREATION_TIMEOUT: Final = 30.0
"""Seconds to wait while another process makes the vault: two files, a few fsyncs."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The vault's key, and the key slot that it was in."""

    key: bytes = field(repr=False)
    """Secret."""
    stored: StoredRecord

    @property
    def premise(self) -> Premise:
        """What everything that is sealed under the key rests upon."""
        return Premise(SLOT, self.stored)


def stored_slot(storage: Storage) -> KeySlot:
    """The key slot; what it says is public. Raises: KeyUnavailable, RecordDamaged, FormatTooNew."""
    return parse(_stored(storage).blob)


def unlocked(storage: Storage, source: KeySource) -> Opened:
    """The key of the vault that `storage` holds.

    Raises: KeyUnavailable, RecordDamaged, FormatTooNew, LoosePermissions.
    """
    while True:
        stored = _stored(storage)
        try:
            slot = parse(stored.blob)
            return Opened(unwrap(source.unlock(slot), slot), stored)
        except VaultError:
            # The key may have been changed between the two looks, at the slot and at the source.
            if storage.get(SLOT) == stored:
                raise


def settle(storage: Storage, source: KeySource) -> None:
    """Clean up after a change of key that was cut off, unless one is under way."""
    if source.unsettled:
        with suppress(LockTimeout), storage.lock(SLOT, 0.0):
            source.settle(stored_slot(storage))


def create_vault(
    storage: Storage, source: KeySource, randbytes: Callable[[int], bytes], now: Callable[[], float]
) -> bool:
    """Make a key and the slot, unless another process was first; whether this one did.

    Raises: RecordDamaged for records without a slot, which a new key would not open; LockTimeout, and
    what the source raises.
    """
    with storage.lock(SLOT, CREATION_TIMEOUT):
        if storage.get(SLOT) is not None:
            return False
        if storage.profiles():
            raise RecordDamaged(
                "the vault holds records but its key slot is gone", "restore the vault from a backup"
            )
        made = source.create()
        slot = wrap(made.key, randbytes(NONCE_BYTES), os.urandom(KEY_BYTES), made.origin, int(now()))
        storage.put(SLOT, encode(slot), 1)
        return True


def _stored(storage: Storage) -> StoredRecord:
    stored = storage.get(SLOT)
    if stored is None:
        raise KeyUnavailable("there is no vault yet", "run <login PROVIDER> to make one")
    return stored
