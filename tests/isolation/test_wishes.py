"""A sandbox in the real program: what can be kept and opened, and what is said of the rest."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from launcher.isolation.plan import CAPTURED_PORTS, MAX_PORTS
from tests.launcher.cli import Program, Said

RAN = ("--", "echo", "ran")


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """A user with a connection, a home folder and a project in it."""
    (tmp_path / "above" / "user" / "project").mkdir(parents=True)
    made = Program(tmp_path / "above" / "user" / ".authsome")
    made.connect()
    return made


def sandboxed(program: Program, *arguments: str, folder: Path | str = "project") -> Said:
    return program("run", "--sandbox", *arguments, cwd=program.home.parent / folder)


def is_refused(said: Said, *words: str) -> bool:
    error, hint = said.err.splitlines()
    kinds = error.startswith("authsome: error: ") and hint.startswith("authsome: hint: ")
    return (said.status, said.out, kinds) == (2, "", True) and all(word in error for word in words)


@pytest.mark.parametrize("folder", [".", "..", "/", "/tmp", "/var/tmp", "/dev/shm"])
def test_a_folder_that_cannot_be_kept_is_not_taken(program: Program, folder: str) -> None:
    path = os.path.realpath(program.home.parent / folder)
    assert is_refused(sandboxed(program, "--rw", path, *RAN), f"--rw {path}: ", "cannot be kept")


@pytest.mark.parametrize("folder", ["project", "project/..", "..", "/var/tmp", "/dev/shm"])
@pytest.mark.parametrize("options", [[], ["--home", "ro"]])
def test_a_working_folder_that_is_not_kept_is_told_before_the_program_starts(
    program: Program, folder: str, options: list[str]
) -> None:
    where = Path(os.path.realpath(program.home.parent / folder))
    name = f"kept-{os.getpid()}-{program.home.parents[2].name}"
    try:
        said = sandboxed(program, *options, "--", "sh", "-c", f"echo begun >&2; : > {name}", folder=where)
        is_there = (where / name).exists()
    finally:
        (where / name).unlink(missing_ok=True)
    told = said.err.partition("begun\n")[0].splitlines()
    assert is_there is (folder == "project")
    if is_there:
        assert told == []
    else:
        warning, hint = told
        assert warning.startswith(f"authsome: warning: what the program writes in {where} will not be kept, ")
        assert "--rw FOLDER" in hint


def test_who_names_a_folder_in_it_is_not_told(program: Program) -> None:
    said = sandboxed(program, "--rw", "project", "--", "sh", "-c", ": > project/kept", folder=".")
    assert said == Said(0, "", "")
    assert (program.home.parent / "project" / "kept").exists()


def test_without_a_sandbox_there_is_nothing_to_tell(program: Program) -> None:
    assert program("run", *RAN, cwd=program.home.parent) == Said(0, "ran\n", "")


@pytest.mark.parametrize("port", CAPTURED_PORTS)
def test_a_port_at_which_the_sandbox_listens_cannot_be_let_through(program: Program, port: int) -> None:
    assert is_refused(sandboxed(program, "--allow-port", str(port), *RAN), f"--allow-port {port} ")


def test_a_port_can_be_named_twice_and_as_many_as_there_may_be(program: Program) -> None:
    ports = [option for port in range(9000, 9000 + MAX_PORTS) for option in ("--allow-port", str(port))]
    assert sandboxed(program, *ports, "--allow-port", "9000", *RAN) == Said(0, "ran\n", "")
    assert is_refused(sandboxed(program, *ports, "--allow-port", "8999", *RAN), f"{MAX_PORTS} is the most")


@pytest.mark.parametrize("level", [[], ["--sandbox"]])
def test_only_a_socket_can_be_let_through(program: Program, level: list[str]) -> None:
    project = program.home.parent / "project"
    path = str(project / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        folder = os.open(project, os.O_PATH)
        listener.bind(f"/proc/self/fd/{folder}/s")  # the whole path may be too long for the name of a socket
        os.close(folder)
    assert program("run", *level, "--allow-socket", path, *RAN, cwd=project) == Said(0, "ran\n", "")
    for other in (str(project), str(program.home / "vault.db")):
        said = program("run", *level, "--allow-socket", other, *RAN, cwd=project)
        assert is_refused(said, f"--allow-socket '{other}' is not a socket")


@pytest.mark.parametrize("options", [[], ["--sandbox"], ["--sandbox", "--home", "ro"]])
def test_a_home_folder_need_not_exist(program: Program, options: list[str]) -> None:
    homeless = Program(program.home, {"HOME": "/nonexistent"})
    script = 'echo "$HOME"; : > kept'
    project = program.home.parent / "project"
    assert homeless("run", *options, "--", "sh", "-c", script, cwd=project) == Said(0, "/nonexistent\n", "")
    assert (project / "kept").exists()
