import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from launcher.errors import LauncherError
from launcher.run.folder import run_folder
from tests.launcher.cli import ROOT

HOLDER = f"""
import sys, time
sys.path.append({str(ROOT)!r})
from pathlib import Path
from launcher.run.folder import run_folder
with run_folder(Path(sys.argv[1])) as folder:
    folder.write({{"ca.pem": "x"}})
    print(folder.path, flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(runs: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process with a run, and that run's folder; ends the run at the end."""
    command = [sys.executable, "-c", HOLDER, str(runs)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process, Path(process.stdout.readline().strip())
            process.communicate(timeout=20)
        finally:
            process.kill()


def test_a_runs_folder_and_files_are_private_from_birth_and_gone_afterwards(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with run_folder(tmp_path / "home" / "runs") as folder:
            folder.write({"ca.pem": "text"})
            assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
            assert stat.S_IMODE(folder.path.parent.stat().st_mode) == 0o700
            assert stat.S_IMODE((folder.path / "ca.pem").stat().st_mode) == 0o600
            assert (folder.path / "ca.pem").read_text() == "text"
    finally:
        os.umask(before)
    assert not folder.path.exists()


def test_two_runs_side_by_side_have_folders_of_their_own(tmp_path: Path) -> None:
    runs = tmp_path / "home" / "runs"
    with holder(runs) as (_, theirs):
        with run_folder(runs) as ours:
            assert ours.path != theirs
        assert (theirs / "ca.pem").exists()
    assert not theirs.exists()


def test_what_a_killed_launcher_has_left_is_removed_by_the_next_start(tmp_path: Path) -> None:
    runs = tmp_path / "home" / "runs"
    with holder(runs) as (process, theirs):
        process.send_signal(signal.SIGKILL)
    assert theirs.exists()
    with run_folder(runs):
        assert not theirs.exists()


def test_a_symbolic_link_in_the_folder_of_runs_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    with run_folder(tmp_path / "home" / "runs") as first:
        (first.path.parent / "link").symlink_to(outside)
        with run_folder(tmp_path / "home" / "runs"):
            pass
    assert (outside / "kept").exists()


def test_a_file_is_never_written_over(tmp_path: Path) -> None:
    with run_folder(tmp_path / "home" / "runs") as folder:
        folder.write({"ca.pem": "one"})
        with pytest.raises(LauncherError, match="file exists"):
            folder.write({"ca.pem": "two"})
