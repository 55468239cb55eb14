"""Stands for other machines: what they refuse is refused here too, by the kernel itself."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os

from launcher.isolation.inside.seccomp import CallFilter, Condition, assemble, load
from launcher.isolation.syscalls import (
    CLONE_NEWNS,
    CLONE_NEWUSER,
    MS_BIND,
    MS_PRIVATE,
    MS_REC,
    machine,
    mount,
    set_dumpable,
    syscall,
)

_CLONE_FLAGS = 0x7E020000
"""What Docker's default filter refuses clone(2): all namespaces."""


def bind(source: str, target: str) -> None:
    """Mount a folder a second time, seen by this process and what it starts."""
    _own_mounts()
    mount(source, target, None, MS_BIND)


def show_settings(folder: str) -> None:
    """Show root the kernel's settings in a folder, too, as for a system that lies in it."""
    if os.geteuid():
        return
    _own_mounts()
    for name, kind, options in (
        ("proc", "proc", None),
        ("sys", "sysfs", None),
        ("cgroup", "cgroup", "freezer"),
        ("binfmt_misc", "binfmt_misc", None),
        ("debug", "debugfs", None),
    ):
        os.makedirs(f"{folder}/{name}", exist_ok=True)
        with contextlib.suppress(OSError):  # not every kernel has all
            mount("none", f"{folder}/{name}", kind, 0, options)
    with contextlib.suppress(OSError):
        mount("none", "/proc/sys/fs/binfmt_misc", "binfmt_misc", 0)


def become_user(uid: int) -> None:
    """Be this user for good, in a process like any other of theirs."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    set_dumpable(True)  # a process that was root is closed to others, which executing a program would end


def become(kind: str) -> None:
    match kind:
        case "docker":
            _docker()
        case "no-landlock":
            on = machine()
            load(assemble([CallFilter(444, errno.ENOSYS)], on))
        case "nothing":
            _docker()
            load(assemble([CallFilter(444, errno.ENOSYS)], machine()))
        case "masked-proc":
            _own_mounts(new_user=True)
            mount("/dev/null", "/proc/version", None, MS_BIND)
        case "no-user-namespaces":
            _own_mounts(new_user=True)
            with open("/proc/sys/user/max_user_namespaces", "w") as file:
                file.write("0")
        case "container":
            _own_mounts(new_user=True)
            mount("devpts", "/dev/pts", "devpts", 0, "newinstance,ptmxmode=0666,mode=0620")
            mount("/dev/pts/ptmx", "/dev/ptmx", None, MS_BIND)
        case _:
            raise ValueError(kind)


def _docker() -> None:
    """The part of Docker's default filter that matters here, from its published profile."""
    on = machine()
    flags = tuple(1 << bit for bit in range(32) if _CLONE_FLAGS >> bit & 1)
    refused = [CallFilter(on.clone, errno.EPERM, (Condition(0, (flag,), flag),)) for flag in flags]
    load(
        assemble(
            [
                CallFilter(on.unshare, errno.EPERM),
                CallFilter(on.clone3, errno.ENOSYS),
                *(CallFilter(number, errno.EPERM) for number in (on.add_key, on.request_key, on.keyctl)),
                *refused,
            ],
            on,
        )
    )


def _own_mounts(*, new_user: bool = False) -> None:
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0 and not new_user:
        os.unshare(CLONE_NEWNS)
    else:
        os.unshare(CLONE_NEWUSER | CLONE_NEWNS)
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{uid} {uid} 1"),
            ("gid_map", f"{gid} {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    mount("none", "/", None, MS_REC | MS_PRIVATE)


def remember(name: bytes, secret: bytes) -> None:
    """Put a secret into the user's keyring in the kernel, for a minute; nowhere under Docker's filter."""
    kind, description = ctypes.create_string_buffer(b"user"), ctypes.create_string_buffer(name)
    data = ctypes.create_string_buffer(secret)
    set_timeout, user_keyring = 15, -4
    pointers = [ctypes.addressof(buffer) for buffer in (kind, description, data)]
    try:
        key = syscall(machine().add_key, *pointers, len(secret), user_keyring)
        syscall(machine().keyctl, set_timeout, key, 60)
    except PermissionError:
        return
