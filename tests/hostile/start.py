"""Becomes a user on a machine as told, then executes a program.

`python -m tests.hostile.start ORDER PROGRAM …`: ORDER is a JSON object with the fields of `Order`. The
program finds its own process id in LAUNCHER.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

from launcher.isolation.syscalls import MS_BIND, MS_REC, mount
from tests.isolation import hosts

KEY = b"authsome-test"
"""The name under which the hostile program looks in the kernel's keyring."""


@dataclass(frozen=True, slots=True)
class Order:
    folder: str
    """The working folder."""
    uid: int = -1
    """Whom to become; nobody else where negative."""
    home: str = ""
    alias: str = ""
    """Where `home` is mounted a second time."""
    settings: str = ""
    """Where root is shown the kernel's settings as well."""
    host: str = ""
    """The kind of machine to stand for, see `hosts`."""
    secret: str = ""
    """A file whose content goes into the kernel's keyring."""


def show(prefix: Path) -> None:
    """Let every user reach `prefix`, for this process and what it starts, where a folder above is closed."""
    closed = next((path for path in reversed(prefix.parents) if not path.stat().st_mode & 1), None)
    if closed is None:
        return
    kept = os.open(prefix, os.O_PATH)
    mount("tmpfs", str(closed), "tmpfs", 0, "mode=0755")
    prefix.mkdir(parents=True)
    mount(f"/proc/self/fd/{kept}", str(prefix), None, MS_BIND | MS_REC)
    os.close(kept)


def mount_account() -> None:
    """What a pod has at /run/secrets, beside all that is at /run already."""
    old = f"/proc/self/fd/{os.open('/run', os.O_PATH)}"
    mount("tmpfs", "/run", "tmpfs", 0, "mode=0755")
    for entry in os.scandir(old):
        here = Path("/run", entry.name)
        if entry.is_symlink():
            here.symlink_to(os.readlink(entry.path))
            continue
        here.mkdir() if entry.is_dir() else here.touch()
        mount(entry.path, str(here), None, MS_BIND | MS_REC)
    folder = Path("/run/secrets/kubernetes.io/serviceaccount")
    folder.mkdir(parents=True)
    (folder / "token").write_text("token of the pod\n")


def main() -> None:
    order = Order(**json.loads(sys.argv[1]))
    if order.alias:
        hosts.bind(order.home, order.alias)
        mount_account()
    if order.settings:
        hosts.show_settings(order.settings)
    if order.secret:
        secret = Path(order.secret).read_bytes()
        if order.uid < 0:
            hosts.remember(KEY, secret)
    if order.uid >= 0:
        if not order.alias:
            hosts._own_mounts()
        show(Path(sys.base_prefix))
        hosts.become_user(order.uid)
        if order.secret:
            hosts.remember(KEY, secret)
    if order.host:
        hosts.become(order.host)
    # Where the user allows cores, which are the programs' alone.
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))
    # A folder that some shells leave open in what they start.
    os.dup2(os.open(order.home, os.O_RDONLY), 9, inheritable=True)
    os.chdir(order.folder)
    os.environ["LAUNCHER"] = str(os.getpid())
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606


if __name__ == "__main__":
    main()
