"""Measures, in the launcher and before the fork, what a plan is made from."""

from __future__ import annotations

import os
import re
import resource
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from launcher.isolation.measure.memory import bound
from launcher.isolation.measure.mountinfo import (
    Mount,
    aliases,
    mounted_parts,
    parse_executed,
    parse_mounts,
    parse_sockets,
    settings,
)
from launcher.isolation.model import Facts
from launcher.isolation.plan import DAEMON_FOLDERS, PRIVATE_IN_TMP, RESOLVER, SANDBOX_SCRATCH

_DEVICES: Final = re.compile(
    r"mem|kmem|port|nvme.*|ng\d.*|sg\d+|tty\d+|ttyS\d+|vcs.*|uinput|event\d+|console|vsock|vhost-.*"
)
"""Character devices that read disks or memory, that are other terminals and their keyboards, or that lead to
the host of a virtual machine or to its guests."""


def survey(*, hidden: Iterable[Path], visible: Iterable[Path], descriptors: Iterable[int] = ()) -> Facts:
    """Measure this machine and process. `hidden` and `visible` exist; `descriptors` are open, and what is
    behind them holds a secret. Raises: OSError.
    """
    mounts = parse_mounts(_read("/proc/self/mountinfo"))
    concealed = [os.path.realpath(path, strict=True) for path in hidden]
    names = parse_sockets(_read("/proc/net/unix"))
    user_home = os.path.realpath(Path.home())
    for path in dict.fromkeys(concealed):
        concealed += [*_by_every_path(path, mounts), *mounted_parts(mounts, path)]
    hides, masks = _apart(concealed)
    # A file can be mounted in a hidden folder, and lie elsewhere as well.
    masks += [mount.point for mount in mounts if _lies_in(mount.point, hides) and os.path.isfile(mount.point)]
    masks += filter(None, map(_file_of, descriptors))
    return Facts(
        uid=os.geteuid(),
        gid=os.getegid(),
        working_folder=os.getcwd(),
        user_home=user_home,
        core_limit=_core_limit(),
        hidden=tuple(hides),
        visible=tuple(os.path.realpath(path, strict=True) for path in visible),
        sockets=tuple(dict.fromkeys(_sockets(names, mounts))),
        abstract=tuple(name for name in names if name.startswith("@")),
        secrets=tuple(dict.fromkeys(alias for path in masks for alias in _by_every_path(path, mounts))),
        code=tuple(dict.fromkeys(_code(mounts))),
        devices=tuple(_devices("/dev")),
        folders=frozenset((*_folders(), *([user_home] if os.path.isdir(user_home) else []))),
        system_mounts=settings(mounts),
        has_version_6=os.path.exists("/proc/sys/net/ipv6"),
        memory=bound(),
    )


def _core_limit() -> tuple[int, int]:
    return resource.getrlimit(resource.RLIMIT_CORE)


def _read(path: str) -> str:
    # Other ends of lines are characters of a name.
    with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        return file.read()


def _file_of(descriptor: int) -> str | None:
    """The path of an open file, where it still has one."""
    path = os.readlink(f"/proc/self/fd/{descriptor}")
    try:
        found, opened = os.stat(path), os.fstat(descriptor)
    except OSError:
        return None  # a pipe, or a file that was removed
    is_same = (found.st_dev, found.st_ino) == (opened.st_dev, opened.st_ino)
    return path if is_same and stat.S_ISREG(found.st_mode) else None


def _apart(paths: Iterable[str]) -> tuple[list[str], list[str]]:
    """Of the paths that can be reached, the folders that lie in no other of them, and what is no folder."""
    reached = [path for path in dict.fromkeys(paths) if os.path.exists(path)]
    folders = [path for path in reached if os.path.isdir(path)]
    return [path for path in folders if not _lies_in(path, folders)], sorted({*reached}.difference(folders))


def _lies_in(path: str, folders: Iterable[str]) -> bool:
    return any(path.startswith(f"{folder}/") for folder in folders)


def _code(mounts: Sequence[Mount]) -> Iterator[str]:
    for path in _changeable(_read("/proc/self/maps")):
        yield from _by_every_path(path, mounts)


def _changeable(maps: str) -> Iterator[str]:
    """The files that are executed here and that this user can write, or make writable."""
    for path in parse_executed(maps):
        with suppress(OSError):  # removed since; nobody can open what has no name
            if os.stat(path).st_uid == os.geteuid() or os.access(path, os.W_OK):
                yield path


def _by_every_path(path: str, mounts: Sequence[Mount]) -> Iterator[str]:
    yield path
    yield from (alias for alias in aliases(mounts, path) if _is_same(alias, path))


def _is_same(path: str, other: str) -> bool:
    try:
        return os.path.samefile(path, other)
    except OSError:
        return False


def _sockets(names: Sequence[str], mounts: Sequence[Mount]) -> Iterator[str]:
    """Every path to a socket of these names that is not abstract."""
    relative = [name for name in names if name[0] not in "/@"]
    folders = _working_folders() if relative else []
    guessed = [os.path.normpath(os.path.join(folder, name)) for name in relative for folder in folders]
    for path in (*(name for name in names if name[0] == "/"), *guessed):
        if _is_socket(path):
            yield from _by_every_path(path, mounts)


def _working_folders() -> list[str]:
    """Where this user's processes are; most services stay where they were when they began to listen."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):  # another user's, or gone
            found.append(os.readlink(f"/proc/{name}/cwd"))
    return sorted(set(found))


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return False


def _devices(folder: str) -> Iterator[str]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if entry.name not in ("pts", "shm", "mqueue", "hugepages"):
                yield from _devices(entry.path)
        elif not entry.is_symlink() and _leads_away(entry):
            yield entry.path


def _leads_away(entry: os.DirEntry[str]) -> bool:
    mode = entry.stat(follow_symlinks=False).st_mode
    wanted = stat.S_ISBLK(mode) or (stat.S_ISCHR(mode) and bool(_DEVICES.fullmatch(entry.name)))
    return wanted and (os.access(entry.path, os.R_OK) or os.access(entry.path, os.W_OK))


def _folders() -> Iterator[str]:
    fixed = (*DAEMON_FOLDERS, RESOLVER, *(path for path, _ in SANDBOX_SCRATCH))
    # Where /var/run is a folder of its own, /run does not exist.
    yield from (path for path in fixed if os.path.realpath(path) == path and os.path.isdir(path))
    try:
        names = os.listdir("/tmp")  # noqa: S108
    except OSError:
        return
    found = (f"/tmp/{name}" for name in names)  # noqa: S108
    yield from (path for path in found if PRIVATE_IN_TMP.fullmatch(path) and os.path.isdir(path))
