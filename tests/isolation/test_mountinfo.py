"""Where else a folder can be seen, from the kernel's list of mounts."""

from __future__ import annotations

import pytest

from launcher.isolation.measure.mountinfo import (
    Mount,
    aliases,
    mounted_parts,
    parse_executed,
    parse_mounts,
    parse_sockets,
    settings,
)

HOME = "/home/u/.authsome"


def test_a_line_is_read_with_its_blanks() -> None:
    text = "36 35 98:0 /mnt\\0401 /with\\040blank\\134 rw,noatime master:1 - ext3 /dev/root rw\n"
    assert parse_mounts(text) == (Mount("98:0", "/mnt 1", "/with blank\\", "ext3"),)


@pytest.mark.parametrize(
    ("mounts", "found"),
    [
        ([("8:1", "/", "/")], ()),
        ([("8:1", "/", "/"), ("8:2", "/", "/home")], ()),
        ([("8:1", "/", "/"), ("8:1", "/home", "/mnt")], ("/mnt/u/.authsome",)),
        ([("8:1", "/", "/"), ("8:1", "/", "/mnt")], ("/mnt/home/u/.authsome",)),
        ([("8:1", "/", "/"), ("8:1", HOME, "/mnt")], ("/mnt",)),
        ([("8:1", "/", "/"), ("8:1", f"{HOME}/runs", "/mnt")], ()),
        ([("8:1", "/", "/"), ("8:1", f"{HOME}-other", "/mnt")], ()),
        ([("8:1", "/", "/"), ("8:1", "/home/someone", "/mnt")], ()),
        ([("8:1", "/", "/"), ("8:2", "/", "/home"), ("8:1", "/", "/mnt")], ()),
        ([("8:1", "/", "/"), ("8:2", "/@home", "/home"), ("8:2", "/", "/mnt")], ("/mnt/@home/u/.authsome",)),
        # The second of two at one place is the one that counts.
        (
            [("8:1", "/", "/"), ("8:2", "/", "/home"), ("8:3", "/", "/home"), ("8:3", "/u", "/mnt")],
            ("/mnt/.authsome",),
        ),
    ],
)
def test_a_folder_is_found_through_every_mount_that_shows_it(
    mounts: list[tuple[str, str, str]], found: tuple[str, ...]
) -> None:
    assert aliases([Mount(*each) for each in mounts], HOME) == found


@pytest.mark.parametrize(
    ("mounts", "found"),
    [
        ([("8:1", "/", "/")], ()),
        ([("8:1", "/", "/"), ("8:1", HOME, "/mnt")], ()),
        ([("8:1", "/", "/"), ("8:1", f"{HOME}/runs", "/mnt")], ("/mnt",)),
        ([("8:1", "/", "/"), ("8:1", f"{HOME}/master.key", "/mnt/key")], ("/mnt/key",)),
        ([("8:1", "/", "/"), ("8:1", f"{HOME}/master.key//deleted", "/mnt/key")], ("/mnt/key",)),
        ([("8:1", "/", "/"), ("8:1", f"{HOME}-other/runs", "/mnt")], ()),
        ([("8:1", "/", "/"), ("8:2", f"{HOME}/runs", "/mnt")], ()),
        # What lies below is hidden with it.
        ([("8:1", "/", "/"), ("8:1", f"{HOME}/runs", f"{HOME}/more")], ()),
        # Which of two at one place is on top, their order does not tell for sure.
        ([("8:1", "/", "/"), ("8:1", f"{HOME}/runs", "/mnt"), ("8:1", "/srv", "/mnt")], ("/mnt",)),
    ],
)
def test_the_mounts_of_what_a_folder_holds_are_found(
    mounts: list[tuple[str, str, str]], found: tuple[str, ...]
) -> None:
    assert mounted_parts([Mount(*each) for each in mounts], HOME) == found


def test_the_kernels_settings_are_found_wherever_they_are_mounted() -> None:
    """In /proc a program has its own entries to write to; what is mounted over another counts alone."""
    shown = [
        ("/", "ext4"),
        ("/proc", "proc"),
        ("/proc/sys/fs/binfmt_misc", "binfmt_misc"),
        ("/sys", "sysfs"),
        ("/sys/fs/anything", "new"),
        ("/system", "ext4"),
        ("/cgroup", "cgroup"),
        ("/srv/root/proc", "proc"),
        ("/srv/covered", "proc"),
        ("/srv/covered", "tmpfs"),
    ]
    mounts = [Mount("8:1", "/", point, kind) for point, kind in shown]
    assert settings(mounts) == (
        "/proc/sys/fs/binfmt_misc",
        "/sys",
        "/sys/fs/anything",
        "/cgroup",
        "/srv/root/proc",
    )


ODD = ("\f", "\v", "\r", "\x1c", "\x85", "\u2028", "\u2029", "\n", "\n ")
"""At each str.splitlines() would cut, and at some str.split()."""


@pytest.mark.parametrize("odd", ODD)
def test_a_name_is_read_whole_whatever_it_holds(odd: str) -> None:
    line = "0000000000000000: 00000002 00000000 00010000 0001 01    20 "
    sockets = f"Num\n{line}/run/a{odd}b \n{line} c\n"
    assert parse_sockets(sockets) == (f"/run/a{odd}b ", " c")
    if "\n" in odd:  # these files escape it
        return
    mount = f"36 35 98:0 / /mnt/a{odd}b rw - ext3 /dev/root rw\n"
    assert parse_mounts(mount * 2) == (Mount("98:0", "/", f"/mnt/a{odd}b", "ext3"),) * 2
    mapped = f"55d1-55d2 r-xp 00001000 08:01 11  /usr/a{odd}b\n"
    assert parse_executed(mapped * 2) == (f"/usr/a{odd}b",)


def test_sockets_with_a_name_are_found_once() -> None:
    text = (
        "Num       RefCount Protocol Flags    Type St Inode Path\n"
        "0000000000000000: 00000002 00000000 00010000 0001 01 20000 /run/a socket\n"
        "0000000000000000: 00000003 00000000 00000000 0001 03 20001 /run/a socket\n"
        "0000000000000000: 00000002 00000000 00010000 0001 01 20002 @/tmp/abstract\n"
        "0000000000000000: 00000003 00000000 00000000 0001 03 20003\n"
        "0000000000000000: 00000003 00000000 00000000 0002 01 20004 relative\n"
    )
    assert parse_sockets(text) == ("/run/a socket", "@/tmp/abstract", "relative")


def test_of_what_is_mapped_the_files_that_are_executed_are_found_once() -> None:
    text = (
        "55d0-55d1 r--p 00000000 08:01 11  /usr/bin/python3\n"
        "55d1-55d2 r-xp 00001000 08:01 11  /usr/bin/python3\n"
        "7f00-7f01 rw-p 00000000 00:00 0 \n"
        "7f01-7f02 r-xp 00000000 08:01 12  /home/u/with blank/lib.so\n"
        "7f02-7f03 r-xp 00002000 08:01 12  /home/u/with blank/lib.so\n"
        "7f03-7f04 r--p 00000000 08:01 13  /usr/lib/locale/locale-archive\n"
        "7fff-8000 r-xp 00000000 00:00 0  [vdso]\n"
    )
    assert parse_executed(text) == ("/usr/bin/python3", "/home/u/with blank/lib.so")
