"""Statuses, signals and terminals pass through the processes in between as if they were not there."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.isolation.world import ROOT, World, interpreter

LEVELS = ["guard-nopid", "guard", "sandbox"]
"""In the first nothing stands between launcher and program, as where there are no namespaces at all."""


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 7", 7), *((f"kill -{number} $$", 128 + number) for number in (2, 9, 11))],
)
def test_the_status_is_the_programs_own(around: World, level: str, script: str, status: int) -> None:
    assert around.run(level, "sh", "-c", script).status == status


@pytest.mark.parametrize(("program", "status"), [("/nowhere/at-all", 127), ("../.bashrc", 126)])
def test_a_program_that_cannot_be_executed_is_told_to_the_launcher(
    around: World, level: str, program: str, status: int
) -> None:
    ended = around.run(level, program)
    assert ended.status != 0
    assert ("ProgramNotFound" if status == 127 else "ProgramNotExecutable") in ended.errors


def test_standard_input_and_output_are_the_launchers(around: World, level: str) -> None:
    ended = subprocess.run(
        around.command(around.order(level, "tr", "a-z", "A-Z")),
        cwd=ROOT,
        env=around.environ,
        input="through\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.stdout, ended.stderr, ended.returncode) == ("THROUGH\n", "", 0)


TRAP = "trap 'echo got; exit 9' {}; echo ready; while :; do sleep 0.05; done"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGWINCH])
def test_a_signal_to_the_launcher_reaches_the_program(
    around: World, level: str, number: signal.Signals
) -> None:
    script = TRAP.format(number.name.removeprefix("SIG"))
    with started(around, level, "sh", "-c", script) as process:
        process.send_signal(number)
        assert process.communicate(timeout=20)[0] == "got\n"
        assert process.returncode == 9


def test_the_program_ends_with_a_killed_launcher(around: World, level: str) -> None:
    with started(around, level, "sh", "-c", "echo ready; while :; do sleep 0.05; done") as process:
        process.kill()
        # The program holds standard output until it ends.
        assert process.communicate(timeout=20)[0] == ""


@pytest.mark.parametrize("level", ["guard", "sandbox"])
def test_what_the_program_leaves_running_ends_with_it(around: World, level: str) -> None:
    # The one left behind would hold standard output open for longer than the test waits.
    began = time.monotonic()
    ended = around.run(level, "sh", "-c", "setsid sleep 30 & exit 3")
    assert (ended.status, time.monotonic() - began < 20) == (3, True)


def test_without_process_ids_of_its_own_it_would_stay(around: World) -> None:
    ended = around.run("guard-nopid", "sh", "-c", "setsid sleep 30 >/dev/null 2>&1 & echo $!; exit 3")
    left = int(ended.output)
    os.kill(left, signal.SIGKILL)
    assert ended.status == 3


class Terminal:
    """A shell with job control on a terminal, and a person who types."""

    def __init__(self, around: World) -> None:
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            environ = {**around.environ, "PS1": "$ ", "HISTFILE": ""}
            os.chdir(ROOT)
            os.execve("/bin/bash", ["bash", "--norc", "--noprofile", "--noediting"], environ)  # noqa: S606
        self.seen = ""
        self.everything = ""

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def wait_for(self, pattern: str) -> str:
        """Wait until it is shown; what was shown before is forgotten."""
        deadline = time.monotonic() + 10
        while not (match := re.search(pattern, self.seen)):
            if not select.select([self.master], [], [], max(0, deadline - time.monotonic()))[0]:
                raise AssertionError(f"no {pattern!r} in {self.seen!r}")
            read = os.read(self.master, 4096).decode(errors="replace")
            self.seen += read
            self.everything += read
        self.seen = self.seen[match.end() :]
        return match[0]

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.close(self.master)
        os.waitpid(self.pid, 0)


@pytest.fixture
def terminal(around: World) -> Iterator[Terminal]:
    made = Terminal(around)
    yield made
    made.close()


COUNT = """
import signal, time, sys
got = []
signal.signal(signal.SIGINT, lambda *_: got.append(1))
print("rea" + "dy", flush=True)
end = time.monotonic() + 20
while not got and time.monotonic() < end: time.sleep(0.01)
time.sleep(0.2)
print("interrupts:", len(got), flush=True)
sys.exit(5)
"""


def typed(around: World, level: str, *argv: str) -> str:
    return shlex.join(around.command(around.order(level, *argv))) + "\n"


def test_ctrl_c_reaches_the_program_once(around: World, level: str, terminal: Terminal) -> None:
    (around.home / "count.py").write_text(COUNT)
    terminal.type(typed(around, level, interpreter(around.uid), str(around.home / "count.py")))
    terminal.wait_for("ready")
    terminal.type("\x03")
    assert terminal.wait_for(r"interrupts: \d+") == "interrupts: 1"
    terminal.type("echo status:$?\n")
    terminal.wait_for("status:5")


def test_ctrl_c_ends_a_program_that_does_not_care(around: World, level: str, terminal: Terminal) -> None:
    terminal.type(typed(around, level, "sh", "-c", "echo rea''dy; exec sleep 30"))
    terminal.wait_for("ready")
    terminal.type("\x03")
    terminal.type("echo status:$?\n")
    terminal.wait_for("status:130")


def test_ctrl_z_stops_and_fg_continues(around: World, level: str, terminal: Terminal) -> None:
    terminal.type(typed(around, level, "sh", "-c", "echo rea''dy; read word; echo got:$word; exit 4"))
    terminal.wait_for("ready")
    for _ in range(2):
        terminal.type("\x1a")
        terminal.wait_for("Stopped")
        terminal.type("echo in the sh''ell; jobs; fg\n")
        terminal.wait_for("in the shell")
        terminal.wait_for("Stopped")
        time.sleep(0.3)
    terminal.type("hello\n")
    terminal.wait_for("got:hello")
    terminal.type("echo status:$?\n")
    terminal.wait_for("status:4")


def test_a_program_in_the_background_stops_when_it_reads(
    around: World, level: str, terminal: Terminal
) -> None:
    command = typed(around, level, "sh", "-c", "read word; echo got:$word").rstrip()
    terminal.type(f"{command} &\n")
    terminal.type("while [ -z \"$(jobs -s)\" ]; do sleep 0.05; done; echo stop''ped; fg\n")
    terminal.wait_for("stopped")
    terminal.wait_for("tests.isolation.launch")
    time.sleep(0.1)
    terminal.type("hello\n")
    terminal.wait_for("got:hello")


def test_a_shell_inside_has_job_control_of_its_own(around: World, level: str, terminal: Terminal) -> None:
    terminal.type(typed(around, level, "bash", "--norc", "--noprofile", "--noediting", "-i"))
    terminal.type("echo inn''er; sleep 30\n")
    terminal.wait_for("inner\r")
    time.sleep(0.2)
    terminal.type("\x1a")
    terminal.wait_for("Stopped")
    terminal.type("echo ag''ain; fg\n")
    terminal.wait_for("again")
    terminal.wait_for("sleep 30")
    time.sleep(0.2)
    terminal.type("\x03")
    terminal.type("exit 6\n")
    terminal.wait_for("exit\r")
    terminal.type("echo status:$?\n")
    terminal.wait_for("status:6")
    assert "job control" not in terminal.everything


def test_a_shell_inside_gives_the_terminal_back_when_it_ends(
    around: World, level: str, terminal: Terminal
) -> None:
    inner = typed(around, level, "bash", "--norc", "--noprofile", "--noediting", "-i").rstrip()
    # A script has no job control and would not take the terminal back by itself.
    script = f'{inner}; echo "status:$?"; read -r line; echo "got:$line"'
    terminal.type(shlex.join(["bash", "-c", script]) + "\n")
    terminal.type("echo inn''er; exit 6\n")
    terminal.wait_for("inner\r")
    terminal.wait_for("status:6")
    terminal.type("hello\n")
    terminal.wait_for("got:hello")


class started:
    """A launcher whose program has said `ready`."""

    def __init__(self, around: World, level: str, *argv: str) -> None:
        self._process = subprocess.Popen(
            around.command(around.order(level, *argv)),
            cwd=ROOT,
            env=around.environ,
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> subprocess.Popen[str]:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
