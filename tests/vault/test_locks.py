"""Locks as files."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.vault.samples import TOKENS, WORK, contents
from tests.vault.worker import open_vault
from vault.errors import LockTimeout, StorageUnavailable
from vault.keys.file import KeyFile
from vault.locks import FileLocks
from vault.model import Versioned
from vault.storage import SqliteStorage
from vault.vault import Vault

ROOT = Path(__file__).parent.parent.parent


def refusing(number: int, calls: int = 0) -> Callable[[int, int], None]:
    """A flock that works so often and then is as on a file system without locks."""
    left = [calls]

    def flock(handle: int, how: int) -> None:
        if left[0] == 0:
            raise OSError(number, "ignored")
        left[0] -= 1
        fcntl.flock(handle, how)

    return flock


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_a_clear_error_and_nothing_is_lost(home: Path, number: int) -> None:
    with open_vault(home, create=True) as vault:
        vault.put_connection(WORK, TOKENS, expected=None)
    before = contents(home)

    with pytest.raises(StorageUnavailable) as caught:
        SqliteStorage(home / "vault.db", flock=refusing(number))
    assert str(caught.value).endswith("/locks/setup: the file system has no locks")
    assert "local disk" in caught.value.hint
    assert contents(home) == before


def test_a_lock_that_cannot_be_had_is_not_taken_for_one_that_is_held(home: Path) -> None:
    storage = SqliteStorage(home / "vault.db", flock=refusing(errno.ENOLCK, calls=1))
    with pytest.raises(StorageUnavailable, match="has no locks"):
        Vault.open(storage, KeyFile(home / "master.key"), create=True)
    assert not (home / "master.key").exists()


def test_the_same_with_locks_works(home: Path) -> None:
    storage = SqliteStorage(home / "vault.db", flock=fcntl.flock)
    with Vault.open(storage, KeyFile(home / "master.key"), create=True) as vault:
        vault.put_connection(WORK, TOKENS, expected=None)
        with vault.lock(WORK, 1.0):
            assert vault.connection(WORK) == Versioned(TOKENS, 1)


def test_a_link_in_the_place_of_a_lock_is_not_followed(tmp_path: Path) -> None:
    locks = FileLocks(tmp_path / "locks")
    (tmp_path / "locks" / "name").symlink_to(tmp_path / "victim")

    with pytest.raises(StorageUnavailable), locks.hold("name", 0, "it"):
        pytest.fail("followed")
    assert not (tmp_path / "victim").exists()


def test_a_lock_file_stays_and_is_private(tmp_path: Path) -> None:
    with FileLocks(tmp_path / "locks").hold("name", 0, "it"):
        pass
    assert os.listdir(tmp_path / "locks") == ["name"]
    assert (tmp_path / "locks" / "name").stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux tells who holds a lock")
@pytest.mark.parametrize("stopped", [False, True])
def test_who_holds_a_lock_for_too_long_is_named(tmp_path: Path, stopped: bool) -> None:
    script = (
        "import sys; from pathlib import Path; from vault.locks import FileLocks\n"
        "with FileLocks(Path(sys.argv[1])).hold('one', 1.0, 'x'): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "locks")]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        if stopped:
            process.send_signal(signal.SIGSTOP)
            os.waitpid(process.pid, os.WUNTRACED)
        try:
            with pytest.raises(LockTimeout) as caught, FileLocks(tmp_path / "locks").hold("one", 0.1, "it"):
                raise AssertionError("held twice")
        finally:
            process.kill()
    assert f"process {process.pid} (" in str(caught.value)
    assert ("which is stopped" in str(caught.value)) == stopped
    assert caught.value.hint == (f"let it go on with 'kill -CONT {process.pid}'" if stopped else "try again")
