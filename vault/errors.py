"""What can go wrong with a vault. Every message is one sentence without a secret in it."""

from __future__ import annotations


class VaultError(Exception):
    """The vault could not do what was asked; `hint` says what the reader can do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class KeyUnavailable(VaultError):
    """The key that opens this vault is missing, unreadable, not given, or another one."""


class RecordDamaged(VaultError):
    """A sealed record does not open: tampered with, swapped, or sealed under another key."""


class FormatTooNew(VaultError):
    """The vault or a record was written by a newer version; it is left as it is."""


class LoosePermissions(VaultError):
    """Other users of the machine could read or change a file of the vault."""


class StorageUnavailable(VaultError):
    """The file system refused: disk full, read-only, no locks."""


class KeptAside(StorageUnavailable):
    """Not stored now, and not lost: it waits, sealed, beside the store for whoever opens it next."""


class StorageDamaged(StorageUnavailable):
    """The file is no database any more; a backup can be restored in its place."""


class AlreadyThere(VaultError):
    """Something exists that is not overwritten."""


class Conflict(VaultError):
    """Another process stored a newer generation first; read again and decide anew."""


class PremiseChanged(VaultError):
    """A record that a write rests upon was changed by another process; nothing was written."""


class LockTimeout(VaultError):
    """Another process has held a connection's lock for longer than the caller would wait."""
