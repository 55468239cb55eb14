"""The system calls that Python's library does not have, over ctypes. Each raises OSError."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Final

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000
"""linux/sched.h"""

MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_REMOUNT: Final = 32
MS_BIND: Final = 4096
MS_REC: Final = 16384
MS_PRIVATE: Final = 1 << 18
MS_RELATIME: Final = 1 << 21
"""linux/mount.h"""

_ST_SHARED: Final = 2 | 4 | 8 | 1024 | 2048
"""nosuid, nodev, noexec, noatime, nodiratime: the same bits in statvfs(3) and mount(2)."""
_ST_RELATIME: Final = 4096

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_CAPBSET_READ: Final = 23
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
"""linux/prctl.h"""

_CAPABILITY_VERSION_3: Final = 0x20080522
_AT_FDCWD: Final = -100
_AT_RECURSIVE: Final = 0x8000
_MOUNT_ATTR_RDONLY: Final = 1

_MOUNT_SETATTR: Final = 442
"""The same number on every machine, as for all calls since 2019."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What differs between processors. Numbers from asm/unistd.h and linux/audit.h."""

    audit: int
    """How a seccomp filter sees the architecture."""
    capget: int
    capset: int
    ioctl: int
    socket: int
    socketpair: int
    add_key: int
    request_key: int
    keyctl: int
    open_by_handle_at: int
    bpf: int
    unshare: int
    clone: int
    clone3: int = 435
    io_uring_setup: int = 425


MACHINES: Final = {
    "x86_64": Machine(
        audit=0xC000003E,
        capget=125,
        capset=126,
        ioctl=16,
        socket=41,
        socketpair=53,
        add_key=248,
        request_key=249,
        keyctl=250,
        open_by_handle_at=304,
        bpf=321,
        unshare=272,
        clone=56,
    ),
    "aarch64": Machine(
        audit=0xC00000B7,
        capget=90,
        capset=91,
        ioctl=29,
        socket=198,
        socketpair=199,
        add_key=217,
        request_key=218,
        keyctl=219,
        open_by_handle_at=265,
        bpf=280,
        unshare=97,
        clone=220,
    ),
}


def unavailable(system: str = sys.platform, processor: str = platform.machine()) -> str | None:
    """Why nothing of this package works on such a machine, or None where it may."""
    if system != "linux":
        return f"isolation needs Linux, and this is {system}"
    if processor not in MACHINES:
        return f"isolation does not know the system calls of {processor}"
    if sys.maxsize < 2**32:
        return "isolation needs a 64-bit Python"
    return None


def machine() -> Machine:
    """Raises: OSError, where `unavailable` has a reason."""
    if unavailable():
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    return MACHINES[platform.machine()]


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def syscall(number: int, *arguments: int) -> int:
    """Call by number; pointers are passed as the addresses of buffers that the caller keeps alive."""
    longs = [ctypes.c_long(argument) for argument in arguments]
    return _checked(int(_libc().syscall(ctypes.c_long(number), *longs)))


def _prctl(option: int, *arguments: int) -> int:
    padded = [*arguments, 0, 0, 0, 0][:4]
    return _checked(int(_libc().prctl(option, *(ctypes.c_ulong(value) for value in padded))))


def mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """mount(2)."""
    _checked(
        _libc().mount(
            source.encode(errors="surrogateescape"),
            target.encode(errors="surrogateescape"),
            kind.encode() if kind else None,
            ctypes.c_ulong(flags),
            options.encode(errors="surrogateescape") if options else None,
        )
    )


def remount_read_only(path: str) -> None:
    """Make the mount at `path` read-only, keeping its other flags, which may be locked."""
    present = os.statvfs(path).f_flag
    flags = present & _ST_SHARED | (MS_RELATIME if present & _ST_RELATIME else 0)
    mount("none", path, None, MS_REMOUNT | MS_BIND | MS_RDONLY | flags)


def mount_read_only(path: str, *, on: bool, recursive: bool) -> None:
    """mount_setattr(2) of the read-only flag. Linux 5.12."""
    attributes = ctypes.create_string_buffer(
        struct.pack("QQQQ", _MOUNT_ATTR_RDONLY if on else 0, 0 if on else _MOUNT_ATTR_RDONLY, 0, 0)
    )
    target = ctypes.create_string_buffer(path.encode(errors="surrogateescape"))
    syscall(
        _MOUNT_SETATTR,
        _AT_FDCWD,
        ctypes.addressof(target),
        _AT_RECURSIVE if recursive else 0,
        ctypes.addressof(attributes),
        32,
    )


def set_dumpable(on: bool) -> None:
    """Whether other processes of the user may look into this one, and whether it can leave a core."""
    _prctl(_PR_SET_DUMPABLE, int(on))


def die_with_parent() -> None:
    """Be killed when the parent ends. The caller checks that it has not ended already."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def no_new_privileges() -> None:
    """From here on no set-user-ID program gives privileges; needed for Landlock and seccomp."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def drop_capabilities(dropped: Iterable[int] | None = None) -> None:
    """Give up capabilities for good, those of later programs included; all of them by default.

    Asks nothing of /proc: a process outside of the namespace that a private /proc shows has no entry there.
    """
    known = _known_capabilities()
    numbers = known.keys() if dropped is None else known.keys() & frozenset(dropped)
    present = _permitted()
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    if present:  # without any, the bounding set cannot shrink, and nothing can be gained from it
        for number in sorted(numbers):
            if known[number]:
                _prctl(_PR_CAPBSET_DROP, number)
    kept = present & ~sum(1 << number for number in numbers)
    low, high = kept & 0xFFFFFFFF, kept >> 32
    data = ctypes.create_string_buffer(struct.pack("IIIIII", low, low, 0, high, high, 0))
    header = _capability_header()
    syscall(machine().capset, ctypes.addressof(header), ctypes.addressof(data))


def _known_capabilities() -> dict[int, bool]:
    """The numbers of all capabilities that this kernel has, and whether they are in the bounding set."""
    known: dict[int, bool] = {}
    try:
        while True:
            known[len(known)] = bool(_prctl(_PR_CAPBSET_READ, len(known)))
    except OSError:
        return known


def _permitted() -> int:
    header = _capability_header()
    data = ctypes.create_string_buffer(24)
    syscall(machine().capget, ctypes.addressof(header), ctypes.addressof(data))
    _, low, _, _, high, _ = struct.unpack("IIIIII", data.raw)
    return int(low) | int(high) << 32


def _capability_header() -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(struct.pack("Ii", _CAPABILITY_VERSION_3, 0))
