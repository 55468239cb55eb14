"""A key that is given through an inherited file descriptor, as a CI system gives its secrets."""

from __future__ import annotations

from collections.abc import Callable

from vault.errors import KeyUnavailable
from vault.keys.file import ANEW, READ_LIMIT, NewKey, NothingKept, parse_key
from vault.keys.wrapping import FromDescriptor, KeySlot, key_id


def read_descriptor(number: int) -> bytes:
    """All that a descriptor holds, which is closed then, so that no process started later has it.

    Raises: KeyUnavailable.
    """
    try:
        with open(number, "rb") as file:
            content = file.read(READ_LIMIT + 1)
    except OSError as exc:
        raise KeyUnavailable(
            f"file descriptor {number} cannot be read", f"open it for authsome, as in '{number}<FILE'"
        ) from exc
    if len(content) > READ_LIMIT:
        raise KeyUnavailable(
            f"file descriptor {number} holds too much for a key", "check which file it was opened for"
        )
    return content


class KeyDescriptor(NothingKept):
    """Opens any vault whose key it is given, however the vault's own source keeps it."""

    def __init__(self, number: int, read: Callable[[int], bytes] = read_descriptor) -> None:
        self._number = number
        self._read = read
        self._key: bytes | None = None

    def create(self) -> NewKey:
        return NewKey(self._given(), FromDescriptor())

    def unlock(self, slot: KeySlot) -> bytes:
        key = self._given()
        if key_id(key) != slot.key_id:
            raise KeyUnavailable(
                f"the key given through file descriptor {self._number} is not this vault's",
                f"give the key {slot.key_id}; <vault key> shows which one a vault needs; {ANEW}",
            )
        return key

    def stage(self, present: KeySlot) -> NewKey:
        made = self.create()
        if key_id(made.key) == present.key_id:
            raise KeyUnavailable("the new key is the present one", "make another key")
        return made

    def _given(self) -> bytes:
        if self._key is None:
            self._key = parse_key(
                self._read(self._number),
                f"file descriptor {self._number}",
                "give 'authsome-key-1:' and 32 random bytes in base64",
            )
        return self._key
