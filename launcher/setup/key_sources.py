"""The key source that a vault names, with what the options and the environment say about it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, assert_never

from launcher.child.terminal import TERMINAL, ask_secret
from launcher.errors import LauncherError, UsageProblem
from launcher.setup.settings import KEY_FD_VARIABLE, KEY_FILE_VARIABLE, PASSPHRASE_FD_VARIABLE, Settings
from vault.errors import KeyUnavailable
from vault.keys.descriptor import KeyDescriptor, read_descriptor
from vault.keys.file import KeyFile, KeySource, NewKey
from vault.keys.keyring import Keyring
from vault.keys.passphrase import Passphrase
from vault.keys.wrapping import KeySlot, Source

_PHRASE: Final = "Passphrase of the vault: "

_NO_TERMINAL: Final = f"give it through a file descriptor and set {PASSPHRASE_FD_VARIABLE} to its number"


class KeySources:
    """The key source of whatever vault is opened. A new vault gets the one that the environment suggests."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._file = key_file_of(settings)
        self._keyring = Keyring()
        self._passphrase = passphrase(settings.passphrase_fd)
        self._descriptor = KeyDescriptor(settings.key_fd, _given_key) if settings.key_fd is not None else None

    def create(self) -> NewKey:
        return self._usual().create()

    def unlock(self, slot: KeySlot) -> bytes:
        return self._of(slot).unlock(slot)

    def stage(self, present: KeySlot) -> NewKey:
        return self.named(present.source).stage(present)

    def leave(self, present: KeySlot) -> None:
        for source in (self._file, self._keyring):
            source.leave(present)

    def settle(self, slot: KeySlot, former: KeySlot | None = None) -> None:
        self._file.settle(slot, former)
        if Source.KEYRING in (slot.source, former and former.source):
            self._keyring.settle(slot, former)

    def place(self, slot: KeySlot) -> Path:
        """The file with the key, where it is in one."""
        return self._file.place(slot)

    def kept(self, slot: KeySlot) -> dict[str, Path]:
        """The files with other keys than the present one, by the keys' ids; a keyring cannot be searched."""
        return self._file.kept(slot)

    def kept_in(self, slot: KeySlot) -> Path | None:
        """The file with the present key once another counts; None where no file holds it."""
        try:
            self._file.unlock(slot)
        except KeyUnavailable:
            return None
        return self._file.after(slot)

    def forget(self, name: str, slot: KeySlot) -> bool:
        """Remove a kept key; whether there was one. Raises: KeyUnavailable."""
        if self._file.forget(name, slot):
            return True
        try:
            return self._keyring.forget(name, slot)
        except KeyUnavailable:
            if slot.source is Source.KEYRING:
                raise
            return False  # there may be no keyring at all

    @property
    def unsettled(self) -> bool:
        return self._file.unsettled

    def named(
        self, source: Source, *, key_fd: int | None = None, passphrase_fd: int | None = None
    ) -> KeySource:
        """A source for a new key, with the descriptors that options name. Raises: UsageProblem."""
        match source:
            case Source.FILE:
                return self._file
            case Source.KEYRING:
                return self._keyring
            case Source.PASSPHRASE:
                return passphrase(passphrase_fd)
            case Source.DESCRIPTOR:
                if key_fd is None:
                    raise UsageProblem("the new key is missing", "give it with <set key_fd>")
                return KeyDescriptor(key_fd, _given_key)
            case _:
                assert_never(source)

    def _usual(self) -> KeySource:
        if self._descriptor is not None:
            return self._descriptor
        return self._passphrase if self._settings.passphrase_fd is not None else self._file

    def _of(self, slot: KeySlot) -> KeySource:
        match slot.source:
            case Source.PASSPHRASE:
                return self._passphrase
            case Source.KEYRING:
                return self._descriptor or self._keyring
            case Source.FILE:
                return self._descriptor or self._file
            case Source.DESCRIPTOR if self._descriptor is None and self._settings.key_path is None:
                raise KeyUnavailable(
                    "the key of this vault is to be given through a file descriptor",
                    f"set {KEY_FD_VARIABLE} to its number, or {KEY_FILE_VARIABLE} to the path of a key file",
                )
            case Source.DESCRIPTOR:
                return self._descriptor or self._file
            case _:
                assert_never(slot.source)


def key_file_of(settings: Settings) -> KeyFile:
    """The key file in use. One that is named in the environment may be that of other vaults too."""
    return KeyFile(settings.key_file, shared=settings.key_path is not None)


def passphrase(number: int | None) -> Passphrase:
    """A passphrase that is read from a descriptor, or else typed."""
    if number is None:
        return Passphrase(lambda: ask_secret(_PHRASE, _NO_TERMINAL), _typed_twice)

    if os.isatty(number):
        path = f"/dev/fd/{number}"
        return Passphrase(lambda: ask_secret(_PHRASE, _NO_TERMINAL, path), lambda: _typed_twice(path))

    def read() -> str:
        try:
            return read_descriptor(number).removesuffix(b"\n").removesuffix(b"\r").decode()
        except UnicodeDecodeError:  # not `from` it: the error quotes its input
            raise LauncherError("the passphrase is not UTF-8", "give it as text") from None

    return Passphrase(read, read)


def _given_key(number: int) -> bytes:
    """A key from a descriptor, typed unseen where that is a terminal."""
    if not os.isatty(number):
        return read_descriptor(number)
    return ask_secret("Key of the vault: ", "give it through a pipe or a file", f"/dev/fd/{number}").encode(
        "utf-8", "surrogateescape"
    )


def _typed_twice(path: str = TERMINAL) -> str:
    first = ask_secret("New passphrase: ", _NO_TERMINAL, path)
    if ask_secret("The same again: ", _NO_TERMINAL, path) != first:
        raise LauncherError("the two passphrases differ", "try again")
    return first
