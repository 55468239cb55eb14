"""Attacks on other processes: the launcher, another run, process 1, and whoever else is there.

Standard library alone; runs inside of a run. Each returns what it got.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import resource
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.hostile.machine import MAX_READ, TOKEN, files
from tests.isolation.attacks import LAUNCHER, LIBC, VAULT, syscall

FIND = 64
"""Pieces of memory that are taken along."""


def launcher_files() -> bytes:
    """By way of the launcher's root and working folder."""
    found = files(Path(f"/proc/{LAUNCHER}/root") / VAULT.relative_to("/"))
    return found + files(Path(f"/proc/{LAUNCHER}/cwd").parent / VAULT.name)


def launcher_descriptors() -> bytes:
    found = b""
    for name in os.listdir(f"/proc/{LAUNCHER}/fd"):
        path = f"/proc/{LAUNCHER}/fd/{name}"
        try:
            if stat.S_ISREG(os.stat(path).st_mode):
                found += Path(path).read_bytes()[:MAX_READ]
        except OSError:
            continue
    return found


def launcher_descriptors_stolen() -> bytes:
    """pidfd_getfd(2) of each of the launcher's descriptors."""
    pid, found = os.pidfd_open(LAUNCHER), b""
    for number in range(3, 40):
        try:
            mine = syscall(438, pid, number, 0)
        except OSError as error:
            if error.errno == 9:
                continue
            raise
        try:
            found += os.pread(mine, MAX_READ, 0) or b"reached"
        except OSError:
            found += b"reached"
    return found


def _writable(pid: int) -> Iterator[tuple[int, int]]:
    with open(f"/proc/{pid}/maps") as maps:
        for line in maps:
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            if match:
                yield int(match[1], 16), int(match[2], 16)


def _memory(path: str, pid: int) -> bytes:
    found: list[bytes] = []
    with open(path, "rb", 0) as memory:
        for start, end in _writable(pid):
            try:
                memory.seek(start)
                found += TOKEN.findall(memory.read(end - start))
            except (OSError, OverflowError):
                continue
    return b" ".join(dict.fromkeys(found[:FIND]))


def launcher_memory_scan() -> bytes:
    return _memory(f"/proc/{LAUNCHER}/mem", LAUNCHER)


def launcher_thread_memory() -> bytes:
    """By way of a thread, which has files of its own."""
    task = next(name for name in os.listdir(f"/proc/{LAUNCHER}/task") if int(name) != LAUNCHER)
    return _memory(f"/proc/{LAUNCHER}/task/{task}/mem", LAUNCHER)


def launcher_memory_copied() -> bytes:
    """process_vm_readv(2)."""

    class Vector(ctypes.Structure):
        _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))

    found: list[bytes] = []
    for start, end in _writable(LAUNCHER):
        buffer = ctypes.create_string_buffer(end - start)
        here, there = Vector(ctypes.addressof(buffer), end - start), Vector(start, end - start)
        got = LIBC.process_vm_readv(LAUNCHER, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
        if got < 0 and ctypes.get_errno() == 1:
            raise PermissionError(1, "process_vm_readv")
        found += TOKEN.findall(buffer.raw[: max(0, got)])
    return b" ".join(dict.fromkeys(found[:FIND]))


def launcher_dumped() -> bytes:
    """With a debugger."""
    if not shutil.which("gcore"):
        return b"absent"
    done = subprocess.run(
        ["gcore", "-o", "dump", str(LAUNCHER)], capture_output=True, timeout=60, check=False
    )
    path = Path(f"dump.{LAUNCHER}")
    if done.returncode or not path.exists():
        return b""
    found = TOKEN.findall(path.read_bytes())
    path.unlink()
    return b" ".join(dict.fromkeys(found[:FIND]))


def launcher_crashed() -> bytes:
    """Let the launcher leave a core. Ends the run where it works."""
    resource.prlimit(LAUNCHER, resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    os.kill(LAUNCHER, signal.SIGSEGV)
    time.sleep(1)
    return b"reached"


def launcher_environment() -> bytes:
    return Path(f"/proc/{LAUNCHER}/environ").read_bytes()


def any_environment() -> bytes:
    """Of every process that is visible: what holds a key or another run's password."""
    own = os.environ.get("HTTPS_PROXY", "")
    found = b""
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            text = Path(f"/proc/{name}/environ").read_bytes()
        except OSError:
            continue
        found += b"".join(re.findall(rb"HTTPS_PROXY=[^\0]*|AUTHSOME_KEY[^\0]*", text))
    return found.replace(f"HTTPS_PROXY={own}".encode(), b"")


def second_run_memory() -> bytes:
    pid = int(os.environ["SECOND_RUN"])
    return _memory(f"/proc/{pid}/mem", pid) or b"reached"


def start_race() -> bytes:
    """Ask for another run to be started, and read its launcher before it closes itself."""
    Path("start-now").touch()
    seen, end = {os.getpid(), LAUNCHER}, time.monotonic() + 3
    while time.monotonic() < end:
        for name in filter(str.isdigit, os.listdir("/proc")):
            if int(name) in seen:
                continue
            try:
                if b"race-mark" not in Path(f"/proc/{name}/cmdline").read_bytes():
                    continue
                memory = os.open(f"/proc/{name}/mem", os.O_RDONLY)
            except OSError:
                continue
            os.close(memory)
            return b"reached"
        time.sleep(0.01)
    return b""


def process_one() -> bytes:
    """Process 1 of the run's own namespace has been part of the launcher."""
    if os.getppid() != 1:
        return b"absent"
    found = b""
    for path in ("/proc/1/root", "/proc/1/cwd"):
        try:
            found += files(Path(path) / VAULT.relative_to("/"))
        except OSError:
            continue
    try:
        return found + _memory("/proc/1/mem", 1)
    except OSError:
        return found


def process_one_traced() -> bytes:
    if os.getppid() != 1:
        return b"absent"
    if LIBC.ptrace(0x4206, 1, None, None) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")
    return b"reached"


def namespace_of_launcher() -> bytes:
    """In a process of its own: who has joined another's mounts has another working folder."""
    joined = 0
    for kind in ("user", "mnt", "net", "pid"):
        with open(f"/proc/{LAUNCHER}/ns/{kind}") as space:
            pid = os.fork()
            if pid == 0:
                os._exit(1 if LIBC.setns(space.fileno(), 0) == 0 else 0)
            joined += os.waitpid(pid, 0)[1]
    return b"reached" if joined else b""


def process_names() -> bytes:
    """The command lines of what else runs here."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if b"sleep" in Path(f"/proc/{name}/cmdline").read_bytes():
                return b"reached"
    return b""


ATTACKS: tuple[Callable[[], bytes], ...] = (
    launcher_files,
    launcher_descriptors,
    launcher_descriptors_stolen,
    launcher_memory_scan,
    launcher_thread_memory,
    launcher_memory_copied,
    launcher_dumped,
    launcher_crashed,
    launcher_environment,
    any_environment,
    second_run_memory,
    start_race,
    process_one,
    process_one_traced,
    process_names,
    namespace_of_launcher,
)
