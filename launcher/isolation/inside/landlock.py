"""Landlock: rules that a process puts on itself and all that it starts. landlock(7)."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from launcher.isolation.syscalls import no_new_privileges, syscall

_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_VERSION: Final = 1
_PATH_BENEATH: Final = 1

EXECUTE: Final = 1 << 0
WRITE_FILE: Final = 1 << 1
READ_FILE: Final = 1 << 2
READ_DIR: Final = 1 << 3
_MAKE_BLOCK: Final = 1 << 11
_TRUNCATE: Final = 1 << 14
_IOCTL_DEV: Final = 1 << 15
_OF_FILES: Final = EXECUTE | WRITE_FILE | READ_FILE | _TRUNCATE | _IOCTL_DEV
"""Rights that mean something for what is no folder; the kernel refuses the others there."""

_SCOPE_ABSTRACT_SOCKETS: Final = 1 << 0
_SCOPE_SIGNALS: Final = 1 << 1

_RIGHTS_BY_ABI: Final = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_RIGHTS_LATEST: Final = (1 << 16) - 1
"""All rights on files that this package knows; from version 5 on."""

_SCOPE_SINCE: Final = 6


@dataclass(frozen=True, slots=True)
class FolderRule:
    """What is allowed in `path` and below."""

    path: str
    rights: int


def version() -> int:
    """The version of the interface. Raises: OSError (ENOSYS, EOPNOTSUPP) where there is none."""
    return syscall(_CREATE_RULESET, 0, 0, _VERSION)


def scoped(abi: int) -> bool:
    """Whether signals and abstract sockets can be confined."""
    return abi >= _SCOPE_SINCE


def restrict_scope() -> None:
    """Confine signals and abstract sockets, and with them looking into other processes.

    With an interface that is too old for that, a rule on something nobody does still makes the
    border over which ptrace(2) does not reach. Raises: OSError.
    """
    abi = version()
    if scoped(abi):
        _restrict(_ruleset(0, abi), [])
    else:
        _restrict(_ruleset(_MAKE_BLOCK, abi), [FolderRule("/", _MAKE_BLOCK)])


def restrict_files(hidden: Collection[str], visible: Collection[str], read_only: Collection[str]) -> None:
    """Everything but `hidden` stays as it was; in `read_only` nothing can be changed.

    Landlock can only allow, and a folder's rights hold for all below. So every folder above a hidden
    one is left with the right to be listed, and its other entries are allowed one by one: nothing new
    can be made in it. Names in hidden folders can be listed, contents not. Raises: OSError.
    """
    abi = version()
    rights = _RIGHTS_BY_ABI.get(abi, _RIGHTS_LATEST)
    reading = EXECUTE | READ_FILE | READ_DIR
    rules = [FolderRule("/", READ_DIR)]
    rules += [FolderRule(path, rights) for path in carve("/", {*hidden, *read_only})]
    rules += [FolderRule(path, reading) for path in [*read_only, *visible]]
    _restrict(_ruleset(rights, abi), rules)


def carve(folder: str, hidden: Collection[str]) -> Iterator[str]:
    """The largest files and folders below `folder` that are neither hidden nor above something hidden."""
    for path in _entries(folder, hidden):
        if path in hidden:
            continue
        if any(other.startswith(f"{path}/") for other in hidden):
            yield from carve(path, hidden)
        else:
            yield path


def _entries(folder: str, hidden: Collection[str]) -> list[str]:
    """What is in `folder`, save for links: a rule counts for what a link leads to, and that has its own."""
    try:
        with os.scandir(folder) as entries:
            return [entry.path for entry in entries if not entry.is_symlink()]
    except PermissionError:
        # A folder that can be passed through but not listed: of its entries only these are known.
        prefix = folder.rstrip("/") + "/"
        below = [path.removeprefix(prefix) for path in hidden if path.startswith(prefix)]
        return sorted({prefix + path.split("/")[0] for path in below})


def _ruleset(files: int, abi: int) -> int:
    scope = _SCOPE_ABSTRACT_SOCKETS | _SCOPE_SIGNALS if scoped(abi) else 0
    attributes = ctypes.create_string_buffer(struct.pack("QQQ", files, 0, scope))
    # Kernels refuse attributes that they do not know, unless they are left out.
    size = 24 if scoped(abi) else 8
    return syscall(_CREATE_RULESET, ctypes.addressof(attributes), size, 0)


def _restrict(ruleset: int, rules: Sequence[FolderRule]) -> None:
    try:
        for rule in rules:
            _add(ruleset, rule)
        no_new_privileges()
        syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _add(ruleset: int, rule: FolderRule) -> None:
    try:
        opened = os.open(rule.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):
        return  # gone, or not ours to reach: without a rule it is refused
    try:
        is_folder = stat.S_ISDIR(os.fstat(opened).st_mode)
        allowed = rule.rights if is_folder else rule.rights & _OF_FILES
        attributes = ctypes.create_string_buffer(struct.pack("=Qi", allowed, opened))
        syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.addressof(attributes), 0)
    except OSError as error:
        if error.errno != errno.EBADFD:  # a file of the kernel's own, which no rule can name
            raise
    finally:
        os.close(opened)
