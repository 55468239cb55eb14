"""What the kernel tells of mounts and sockets, read. Text in, values out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of /proc/self/mountinfo, proc_pid_mountinfo(5)."""

    device: str
    """major:minor of the file system."""
    root: str
    """The folder of the file system that is mounted."""
    point: str
    """Where it is mounted."""


def parse_mounts(text: str) -> tuple[Mount, ...]:
    """The mounts in the order in which they were made."""
    lines = [line.split(" ") for line in text.splitlines()]
    return tuple(Mount(parts[2], _plain(parts[3]), _plain(parts[4])) for parts in lines if len(parts) > 5)


def parse_sockets(text: str) -> tuple[str, ...]:
    """The names of all sockets in /proc/net/unix, each once: a path, or `@` and more for an abstract one.

    A path is as it was bound: a relative one counts from where its owner was then.
    """
    found = (line.split(maxsplit=7) for line in text.splitlines()[1:])
    return tuple(dict.fromkeys(parts[7] for parts in found if len(parts) == 8))


def parse_executed(text: str) -> tuple[str, ...]:
    """The files that are mapped to be executed, of /proc/self/maps, each once."""
    found = (line.split(maxsplit=5) for line in text.splitlines())
    paths = (parts[5] for parts in found if len(parts) == 6 and "x" in parts[1] and parts[5][0] == "/")
    return tuple(dict.fromkeys(paths))


def aliases(mounts: Sequence[Mount], path: str) -> tuple[str, ...]:
    """Other paths at which other mounts may show `path`, or a folder below it.

    A mount on top of another can hide one that is named here, so the caller compares what is there.
    """
    home = _mount_of(mounts, path)
    if home is None:
        return ()
    inner = _join(home.root, _below(path, home.point) or "")
    return tuple(dict.fromkeys(other for other in _aliases(mounts, home, inner) if other != path))


def _aliases(mounts: Sequence[Mount], home: Mount, inner: str) -> Iterator[str]:
    for mount in mounts:
        if mount.device != home.device:
            continue
        if (below := _below(inner, mount.root)) is not None:
            yield _join(mount.point, below)
        elif _below(mount.root, inner) is not None:
            yield mount.point


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
