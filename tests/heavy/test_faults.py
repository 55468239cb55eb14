"""Faults in the middle of a refresh, by the real program: no login is lost outside of the stated window."""

from __future__ import annotations

import json
import os
import resource
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from tests.e2e.desk import wait_until
from tests.launcher.cli import Program, connected
from tests.standin import Mishap, StandIn
from vault.model import Versioned

pytestmark = pytest.mark.heavy

Fault = Callable[[Path, int], AbstractContextManager[None]]
"""Given the home and the process that it is to strike."""


@contextmanager
def busy(home: Path, pid: int) -> Iterator[None]:
    """Another program holds the vault's write lock."""
    with closing(sqlite3.connect(home / "vault.db", isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        yield
        database.execute("ROLLBACK")


@contextmanager
def limited(home: Path, pid: int) -> Iterator[None]:
    """The process can let no file grow any more, as with a quota that is used up."""
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, 4096))
    yield


@contextmanager
def full(home: Path, pid: int) -> Iterator[None]:
    """The file system of the vault has no room any more."""
    filler = home / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    yield
    filler.unlink()


@pytest.fixture
def due(tmp_path: Path, standin: StandIn) -> Iterator[Program]:
    """A connection that is due, in a home with a file system of its own where that is possible."""
    home, own = tmp_path / "home", os.geteuid() == 0
    home.mkdir(mode=0o700)
    if own:
        options = ["-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs"]
        subprocess.run(["mount", *options, str(home)], check=True)
    try:
        program, tokens = connected(home, standin)
        standin.discord.expire_access(tokens.access_token)
        with program.vault() as vault:
            ((key, found),) = vault.connections("default")
            past = {"issued_at": time.time() - 700_000.0, "expires_at": time.time() - 1.0}
            assert isinstance(found, Versioned)
            credential = found.value.credential.model_copy(update=past)
            changed = found.value.model_copy(update={"credential": credential})
            vault.put_connection(key, changed, expected=1)
        yield program
    finally:
        if own:
            subprocess.run(["umount", "--lazy", str(home)], check=True)


def lost(program: Program, standin: StandIn) -> bool:
    """Whether the login is gone, for the next command of the user."""
    said = program("export", "discord", "--format", "json")
    if said.status != 0:
        return True
    (token,) = json.loads(said.out).values()
    return standin.discord.access(token) is None


def tell(kind: str, is_lost: bool) -> None:
    print(f"\n{kind}: logins lost outside of the window: {int(is_lost)}")
    assert not is_lost


FAULTS: list[Fault] = [busy, limited, *([full] if os.geteuid() == 0 else [])]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("ends", ["killed", "by itself"])
def test_a_store_that_fails_once_the_provider_has_rotated(
    due: Program, standin: StandIn, fault: Fault, ends: str
) -> None:
    standin.discord.token_faults.append(Mishap(delay=1.0))
    with due.started("export", "discord") as process:
        wait_until(lambda: standin.discord.refresh_count == 1)
        with fault(due.home, process.pid):
            if ends == "killed":
                time.sleep(4.0)  # what came is set aside by now
                process.kill()
            _, said = process.communicate(timeout=120)
    assert ends == "killed" or "wait sealed beside the vault" in said
    tell(f"{fault.__name__} after the rotation, process ends {ends}", lost(due, standin))


@pytest.mark.parametrize("fault", [busy, *([full] if os.geteuid() == 0 else [])])
def test_a_store_that_fails_before_the_provider_is_asked(
    due: Program, standin: StandIn, fault: Fault
) -> None:
    with fault(due.home, 0):
        said = due("export", "discord")
    assert said.status != 0
    assert standin.discord.refresh_count == 0
    tell(f"{fault.__name__} before the request", lost(due, standin))


@pytest.mark.parametrize("seconds", [16.0, 28.0])
def test_a_slow_answer(due: Program, standin: StandIn, seconds: float) -> None:
    standin.discord.token_faults.append(Mishap(delay=seconds))
    with due.started("export", "discord") as process:
        process.communicate(timeout=120)
    assert process.returncode == (0 if seconds < 25 else 1)
    tell(f"an answer after {seconds:g} s", lost(due, standin))
    assert (standin.discord.refresh_count, standin.discord.refused_refreshes) == (1, 0)


@pytest.mark.parametrize("seconds", [16.0, 28.0])
@pytest.mark.parametrize("phase", [0.0, 0.3, 0.6, 0.9, "asked", "answered"])
def test_a_stopped_process(due: Program, standin: StandIn, phase: float | str, seconds: float) -> None:
    standin.discord.token_faults.append(Mishap(delay=1.0))
    with due.started("export", "discord") as process:
        if isinstance(phase, float):
            time.sleep(phase)
        else:
            wait_until(lambda: standin.discord.refresh_count == 1)
            time.sleep(1.0 if phase == "answered" else 0.0)
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(process.pid, signal.SIGCONT)
        process.communicate(timeout=120)
    tell(f"stopped for {seconds:g} s at {phase}", lost(due, standin))
    assert standin.discord.refused_refreshes == 0
