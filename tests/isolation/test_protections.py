"""What a program is left with, seen from itself and from the processes around it: one protection a test."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.isolation.runs import runner
from tests.isolation.test_attacks import LEVELS
from tests.isolation.test_process import started
from tests.isolation.world import CANARY, ROOT, USERS, World, interpreter

WITH_PROCESSES: Final = ("guard", "sandbox")
NONE: Final = {f"Cap{kind}:": "0" * 16 for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")}


def capabilities(text: str) -> dict[str, str]:
    lines = (line.split() for line in text.splitlines() if line.startswith("Cap"))
    return {line[0]: line[1] for line in lines}


@pytest.fixture
def core_limit() -> Iterator[int]:
    """What the user allows cores, which nobody else would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    wanted = 7 << 20 if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_CORE, (wanted, hard))
    yield wanted
    resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


@pytest.mark.parametrize("level", LEVELS)
def test_a_program_has_the_users_limit_of_cores_and_not_the_launchers(
    around: World, level: str, core_limit: int
) -> None:
    script = "import resource; print(resource.getrlimit(resource.RLIMIT_CORE)[0])"
    assert around.run(level, interpreter(around.uid), "-c", script).output == f"{core_limit}\n"


@pytest.mark.parametrize("user", USERS)
def test_the_launcher_of_a_run_may_leave_no_core_and_is_closed(user: str, core_limit: int) -> None:
    with runner(user) as made:
        for options, closed in (([], True), (["--no-sandbox"], False)):
            with made.begun("run", *options, "--", "sh", "-c", "echo ready; read word") as process:
                assert process.stdout
                assert process.stdout.readline() == "ready\n"
                lines = Path(f"/proc/{process.pid}/limits").read_text().splitlines()
                (limit,) = (line.split()[4] for line in lines if line.startswith("Max core"))
                owner = Path(f"/proc/{process.pid}/environ").stat().st_uid
                process.communicate("go\n", timeout=30)
            assert limit == ("0" if closed else str(core_limit))
            if user != "root":  # who owns what is closed
                assert (owner == 0) is closed


@pytest.mark.parametrize("level", ["guard-nopid", *WITH_PROCESSES])
def test_a_program_has_no_capability_and_cannot_get_one(around: World, level: str) -> None:
    assert capabilities(around.run(level, "cat", "/proc/self/status").output) == NONE


@pytest.mark.parametrize("level", WITH_PROCESSES)
def test_process_one_has_no_capability(around: World, level: str) -> None:
    assert capabilities(around.run(level, "cat", "/proc/1/status").output) == NONE


@pytest.mark.parametrize("level", WITH_PROCESSES)
def test_what_the_launcher_was_started_with_cannot_be_read_from_process_one(
    around: World, level: str
) -> None:
    """Without Landlock too: it has been part of the launcher, and has what is kept from the program."""
    read = "cat /proc/self/environ >/dev/null && echo own; cat /proc/1/environ /proc/1/maps && echo first"
    assert around.run(level, "sh", "-c", read, host="no-landlock").output == "own\n"


@pytest.mark.parametrize("level", WITH_PROCESSES)
def test_the_process_that_stands_for_the_program_has_no_capability(around: World, level: str) -> None:
    with started(around, level, "sh", "-c", "echo ready; sleep 30") as process:
        (outer,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert capabilities(Path(f"/proc/{outer}/status").read_text()) == NONE


@pytest.mark.parametrize("level", WITH_PROCESSES)
def test_only_the_program_itself_leaves_a_core(around: World, level: str, core_limit: int) -> None:
    """What stands for it ends by the same signal."""
    ended = around.run(level, "sh", "-c", "kill -SEGV $$")
    assert ended.status == 128 + signal.SIGSEGV
    left = [path.read_bytes() for path in (around.home / "project").glob("core*")]
    beside = Path("/proc/sys/kernel/core_pattern").read_text().strip() == "core"
    assert bool(left) is (beside and core_limit > 0)
    assert not [core for core in left if b"tests.isolation.launch" in core]


@pytest.mark.parametrize("level", ["guard-nopid", *WITH_PROCESSES])
def test_a_program_is_the_same_user_inside_and_nobody_else_exists(around: World, level: str) -> None:
    uid = os.getuid() if around.uid < 0 else around.uid
    ended = around.run(level, "sh", "-c", "id -u; cat /proc/self/uid_map /proc/self/gid_map")
    gid = os.getgid() if around.uid < 0 else around.uid
    assert ended.output.split() == [str(number) for number in (uid, uid, uid, 1, gid, gid, 1)]


@pytest.mark.parametrize("level", LEVELS)
def test_a_key_that_was_handed_over_cannot_be_read_where_it_lies(around: World, level: str) -> None:
    key = around.home / "project" / "key"
    key.write_text(CANARY)
    os.chown(key, around.home.stat().st_uid, -1)
    assert around.run(level, "cat", key, handed=str(key)).output == ""
    assert around.run(level, "cat", key).output == CANARY


@pytest.mark.parametrize("level", ["guard-nopid", *WITH_PROCESSES])
def test_nothing_can_be_made_in_the_folder_that_hides_the_vault(around: World, level: str) -> None:
    script = f"chmod 700 {around.vault}; echo forged > {around.vault}/vault.db; ls -A {around.vault}"
    assert around.run(level, "sh", "-c", script).output == "runs\n"


def test_under_landlock_a_link_opens_nothing_of_the_vault(around: World) -> None:
    (around.home / "project" / "link").symlink_to(around.vault)
    (around.home / "link").symlink_to(around.vault)
    script = "cat link/vault.db ../link/vault.db"
    assert CANARY not in around.run("landlock", "sh", "-c", script).output
    assert CANARY in around.run("landlock", "sh", "-c", script, without=["fence"]).output


SHARED: Final = """
import os, subprocess, sys
from launcher.isolation.syscalls import CLONE_NEWNS, MS_REC, mount
os.unshare(CLONE_NEWNS)
mount("none", "/", None, 1 << 20 | MS_REC)  # as most systems have it: what is mounted is seen by all
launcher = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
assert launcher.stdout.readline() == "ready\\n"
mount("tmpfs", sys.argv[1], "tmpfs", 0)
open(sys.argv[1] + "/late", "x").close()
print(launcher.communicate("go\\n")[0], end="")
"""


@pytest.mark.parametrize("level", ["guard-nopid", *WITH_PROCESSES])
def test_what_is_mounted_later_is_not_seen(around: World, level: str) -> None:
    """Only root can mount; to an ordinary user's run it is the same."""
    if os.getuid():
        return
    place = around.home / "place"
    place.mkdir(mode=0o755)
    order = around.order(level, "sh", "-c", f"echo ready; read go; ls {place}; echo end")
    ended = subprocess.run(
        [sys.executable, "-c", SHARED, place, *around.command(order)],
        cwd=ROOT,
        env=around.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.stdout, ended.stderr) == ("end\n", "")


def test_a_child_whose_launcher_has_ended_already_is_killed() -> None:
    """There is a moment between the fork and the request to be killed with the parent."""
    for wrong, status in ((0, 0), (1, -signal.SIGKILL)):
        script = (
            "import os, time\nfrom launcher.child.death import end_with_launcher\n"
            f"end_with_launcher(os.getppid() + {wrong})\ntime.sleep(0.05)"
        )
        assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == status
