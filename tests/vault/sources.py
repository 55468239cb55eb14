"""Key sources whose keys come from the test."""

from __future__ import annotations

import os
from pathlib import Path

from keyring.backend import KeyringBackend
from keyring.errors import PasswordDeleteError

from vault.keys.passphrase import Argon2Profile, Passphrase

CHEAP = Argon2Profile(iterations=1, lanes=1, memory_kib=128)


def typed(*answers: str, profile: Argon2Profile = CHEAP) -> Passphrase:
    """A passphrase source that is answered so, one answer a question."""
    left = list(answers)
    return Passphrase(lambda: left.pop(0), lambda: left.pop(0), profile=profile)


class MemoryKeyring(KeyringBackend):
    """A keyring of one process."""

    priority = 1.0

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        if (service, username) not in self.kept:
            raise PasswordDeleteError("it is not there")
        del self.kept[service, username]


class ForgetfulKeyring(MemoryKeyring):
    """Takes everything and keeps nothing, as keyring's own `null` backend does."""

    def set_password(self, service: str, username: str, password: str) -> None:
        pass


class FullKeyring(MemoryKeyring):
    """Keeps nothing new once it is full."""

    full = False

    def set_password(self, service: str, username: str, password: str) -> None:
        if not self.full:
            super().set_password(service, username, password)


def opened(path: Path) -> int:
    """A descriptor of a file, as a shell's `3<FILE` gives it."""
    return os.open(path, os.O_RDONLY)


def piped(content: bytes) -> int:
    """A descriptor that holds `content`."""
    reader, writer = os.pipe()
    os.write(writer, content)
    os.close(writer)
    return reader
