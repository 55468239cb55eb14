"""A process whose home gets into trouble: `python -m tests.vault.troubles WHAT HOME`.

Prints what the vault said and what was still there afterwards, as JSON.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from tests.vault.samples import contents
from tests.vault.worker import open_vault
from vault.errors import VaultError
from vault.keys.file import KeyFile
from vault.keys.rekey import rekey
from vault.model import ApiKey, Connection, ConnectionKey
from vault.storage import SqliteStorage

ORDINARY_USER: Final = 24001
"""An id that owns nothing; the permission bits mean nothing to the administrator."""

_BIG: Final = 20_000
"""Bytes of a connection that soon fills a small disk."""


def own_mounts() -> bool:
    """Whether this process may mount what nobody else sees."""
    if sys.platform != "linux":
        return False
    flags, user, group = os.CLONE_NEWNS, os.getuid(), os.getgid()
    try:
        if user != 0:
            os.unshare(os.CLONE_NEWUSER | flags)
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {user} 1")
            Path("/proc/self/gid_map").write_text(f"0 {group} 1")
        else:
            os.unshare(flags)
    except OSError:
        return False
    return subprocess.run(["mount", "--make-rprivate", "/"], check=False).returncode == 0


def mount(*words: str | Path) -> None:
    subprocess.run(["mount", *map(str, words)], check=True)


def full_disk(home: Path) -> dict[str, object]:
    home.mkdir(mode=0o700)
    limited = not own_mounts()
    if not limited:
        mount("-t", "tmpfs", "-o", "size=600k,mode=700", "tmpfs", home)
    with open_vault(home, create=True):
        pass  # the tables are there
    if limited:
        return limited_size(home)
    return filled(home, lambda: None)


def limited_size(home: Path) -> dict[str, object]:
    home.mkdir(mode=0o700, exist_ok=True)
    with open_vault(home, create=True):
        pass
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    return filled(home, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard)))


def filled(home: Path, relieve: Callable[[], None]) -> dict[str, object]:
    """Store until there is no room; then change the key and back up, which need more room."""
    stored = 0
    said = ""
    with open_vault(home) as vault:
        while not said:
            key = ConnectionKey("default", "discord", f"n{stored}")
            try:
                vault.put_connection(key, connection(), expected=None)
                stored += 1
            except VaultError as error:
                said = f"{error} | {error.hint}"
        still_read = len(vault.connections("default"))
    with closing(SqliteStorage(home / "vault.db")) as storage:
        others = [
            outcome(lambda: rekey(storage, source(home), source(home), now=lambda: 0.0)),
            outcome(lambda: storage.copy_to(home / "backup")),
        ]
    names = sorted(path.name for path in home.iterdir())
    relieve()
    with open_vault(home) as vault:
        found, damaged = vault.verify()
    return {
        "said": said, "others": others, "stored": stored, "still_read": still_read,
        "found": found, "damaged": len(damaged), "names": names,
    }  # fmt: skip


def read_only(home: Path) -> dict[str, object]:
    """A file system that takes no writes, or permissions that allow none."""
    with open_vault(home, create=True) as vault:
        vault.put_connection(ConnectionKey("default", "discord", "work"), connection(), expected=None)
    before = contents(home)
    if own_mounts():
        mount("--bind", home, home)
        mount("-o", "remount,bind,ro", home)
        return refused(home, before)
    return forbidden(home, before)


def no_permission(home: Path) -> dict[str, object]:
    with open_vault(home, create=True) as vault:
        vault.put_connection(ConnectionKey("default", "discord", "work"), connection(), expected=None)
    return forbidden(home, contents(home))


def forbidden(home: Path, before: dict[str, bytes]) -> dict[str, object]:
    if os.getuid() == 0:
        for path in (home, *home.rglob("*")):
            os.chown(path, ORDINARY_USER, ORDINARY_USER)
    home.chmod(0o500)
    if os.getuid() == 0:
        os.setgid(ORDINARY_USER)
        os.setuid(ORDINARY_USER)
    return refused(home, before)


def refused(home: Path, before: dict[str, bytes]) -> dict[str, object]:
    said = outcome(lambda: open_vault(home, create=True).close())
    return {"said": said, "same": contents(home) == before}


def outcome(do: Callable[[], object]) -> str:
    try:
        do()
    except VaultError as error:
        return f"{error} | {error.hint}"
    return "done"


def source(home: Path) -> KeyFile:
    return KeyFile(home / "master.key")


def connection() -> Connection:
    return Connection(credential=ApiKey(value=SecretStr("x" * _BIG)), created_at=0, updated_at=0)


TROUBLES: Final = {
    "full": full_disk,
    "limited": limited_size,
    "read-only": read_only,
    "forbidden": no_permission,
}


if __name__ == "__main__":
    print(json.dumps(TROUBLES[sys.argv[1]](Path(sys.argv[2]))))
