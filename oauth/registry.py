"""Which providers there are: the bundled definitions and the user's own, which replace them whole."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Final, Literal, assert_never

from oauth.errors import ProviderInvalid, ProviderUnknown
from oauth.provider import Provider, parse_provider
from vault.model import NAME

MAX_FILE: Final = 64 * 1024
"""Bytes of a provider file; the bundled ones have about 4,000."""

SUFFIX: Final = ".json"

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Registered:
    """A provider and where its definition comes from."""

    provider: Provider
    source: Literal["bundled", "custom"]
    text: bytes = field(repr=False)
    """The definition byte for byte; `provider` was parsed from exactly these bytes."""


Definition = Registered | ProviderInvalid


def _valid(found: Definition) -> Registered | None:
    match found:
        case Registered():
            return found
        case ProviderInvalid():
            return None
        case never:
            assert_never(never)


class Registry:
    """Finds provider definitions; each file is read once, and what was read is what stays in force."""

    def __init__(self, user_folder: Path, uid: int | None = None) -> None:
        """`uid` is whose files are trusted: the effective user's where None."""
        self._folder = user_folder
        self._uid = os.geteuid() if uid is None else uid
        self._bundled = files("oauth") / "providers"
        self._known: dict[str, Definition | None] = {}

    def get(self, name: str) -> Registered:
        """The definition in force for `name`.

        Raises: ProviderUnknown; ProviderInvalid where the user's file is wrong, because falling back to
        the bundled definition would drop the restrictions the user wrote.
        """
        match self._find(name):
            case None:
                names = [found.provider.name for found in self.valid()]
                known = ", ".join(names) or "none"
                raise ProviderUnknown(f"there is no provider {name!r}", f"known providers: {known}")
            case ProviderInvalid() as problem:
                raise problem
            case found:
                return found

    def all(self) -> list[Definition]:
        """Every definition by name; a file that is wrong stands as its error and hides no other."""
        problems: list[Definition] = []
        names = self._bundled_names()
        try:
            names |= self._user_names()
        except ProviderInvalid as problem:
            problems.append(problem)
        return problems + [found for name in sorted(names) if (found := self._find(name))]

    def valid(self) -> list[Registered]:
        """As `all`, without the files that are wrong."""
        return [valid for found in self.all() if (valid := _valid(found))]

    def _bundled_names(self) -> set[str]:
        return {
            file.name.removesuffix(SUFFIX) for file in self._bundled.iterdir() if file.name.endswith(SUFFIX)
        }

    def _user_names(self) -> set[str]:
        try:
            entries = os.listdir(self._folder)
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise _unreadable(self._folder, error) from error
        return {e.removesuffix(SUFFIX) for e in entries if e.endswith(SUFFIX) and not e.startswith(".")}

    def _find(self, name: str) -> Definition | None:
        if name not in self._known:
            self._known[name] = self._load(name)
        return self._known[name]

    def _load(self, name: str) -> Definition | None:
        try:
            return self._load_in_force(name)
        except ProviderInvalid as problem:
            return problem

    def _load_in_force(self, name: str) -> Registered | None:
        path = self._folder / f"{name}{SUFFIX}"
        if not NAME.fullmatch(name):
            # Never a path: the name may hold '/', and only names that were listed can be wrong file names.
            if os.sep not in name and path.exists():
                raise ProviderInvalid(f"{path}: the file name is not a provider name", "rename the file")
            return None
        text = _read(path, self._uid)
        # A shell truncates the file before `authsome inspect discord > .../discord.json` starts us:
        # an empty file must count as absent, or the command could not print what it is to write.
        if not text:
            bundled = self._load_bundled(name)
            if bundled is None and text is not None:
                raise ProviderInvalid(
                    f"{path}: is empty (0 bytes)",
                    "write to another file first, and move it here when it is whole",
                )
            return bundled
        provider = parse_provider(text, str(path))
        if provider.name != name:
            raise ProviderInvalid(
                f"{path}: defines the provider '{provider.name}', not '{name}'",
                f"rename the file to {provider.name}{SUFFIX}",
            )
        return Registered(provider, "custom", text)

    def _load_bundled(self, name: str) -> Registered | None:
        if name not in self._bundled_names():
            return None
        text = (self._bundled / f"{name}{SUFFIX}").read_bytes()
        return Registered(parse_provider(text, f"bundled {name}{SUFFIX}"), "bundled", text)


def _read(path: Path, uid: int) -> bytes | None:
    """The bytes of a user's file; None where there is none.

    Raises: ProviderInvalid where another user could have written it: a widened list of hosts sends
    tokens elsewhere.
    """
    try:
        # Not blocking: a named pipe would wait for its writer before its kind can be looked at.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            _check(path, os.fstat(file.fileno()), uid)
            text = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(text) > MAX_FILE:
        raise ProviderInvalid(
            f"{path}: is larger than {MAX_FILE} bytes",
            "compare with the output of <inspect discord>",
        )
    return text


def _check(path: Path, file: os.stat_result, uid: int) -> None:
    if not stat.S_ISREG(file.st_mode):
        raise ProviderInvalid(f"{path}: is not a regular file", "replace it by a file, or remove it")
    folders = [(folder, folder.stat()) for folder in (path.parent, path.parent.parent)]
    # Where the umask is 002 (Ubuntu, Fedora) a shell's redirection makes files that the user's own group
    # may write; behind a closed folder that opens nothing. A link may lead out of it.
    closed = not path.is_symlink() and any(not status.st_mode & _OTHERS for _, status in folders)
    forbidden = stat.S_IWOTH if closed else stat.S_IWOTH | stat.S_IWGRP
    for what, status in [(path, file), *folders]:
        if status.st_uid != uid:
            raise ProviderInvalid(f"{what}: belongs to another user", f"chown {uid} {what}")
        # In a sticky folder such as /tmp nobody can replace what belongs to another.
        if status.st_mode & forbidden and not (
            stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
        ):
            raise ProviderInvalid(f"{what}: other users can change it", f"chmod go-w {what}")


def _unreadable(path: Path, error: OSError) -> ProviderInvalid:
    return ProviderInvalid(
        f"{path}: could not be read: {(error.strerror or 'unknown error').lower()}",
        "check the file's permissions",
    )
