"""Another key for a vault, and another source for it, with no moment at which the vault cannot be opened."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from vault.envelope import KEY_BYTES, NONCE_BYTES, SLOT, Kind, RecordId, profile_key, seal, unseal
from vault.errors import RecordDamaged
from vault.keys.file import KeySource
from vault.keys.opening import stored_slot, unlocked
from vault.keys.wrapping import KeySlot, encode, wrap
from vault.storage import Storage, StoredRecord

LOCK_WAIT: Final = 60.0
"""Seconds to wait for the refreshes that are under way: each may take the time of one exchange."""


@dataclass(frozen=True, slots=True)
class Rekeyed:
    """What a change of key has done."""

    slot: KeySlot
    records: int
    """How many records are sealed under the new key."""
    left: list[RecordId]
    """Records that did not open under the old key either, and are as they were."""


def no_step(name: str) -> None:
    """The steps of a change are told to who wants to know; nobody does."""


def rekey(
    storage: Storage,
    present: KeySource,
    new: KeySource,
    *,
    now: Callable[[], float],
    randbytes: Callable[[int], bytes] = os.urandom,
    step: Callable[[str], None] = no_step,
) -> Rekeyed:
    """Give the vault another key, kept by `new`, and seal every record of every profile again.

    Both keys are at hand until the one write that decides which of them counts. A process that has the
    vault open goes on if its key source finds the new key.

    Raises: KeyUnavailable, LockTimeout, FormatTooNew for a record that only a newer version understands;
    and the old key still opens the vault.
    """
    with storage.lock(SLOT, LOCK_WAIT):
        old = unlocked(storage, present)
        former = stored_slot(storage)
        present.settle(former)
        step("begun")
        try:
            made = new.stage(former)
            step("staged")
            if made.origin.source != former.source:
                present.leave(former)
                step("left")
            vault_key = os.urandom(KEY_BYTES)
            slot = wrap(made.key, randbytes(NONCE_BYTES), vault_key, made.origin, int(now()))
            kept: dict[RecordId, StoredRecord] = {}
            left: list[RecordId] = []

            def change(records: Mapping[RecordId, StoredRecord]) -> Mapping[RecordId, StoredRecord]:
                for record, stored in records.items():
                    if record == SLOT:
                        continue
                    try:
                        kept[record] = _resealed(old.key, vault_key, record, stored, randbytes)
                    except RecordDamaged:
                        kept[record] = stored
                        left.append(record)
                step("sealed")
                return {**kept, SLOT: StoredRecord(encode(slot), records[SLOT].generation + 1)}

            # A refresh between the provider's answer and its storing would have nowhere to put the token,
            # should its process not find the new key.
            with connections_held(storage, storage.everything()):
                step("locked")
                storage.rewrite(change)
            step("written")
        finally:
            # Whatever happened, the stored slot says which key counts.
            for source in (new, present):
                source.settle(stored_slot(storage), former)
        step("settled")
    return Rekeyed(slot, len(kept) - len(left), left)


@contextmanager
def connections_held(storage: Storage, records: Iterable[RecordId]) -> Iterator[None]:
    """Hold every connection, so that no refresh is under way. Raises: LockTimeout."""
    with ExitStack() as held:
        for record in sorted(records):
            if record.kind == Kind.CONNECTION:
                held.enter_context(storage.lock(record, LOCK_WAIT))
        yield


def _resealed(
    old: bytes, new: bytes, record: RecordId, stored: StoredRecord, randbytes: Callable[[int], bytes]
) -> StoredRecord:
    """The same write under another key: who read its generation may still write the next one."""
    plaintext = unseal(profile_key(old, record.profile), record, stored.generation, stored.blob)
    key = profile_key(new, record.profile)
    blob = seal(key, randbytes(NONCE_BYTES), record, stored.generation, plaintext)
    return StoredRecord(blob, stored.generation)
