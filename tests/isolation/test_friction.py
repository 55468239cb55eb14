"""What honest programs do, and what isolation must not get in the way of."""

from __future__ import annotations

import subprocess

import pytest

from tests.isolation.world import ROOT, World

HONEST = {
    "new file in the home folder": "echo x > ~/new && mv ~/new ~/newer && rm ~/newer",
    "append to a dotfile": "echo x >> ~/.bashrc && sed -i s/x/y/ ~/.bashrc && grep -q y ~/.bashrc",
    "cache folder": "mkdir -p ~/.cache/tool && echo x > ~/.cache/tool/file",
    "git repository": (
        "git init -q . && echo x > f && git add f && "
        "git -c user.name=n -c user.email=e@x commit -qm m && git log --oneline | grep -q m"
    ),
    "git global settings": "git config --global user.name someone && git config user.name",
    "temporary folder": "d=$(mktemp -d) && echo x > $d/f && rm -r $d",
    "shared memory": "echo x > /dev/shm/authsome-$$ && rm /dev/shm/authsome-$$",
    "pipes and process substitution": "bash -c 'diff <(echo a) <(echo a)'",
    "jobs": "sleep 0.01 & wait $!",
    "own processes": "sleep 30 & kill $! && ps ax | grep -q ps",
    "own unix socket": (
        "python3 -c \"import socket; s=socket.socket(socket.AF_UNIX); s.bind('s'); s.listen();"
        "c=socket.socket(socket.AF_UNIX); c.connect('s')\" && rm s"
    ),
    "several processes": (
        'python3 -c "import multiprocessing as m; print(sum(m.Pool(2).map(abs, [1, -2])))" | grep -q 3'
    ),
    "own terminal": "python3 -c \"import pty, sys; sys.exit(pty.spawn(['tty']))\" | grep -q /dev/pts/",
    "server on loopback": (
        "python3 -c \"import socket; s=socket.create_server(('127.0.0.1', 0));"
        'socket.create_connection(s.getsockname())"'
    ),
    "own name": "id -u && whoami || test $(id -u) = 24001",
    "memory map of own": "test -r /proc/self/maps && test -w /proc/self/oom_score_adj",
    "devices": "head -c 9 /dev/urandom | wc -c | grep -q 9 && echo x > /dev/null && echo > /dev/fd/1",
    "standard error by name": "echo x > /dev/stderr",
    "namespaces of its own": "unshare --user --map-root-user --mount --pid --fork --mount-proc true",
    "settings of the kernel": "cat /proc/sys/kernel/osrelease /proc/cpuinfo /proc/mounts > /dev/null",
}
"""What is executed, by name. Each ends with 0 where nothing is in the way."""

KEPT_FROM_ROOT = {"namespaces of its own"}
"""The kernel shows a new /proc only to those to whom the old one is shown whole."""


@pytest.mark.parametrize("level", ["guard", "guard-nopid", "sandbox"])
def test_honest_programs_notice_nothing(around: World, level: str) -> None:
    checks = {
        name: script for name, script in HONEST.items() if not (around.uid < 0 and name in KEPT_FROM_ROOT)
    }
    script = "\n".join(f"( {check} ) >/dev/null 2>&1 && echo '{name}'" for name, check in checks.items())
    ended = around.run(level, "sh", "-c", script)
    assert ended.output.splitlines() == list(checks)


def test_landlock_gets_in_the_way_of_what_is_told(around: World) -> None:
    script = "\n".join(f"( {check} ) >/dev/null 2>&1 || echo '{name}'" for name, check in HONEST.items())
    failed = set(around.run("landlock", "sh", "-c", script).output.splitlines())
    assert failed - {"namespaces of its own", "memory map of own"} == {
        "new file in the home folder",
        "append to a dotfile",
        "cache folder",
        "git global settings",
        "own unix socket",
    }


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
