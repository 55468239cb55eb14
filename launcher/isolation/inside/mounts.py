"""Carries out the mounts of a plan, in a mount namespace of this process alone."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from launcher.isolation.measure.memory import BYTES_PER_FILE
from launcher.isolation.model import (
    Freeze,
    FreezeAll,
    Hide,
    Mask,
    Operation,
    Overlay,
    Processes,
    Restore,
    Scratch,
    Seal,
    Terminals,
)
from launcher.isolation.steps import Step, step
from launcher.isolation.syscalls import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_REC,
    mount,
    mount_read_only,
    remount_read_only,
)

_QUIET: Final = MS_NOSUID | MS_NODEV
_GONE: Final = (errno.ENOENT, errno.ENOTDIR, errno.EACCES)


@dataclass(frozen=True, slots=True)
class _Kept:
    """Something opened before anything covered it."""

    descriptor: int
    is_folder: bool
    was_read_only: bool


@dataclass(slots=True)
class _Memory:
    """One file system in memory, made when it is first needed, so that all parts of it have one bound."""

    size: int
    """Bytes."""
    descriptor: int = -1
    parts: int = 0

    def part(self, path: str, mode: int) -> str:
        """A new folder of it, for a mount at `path`: the first of these covers the file system itself."""
        if self.descriptor < 0:
            options = f"mode=0700,size={self.size},nr_inodes={self.size // BYTES_PER_FILE}"
            mount("tmpfs", path, "tmpfs", _QUIET, options)
            self.descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        part = f"/proc/self/fd/{self.descriptor}/{self.parts}"
        self.parts += 1
        os.mkdir(part, 0o700)
        os.chmod(part, mode)  # whatever the umask
        return part


def carry_out(operations: Sequence[Operation], memory: int) -> None:
    """Do all, in order, with so many bytes for what is written to memory. The first failure ends it.

    Raises: StepFailed.
    """
    with step(Step.PROPAGATION):
        mount("none", "/", None, MS_REC | MS_PRIVATE)
    kept: dict[str, _Kept] = {}
    written = _Memory(memory)
    try:
        with step(Step.KEEP):
            for operation in operations:
                if (path := _kept_path(operation)) is not None:
                    kept[path] = _keep(path)
        for operation in operations:
            _one(operation, kept, written)
    finally:
        if written.descriptor >= 0:
            os.close(written.descriptor)
        for found in kept.values():
            os.close(found.descriptor)


def _kept_path(operation: Operation) -> str | None:
    """Where what was there at the beginning is needed later."""
    match operation:
        case Restore(path=path) | Overlay(path=path):
            return path
        case Hide() | Seal() | Mask() | Scratch() | Freeze() | FreezeAll() | Terminals() | Processes():
            return None
        case _:
            assert_never(operation)


def _one(operation: Operation, kept: Mapping[str, _Kept], written: _Memory) -> None:
    match operation:
        case Hide(path):
            with step(Step.HIDE):
                os.makedirs(path, exist_ok=True)  # gone where something private covers the folder above
                mount("tmpfs", path, "tmpfs", _QUIET | MS_NOEXEC, "mode=0555,size=64k,nr_inodes=64")
        case Seal(path):
            with step(Step.HIDE):
                remount_read_only(path)
        case Mask(path):
            with step(Step.MASK):
                _mask(path)
        case Scratch(path, mode):
            with step(Step.HIDE):
                os.makedirs(path, exist_ok=True)
                mount(written.part(path, mode), path, None, MS_BIND)
        case Restore(path, writable):
            with step(Step.RESTORE):
                _restore(path, kept[path], writable=writable)
        case Freeze(path):
            with step(Step.READ_ONLY):
                _freeze(path)
        case FreezeAll():
            with step(Step.READ_ONLY):
                mount_read_only("/", on=True, recursive=True)
        case Overlay(path):
            with step(Step.OVERLAY):
                _overlay(path, kept[path], written)
        case Terminals():
            with step(Step.TERMINALS):
                # Without an index of its own a new instance would share the host's.
                options = "newinstance,ptmxmode=0666,mode=0620"
                mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, options)
                if os.path.ismount("/dev/ptmx"):
                    # A container's own: it would still make terminals of the covered instance.
                    mount("/dev/pts/ptmx", "/dev/ptmx", None, MS_BIND)
        case Processes():
            with step(Step.PROCESSES):
                mount("proc", "/proc", "proc", _QUIET | MS_NOEXEC)
        case _:
            assert_never(operation)


def _keep(path: str) -> _Kept:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    found = os.fstat(descriptor)
    return _Kept(
        descriptor,
        is_folder=stat.S_ISDIR(found.st_mode),
        was_read_only=bool(os.fstatvfs(descriptor).f_flag & os.ST_RDONLY),
    )


def _mask(path: str) -> None:
    try:
        mount("/dev/null", path, None, MS_BIND)
    except OSError as error:
        if error.errno not in _GONE:
            raise


def _restore(path: str, kept: _Kept, *, writable: bool) -> None:
    if kept.is_folder:
        os.makedirs(path, exist_ok=True)
    elif not os.path.lexists(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    # With the mounts below it: the kernel refuses to show what they cover.
    mount(f"/proc/self/fd/{kept.descriptor}", path, None, MS_BIND | MS_REC)
    if not writable:
        remount_read_only(path)
    elif not kept.was_read_only:
        _thaw(path)


def _thaw(path: str) -> None:
    """Undo a `FreezeAll` for one folder, and for the mounts below it unless one was read-only before."""
    try:
        mount_read_only(path, on=False, recursive=True)
    except OSError as error:
        if error.errno == errno.ENOSYS:
            return  # so there was no `FreezeAll` either
        mount_read_only(path, on=False, recursive=False)


def _freeze(path: str) -> None:
    if not os.path.exists(path):
        return
    if not os.path.ismount(path):
        mount(path, path, None, MS_BIND | MS_REC)
    remount_read_only(path)


def _overlay(path: str, kept: _Kept, written: _Memory) -> None:
    os.makedirs(path, exist_ok=True)
    mode = stat.S_IMODE(os.fstat(kept.descriptor).st_mode)
    upper, work = written.part(path, mode), written.part(path, 0o700)
    # By descriptors, so that no mark in a path can be taken for one of the options.
    options = f"lowerdir=/proc/self/fd/{kept.descriptor},upperdir={upper},workdir={work},userxattr"
    mount("overlay", path, "overlay", _QUIET, options)
