"""A key source in the operating system's keyring, through the optional package `keyring`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, assert_never

from vault.envelope import KEY_BYTES
from vault.errors import KeyUnavailable
from vault.keys.file import ANEW, KEY_ID, NewKey, key_text, parse_key
from vault.keys.wrapping import FromDescriptor, FromFile, FromKeyring, FromPassphrase, KeySlot, key_id

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

SERVICE: Final = "authsome"
"""Under what the keyring lists our keys."""

_NO_KEYRING: Final = "install the package 'keyring' in authsome's own environment, or use another key source"
_LOCKED: Final = "start or unlock the keyring, or use another key source"


def system_keyring() -> KeyringBackend:
    """The keyring that the package `keyring` chooses. Raises: KeyUnavailable."""
    try:
        import keyring
    except ModuleNotFoundError as exc:
        raise KeyUnavailable("the package 'keyring' is not installed", _NO_KEYRING) from exc
    return keyring.get_keyring()


class Keyring:
    """One vault has two places in the keyring; a change of key writes the one that is not in use.

    A key that has counted stays under its id as well, for the backups that were made under it, until
    `forget`. A keyring cannot be searched, so what a killed process left over must be found by name.
    """

    def __init__(
        self,
        backend: Callable[[], KeyringBackend] = system_keyring,
        randbytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._backend = backend
        self._randbytes = randbytes

    def create(self) -> NewKey:
        return self._stored(f"{self._randbytes(8).hex()}-1")

    def unlock(self, slot: KeySlot) -> bytes:
        entry = _entry_of(slot)
        if entry is None:
            raise KeyUnavailable("this vault's key is not in the keyring", "see <vault key>")
        key = self._found(entry, slot.key_id)
        if key is not None:
            return key
        self._read(entry)
        raise KeyUnavailable(
            "the key in the keyring is not the one that this vault was made with",
            f"restore the keyring, or restore the vault from a backup; {ANEW}",
        )

    def stage(self, present: KeySlot) -> NewKey:
        entry = _entry_of(present)
        if entry is None:
            return self.create()
        self._keep(entry, present.key_id)
        return self._stored(_sibling(entry))

    def leave(self, present: KeySlot) -> None:
        """The key stays where it is until the vault is written."""

    def settle(self, slot: KeySlot, former: KeySlot | None = None) -> None:
        if (entry := _entry_of(slot)) is not None:
            # Now, as the vault may be replaced by a backup, and then its places are written anew.
            self._keep(entry, slot.key_id)
            self._delete(_sibling(entry))
        elif former is not None and (entry := _entry_of(former)) is not None:
            self._keep(entry, former.key_id)
            for place in (entry, _sibling(entry)):
                self._delete(place)

    @property
    def unsettled(self) -> bool:
        return False  # a look would cost more than the next change of key, which overwrites what is left

    def forget(self, name: str, slot: KeySlot) -> bool:
        """Remove a kept key, which is not the one that `slot` names; whether there was one."""
        if name == slot.key_id or not KEY_ID.fullmatch(name) or self._text(name) is None:
            return False
        self._delete(name)
        return True

    def _stored(self, entry: str) -> NewKey:
        made = NewKey(os.urandom(KEY_BYTES), FromKeyring(entry=entry))
        self._write(entry, made.key)
        return made

    def _keep(self, entry: str, name: str) -> None:
        """Have a key, if it is there, under its id."""
        key = self._found(entry, name)
        if key is not None:
            self._write(name, key)

    def _found(self, entry: str, name: str) -> bytes | None:
        """The key with the id `name`, in its place or under its id."""
        for text, place in ((self._text(place), place) for place in (entry, name)):
            with suppress(KeyUnavailable):  # what is no key is not this one
                if text is not None and key_id(key := _parsed(text, place)) == name:
                    return key
        return None

    def _write(self, entry: str, key: bytes) -> None:
        with _errors_mapped():
            self._backend().set_password(SERVICE, entry, key_text(key).decode().strip())
        if self._read(entry) != key:  # a backend that keeps nothing is not noticed otherwise
            raise KeyUnavailable("the keyring did not keep the key", _LOCKED)

    def _read(self, entry: str) -> bytes:
        text = self._text(entry)
        if text is None:
            raise KeyUnavailable(
                f"the keyring has no key {SERVICE}/{entry}", f"unlock or restore the keyring; {ANEW}"
            )
        return _parsed(text, entry)

    def _text(self, entry: str) -> str | None:
        with _errors_mapped():
            return self._backend().get_password(SERVICE, entry)

    def _delete(self, entry: str) -> None:
        from keyring.errors import PasswordDeleteError

        with _errors_mapped(), suppress(PasswordDeleteError):  # it is not there
            self._backend().delete_password(SERVICE, entry)


def _parsed(text: str, entry: str) -> bytes:
    return parse_key(text.encode(), f"{SERVICE}/{entry} in the keyring", "restore the keyring")


def _entry_of(slot: KeySlot) -> str | None:
    """The keyring's entry that holds the key; None where it is not there."""
    match slot.origin:
        case FromKeyring(entry=entry):
            return entry
        case FromFile() | FromDescriptor() | FromPassphrase():
            return None
        case never:
            assert_never(never)


def _sibling(entry: str) -> str:
    return f"{entry[:-1]}{'2' if entry.endswith('1') else '1'}"


@contextmanager
def _errors_mapped() -> Iterator[None]:
    try:
        from keyring.errors import KeyringError
    except ModuleNotFoundError as exc:
        raise KeyUnavailable("the package 'keyring' is not installed", _NO_KEYRING) from exc
    try:
        yield
    except KeyringError as exc:
        # Not its own text: a backend may quote what it was given.
        raise KeyUnavailable("the system's keyring refused", _LOCKED) from exc
