"""How much memory a run may take for what it writes into folders of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Final

SHARE: Final = 4
"""All folders together hold at most this part of the memory. The kernel gives each file system half of it,
and does not end the program that fills one when memory is short, but others."""

BYTES_PER_FILE: Final = 8192
"""A file takes about 1 KiB of the kernel's memory besides what it holds, an empty one too: there are as many
as fit the bound at this average size."""

_LEAST: Final = 1 << 20
"""Bytes; to the kernel a bound of 0 is none."""


def bound(root: Path = Path("/")) -> int:
    """Bytes for one run: a share of what this process and its children can have. Raises: OSError."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(min([machine, *_limits(root)]) // SHARE, _LEAST)


def _limits(root: Path) -> Iterator[int]:
    """Of the control groups that this process is in, cgroups(7): a container has less than its machine."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for _, controllers, group in (line.split(":", 2) for line in lines):
        if not controllers:
            mounted, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            mounted, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        path = PurePosixPath(group.lstrip("/"))
        for folder in (path, *path.parents):
            # In a container the own group may be the one that is mounted. Without a limit it says "max".
            with suppress(OSError, ValueError):
                yield int((mounted / folder / name).read_text(encoding="utf-8"))
