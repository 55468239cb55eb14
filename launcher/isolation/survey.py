"""Measures, in the launcher and before the fork, what a plan is made from."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from launcher.isolation.model import Facts
from launcher.isolation.mountinfo import aliases, parse_mounts, parse_sockets
from launcher.isolation.plan import DAEMON_FOLDERS, PRIVATE_IN_TMP, RESOLVER, SANDBOX_SCRATCH

_DEVICES: Final = re.compile(r"mem|kmem|port|nvme.*|ng\d.*|sg\d+|tty\d+|vcs.*|uinput|event\d+|console")
"""Character devices that read disks or memory, or that are other terminals and their keyboards."""


def survey(*, hidden: Iterable[Path], visible: Iterable[Path], descriptors: Iterable[int] = ()) -> Facts:
    """Measure this machine and process. `hidden` and `visible` exist; `descriptors` are open, and what is
    behind them holds a secret. Raises: OSError.
    """
    mounts = parse_mounts(_read("/proc/self/mountinfo"))
    concealed = list(dict.fromkeys(os.path.realpath(path, strict=True) for path in hidden))
    sockets = parse_sockets(_read("/proc/net/unix"))
    for path in list(concealed):
        concealed += [alias for alias in aliases(mounts, path) if _is_within(alias, path)]
    return Facts(
        uid=os.geteuid(),
        gid=os.getegid(),
        working_folder=os.getcwd(),
        user_home=os.path.realpath(Path.home()),
        core_limit=_core_limit(),
        hidden=tuple(dict.fromkeys(concealed)),
        visible=tuple(os.path.realpath(path, strict=True) for path in visible),
        sockets=tuple(name for name in sockets if _is_socket(name)),
        abstract=tuple(name for name in sockets if name.startswith("@")),
        secrets=tuple(filter(None, map(_file_of, descriptors))),
        devices=tuple(_devices("/dev")),
        folders=frozenset(_folders()),
        system_mounts=tuple(mount.point for mount in mounts if f"{mount.point}/".startswith("/sys/")),
        has_version_6=os.path.exists("/proc/sys/net/ipv6"),
    )


def _core_limit() -> tuple[int, int]:
    import resource  # not at the top: Windows has none

    return resource.getrlimit(resource.RLIMIT_CORE)


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
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


def _is_within(alias: str, path: str) -> bool:
    """Whether `alias` shows `path` or a folder below it: another mount may cover what would be there."""
    try:
        found, wanted = os.stat(alias), os.stat(path)
    except OSError:
        return False  # what this user cannot reach, the child cannot either
    if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
        return True
    # A mount of a folder below has no twin at a path that is known here: too much is better than too little.
    return found.st_dev == wanted.st_dev and os.path.ismount(alias)


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
