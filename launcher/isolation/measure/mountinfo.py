"""What the kernel tells of mounts and sockets, read. Text in, values out. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_ESCAPE: Final = re.compile(r"\\([0-7]{3})")

_SETTINGS: Final = frozenset(
    {"proc", "sysfs", "cgroup", "cgroup2", "binfmt_misc", "debugfs", "tracefs", "configfs", "securityfs"}
    | {"bpf", "efivarfs", "pstore", "selinuxfs", "smackfs", "fusectl", "resctrl", "nfsd", "xenfs"}
)
"""Types of file systems in which whoever is root changes the kernel or names programs that it starts: what
handles cores and other kinds of programs, what is told of empty groups. They can be mounted anywhere."""

_NEXT_SOCKET: Final = re.compile(r"\n(?=[0-9A-Fa-f]{8,}: )")
"""Between two sockets of /proc/net/unix. A name may hold any character but NUL, a newline too."""


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of /proc/self/mountinfo, proc_pid_mountinfo(5)."""

    device: str
    """major:minor of the file system."""
    root: str
    """The folder of the file system that is mounted."""
    point: str
    """Where it is mounted."""
    kind: str = ""
    """The type of the file system."""


def parse_mounts(text: str) -> tuple[Mount, ...]:
    """The mounts in the order in which they were made."""
    lines = [line.split(" ") for line in text.split("\n")]
    return tuple(
        Mount(parts[2], _plain(parts[3]), _plain(parts[4]), parts[parts.index("-", 6) + 1])
        for parts in lines
        if len(parts) > 5
    )


def parse_sockets(text: str) -> tuple[str, ...]:
    """The names of all sockets in /proc/net/unix, each once: a path, or `@` and more for an abstract one.

    A path is as it was bound: a relative one counts from where its owner was then.
    """
    lines = _NEXT_SOCKET.split(text.removesuffix("\n"))[1:]
    found = (line.split(maxsplit=6) for line in lines)
    # The inode is padded with blanks before it, never after it: what follows the one blank is the name.
    named = (parts[6].partition(" ")[2] for parts in found if len(parts) == 7)
    return tuple(dict.fromkeys(filter(None, named)))


def parse_executed(text: str) -> tuple[str, ...]:
    """The files that are mapped to be executed, of /proc/self/maps, each once."""
    found = (line.split(maxsplit=5) for line in text.split("\n"))
    paths = (parts[5] for parts in found if len(parts) == 6 and "x" in parts[1] and parts[5][0] == "/")
    return tuple(dict.fromkeys(paths))


def settings(mounts: Sequence[Mount]) -> tuple[str, ...]:
    """Where mounts show the kernel's settings, save for /proc itself, of which a program needs parts."""
    on_top = {mount.point: mount.kind for mount in mounts}
    return tuple(
        point
        for point, kind in on_top.items()
        if point != "/proc" and (kind in _SETTINGS or _below(point, "/sys") is not None)
    )


def aliases(mounts: Sequence[Mount], path: str) -> tuple[str, ...]:
    """Other paths at which other mounts may show `path`.

    A mount on top of another can hide one that is named here, so the caller compares what is there.
    """
    inner, beside = _beside(mounts, path)
    found = ((mount.point, _below(inner, mount.root)) for mount in beside)
    others = (_join(point, below) for point, below in found if below is not None)
    return tuple(dict.fromkeys(other for other in others if other != path))


def mounted_parts(mounts: Sequence[Mount], path: str) -> tuple[str, ...]:
    """The points of the mounts that show a folder or a file from below `path`, save for those below it.

    Something else can be mounted on top there: too much is better than too little.
    """
    inner, beside = _beside(mounts, path)
    parts = (mount.point for mount in beside if _below(mount.root, inner))
    return tuple(dict.fromkeys(point for point in parts if _below(point, path) is None))


def _beside(mounts: Sequence[Mount], path: str) -> tuple[str, list[Mount]]:
    """Where `path` lies in its file system, and all mounts of that."""
    home = _mount_of(mounts, path)
    if home is None:
        return path, []
    inner = _join(home.root, _below(path, home.point) or "")
    return inner, [mount for mount in mounts if mount.device == home.device]


def _mount_of(mounts: Sequence[Mount], path: str) -> Mount | None:
    holding = [mount for mount in mounts if _below(path, mount.point) is not None]
    # Of two mounts at one point the later covers the earlier; max() returns the first of equals.
    return max(reversed(holding), key=lambda mount: len(mount.point), default=None)


def _below(path: str, folder: str) -> str | None:
    """The way from `folder` to `path`, empty where they are the same, None where there is none."""
    if path == folder:
        return ""
    prefix = folder.rstrip("/") + "/"
    return path[len(prefix) :] if path.startswith(prefix) else None


def _join(folder: str, below: str) -> str:
    return f"{folder.rstrip('/')}/{below}".rstrip("/") or "/"


def _plain(field: str) -> str:
    """Undo the octal escapes of blanks and backslashes."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), field)
