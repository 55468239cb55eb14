"""A hostile program: tries the attacks that it is told and prints one JSON object for each.

Executed by itself, also by older interpreters than the project needs: standard library alone.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import re
import resource
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

CANARY = re.compile(rb"CANARY-[0-9a-f]{16}")
LAUNCHER = int(os.environ.get("LAUNCHER", "0"))
VAULT = Path(os.environ["VAULT"])
LIBC = ctypes.CDLL(None, use_errno=True)
X86 = os.uname().machine == "x86_64"


def syscall(number: int, *arguments: int) -> int:
    result = int(LIBC.syscall(ctypes.c_long(number), *(ctypes.c_long(value) for value in arguments)))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def vault() -> bytes:
    return (VAULT / "vault.db").read_bytes()


def alias() -> bytes:
    return (Path(os.environ["ALIAS"]) / VAULT.name / "vault.db").read_bytes()


def launcher_root() -> bytes:
    return Path(f"/proc/{LAUNCHER}/root{VAULT}/vault.db").read_bytes()


def launcher_descriptor() -> bytes:
    return Path(f"/proc/{LAUNCHER}/fd/{os.environ['SECRET_FD']}").read_bytes()


def launcher_environ() -> bytes:
    return b"reached" if Path(f"/proc/{LAUNCHER}/environ").read_bytes() else b""


def launcher_memory() -> bytes:
    found = b""
    with open(f"/proc/{LAUNCHER}/maps") as maps, open(f"/proc/{LAUNCHER}/mem", "rb", 0) as memory:
        for line in maps:
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            if match:
                start, end = int(match[1], 16), int(match[2], 16)
                memory.seek(start)
                try:
                    hit = CANARY.search(memory.read(end - start))
                except OSError:
                    continue
                found = hit[0] if hit else found
    return found


def trace() -> bytes:
    seized = 0x4206
    if LIBC.ptrace(seized, LAUNCHER, None, None) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")
    return b"reached"


def steal_descriptor() -> bytes:
    return (
        os.read(os.dup(syscall(438, os.pidfd_open(LAUNCHER), int(os.environ["SECRET_FD"]), 0)), 0)
        + b"reached"
    )


def join_mounts() -> bytes:
    with open(f"/proc/{LAUNCHER}/ns/user") as space:
        if LIBC.setns(space.fileno(), 0) < 0:
            raise OSError(ctypes.get_errno(), "setns")
    return vault()


def signal_launcher() -> bytes:
    os.kill(LAUNCHER, 0)
    return b"reached"


def signal_host() -> bytes:
    os.kill(int(os.environ["DAEMON"]), 0)
    return b"reached"


def ask(family: int, address: object) -> bytes:
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(3)
        client.connect(address)  # type: ignore[arg-type]
        return client.recv(100)


def path_socket() -> bytes:
    return ask(socket.AF_UNIX, os.environ["PATH_SOCKET"])


def aliased_socket() -> bytes:
    """Where its folder is mounted a second time."""
    return ask(socket.AF_UNIX, f"{os.environ['ALIAS']}/daemon.sock")


def relative_socket() -> bytes:
    """The kernel knows only the last part of its path."""
    return ask(socket.AF_UNIX, os.environ["RELATIVE_SOCKET"])


def abstract_socket() -> bytes:
    return ask(socket.AF_UNIX, "\0" + os.environ["ABSTRACT_SOCKET"])


def loopback() -> bytes:
    return ask(socket.AF_INET, ("127.0.0.1", int(os.environ["LOOPBACK_PORT"])))


def keyring() -> bytes:
    read, search, user_keyring = 11, 10, -4
    number = 250 if X86 else 219
    kind = ctypes.create_string_buffer(b"user")
    name = ctypes.create_string_buffer(b"authsome-test")
    key = syscall(number, search, user_keyring, ctypes.addressof(kind), ctypes.addressof(name), 0)
    data = ctypes.create_string_buffer(100)
    syscall(number, read, key, ctypes.addressof(data), 100)
    return data.raw


def own_key() -> bytes:
    """Not an attack on anybody; shows whether the calls are there at all."""
    syscall(250 if X86 else 219, 0, -4, 1)
    return b"reached"


def nested(script: str) -> bytes:
    """In a further user namespace, where this process may mount."""
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]
    return subprocess.run(command, capture_output=True, timeout=10, check=False).stdout


def unmount() -> bytes:
    return nested(f"umount {VAULT}; umount -l {VAULT}; cat {VAULT}/vault.db")


def own_unmount() -> bytes:
    if LIBC.umount2(str(VAULT).encode(), 2) < 0:
        raise OSError(ctypes.get_errno(), "umount2")
    return vault()


def nested_overlay() -> bytes:
    home = VAULT.parent
    return nested(
        f"mount -t overlay overlay -o lowerdir={home}:/usr/share /mnt && cat /mnt/{VAULT.name}/vault.db"
    )


def nested_bind() -> bytes:
    return nested(f"mount --bind {VAULT.parent} /mnt && cat /mnt/{VAULT.name}/vault.db")


def open_folder() -> bytes:
    return Path(f"/proc/self/fd/9/{VAULT.name}/vault.db").read_bytes()


def open_folder_directly() -> bytes:
    with open(os.open(f"{VAULT.name}/vault.db", os.O_RDONLY, dir_fd=9), "rb") as file:
        return file.read()


def working_folder() -> bytes:
    return Path("vault.db").read_bytes()


def rename_vault() -> bytes:
    os.rename(VAULT, VAULT.parent / "elsewhere")
    os.rename(VAULT.parent / "elsewhere", VAULT)
    return b"reached"


def block_device() -> bytes:
    for path in Path("/dev").iterdir():
        if stat.S_ISBLK(path.lstat().st_mode):
            with open(path, "rb", 0):
                return b"reached"
    return b""


def core_pattern() -> bytes:
    with open("/proc/sys/kernel/core_pattern", "r+"):
        return b"reached"


def kernel_settings() -> bytes:
    with open("/sys/kernel/mm/transparent_hugepage/enabled", "r+"):
        return b"reached"


PROGRAMS = (
    "proc/sys/kernel/core_pattern",
    "proc/sys/kernel/modprobe",
    "proc/sys/kernel/hotplug",
    "proc/sys/kernel/poweroff_cmd",
    "proc/sys/kernel/usermodehelper/bset",
    "proc/sys/fs/binfmt_misc/register",
    "proc/sysrq-trigger",
    "sys/kernel/uevent_helper",
    "sys/fs/cgroup/release_agent",
    "sys/fs/cgroup/*/release_agent",
    "cgroup/release_agent",
    "binfmt_misc/register",
    "debug/sched/features",
)
"""Below / and wherever else the kernel's settings are shown: what names the programs that it starts outside,
on a program's behalf, and what else ends an isolation."""


def open_settings(root: Path) -> list[str]:
    """Those that can be written; what they say stays."""
    found = []
    for path in (path for pattern in PROGRAMS for path in root.glob(pattern)):
        try:
            with open(path, "wb", 0) as file:
                if path.name == "release_agent":  # of which the kernel asks again when it is written
                    file.write(path.read_bytes() or b"\n")
        except OSError:
            continue
        found.append(str(path))
    return found


def kernel_programs() -> bytes:
    found = open_settings(Path("/"))
    return f"reached {found}".encode() if found else b""


def kernel_programs_elsewhere() -> bytes:
    """Where another mount shows them, as for a system in a folder."""
    found = open_settings(Path(os.environ["KERNEL"]))
    return f"reached {found}".encode() if found else b""


def kernel_programs_anew() -> bytes:
    """In further namespaces, in which this process may mount, and is still root to the files of root."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write, _settings_anew(Path(os.environ["KERNEL"]) / "anew"))
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    with open(read, "rb") as file:
        return file.read()


def _settings_anew(folder: Path) -> bytes:
    spaces = (0x10000000, 0x00020000, 0x02000000, 0x40000000, 0x20000000)  # user, mount, cgroup, network, pid
    for space in spaces[1:]:
        if LIBC.unshare(space) < 0 and LIBC.unshare(spaces[0] | space) < 0:
            raise OSError(ctypes.get_errno(), "unshare")
    if pid := os.fork():  # which is in the new namespace of processes
        os.waitpid(pid, 0)
        os._exit(0)
    LIBC.mount(b"none", b"/", None, 1 << 18 | 16384, None)
    for name, kind, options in (
        ("proc", b"proc", None),
        ("sys", b"sysfs", None),
        ("cgroup", b"cgroup", b"freezer"),
        ("debug", b"debugfs", None),
    ):
        # Onto what is there: a file that root makes has no owner in these namespaces.
        LIBC.mount(b"none", bytes(folder / name), kind, 0, options)
    found = open_settings(folder)
    return f"reached {found}".encode() if found else b""


def live_code() -> bytes:
    """A file that the launcher executes: what is written is executed at once."""
    with open(os.environ["CODE"], "r+b"):
        return b"reached"


def live_code_by_alias() -> bytes:
    with open(Path(os.environ["ALIAS"]) / Path(os.environ["CODE"]).relative_to(VAULT.parent), "r+b"):
        return b"reached"


def packet_socket() -> bytes:
    """Hears what all of this machine send, also to the proxy."""
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
    return b"reached"


def other_terminal() -> bytes:
    """Only its size tells it from a terminal of the program's own with the same number."""
    number = os.open(os.environ["TERMINAL"], os.O_RDWR | os.O_NOCTTY)
    try:
        size = os.get_terminal_size(number)
    finally:
        os.close(number)
    return b"reached" if f"{size.columns}x{size.lines}" == os.environ["TERMINAL_SIZE"] else b""


def type_into_terminal() -> bytes:
    _master, slave = os.openpty()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        fcntl.ioctl(slave, 0x540E, 0)  # become the terminal's owner, so that typing is allowed
        try:
            fcntl.ioctl(slave, 0x5412, b"x")
        except OSError:
            os._exit(1)
        os._exit(0)
    return b"" if os.waitpid(pid, 0)[1] else b"reached"


def type_with_high_bits() -> bytes:
    """The kernel takes the low 32 bits of the request; a filter that compares 64 would miss it."""
    _master, slave = os.openpty()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        fcntl.ioctl(slave, 0x540E, 0)
        character = ctypes.create_string_buffer(b"x")
        try:
            syscall(16 if X86 else 29, slave, 0x5412 | 1 << 40, ctypes.addressof(character))
        except OSError:
            os._exit(1)
        os._exit(0)
    return b"" if os.waitpid(pid, 0)[1] else b"reached"


def virtual_socket() -> bytes:
    socket.socket(40, socket.SOCK_STREAM).close()
    return b"reached"


def rings() -> bytes:
    parameters = ctypes.create_string_buffer(120)
    os.close(syscall(425, 4, ctypes.addressof(parameters)))
    return b"reached"


def handles() -> bytes:
    """open_by_handle_at(2) asks for no path, bpf(2) loads into the kernel: both are asked for nothing."""
    pid = os.fork()
    if pid == 0:
        LIBC.unshare(0x10000000 | 0x00020000)  # namespaces of its own, in which newer kernels allow the first
        os._exit(_is_answered(304, 265, 0, 0, 0) or _is_answered(321, 280, 999_999, 0, 0))
    return b"reached" if os.waitpid(pid, 0)[1] else b""


def _is_answered(on_x86: int, on_arm: int, *arguments: int) -> bool:
    """Whether anything but that it is not permitted."""
    try:
        syscall(on_x86 if X86 else on_arm, *arguments)
    except OSError as error:
        return error.errno != 1
    return True


def own_core_limit() -> bytes:
    """Not an attack: the user's limit is the program's, while the launcher has none."""
    return b"reached" if resource.getrlimit(resource.RLIMIT_CORE)[0] else b""


def unix_socket() -> bytes:
    socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).close()
    return b"reached"


def unix_datagram_pair() -> bytes:
    for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM):
        end.close()
    return b"reached"


def unix_raw_pair() -> bytes:
    for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_RAW):
        end.close()
    return b"reached"


def shell_start_file() -> bytes:
    with open(VAULT.parent / ".bashrc", "a") as file:
        file.write("planted\n")
    return b"reached"


def temporary_file() -> bytes:
    """A file of another program in the common temporary folder."""
    return Path(os.environ["TEMPORARY"]).read_bytes()


def memory() -> bytes:
    """Room for files in memory, more than a third of all: nothing takes it back while the program runs."""
    folders = ("/tmp", "/var/tmp", "/dev/shm", "/run", os.environ["HOME"])
    with tempfile.NamedTemporaryFile(dir="/tmp") as file:
        file.write(bytes(1 << 20))  # so that those beside it look different
        file.flush()
        rooms = {(room.f_blocks, room.f_bfree): room for room in map(os.statvfs, folders)}
    total = sum(room.f_blocks * room.f_frsize for room in rooms.values())
    return b"reached" if total > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 3 else b""


def outside(kind: int, protocol: int, option: int = 0) -> bytes:
    address = (os.environ["OUTSIDE"], int(os.environ["LOOPBACK_PORT"]))
    with socket.socket(socket.AF_INET, kind, protocol) as client:
        if kind == socket.SOCK_DGRAM or option:
            client.sendto(b"hello", option, address)
            client.settimeout(1)
        else:
            client.connect(address)
        return client.recv(100)


def direct_stream() -> bytes:
    return outside(socket.SOCK_STREAM, 6)


def direct_datagram() -> bytes:
    return outside(socket.SOCK_DGRAM, 17)


def direct_multipath() -> bytes:
    return outside(socket.SOCK_STREAM, 262)


def direct_fast_open() -> bytes:
    return outside(socket.SOCK_STREAM, 6, 0x20000000)


def own_stream_pair() -> bytes:
    one, two = socket.socketpair()
    one.send(b"reached")
    return two.recv(10)


def own_terminal() -> bytes:
    master, slave = os.openpty()
    os.write(master, b"reached\n")
    size = struct.unpack("HHHH", fcntl.ioctl(slave, 0x5413, b"\0" * 8))
    return os.read(slave, 20) if len(size) == 4 else b""


def own_child() -> bytes:
    child = subprocess.Popen(["sleep", "60"])
    child.send_signal(signal.SIGTERM)
    return b"reached" if child.wait(10) == -signal.SIGTERM else b""


def visible_file() -> bytes:
    return b"reached" if (VAULT / "runs/r1/ca.pem").read_text() == "pem\n" else b""


def change_visible_file() -> bytes:
    (VAULT / "runs/r1/ca.pem").write_text("mine")
    return b"reached"


def main() -> None:
    for name in sys.argv[1:]:
        attack: Callable[[], bytes] = globals()[name]
        try:
            got = attack()
        except (OSError, subprocess.SubprocessError) as error:
            print(json.dumps([name, "blocked", str(error)]), flush=True)
            continue
        leaked = bool(CANARY.search(got))
        print(
            json.dumps([name, "leak" if leaked else "reached" if b"reached" in got else "blocked", ""]),
            flush=True,
        )


if __name__ == "__main__":
    main()
