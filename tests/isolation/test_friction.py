"""What honest programs do, and what isolation must not get in the way of."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pytest

from tests.isolation.honest import ACTIONS, OUTSIDE, Action, failed, present, provide, script
from tests.isolation.runs import runner
from tests.isolation.world import ROOT, USERS, World

EXPECTED: Final = {
    "guard": {
        "io_uring",
        "an abstract socket of a daemon",
        "a socket file of a daemon",
        "a signal to a process outside",
        "another terminal of the user",
        "authsome itself",
    },
    "guard-nopid": {
        "namespaces of its own",
        "io_uring",
        "an abstract socket of a daemon",
        "a socket file of a daemon",
        "a signal to a process outside",
        "another terminal of the user",
        "authsome itself",
    },
    "landlock": {
        "git: config --global",
        "a cache in the home folder",
        "npm: pack and install",
        "new files in the home folder",
        "editing a dotfile",
        "state of an agent in the home folder",
        "tmux, with a server of its own",
        "ssh-agent, started by the program",
        "gpg, with an agent of its own",
        "namespaces of its own",
        "io_uring",
        "unix sockets of its own",
        "an abstract socket of a daemon",
        "a socket file of a daemon",
        "a signal to a process outside",
        "files outside of the project",
        "files in the home folder that stay",
        "authsome itself",
    },
    "sandbox": {
        "io_uring",
        "a file of another program in /tmp",
        "a service of the user on loopback",
        "an abstract socket of a daemon",
        "a socket file of a daemon",
        "a signal to a process outside",
        "another terminal of the user",
        "authsome itself",
    },
    "sandbox --home ro": {
        "git: config --global",
        "a cache in the home folder",
        "npm: pack and install",
        "new files in the home folder",
        "editing a dotfile",
        "state of an agent in the home folder",
        "io_uring",
        "a file of another program in /tmp",
        "a service of the user on loopback",
        "an abstract socket of a daemon",
        "a socket file of a daemon",
        "a signal to a process outside",
        "another terminal of the user",
        "files in the home folder that stay",
        "authsome itself",
    },
}
"""What fails at a level and would not fail without isolation."""

AS_ROOT: Final = {
    "guard": {"namespaces of its own"},
    "guard-nopid": set[str](),
    "landlock": {"/proc/self"},
    "sandbox": {"namespaces of its own"},
    "sandbox --home ro": {"namespaces of its own"},
}
"""And of root besides. Only who has CAP_SETFCAP can map root into a further namespace, and as root
nothing of the kernel's settings in /proc can be written, that of the process itself included."""

IN_TMP: Final = {"temporary files", "make and a compiler"}
"""And with Landlock where authsome lies in /tmp and belongs to the user: nobody makes files in the folders
on the way to its libraries."""

STAYS: Final = {
    "guard": {"kept", "outside"},
    "guard-nopid": {"kept", "outside"},
    "landlock": set[str](),
    "sandbox": set[str](),
    "sandbox --home ro": set[str](),
}
"""Which of two files that were written, in the home folder and elsewhere, are there after the run."""

HOW: Final[dict[str, tuple[list[str], str]]] = {
    "guard": ([], ""),
    "guard-nopid": ([], "masked-proc"),
    "landlock": ([], "no-user-namespaces"),
    "sandbox": (["--sandbox"], ""),
    "sandbox --home ro": (["--sandbox", "--home", "ro"], ""),
}
"""The options, and the kind of machine, that lead to a level."""

USUAL: Final = "guard"


@dataclass(frozen=True, slots=True)
class Honest:
    """Runs of one user, each in a fresh home."""

    user: str
    actions: dict[str, Action]

    def failures(self, options: Sequence[str], host: str) -> tuple[set[str], set[str]]:
        """The names of what failed, and which files stayed."""
        with runner(self.user) as user:
            provide(user.around.folder / "files", user.around.home)
            said = user.authsome("run", *options, "--", "sh", "-c", script(self.actions), host=host)
            assert said.status == 0, said.err
            assert said.out.count("\n") >= len(self.actions)
            assert user.tokens.access_token not in said.out
            places = {"kept": user.around.home, "outside": user.around.folder}
            stayed = {name for name, folder in places.items() if (folder / name).exists()}
            print(f"\n{self.user} {options} {host}\n{said.out}")
            return failed(said.out), stayed


@pytest.fixture(scope="module", params=USERS)
def alone(request: pytest.FixtureRequest) -> tuple[Honest, set[str]]:
    """What fails on this machine without isolation, for one user."""
    honest = Honest(request.param, present(ACTIONS | OUTSIDE))
    failures, stayed = honest.failures(["--no-sandbox"], "")
    assert not failures & set(OUTSIDE)
    assert stayed == {"kept", "outside"}
    return honest, failures


@pytest.mark.parametrize(
    "level", [pytest.param(level, marks=[] if level == USUAL else pytest.mark.slow) for level in HOW]
)
def test_honest_programs_notice_what_the_documentation_says(
    alone: tuple[Honest, set[str]], level: str
) -> None:
    honest, fail_anyway = alone
    options, host = HOW[level]
    failures, stayed = honest.failures(options, host)
    expected = EXPECTED[level] | (AS_ROOT[level] if honest.user == "root" else set())
    if level == "landlock" and honest.user != "ordinary" and sys.prefix.startswith("/tmp/"):
        expected |= IN_TMP
    assert failures - fail_anyway == expected.intersection(honest.actions) - fail_anyway
    assert stayed == STAYS[level]


def test_under_guard_thirty_one_things_and_more_work_as_without(alone: tuple[Honest, set[str]]) -> None:
    honest, fail_anyway = alone
    assert not EXPECTED["guard"] & set(ACTIONS)
    assert len(set(honest.actions) & set(ACTIONS) - fail_anyway) >= 31


def test_a_kept_sandbox_folder_stays_and_the_rest_is_gone(around: World) -> None:
    script = "echo kept > file && mkdir ~/gone && echo x > /tmp/gone-$$ && cat file"
    ended = around.run("sandbox", "sh", "-c", script)
    assert ended.output == "kept\n"
    assert (around.home / "project" / "file").read_text() == "kept\n"
    assert not (around.home / "gone").exists()


def test_a_wish_keeps_a_folder_writable(around: World) -> None:
    (around.home / "data").mkdir(mode=0o777)
    (around.home / "data").chmod(0o777)
    script = "echo kept > ~/data/file"
    around.run("sandbox", "sh", "-c", script)
    assert not (around.home / "data" / "file").exists()
    around.run("sandbox", "sh", "-c", script, writable=[str(around.home / "data")])
    assert (around.home / "data" / "file").read_text() == "kept\n"


@pytest.mark.parametrize("level", ["guard", "sandbox"])
def test_a_wish_opens_a_socket(around: World, level: str) -> None:
    path = around.environ["PATH_SOCKET"]
    assert around.attack(level, ["path_socket"]) == {"path_socket": "blocked"}
    assert around.attack(level, ["path_socket"], sockets=[path]) == {"path_socket": "leak"}


@pytest.mark.parametrize("level", ["landlock", "guard", "sandbox"])
def test_files_that_the_launcher_writes_later_are_visible(around: World, level: str) -> None:
    late = around.vault / "runs" / "r1" / "late.pem"
    script = f"cd {late.parent}; until test -e late.pem; do sleep 0.02; done; cat late.pem"
    with subprocess.Popen(
        around.command(around.order(level, "sh", "-c", f"echo ready; {script}")),
        cwd=ROOT,
        env=around.environ,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        late.write_text("late\n")
        late.chmod(0o644)
        assert process.communicate(timeout=20)[0] == "late\n"
