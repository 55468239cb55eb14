"""The folders that a run has in memory: all together have one bound, and a full one is no more than full."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from launcher.isolation.measure.memory import SHARE, bound
from launcher.isolation.measure.survey import survey
from tests.isolation.world import World, interpreter

MIB: Final = 1 << 20
BOUND: Final = 4 * MIB
TERMINALS: Final = Path(f"/tmp/tmux-{10**9 + os.getpid()}")
"""A folder of daemons', of which a run has one of its own."""

FILL: Final = """
import errno, os, sys
chunk, total, errors = b"x" * 65536, 0, []
for number, folder in enumerate(sys.argv[1:]):
    try:
        with open(f"{folder}/filled-{number}", "wb", 0) as file:
            while total < 64 << 20:
                total += file.write(chunk)
    except OSError as error:
        errors.append(errno.errorcode[error.errno])
print(total, *errors)
"""
"""Writes into one folder after another until it is full, or 64 MiB are written."""

COUNT: Final = """
import errno, sys
total = 0
try:
    for folder in sys.argv[1:]:
        for number in range(20_000):
            open(f"{folder}/empty-{number}", "x").close()
            total += 1
except OSError as error:
    print(total, errno.errorcode[error.errno])
else:
    print(total, "OK")
"""


@pytest.fixture(autouse=True)
def terminals() -> Iterator[None]:
    TERMINALS.mkdir()
    yield
    TERMINALS.rmdir()


def folders(around: World, level: str) -> list[str]:
    """Those in which the program can write, and that are in memory."""
    user = os.getuid() if around.uid < 0 else around.uid
    own = [f"/run/user/{user}"] if Path("/run/user").is_dir() else []
    if level == "guard":
        return [*own, str(TERMINALS)]
    return ["/tmp", "/var/tmp", "/dev/shm", "/run", *own, str(around.home)]


def said(around: World, level: str, script: str, **more: object) -> list[str]:
    """What the script says, and whether the program could go on with its work afterwards."""
    (around.home / "script.py").write_text(script)
    words = " ".join(folders(around, level))
    line = f"{interpreter(around.uid)} {around.home}/script.py {words} && echo kept > kept"
    ended = around.run(level, "sh", "-c", line, **more)
    assert (ended.status, ended.errors) == (0, ""), ended
    kept = around.home / "project" / "kept"
    assert kept.read_text() == "kept\n"
    kept.unlink()
    return ended.output.split()


@pytest.mark.parametrize("mode", ["overlay", "ro"])
def test_all_folders_of_a_sandbox_together_hold_no_more_than_the_bound(around: World, mode: str) -> None:
    total, *errors = said(around, "sandbox", FILL, memory=BOUND, home_mode=mode)
    assert BOUND // 2 < int(total) <= BOUND
    number = len(folders(around, "sandbox"))
    full, refused = errors.count("ENOSPC"), errors.count("EROFS")
    assert (full, refused) == ((number, 0) if mode == "overlay" else (number - 1, 1))


def test_with_a_wider_bound_they_hold_more(around: World) -> None:
    total, *_ = said(around, "sandbox", FILL, memory=4 * BOUND)
    assert 2 * BOUND < int(total) <= 4 * BOUND


def test_the_number_of_files_has_a_bound_as_well(around: World) -> None:
    """An empty file takes memory of the kernel's."""
    total, error = said(around, "sandbox", COUNT, memory=BOUND)
    assert error == "ENOSPC"
    assert 100 < int(total) <= BOUND // 8192
    assert int(said(around, "sandbox", COUNT, memory=32 * BOUND)[0]) > 10 * int(total)


def test_what_guard_has_in_memory_has_the_bound(around: World) -> None:
    total, *errors = said(around, "guard", FILL, memory=BOUND)
    assert int(total) <= BOUND
    assert errors == ["ENOSPC"] * len(folders(around, "guard"))


MACHINE: Final = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
GROUP: Final = "sys/fs/cgroup/a/memory.max"
ABOVE: Final = "sys/fs/cgroup/memory.max"
OLD: Final = "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes"


@pytest.mark.parametrize(
    ("groups", "limits", "expected"),
    [
        ("", {}, MACHINE),
        ("0::/a\n", {}, MACHINE),
        ("0::/a\n", {GROUP: "max\n"}, MACHINE),
        ("0::/a\n", {GROUP: f"{64 * MIB}\n"}, 64 * MIB),
        ("0::/a\n", {GROUP: "max\n", ABOVE: f"{32 * MIB}\n"}, 32 * MIB),
        # Seen from inside of a container its own group is the one that is mounted.
        ("0::/docker/c\n", {ABOVE: f"{32 * MIB}\n"}, 32 * MIB),
        ("9:cpu:/\n4:memory:/a/b\n0::/\n", {OLD: f"{16 * MIB}\n"}, 16 * MIB),
        ("9:cpu:/a/b\n", {OLD: f"{16 * MIB}\n"}, MACHINE),
        ("4:memory:/a/b\n", {OLD: str(2**63 - 4096)}, MACHINE),
        # To the kernel no bytes would be no bound.
        ("0::/a\n", {GROUP: "0\n"}, SHARE * MIB),
    ],
)
def test_a_run_has_a_share_of_the_memory_that_it_can_have(
    tmp_path: Path, groups: str, limits: dict[str, str], expected: int
) -> None:
    for name, text in {"proc/self/cgroup": groups, **limits}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert bound(tmp_path) == expected // SHARE


def test_here_there_is_a_bound_and_it_is_what_is_measured(tmp_path: Path) -> None:
    assert survey(hidden=[], visible=[]).memory == bound() <= MACHINE // SHARE
    assert bound(tmp_path) == MACHINE // SHARE  # where nothing tells of groups
