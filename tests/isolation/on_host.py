"""Executes a program as another user and on another kind of machine, as its one argument, JSON, says.

`python -m tests.isolation.on_host '{"argv": [...], "uid": 24001, "host": "docker", "folder": "/"}'`
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from launcher.isolation.syscalls import CLONE_NEWNS, MS_BIND, MS_PRIVATE, MS_REC, mount
from tests.isolation import hosts

NEEDED = (sys.base_prefix, sys.prefix, str(Path(__file__).parents[2]))
"""What must be readable to execute ours."""


def main() -> None:
    order = json.loads(sys.argv[1])
    os.environ["LAUNCHER"] = str(os.getpid())
    if order["uid"] >= 0:
        os.unshare(CLONE_NEWNS)
        mount("none", "/", None, MS_REC | MS_PRIVATE)
        show(NEEDED)
        name(order["uid"], os.environ["HOME"])
        hosts.become_user(order["uid"])
    if order["host"]:
        hosts.become(order["host"])
    os.chdir(order["folder"])
    os.execv(order["argv"][0], order["argv"])  # noqa: S606


def show(paths: Iterable[str]) -> None:
    """Let everybody reach these, where a folder above them is closed, and nothing else below that."""
    closed = {path: folder for path in paths if (folder := _closed_above(path))}
    opened = {path: os.open(path, os.O_PATH) for path in closed}
    for folder in set(closed.values()):
        mount("none", folder, "tmpfs", 0, "mode=755")
    for path, descriptor in opened.items():
        os.makedirs(path, mode=0o755, exist_ok=True)
        mount(f"/proc/self/fd/{descriptor}", path, None, MS_BIND | MS_REC)
        os.close(descriptor)


def name(uid: int, home: str) -> None:
    """Give the user a line in the list of users, which several programs insist on."""
    users = Path(home).parent / "passwd"
    users.write_text(Path("/etc/passwd").read_text() + f"honest:x:{uid}:{uid}::{home}:/bin/sh\n")
    users.chmod(0o644)
    mount(str(users), "/etc/passwd", None, MS_BIND)


def _closed_above(path: str) -> str | None:
    above = reversed(Path(os.path.realpath(path)).parents)
    return next((str(folder) for folder in above if not folder.stat().st_mode & stat.S_IXOTH), None)


if __name__ == "__main__":
    main()
