import os
import pty
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.launcher.cli import ROOT

LAUNCHER = f"""
import os, sys, time
sys.path.append({str(ROOT)!r})
from launcher.child import signals
from launcher.child.child import fork_child
from launcher.errors import LauncherError
child = fork_child()
try:
    child.start(sys.argv[1:], dict(os.environ))
    code = child.wait()
except LauncherError as error:
    print(error, file=sys.stderr)
    code = error.exit_code
sys.exit(code)
"""
"""The smallest launcher: a child, and nothing else."""

COUNTER = """
import signal, sys, time
count = 0
def note(number, frame):
    global count
    count += 1
signal.signal(signal.%s, note)
print("ready", flush=True)
end = time.monotonic() + 20
while not count and time.monotonic() < end:
    time.sleep(0.01)
time.sleep(0.15)
print("count", count, flush=True)
sys.exit(5)
"""
"""A child that counts one kind of signal."""

REPEATED_COUNTER = """
import signal, sys, time
count = 0
def note(number, frame):
    global count
    count += 1
signal.signal(signal.%s, note)
print("ready", flush=True)
for number in range(1, 21):
    while count < number:
        time.sleep(0.001)
    time.sleep(0.01)
    print("next", flush=True)
print("count", count, flush=True)
sys.exit(5)
"""
"""A child that asks for a signal twenty times and says how many came."""

SLEEPER = """
import os, signal, sys, time
signal.signal(signal.SIGCONT, lambda number, frame: os.write(1, b"continued\\n"))  # print may be under way
print("ready", flush=True)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
sys.exit(6)
"""
"""A child that says when it is continued, and ends when a file appears."""


def command(*program: str) -> list[str]:
    return [sys.executable, "-c", LAUNCHER, *program]


def run(*program: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*program), capture_output=True, text=True, timeout=30, **options)  # type: ignore[call-overload,no-any-return]


@contextmanager
def started(*program: str) -> Iterator[subprocess.Popen[str]]:
    """A launcher whose child has said `ready`; killed at the end where it has not ended."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command(*program), stdout=pipe, stderr=pipe, text=True) as launcher:
        try:
            assert launcher.stdout
            assert launcher.stdout.readline() == "ready\n"
            yield launcher
        finally:
            launcher.kill()


class Terminal:
    """A terminal with a program in its foreground."""

    def __init__(self, *program: str) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.execv(program[0], program)  # noqa: S606
        self._text = b""

    def type(self, text: bytes) -> None:
        os.write(self._fd, text)

    def read_until(self, text: bytes) -> bytes:
        """What was printed up to and with `text`; what follows is kept for the next call."""
        end = time.monotonic() + 20
        while text not in self._text:
            assert select.select([self._fd], [], [], max(0.0, end - time.monotonic()))[0], self._text
            try:
                self._text += os.read(self._fd, 4096)
            except OSError:
                pytest.fail(f"the terminal was closed after {self._text!r}")
        before, _, self._text = self._text.partition(text)
        return before + text

    def status(self) -> int:
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self._fd)
        return code


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_the_status_is_the_childs_own(code: int) -> None:
    assert run("sh", "-c", f"exit {code}").returncode == code


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGSEGV])
def test_a_child_ended_by_a_signal_gives_128_and_its_number(number: signal.Signals) -> None:
    assert run("sh", "-c", f"ulimit -c 0; kill -{number.value} $$").returncode == 128 + number


def test_a_missing_program_is_127() -> None:
    done = run("no-such-program-anywhere")
    assert done.returncode == 127
    assert done.stderr == "cannot run 'no-such-program-anywhere': no such file or directory\n"


def test_a_file_that_is_not_executable_is_126(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_text("echo no\n")
    assert run(str(file)).returncode == 126
    assert run(str(tmp_path)).returncode == 126


def test_a_program_is_looked_for_in_the_path_of_the_child_past_what_cannot_be_executed(
    tmp_path: Path,
) -> None:
    for folder, mode, text in (("one", 0o600, ""), ("two", 0o700, "#!/bin/sh\nexit 9\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "tool").write_text(text)
        (tmp_path / folder / "tool").chmod(mode)
    path = f"{tmp_path / 'none'}:{tmp_path / 'one'}:{tmp_path / 'two'}"
    assert run("tool", env={"PATH": path}).returncode == 9
    assert run("tool", env={"PATH": f"{tmp_path / 'one'}"}).returncode == 126


def test_a_script_without_an_interpreter_line_is_run_by_the_shell(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text('echo "got $1"\n')
    script.chmod(0o700)
    assert run(str(script), "it").stdout == "got it\n"


def test_arguments_and_environment_pass_byte_for_byte() -> None:
    odd = b"\xff\xfe 'x'\n"
    show = "import os; os.write(1, os.environb[b'ODD'] + os.fsencode(__import__('sys').argv[1]))"
    done = subprocess.run(
        [*map(os.fsencode, command(sys.executable, "-c", show)), odd],
        env={**os.environb, b"ODD": odd},
        capture_output=True,
        timeout=30,
    )
    assert done.stdout == odd * 2


def test_standard_streams_are_the_childs() -> None:
    done = run("sh", "-c", "cat; echo problem >&2", input="typed\n")
    assert (done.stdout, done.stderr) == ("typed\n", "problem\n")


def test_only_descriptors_that_the_user_handed_over_reach_the_child() -> None:
    read, write = os.pipe()
    show = "import os; print([n for n in range(3, 256) if os.path.exists(f'/dev/fd/{n}')])"
    with_one = run(sys.executable, "-c", show, pass_fds=[read])
    without = run(sys.executable, "-c", show)
    os.close(read)
    os.close(write)
    assert with_one.stdout == f"[{read}]\n"
    assert without.stdout == "[]\n"


def test_the_child_has_the_signal_mask_and_dispositions_of_a_program_started_without_us() -> None:
    show = (
        "import signal; print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), "
        "[n for n in sorted(signal.valid_signals()) if signal.getsignal(n) is signal.SIG_IGN])"
    )
    alone = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, timeout=30)
    assert run(sys.executable, "-c", show).stdout == alone.stdout
    # Python ignores SIGPIPE by itself, so a program that does not has to be asked as well.
    assert run("sh", "-c", "{ sleep 0.1; echo x; echo y; echo $? >&2; } | true").stderr == ""


def test_a_signal_that_the_user_ignores_stays_ignored_in_the_child() -> None:
    shell = f"trap '' INT; exec {sys.executable} -c \"$0\" sh -c 'kill -INT $$; exit 4'"
    done = subprocess.run(["sh", "-c", shell, LAUNCHER], timeout=30)
    assert done.returncode == 4


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGWINCH"])
def test_a_signal_to_the_launcher_alone_reaches_the_child_once(name: str) -> None:
    with started(sys.executable, "-c", COUNTER % name) as launcher:
        launcher.send_signal(getattr(signal, name))
        out, _ = launcher.communicate(timeout=30)
    assert out == "count 1\n"
    assert launcher.returncode == 5


@pytest.mark.parametrize(("typed", "name"), [(b"\x03", "SIGINT"), (b"\x1c", "SIGQUIT")])
def test_a_signal_from_the_terminal_reaches_the_child_once(typed: bytes, name: str) -> None:
    # Two signals close together may arrive as one, so a single try would prove little.
    terminal = Terminal(*command(sys.executable, "-c", REPEATED_COUNTER % name))
    terminal.read_until(b"ready")
    for _ in range(20):
        terminal.type(typed)
        terminal.read_until(b"next")
    terminal.read_until(b"count 20\r\n")
    assert terminal.status() == 5


def test_an_interrupted_child_without_a_handler_gives_130() -> None:
    terminal = Terminal(*command("sh", "-c", "echo ready; exec sleep 20"))
    terminal.read_until(b"ready")
    terminal.type(b"\x03")
    assert terminal.status() == 130


def test_stopping_at_the_terminal_gives_the_shell_back_and_fg_goes_on(tmp_path: Path) -> None:
    script = tmp_path / "small.py"
    script.write_text(LAUNCHER)
    shell = Terminal("/bin/bash", "--norc", "--noprofile", "-i")
    shell.type(b"PS1='$ '; stty -echo\n")
    done = tmp_path / "done"
    program = tmp_path / "program.py"
    program.write_text(SLEEPER)
    shell.type(f'{sys.executable} {script} {sys.executable} {program} {done}; echo "status=$?"\n'.encode())
    shell.read_until(b"ready")
    shell.type(b"\x1a")
    shell.read_until(b"Stopped")
    shell.type(b"jobs; echo shell is ba''ck\n")
    shell.read_until(b"shell is back")
    shell.type(b"fg; echo after=$?\n")
    shell.read_until(b"continued")
    done.touch()
    shell.read_until(b"after=6")
    shell.type(b"exit\n")
    assert shell.status() == 0


def test_a_killed_launcher_takes_its_child_along() -> None:
    with started("sh", "-c", "echo ready; exec sleep 20") as launcher:
        launcher.kill()
        begun = time.monotonic()
        launcher.communicate(timeout=15)  # ends when the child, too, has closed the pipe
        assert time.monotonic() - begun < 10


def test_a_child_that_is_never_started_ends_with_its_launcher() -> None:
    script = LAUNCHER.partition("try:")[0] + "child.abandon(); print('gone', child.waiting)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr, done.returncode) == ("gone False\n", "", 0)


def test_a_signal_that_is_held_before_the_child_has_started_is_not_lost() -> None:
    script = LAUNCHER.replace("try:", "signals.hold(); os.kill(os.getpid(), 15)\ntry:", 1)
    # Long enough that it has not ended by the time it is passed on.
    done = subprocess.run([sys.executable, "-c", script, "sh", "-c", "sleep 5; exit 0"], timeout=30)
    assert done.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_that_comes_before_the_child_has_started_ends_the_launcher(
    number: signal.Signals, tmp_path: Path
) -> None:
    script = LAUNCHER.replace("try:", f"os.kill(os.getpid(), {number.value}); time.sleep(20)\ntry:", 1)
    command = [sys.executable, "-c", script, "touch", str(tmp_path / "started")]
    done = subprocess.run(command, timeout=15, preexec_fn=without_cores, stderr=subprocess.DEVNULL)
    assert done.returncode == -number
    assert not (tmp_path / "started").exists()


def without_cores() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def test_signals_are_held_until_the_end_of_the_child_and_no_longer_passed_on() -> None:
    script = LAUNCHER + "os.kill(os.getpid(), 15); print('held')"
    script = script.replace("sys.exit(code)\n", "")
    done = subprocess.run([sys.executable, "-c", script, "true"], capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr, done.returncode) == ("held\n", "", 0)


ONCE_IGNORED = """
import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.execv(sys.executable, [sys.executable, "-c", *sys.argv[1:]])
"""


def test_where_the_end_of_children_is_ignored_the_status_is_still_the_childs() -> None:
    show = "import signal, sys; print(signal.getsignal(signal.SIGCHLD).name); sys.exit(7)"
    command = [sys.executable, "-c", ONCE_IGNORED, LAUNCHER, sys.executable, "-c", show]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr, done.returncode) == ("SIG_IGN\n", "", 7)


def test_a_program_without_a_name_is_not_found() -> None:
    done = run("")
    assert (done.returncode, done.stderr) == (127, "cannot run '': no such file or directory\n")


NO_MORE = """
import resource
if os.getuid() == 0:
    os.setuid(24002)  # for root there is no limit
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
"""
"""From here on no process and no thread of this user can be started."""


@pytest.mark.skipif(sys.platform == "darwin", reason="threads do not count there")
@pytest.mark.parametrize("refused", ["child = fork_child()", "try:"])
def test_a_process_or_a_thread_that_the_system_refuses_is_said(refused: str) -> None:
    script = LAUNCHER.replace(refused, NO_MORE + refused, 1)
    done = subprocess.run([sys.executable, "-c", script, "true"], capture_output=True, text=True, timeout=30)
    assert done.stderr.endswith("cannot start another process or thread: the system refuses it\n")
    assert done.returncode == 1


@pytest.mark.skipif(os.getuid() != 0, reason="needs a program of another user")
def test_a_signal_that_must_not_be_sent_to_the_program_is_dropped() -> None:
    script = LAUNCHER.replace("try:", "os.setuid(24002)\ntry:", 1)
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", script, "sh", "-c", "echo ready; read line; exit 5"]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as launcher:
        assert launcher.stdout
        assert launcher.stdout.readline() == "ready\n"
        launcher.send_signal(signal.SIGTERM)
        launcher.send_signal(signal.SIGHUP)
        _, problems = launcher.communicate("go\n", timeout=30)
    assert (problems, launcher.returncode) == ("", 5)


TAKER = """
import os, signal, sys, time
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
taker = os.fork()
os.setpgid(taker, taker)
if taker == 0:
    time.sleep(float(sys.argv[1]))
    os._exit(0)
os.tcsetpgrp(0, taker)
if sys.argv[1] == "0":
    os.waitpid(taker, 0)
"""
"""Leaves the terminal to a process group that has ended, or that lives on for some seconds."""

SEEN_AFTER = "print('ours' if os.tcgetpgrp(0) == os.getpgrp() else 'theirs'); sys.exit(code)"


@pytest.mark.parametrize(("seconds", "whose"), [("0", b"ours"), ("30", b"theirs")])
def test_the_terminal_comes_back_from_a_group_that_has_ended_and_from_no_other(
    seconds: str, whose: bytes
) -> None:
    script = LAUNCHER.replace("sys.exit(code)", SEEN_AFTER)
    terminal = Terminal(sys.executable, "-c", script, sys.executable, "-c", TAKER, seconds)
    terminal.read_until(whose + b"\r\n")
    assert terminal.status() == 0
