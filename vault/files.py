"""Files and folders that are private from birth, and the border where what the system refuses is mapped."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from vault.errors import LoosePermissions, StorageDamaged, StorageUnavailable

PRIVATE_FILE: Final = 0o600
PRIVATE_FOLDER: Final = 0o700

_FREE_SPACE = "free some space, then try again"
_LOCAL_DISK = "set AUTHSOME_HOME to a folder on a local disk"
_WRITABLE = "make the folder writable, or set AUTHSOME_HOME to one that is"

_ERRNO: Final = {
    errno.ENOSPC: ("the disk is full", _FREE_SPACE),
    errno.EFBIG: ("the size limit of files is reached", "raise the limit ('ulimit -f'), then try again"),
    errno.EDQUOT: ("the disk quota is used up", _FREE_SPACE),
    errno.ENOENT: ("there is no such file or folder", "check the path"),
    errno.EISDIR: ("it is a folder", "name a file"),
    errno.EROFS: ("the file system is read-only", _WRITABLE),
    errno.EACCES: ("permission was denied", _WRITABLE),
    errno.EPERM: ("permission was denied", _WRITABLE),
    errno.ENOLCK: ("the file system has no locks", _LOCAL_DISK),
    errno.ENOSYS: ("the file system has no locks", _LOCAL_DISK),
    errno.EOPNOTSUPP: ("the file system has no locks", _LOCAL_DISK),
}

_SQLITE: Final = {
    sqlite3.SQLITE_BUSY: ("another process kept it busy for too long", "try again"),
    sqlite3.SQLITE_FULL: ("the disk is full", _FREE_SPACE),
    sqlite3.SQLITE_READONLY: ("it is read-only", _WRITABLE),
    sqlite3.SQLITE_CANTOPEN: ("its files cannot be opened", _WRITABLE),
    sqlite3.SQLITE_PROTOCOL: ("the file system has no locks that work", _LOCAL_DISK),
    sqlite3.SQLITE_IOERR: ("the disk could not be read or written", "check the disk and its free space"),
}

_DAMAGED: Final = {
    sqlite3.SQLITE_NOTADB: ("it is not a vault", "move it away, or restore a backup with <set force>"),
    sqlite3.SQLITE_CORRUPT: ("its file is damaged", "restore a backup with <set force>, or move it away"),
}


@contextmanager
def refusals_mapped(path: Path) -> Iterator[None]:
    """Map every `OSError` and `sqlite3.Error` of the block to StorageUnavailable, naming `path`.

    Raises: StorageDamaged for a file that SQLite cannot make sense of.
    """
    try:
        yield
    except OSError as exc:
        problem, hint = _ERRNO.get(exc.errno or 0, (os.strerror(exc.errno or 0).lower(), "check the folder"))
        raise StorageUnavailable(f"cannot use {path}: {problem}", hint) from exc
    except sqlite3.Error as exc:
        # The low byte is the primary code; the attribute is missing on what Python itself raises.
        code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
        if code in _DAMAGED:
            problem, hint = _DAMAGED[code]
            raise StorageDamaged(f"cannot use {path}: {problem}", hint) from exc
        problem, hint = _SQLITE.get(code, (str(exc).lower(), "check the disk, or restore from a backup"))
        raise StorageUnavailable(f"cannot use {path}: {problem}", hint) from exc


def make_private_folder(folder: Path) -> None:
    """Make `folder` with mode 0700 where it is missing; its parents follow the user's umask.

    Raises: LoosePermissions for a folder that others can enter. OSError.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=PRIVATE_FOLDER)
    except FileExistsError:
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
    else:
        sync_folder(folder.parent)
    require_private(folder, folder.stat())


def private_folders(*folders: Path) -> None:
    """Make each of them, in order, for this user alone. Raises: VaultError."""
    for folder in folders:
        with refusals_mapped(folder):
            make_private_folder(folder)


def require_private(path: Path, found: os.stat_result) -> None:
    """Refuse a file or folder that another user owns or may use.

    Raises: LoosePermissions.
    """
    mode = "700" if stat.S_ISDIR(found.st_mode) else "600"
    if found.st_uid != os.geteuid():
        raise LoosePermissions(
            f"{path} belongs to another user", f"run as its owner, or 'chown {os.geteuid()} {path}'"
        )
    if found.st_mode & 0o077:
        raise LoosePermissions(f"other users can use {path}", f"run 'chmod {mode} {path}'")


def write_private(path: Path, text: str) -> None:
    """Write a new file for this user alone; not durably. Raises: FileExistsError, OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    with open(os.open(path, flags, PRIVATE_FILE), "w", encoding="utf-8") as file:
        file.write(text)


_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS})
"""What link(2) answers on vfat, exfat and some network file systems."""


@contextmanager
def new_file(path: Path, link: Callable[[Path, Path], None] = os.link) -> Iterator[Path]:
    """A private file to be filled, which gets the name `path`, durably, when the block ends.

    A link, because a rename would replace a file that another process made meanwhile. Where the file system
    has none, the name is taken first, by an empty file, and that is replaced.

    Raises: FileExistsError at the end, and the other file is as it was. OSError.
    """
    handle, name = tempfile.mkstemp(prefix=partial_prefix(path), dir=path.parent)  # mode 0600, O_EXCL
    temporary = Path(name)
    try:
        yield temporary
        os.fsync(handle)
        try:
            link(temporary, path)
        except OSError as exc:
            if exc.errno not in _NO_LINKS:
                raise
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE))
            temporary.replace(path)
    finally:
        os.close(handle)
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def partial_prefix(path: Path) -> str:
    """What the names of unfinished files begin with; a killed process leaves one behind."""
    return f".{path.name}.partial-"


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable: fsync of a file does not cover its name (fsync(2))."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
