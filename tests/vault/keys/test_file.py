"""Where the master key comes from."""

from __future__ import annotations

import base64
import os
import stat
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.vault.processes import finish, worker
from vault.errors import FormatTooNew, KeyUnavailable, LoosePermissions, StorageUnavailable, VaultError
from vault.keys.file import KeyFile

# Kept for ever: what a version once wrote, every later version must read.
LINE_1 = b"authsome-key-1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "master.key"


def written(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.parent.mkdir(mode=0o700)
    path.touch(mode=mode)
    path.write_bytes(content)
    return path


def test_a_key_file_of_format_1_is_read(path: Path) -> None:
    assert KeyFile(written(path, LINE_1)).load() == bytes(range(32))


def test_a_created_key_is_the_one_that_is_loaded(path: Path) -> None:
    key = KeyFile(path).create().key

    assert len(key) == 32
    assert KeyFile(path).load() == key
    assert path.read_bytes() == b"authsome-key-1:" + base64.b64encode(key) + b"\n"


def test_two_keys_are_not_the_same(tmp_path: Path) -> None:
    assert KeyFile(tmp_path / "a" / "key").create().key != KeyFile(tmp_path / "b" / "key").create().key


def test_creating_again_gives_the_key_that_exists(path: Path) -> None:
    written(path, LINE_1)

    assert KeyFile(path).create().key == bytes(range(32))
    assert path.read_bytes() == LINE_1


def test_a_created_key_is_alone_in_its_folder_and_private(path: Path) -> None:
    KeyFile(path).create()

    assert list(path.parent.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_loading_a_missing_key_makes_none(path: Path) -> None:
    with pytest.raises(KeyUnavailable, match="is missing") as caught:
        KeyFile(path).load()

    assert "backup" in caught.value.hint
    assert "move vault.db away and log in again" in caught.value.hint
    assert "AUTHSOME_KEY_FILE" not in caught.value.hint
    assert not path.exists()


def test_a_missing_key_that_a_variable_names_is_perhaps_another_one(path: Path) -> None:
    with pytest.raises(KeyUnavailable, match="is missing") as caught:
        KeyFile(path, shared=True).load()

    assert caught.value.hint.startswith("check AUTHSOME_KEY_FILE, or put the key file back")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o644])
def test_a_key_that_others_may_use_is_refused_with_the_command_that_helps(path: Path, mode: int) -> None:
    written(path, LINE_1).chmod(mode)

    for action in (KeyFile(path).load, KeyFile(path).create):
        with pytest.raises(LoosePermissions) as caught:
            action()
        assert caught.value.hint == f"run 'chmod 600 {path}'"
    path.chmod(0o600)
    assert KeyFile(path).load() == bytes(range(32))


def test_a_key_in_a_newer_format_is_left_as_it_is(path: Path) -> None:
    line = b"authsome-key-2:something else\n"
    written(path, line)

    for action in (KeyFile(path).load, KeyFile(path).create):
        with pytest.raises(FormatTooNew):
            action()
    assert path.read_bytes() == line


@pytest.mark.parametrize(
    "content",
    [
        b"",
        LINE_1[:-5],
        LINE_1[:30],
        LINE_1 + LINE_1,
        LINE_1.replace(b"AAEC", b"AA\xffC"),
        LINE_1.replace(b"AAEC", b"AA C"),
        b"authsome-key-1:AAECAwQFBgcICQoLDA0ODw==\n",
        b"authsome-key-0:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        bytes(range(32)),
        b"\n" * 10_000,
    ],
)
def test_a_file_that_holds_no_whole_key_is_refused_and_kept(path: Path, content: bytes) -> None:
    written(path, content)

    for action in (KeyFile(path).load, KeyFile(path).create):
        with pytest.raises(KeyUnavailable, match="does not hold a master key"):
            action()
    assert path.read_bytes() == content


def test_what_is_no_file_is_not_a_key(path: Path) -> None:
    path.mkdir(parents=True)

    with pytest.raises(KeyUnavailable, match="cannot be read"):
        KeyFile(path).load()


def test_a_private_terminal_is_not_a_key() -> None:
    master, slave = os.openpty()
    try:
        os.fchmod(slave, 0o600)
        os.write(master, b"authsome-key-1:typed\n\x04")
        with pytest.raises(KeyUnavailable, match="is a terminal"):
            KeyFile(Path(os.ttyname(slave))).create()
    finally:
        os.close(master)
        os.close(slave)


def test_a_key_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")

    with pytest.raises(StorageUnavailable) as caught:
        KeyFile(tmp_path / "nowhere" / "home" / "master.key").create()
    assert caught.value.hint


def test_no_error_quotes_the_key_file(path: Path) -> None:
    written(path, b"authsome-key-1:CANARY-KEY\n")

    with pytest.raises(VaultError) as caught:
        KeyFile(path).load()
    assert "CANARY" not in str(caught.value) + caught.value.hint + repr(caught.value)


def test_processes_that_start_at_once_agree_on_one_key(path: Path) -> None:
    with ExitStack() as stack:
        digests = finish([stack.enter_context(worker("key", path)) for _ in range(4)])

    assert len(set(digests)) == 1
    assert len(digests) == 4
    assert list(path.parent.iterdir()) == [path]
