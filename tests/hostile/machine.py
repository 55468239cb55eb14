"""Attacks on files, processes and the kernel: everything on the machine that might hold a secret.

Standard library alone; runs inside of a run. Each returns what it got.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
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

from tests.isolation.attacks import LAUNCHER, LIBC, VAULT, syscall

TOKEN = re.compile(rb"[A-Za-z0-9+/]{20,30}\.[A-Za-z0-9]{30}|authsome-key-1:[^\r\n\0]{40,60}")
"""What a token and a key look like in somebody's memory."""

PRIVATE = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/]{40}")

FIND = 64
"""Pieces of memory that are taken along."""

MAX_READ = 1 << 20


def files(folder: Path) -> bytes:
    """Everything readable below a folder, but certificates."""
    found = b""
    for path in sorted(folder.rglob("*")):
        try:
            if path.suffix != ".pem" and stat.S_ISREG(path.lstat().st_mode):
                found += path.read_bytes()[:MAX_READ]
        except OSError:
            continue
    return found


def inherited_descriptors() -> bytes:
    found = b""
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        if number <= 2:
            continue
        try:
            os.set_blocking(number, False)
            found += os.pread(number, MAX_READ, 0) or b"empty"
        except OSError:
            continue
    return found


def vault_files() -> bytes:
    return files(VAULT)


def vault_through_links() -> bytes:
    """A hard link and a symbolic link in the working folder."""
    for name in ("vault.db", "master.key"):
        Path("soft").unlink(missing_ok=True)
        os.symlink(VAULT / name, "soft")
        try:
            return Path("soft").read_bytes()
        except OSError:
            continue
        finally:
            os.unlink("soft")
    return b""


def vault_linked_hard() -> bytes:
    os.link(VAULT / "master.key", "hard")
    try:
        return Path("hard").read_bytes()
    finally:
        os.unlink("hard")


def alias_files() -> bytes:
    return files(Path(os.environ["ALIAS"]) / VAULT.name)


def authority_key() -> bytes:
    """The private key of the run's certificate authority, which could speak as any rule's host."""
    for folder in (VAULT, Path.cwd()):
        for path in folder.rglob("*"):
            try:
                if stat.S_ISREG(path.lstat().st_mode) and PRIVATE.search(path.read_bytes()[:MAX_READ]):
                    return b"reached " + str(path).encode()
            except OSError:
                continue
    return b""


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


def file_by_handle() -> bytes:
    """open_by_handle_at(2), which asks for no path."""
    handle = ctypes.create_string_buffer(b"\x08\0\0\0\x01\0\0\0" + b"\2\0\0\0" + b"\0" * 116)
    root = os.open("/", os.O_RDONLY)
    try:
        os.close(syscall(304 if os.uname().machine == "x86_64" else 265, root, ctypes.addressof(handle), 0))
    finally:
        os.close(root)
    return b"reached"


def page_faults() -> bytes:
    """userfaultfd(2) stalls the kernel while it copies; it holds only this process's memory."""
    os.close(syscall(323 if os.uname().machine == "x86_64" else 282, 1))
    return b""


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


def unmount_everything() -> bytes:
    with open("/proc/self/mountinfo") as mounts:
        points = [line.split()[4] for line in mounts]
    for point in reversed(points):
        if point.startswith(str(VAULT)):
            LIBC.umount2(point.encode(), 2)
    return files(VAULT)


def move_mounts() -> bytes:
    """open_tree(2) makes a copy of the mounts below the one that hides."""
    tree = LIBC.syscall(428, -100, str(VAULT.parent).encode(), 1 | 0o2000000)
    if tree < 0:
        raise OSError(ctypes.get_errno(), "open_tree")
    return files(Path(f"/proc/self/fd/{tree}") / VAULT.name)


def gain_privileges() -> bytes:
    """By a program that is root's own, where there is one: whether it would still run as root."""
    with open("/proc/self/status") as status:
        return b"" if "NoNewPrivs:\t1" in status.read() else b"reached"


def process_names() -> bytes:
    """The command lines of what else runs here."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if b"sleep" in Path(f"/proc/{name}/cmdline").read_bytes():
                return b"reached"
    return b""


def beside_working_folder() -> bytes:
    """The working folder may still be the one below all mounts."""
    return Path("../.authsome/master.key").read_bytes()


def push_input() -> bytes:
    """Type into the terminal what the user's shell will execute when the run has ended."""
    for character in f"cat {VAULT}/master.key > {Path.cwd()}/loot-push_input\n":
        fcntl.ioctl(0, 0x5412, character.encode())
    return b"planted"


def own_variables() -> bytes:
    names = [name for name in os.environ if name.startswith("AUTHSOME_") and name != "AUTHSOME_RUN"]
    return "".join(f"{name}={os.environ[name]}" for name in names).encode()


def certificates_changed() -> bytes:
    """Trust of the run's other programs, by the file that they all read."""
    with open(os.environ["SSL_CERT_FILE"], "a") as file:
        file.write("\n")
    return b"reached"


def logs() -> bytes:
    return files(VAULT / "audit") + files(VAULT / "runs")


def temporary_files() -> tuple[str, bytes]:
    """There may be much, of other programs; it is for the reader to find something in it."""
    found = b""
    for folder in ("/tmp", "/var/tmp", "/dev/shm", "/run"):
        for path in Path(folder).glob("*"):
            try:
                if stat.S_ISREG(path.lstat().st_mode) and path.stat().st_uid == os.getuid():
                    found += b" ".join(TOKEN.findall(path.read_bytes()[:MAX_READ]))
            except OSError:
                continue
    return "blocked", found


ATTACKS: tuple[Callable[[], bytes | tuple[str, bytes]], ...] = (
    inherited_descriptors,
    vault_files,
    vault_through_links,
    vault_linked_hard,
    alias_files,
    authority_key,
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
    file_by_handle,
    page_faults,
    namespace_of_launcher,
    unmount_everything,
    move_mounts,
    gain_privileges,
    process_names,
    beside_working_folder,
    push_input,
    own_variables,
    certificates_changed,
    logs,
    temporary_files,
)
