"""What is measured before a fork: the code that runs, sockets, devices."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from mmap import MAP_PRIVATE, PROT_EXEC, PROT_READ, mmap
from pathlib import Path

import pytest

from launcher.isolation.measure.survey import _DEVICES, survey


def facts_with(mapped: Path, protection: int = PROT_READ | PROT_EXEC) -> bool:
    """Whether a file that is mapped is among the code."""
    with open(mapped, "rb") as file, mmap(file.fileno(), 0, MAP_PRIVATE, protection):
        found = survey(hidden=[], visible=[]).code
        return str(mapped) in found


@pytest.fixture
def library(tmp_path: Path) -> Path:
    (tmp_path / "library").write_text("code")
    return tmp_path / "library"


def test_a_file_of_ones_own_that_is_executed_is_found_also_where_it_is_read_only(library: Path) -> None:
    assert facts_with(library) is True
    library.chmod(0o400)
    assert facts_with(library) is True


def test_a_file_that_is_only_read_is_none(library: Path) -> None:
    assert facts_with(library, PROT_READ) is False


def test_a_file_that_was_removed_is_none(library: Path) -> None:
    with open(library, "rb") as file, mmap(file.fileno(), 0, MAP_PRIVATE, PROT_READ | PROT_EXEC):
        library.unlink()
        assert not [path for path in survey(hidden=[], visible=[]).code if path.startswith(str(library))]


def test_a_socket_is_found_by_a_relative_name_while_its_owner_is_where_it_was(tmp_path: Path) -> None:
    script = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind('named'); s.listen(); "
        "print('listening', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout
        assert owner.stdout.readline() == "listening\n"
        assert str(tmp_path / "named") in survey(hidden=[], visible=[]).sockets
        owner.communicate("")
    assert str(tmp_path / "named") not in survey(hidden=[], visible=[]).sockets


@pytest.mark.parametrize("odd", ["\f", "\r", "\x85", "\u2028", "\n"])
def test_a_socket_is_found_whatever_its_name_holds(tmp_path: Path, odd: str) -> None:
    path = str(tmp_path / f"a{odd}b")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        assert path in survey(hidden=[], visible=[]).sockets


def test_of_hidden_folders_in_one_another_the_outermost_is_hidden(tmp_path: Path) -> None:
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "outer-2").mkdir()
    outermost = (str(tmp_path / "outer"), str(tmp_path / "outer-2"))
    assert survey(hidden=[inner, inner.parent, tmp_path / "outer-2"], visible=[]).hidden == outermost


def test_a_file_that_is_no_socket_is_not_taken_for_one(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        assert path in survey(hidden=[], visible=[]).sockets
        os.unlink(path)
        Path(path).write_text("")
        assert path not in survey(hidden=[], visible=[]).sockets


@pytest.mark.parametrize("name", ["tty1", "ttyS0", "vsock", "vhost-vsock", "vhost-net", "mem", "event3"])
def test_devices_that_lead_elsewhere_are_known(name: str) -> None:
    assert _DEVICES.fullmatch(name)


@pytest.mark.parametrize("name", ["tty", "null", "zero", "urandom", "fuse", "ptmx", "kvm"])
def test_devices_that_programs_need_are_not_among_them(name: str) -> None:
    assert not _DEVICES.fullmatch(name)
