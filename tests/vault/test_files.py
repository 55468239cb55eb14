"""Files and folders that are private from birth, and what the system refuses."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from vault.errors import LoosePermissions, StorageUnavailable
from vault.files import make_private_folder, new_file, refusals_mapped, require_private


def owned_by(user: int, mode: int) -> os.stat_result:
    return os.stat_result((mode, 1, 1, 1, user, 0, 0, 0, 0, 0))


def test_a_folder_is_made_private_and_its_parents_are_made_too(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"

    make_private_folder(folder)
    make_private_folder(folder)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o720, 0o702, 0o755])
def test_a_folder_that_others_may_enter_is_refused_with_the_command_that_helps(
    tmp_path: Path, mode: int
) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    folder.chmod(mode)

    with pytest.raises(LoosePermissions, match="other users can use") as caught:
        make_private_folder(folder)
    assert caught.value.hint == f"run 'chmod 700 {folder}'"
    assert stat.S_IMODE(folder.stat().st_mode) == mode


@pytest.mark.parametrize("mode", [stat.S_IFREG | 0o600, stat.S_IFDIR | 0o700])
def test_what_another_user_owns_is_refused_even_when_it_is_private(mode: int) -> None:
    me = os.geteuid()

    require_private(Path("it"), owned_by(me, mode))
    with pytest.raises(LoosePermissions, match="belongs to another user"):
        require_private(Path("it"), owned_by(me + 1, mode))


@pytest.mark.parametrize(
    ("refusal", "problem"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EACCES, "permission was denied"),
        (errno.ENOLCK, "the file system has no locks"),
        (errno.EIO, "input/output error"),
    ],
)
def test_what_the_system_refuses_is_one_sentence_with_a_hint(refusal: int, problem: str) -> None:
    with pytest.raises(StorageUnavailable) as caught, refusals_mapped(Path("/home/vault.db")):
        raise OSError(refusal, "ignored")

    assert str(caught.value) == f"cannot use /home/vault.db: {problem}"
    assert caught.value.hint


def test_what_sqlite_refuses_is_one_sentence_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable) as caught, refusals_mapped(Path("/home/vault.db")):
        sqlite3.connect(tmp_path / "missing" / "vault.db")

    assert str(caught.value) == "cannot use /home/vault.db: its files cannot be opened"
    assert caught.value.hint


def test_an_error_of_another_kind_passes_as_it_is() -> None:
    with pytest.raises(KeyError), refusals_mapped(Path("it")):
        raise KeyError("ours")


def without_links(refusal: int) -> Callable[[Path, Path], None]:
    """`os.link` as file systems answer it that have none."""

    def link(_here: Path, _there: Path) -> None:
        raise OSError(refusal, os.strerror(refusal))

    return link


NO_LINKS = [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS]


@pytest.mark.parametrize("link", [os.link, *map(without_links, NO_LINKS)])
def test_a_new_file_is_private_and_gets_its_name_when_it_is_whole(
    tmp_path: Path, link: Callable[[Path, Path], None]
) -> None:
    path = tmp_path / "vault.bak"

    with new_file(path, link) as temporary:
        temporary.write_bytes(b"whole")
        assert not path.exists()

    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"whole"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("link", [os.link, *map(without_links, NO_LINKS)])
def test_a_new_file_takes_the_place_of_no_other(tmp_path: Path, link: Callable[[Path, Path], None]) -> None:
    path = tmp_path / "vault.bak"

    with pytest.raises(FileExistsError), new_file(path, link):
        path.write_bytes(b"first")

    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"first"


def test_another_refusal_of_a_link_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="space"), new_file(tmp_path / "it", without_links(errno.ENOSPC)):
        pass
    assert list(tmp_path.iterdir()) == []
