"""Nobody can change the kernel's settings: it starts, outside, the programs that are named there."""

from __future__ import annotations

import os
import subprocess
from typing import Final

import pytest

from tests.isolation.test_attacks import LEVELS, is_root
from tests.isolation.world import World, interpreter

WALK: Final = """
import os
for top in ("/proc", "/sys"):
    for folder, names, files in os.walk(top):
        if folder == "/proc":  # its own entries are a program's to write
            names[:] = [name for name in names if not name.isdigit() and name not in ("self", "thread-self")]
        for name in files:
            path = os.path.join(folder, name)
            try:
                os.path.islink(path) or os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY))
            except OSError:
                continue
            os.path.islink(path) or print(path)
"""
"""Opens every file to write, and writes nothing."""

HARMLESS: Final = ("/proc/pressure/", "/proc/sys/kernel/ns_last_pid")
"""Anybody may ask to be told of shortages; the other takes nothing without a capability."""


def writable(around: World, level: str) -> set[str]:
    ended = around.run(level, interpreter(around.uid), "-c", WALK)
    assert (ended.status, ended.errors) == (0, "")
    return {path for path in ended.output.splitlines() if not path.startswith(HARMLESS)}


@pytest.mark.parametrize("level", LEVELS)
def test_no_setting_of_the_kernel_can_be_written(around: World, level: str) -> None:
    assert writable(around, level) == set()


def test_without_isolation_root_could_write_them(around: World) -> None:
    assert ("/proc/sys/kernel/core_pattern" in writable(around, "none")) is is_root(around)


REGISTER: Final = """
import ctypes, os
libc = ctypes.CDLL(None)
libc.unshare(0x10000000 | 0x00020000)
libc.mount(b"none", os.environ["KERNEL"].encode(), b"binfmt_misc", 0, None)
try:
    with open(os.environ["KERNEL"] + "/register", "wb", 0) as file:
        file.write(b":authsome-test:M::AUTHSOMETEST::/bin/true:")
except OSError:
    pass
"""
"""A kind of program that a program of the attacker's is to execute, named in further namespaces."""


def kinds_of_programs() -> list[str]:
    """Those of the machine, which root alone may see."""
    script = "mount -t binfmt_misc none /proc/sys/fs/binfmt_misc && ls /proc/sys/fs/binfmt_misc"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, timeout=20, check=False
    )
    return done.stdout.split()


@pytest.mark.parametrize("level", LEVELS)
def test_no_kind_of_program_can_be_named_for_the_machine(around: World, level: str) -> None:
    assert around.run(level, interpreter(around.uid), "-c", REGISTER).status == 0
    found = kinds_of_programs()
    assert "authsome-test" not in found
    assert ("register" in found) is (os.getuid() == 0)
