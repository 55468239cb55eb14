"""What `authsome vault` does."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, assert_never

from launcher.errors import LauncherError, UnknownKey, UsageProblem
from launcher.setup.app import App
from launcher.setup.descriptors import require_open
from launcher.times import utc
from vault.envelope import SLOT
from vault.errors import AlreadyThere, KeyUnavailable
from vault.files import refusals_mapped
from vault.keys.file import KeySource
from vault.keys.keyring import SERVICE
from vault.keys.opening import create_vault, stored_slot
from vault.keys.rekey import LOCK_WAIT, Rekeyed, rekey
from vault.keys.wrapping import FromDescriptor, FromFile, FromKeyring, FromPassphrase, KeySlot, Source
from vault.restore import Restored, restore
from vault.storage import SqliteStorage
from vault.vault import Problem

_DAY: Final = 86_400
"""Seconds."""


@dataclass(frozen=True, slots=True)
class NewKeyInput:
    """The options that say where a new key comes from."""

    source: str | None
    passphrase_fd: int | None
    key_fd: int | None

    def checked(self) -> Source | None:
        """The source that is meant, if any. Raises: UsageProblem."""
        wanted = Source(self.source) if self.source else None
        for option, number, source in (
            ("<set passphrase_fd>", self.passphrase_fd, Source.PASSPHRASE),
            ("<set key_fd>", self.key_fd, Source.DESCRIPTOR),
        ):
            if number is not None:
                require_open(number, option)
                if wanted not in (None, source):
                    raise UsageProblem(
                        f"{option} does not go with <set key_source> {wanted}",
                        f"use <set key_source> {source}",
                    )
                wanted = source
        return wanted


def make_vault(app: App, given: NewKeyInput) -> KeySlot:
    """Make an empty vault. Raises: UsageProblem, AlreadyThere, and the errors of the key source."""
    wanted = given.checked()
    source: KeySource = app.key_sources
    if wanted is not None:
        key_fd = app.settings.key_fd if given.key_fd is None else given.key_fd
        passphrase_fd = app.settings.passphrase_fd if given.passphrase_fd is None else given.passphrase_fd
        source = app.key_sources.named(wanted, key_fd=key_fd, passphrase_fd=passphrase_fd)
    app.make_folders()
    with closing(SqliteStorage(app.settings.vault_file)) as storage:
        if not create_vault(storage, source, os.urandom, app.now):
            raise AlreadyThere(
                f"there is a vault in {app.settings.home}",
                "change its key with <vault rekey>, or set AUTHSOME_HOME to another folder",
            )
        return stored_slot(storage)


def change_key(app: App, given: NewKeyInput, tell: Callable[[str], None]) -> Rekeyed:
    """Give the vault another key, and tell before what becomes of the old one.

    Raises: UsageProblem, VaultError.
    """
    wanted = given.checked()
    with closing(_storage(app)) as storage:
        present = stored_slot(storage)
        source = app.key_sources.named(
            wanted or present.source, key_fd=given.key_fd, passphrase_fd=given.passphrase_fd
        )
        tell(f"backups that were made before are opened by the old key only: {_old_key(app, present)}")
        return rekey(storage, app.key_sources, source, now=app.now)


def kept_apart(app: App, slot: KeySlot) -> str | None:
    """What to know of a new key that was not written over the old one; None where it was."""
    place = app.key_sources.place(slot) if slot.source is Source.FILE else app.settings.key_file
    if place == app.settings.key_file:
        return None
    return f"the new key is in {place}; {app.settings.key_file} is as it was, as other vaults may need it"


def forget_kept(app: App, name: str) -> None:
    """Remove a key that was kept. Raises: UnknownKey, VaultError."""
    with closing(_storage(app)) as storage, storage.lock(SLOT, LOCK_WAIT):
        slot = stored_slot(storage)
        if name == slot.key_id:
            raise LauncherError(
                f"{name} is the present key of the vault", "change it first, with <vault rekey>"
            )
        app.key_sources.settle(slot)
        if not app.key_sources.forget(name, slot):
            raise UnknownKey(f"no key {name} is kept", "see <vault key>")


def kept_keys(app: App) -> dict[str, str]:
    """Where the files with former keys are, by the keys' ids. Raises: VaultError."""
    with closing(_storage(app)) as storage:
        return {name: str(path) for name, path in app.key_sources.kept(stored_slot(storage)).items()}


def described_key(app: App) -> dict[str, str | int]:
    """What may be shown of the vault's key. Raises: VaultError."""
    with closing(_storage(app)) as storage:
        slot = stored_slot(storage)
    return {
        "source": slot.source.value,
        "key_id": slot.key_id,
        "created_at": utc(slot.created_at),
        "age_days": max(0, int(app.now() - slot.created_at) // _DAY),
        "details": _details(app, slot),
    }


def back_up(app: App, path: Path) -> tuple[KeySlot, str]:
    """Write a backup; its slot, and where the key is that opens it. Raises: VaultError."""
    with closing(_storage(app)) as storage:
        slot = stored_slot(storage)
        storage.copy_to(path.absolute())
    return slot, _advice(app, slot)


def put_back(app: App, path: Path, force: bool) -> Restored:
    """Restore a backup. Raises: VaultError."""
    with refusals_mapped(path):
        # A missing file and a folder are told apart from what SQLite cannot read.
        if stat.S_ISDIR(path.stat().st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    app.make_folders()
    return restore(path.absolute(), app.settings.vault_file, app.key_sources, force=force)


def verified(app: App) -> tuple[int, list[Problem]]:
    """How many records there are, and which are not as they should be. Raises: VaultError."""
    _require_vault(app)
    return app.vault.verify()


def _storage(app: App) -> SqliteStorage:
    _require_vault(app)
    return SqliteStorage(app.settings.vault_file)


def _require_vault(app: App) -> None:
    if not app.has_vault:
        raise KeyUnavailable(
            f"there is no vault in {app.settings.home}", "make one with <vault init>, or log in"
        )


def _details(app: App, slot: KeySlot) -> str:
    match slot.origin:
        case FromFile():
            return str(app.key_sources.place(slot))
        case FromKeyring(entry=entry):
            return f"{SERVICE}/{entry}"
        case FromPassphrase(iterations=iterations, lanes=lanes, memory_kib=memory):
            return f"argon2id, {iterations} iterations, {lanes} lanes, {memory // 1024} MiB"
        case FromDescriptor():
            return "given each time"
        case _:
            assert_never(slot.origin)


def _old_key(app: App, slot: KeySlot) -> str:
    """What becomes of the key that `slot` names when another takes its place."""
    name = slot.key_id
    removal = f"<vault forget-key {name}> removes it"
    match slot.origin:
        case FromFile():
            place = app.key_sources.kept_in(slot)
            if place is None:
                return f"{name}, which is in no file here; keep it where it is given from"
            if app.settings.key_path:
                return f"{name} stays in {place}"
            return f"{name} stays as {place}; {removal}"
        case FromKeyring():
            return f"{name} stays in the keyring as {SERVICE}/{name}; {removal}"
        case FromPassphrase():
            return "do not forget the old passphrase"
        case FromDescriptor():
            return f"keep {name} where it is given from"
        case _:
            assert_never(slot.origin)


def _advice(app: App, slot: KeySlot) -> str:
    match slot.origin:
        case FromFile():
            return f"keep a copy of {app.key_sources.place(slot)} in another place"
        case FromKeyring():
            return "keep a backup of the system's keyring"
        case FromPassphrase():
            return "it is derived from your passphrase"
        case FromDescriptor():
            return "keep it where it is given from"
        case _:
            assert_never(slot.origin)
