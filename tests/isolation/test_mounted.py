"""A vault or a key that other mounts show as well: whole folders, folders in them, single files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.isolation.world import CANARY, World

LEVELS: Final = (
    "guard",
    "sandbox",
    pytest.param("guard-nopid", marks=pytest.mark.slow),
    pytest.param("landlock", marks=pytest.mark.slow),
)

KINDS: Final = ("a file of the vault", "a folder of the vault", "a file that is mounted into it", "a key")
"""What is mounted a second time."""


def made(around: World, folder: str) -> Path:
    path = around.folder / folder
    path.mkdir()
    os.chown(path, around.folder.stat().st_uid, -1)
    return path


def written(around: World, path: Path, text: str = CANARY) -> Path:
    path.write_text(text)
    os.chown(path, around.folder.stat().st_uid, -1)
    return path


def shown(around: World, kind: str) -> tuple[Path, Path, dict[str, object]]:
    """A file with the canary, what to allow in a sandbox so that it is there at all, and the order."""
    alias = around.folder / "alias"
    match kind:
        case "a file of the vault":
            target = written(around, alias / "db", "")
            return target, target, {"binds": [[str(around.vault / "vault.db"), str(target)]]}
        case "a folder of the vault":
            written(around, made(around, "home/.authsome/sub") / "key")
            return alias / "key", alias, {"binds": [[str(around.vault / "sub"), str(alias)]]}
        case "a file that is mounted into it":
            source = written(around, alias / "key")
            target = written(around, around.vault / "key", "")
            return source, source, {"binds": [[str(source), str(target)]]}
        case _:
            key = written(around, made(around, "keys") / "key")
            binds = [[str(key.parent), str(alias)]]
            return alias / "key", alias, {"binds": binds, "handed": str(key)}


def read(around: World, level: str, kind: str, without: tuple[str, ...] = ()) -> bool:
    path, writable, more = shown(around, kind)
    argv = ["sh", "-c", f"echo ran; cat {path}"]
    # With a mount below the home folder there can be no layer over it.
    more["home_mode"] = "ro"
    ended = around.run(level, *argv, writable=[str(writable)], without=without, **more)
    assert ended.output.startswith("ran\n"), ended
    assert [(tried, result) for tried, result, _ in ended.tried] == [(level, "ready")]
    return CANARY in ended.output


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_another_mount_shows_of_a_vault_or_key_cannot_be_read(
    around: World, level: str, kind: str
) -> None:
    assert read(around, level, kind) is False


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", KINDS)
def test_without_the_other_paths_it_could_be_read(around: World, level: str, kind: str) -> None:
    assert read(around, level, kind, without=("aliases",)) is True


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """An empty file, most often in another file system than the vault."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "key").touch()
        yield Path(folder) / "key"


def test_a_file_that_is_mounted_in_another_file_system_is_masked_and_guard_remains(
    around: World, elsewhere: Path
) -> None:
    argv = ["sh", "-c", f"echo ran; cat {elsewhere}"]
    binds = [[str(around.vault / "vault.db"), str(elsewhere)]]
    ended = around.run("guard", *argv, binds=binds, falls_back=True)
    assert ended.output == "ran\n"
    assert [tried[:2] for tried in ended.tried] == [["guard", "ready"]]
    assert CANARY in around.run("guard", *argv, binds=binds, without=("aliases",)).output
