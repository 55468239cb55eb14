"""A backup put back in the place of a vault, which is kept."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from vault.database import connect, copy_database, read_copy
from vault.envelope import SLOT, RecordId, profile_key, unseal
from vault.errors import AlreadyThere, KeyUnavailable, RecordDamaged, StorageDamaged, VaultError
from vault.files import partial_prefix, refusals_mapped, sync_folder
from vault.keys.file import KeySource
from vault.keys.opening import stored_slot
from vault.keys.rekey import LOCK_WAIT, connections_held, no_step
from vault.keys.wrapping import KeySlot, parse, unwrap
from vault.locks import FileLocks
from vault.marks import lock_name
from vault.storage import SqliteStorage, StoredRecord

type Records = Mapping[RecordId, StoredRecord]


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put back."""

    slot: KeySlot
    records: int
    damaged: list[RecordId]
    """Records of the backup that do not open."""
    kept: Path | None
    """Where the vault that was there is now."""


def restore(
    backup: Path,
    vault_file: Path,
    source: KeySource,
    *,
    force: bool,
    step: Callable[[str], None] = no_step,
) -> Restored:
    """Make the vault what the backup holds. Processes that have it open see that as one write.

    Raises: KeyUnavailable where `source` has not the backup's key, and nothing was changed; AlreadyThere
    for a vault where `force` was not given; StorageUnavailable, LockTimeout, FormatTooNew.
    """
    try:
        with refusals_mapped(backup):
            records = {id_: StoredRecord(blob, generation) for id_, generation, blob in read_copy(backup)}
    except StorageDamaged as exc:
        # The usual hint of a damaged vault is to restore a backup, which this is not.
        raise StorageDamaged(str(exc), "use another backup") from exc
    slot, damaged = _opened(backup, records, source)
    step("read")
    try:
        kept = _rewrite(vault_file, source, records, force, step)
    except StorageDamaged:
        # There is nothing to read in it, and so nothing to add one write to.
        if not force:
            raise
        kept = _replace(backup, vault_file, step)
    step("restored")
    return Restored(slot, len(records) - 1 - len(damaged), damaged, kept)


def _opened(backup: Path, records: Records, source: KeySource) -> tuple[KeySlot, list[RecordId]]:
    if SLOT not in records:
        raise KeyUnavailable(f"{backup} holds no vault", "use another backup")
    slot = parse(records[SLOT].blob)
    try:
        key = unwrap(source.unlock(slot), slot)
    except KeyUnavailable as exc:
        raise KeyUnavailable(
            f"the backup does not open: {exc}",
            f"give the key {slot.key_id} that it was made with, as AUTHSOME_KEY_FILE for example",
        ) from exc
    return slot, [record for record, stored in records.items() if not _opens(key, record, stored)]


def _opens(key: bytes, record: RecordId, stored: StoredRecord) -> bool:
    if record == SLOT:
        return True
    try:
        unseal(profile_key(key, record.profile), record, stored.generation, stored.blob)
    except RecordDamaged:
        return False
    return True


def _rewrite(
    vault_file: Path, source: KeySource, records: Records, force: bool, step: Callable[[str], None]
) -> Path | None:
    with closing(SqliteStorage(vault_file)) as storage, storage.lock(SLOT, LOCK_WAIT):
        present = storage.everything()
        if present and not force:
            raise AlreadyThere(
                f"there is a vault in {vault_file.parent}", "replace it with <set force>; it is kept beside"
            )
        with suppress(VaultError):
            # What a change that was cut off has left may be the key of the vault that is kept aside.
            source.settle(stored_slot(storage))
        kept: list[Path] = []

        def change(now: Records) -> Records:
            if now:
                kept.append(_copied_aside(storage, vault_file))
            step("kept")
            return records

        with connections_held(storage, {**present, **records}):
            storage.rewrite(change)
        return kept[0] if kept else None


def _copied_aside(storage: SqliteStorage, vault_file: Path) -> Path:
    for path in _free_names(vault_file):
        try:
            storage.copy_to(path)
        except AlreadyThere:
            continue
        return path
    raise AssertionError("numbers do not end")


def _replace(backup: Path, vault_file: Path, step: Callable[[str], None]) -> Path:
    """Put a new file in the place of one that is damaged, which gets another name first."""
    fresh = vault_file.with_name(f"{vault_file.name}.restoring")
    with refusals_mapped(vault_file):
        locks = FileLocks(vault_file.parent / "locks")
    with locks.hold(lock_name(SLOT), LOCK_WAIT, "the vault"), refusals_mapped(vault_file):
        for left in (fresh, *vault_file.parent.glob(f"{glob.escape(partial_prefix(fresh))}*")):
            left.unlink(missing_ok=True)
        with closing(connect(backup, 0, "mode=ro&immutable=1")) as source:
            copy_database(source, fresh)
        step("copied")
        kept = next(path for path in _free_names(vault_file) if not path.exists())
        os.link(vault_file, kept)
        journal = vault_file.with_name(f"{vault_file.name}-wal")
        if journal.exists():
            os.link(journal, kept.with_name(f"{kept.name}-wal"))
        sync_folder(vault_file.parent)
        step("kept")
        # First the journal, which SQLite would apply to whatever database it finds beside it.
        for name in ("-wal", "-shm"):
            vault_file.with_name(f"{vault_file.name}{name}").unlink(missing_ok=True)
        step("removed")
        fresh.replace(vault_file)
        sync_folder(vault_file.parent)
    return kept


def _free_names(vault_file: Path) -> Iterator[Path]:
    return (vault_file.with_name(f"{vault_file.name}.before-restore-{n}") for n in itertools.count(1))
