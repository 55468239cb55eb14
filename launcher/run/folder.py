"""The private folder of one run. A lock that the kernel releases tells living runs from dead ones."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from launcher.child.signals import ending_in_order
from launcher.errors import LauncherError
from vault.files import PRIVATE_FOLDER, private_folders, write_private
from vault.locks import locked


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A folder that exists as long as its run."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    def write(self, files: Mapping[str, str]) -> None:
        """Write files that only this user can read. Raises: LauncherError."""
        with _mapped_errors(self.path):
            for name, text in files.items():
                write_private(self.path / name, text)


@contextmanager
def run_folder(runs: Path) -> Iterator[RunFolder]:
    """Make the folder of a new run and remove it afterwards, with what dead runs have left.

    A signal that would end this process ends the block with an exception instead.

    Raises: LauncherError, VaultError.
    """
    private_folders(runs.parent, runs)
    # Between a folder's making and its locking it looks dead, so both happen under one lock.
    with _mapped_errors(runs), locked(runs / ".lock"):
        _remove_dead(runs)
        path = runs / secrets.token_hex(8)
        path.mkdir(mode=PRIVATE_FOLDER)
        held = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(held, fcntl.LOCK_EX)
    try:
        with ending_in_order():
            yield RunFolder(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(held)


def _remove_dead(runs: Path) -> None:
    for folder in runs.iterdir():
        if folder.is_dir() and not folder.is_symlink() and not _is_held(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_held(folder: Path) -> bool:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def _mapped_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        problem = (error.strerror or "not possible").lower()
        raise LauncherError(
            f"cannot prepare the run's folder in {path}: {problem}",
            "check that AUTHSOME_HOME is a folder of yours on a disk with free space",
        ) from error
