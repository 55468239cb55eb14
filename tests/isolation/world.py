"""What surrounds a run in these tests: a home with a vault, daemons of its user, and a launcher to start."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from launcher.isolation.plan import SANDBOX_SCRATCH
from tests.isolation.launch import Order
from tests.launcher.forking import ISOLATION

ROOT: Final = Path(__file__).parents[2]
ATTACKS: Final = Path(__file__).with_name("attacks.py")
CANARY: Final = "CANARY-0123456789abcdef"
ORDINARY: Final = 24001
"""A user id that nobody has."""
COLUMNS: Final = 4321
LINES: Final = 1234
"""The size of the user's other terminal, by which it is known."""

USERS: Final = ["root", "ordinary"] if os.getuid() == 0 else ["self"]
"""As whom everything is tried: as root there are two, otherwise the one who runs the tests."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a launcher."""

    status: int
    output: str
    errors: str
    tried: list[list[object]]
    """Level, then `ready` and what is missing, or the step and the errno."""

    @property
    def verdicts(self) -> dict[str, str]:
        return {name: verdict for name, verdict, _ in map(json.loads, self.output.splitlines())}


@dataclass(frozen=True, slots=True)
class World:
    """One home folder and its user."""

    folder: Path
    uid: int
    environ: dict[str, str]

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def vault(self) -> Path:
        return self.home / ".authsome"

    @property
    def attacks(self) -> Path:
        """The hostile program, where its user can read it: ours may lie where only root can."""
        return self.home / "attacks.py"

    @property
    def shown(self) -> tuple[str, ...]:
        """What a sandbox, with folders of its own in these places, must be told to keep for our Python."""
        if self.uid < 0 and any(ROOT.is_relative_to(folder) for folder, _ in SANDBOX_SCRATCH):
            return (str(ROOT),)
        return ()

    def order(self, level: str, *argv: str | Path, **more: object) -> Order:
        order = Order(
            argv=[str(word) for word in argv],
            level=level,
            vault=str(self.vault),
            visible=str(self.vault / "runs" / "r1"),
            outcome=str(self.folder / "outcome"),
            uid=self.uid,
            folder=str(self.home / "project"),
        )
        order = replace(order, **more)  # type: ignore[arg-type]
        return replace(order, writable=(*order.writable, *self.shown))

    def command(self, order: Order) -> list[str]:
        return [sys.executable, "-m", "tests.isolation.launch", json.dumps(asdict(order))]

    def run(self, level: str, *argv: str | Path, **more: object) -> Ended:
        """Start a launcher for a program and wait for it."""
        order = json.dumps(asdict(self.order(level, *argv, **more)))
        ended = ISOLATION.call([order], self.environ, "", ROOT)
        assert ended, "another one is under way"
        outcome = self.folder / "outcome"
        tried = json.loads(outcome.read_text()) if outcome.read_bytes() else []
        outcome.write_text("")
        return Ended(*ended, tried)

    def attack(self, level: str, attacks: Sequence[str], **more: object) -> dict[str, str]:
        """Let the hostile program try; returns its verdicts."""
        ended = self.run(level, interpreter(self.uid), self.attacks, *attacks, **more)
        assert (ended.status, ended.errors, len(ended.verdicts)) == (0, "", len(attacks)), ended
        assert CANARY not in ended.output
        return ended.verdicts


@contextmanager
def world(user: str) -> Iterator[World]:
    """A world for one of `USERS`, which are the words for who runs the program."""
    uid = ORDINARY if user == "ordinary" else -1
    owner = uid if uid >= 0 else os.getuid()
    # Not pytest's own folder, which other users cannot enter, and not always in a sandbox's own /tmp.
    folder = Path(tempfile.mkdtemp(prefix="authsome-test-", dir="/var/tmp"))
    try:
        folder.chmod(0o755)
        for name in (
            "home",
            "home/project",
            "home/.authsome",
            "home/.authsome/runs",
            "home/.authsome/runs/r1",
        ):
            (folder / name).mkdir(mode=0o700 if name == "home/.authsome" else 0o755)
        (folder / "alias").mkdir()
        for name in ("proc", "sys", "cgroup", "debug"):
            (folder / "kernel" / "anew" / name).mkdir(parents=True)
        files = {
            "home/.authsome/vault.db": CANARY,
            "home/.authsome/runs/r1/ca.pem": "pem\n",
            "home/.bashrc": "",
            "home/project/library": "code\n",
            "outcome": "",
            "home/attacks.py": ATTACKS.read_text(),
            "temporary": CANARY,
        }
        for name, text in files.items():
            (folder / name).write_text(text)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, owner, owner)
        with _daemons(folder) as addresses:
            yield World(folder, uid, {**os.environ, **addresses, **_places(folder)})
    finally:
        shutil.rmtree(folder)


def _places(folder: Path) -> dict[str, str]:
    return {
        "HOME": str(folder / "home"),
        "VAULT": str(folder / "home/.authsome"),
        "ALIAS": str(folder / "alias"),
        "KERNEL": str(folder / "kernel"),
        "TEMPORARY": str(folder / "temporary"),
        "CODE": str(folder / "home/project/library"),
        "PYTHONDONTWRITEBYTECODE": "",
    }


@contextmanager
def _daemons(folder: Path) -> Iterator[dict[str, str]]:
    """Services of the user that hand out what they know to whoever reaches them, and a terminal."""
    at_path = socket.socket(socket.AF_UNIX)
    at_path.bind(str(folder / "home" / "daemon.sock"))
    (folder / "home" / "daemon.sock").chmod(0o777)
    abstract = socket.socket(socket.AF_UNIX)
    name = f"authsome-test-{folder.name}"
    abstract.bind(f"\0{name}")
    loopback = socket.socket()
    loopback.bind(("0.0.0.0", 0))  # noqa: S104
    port = loopback.getsockname()[1]
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("0.0.0.0", port))  # noqa: S104
    threads = [threading.Thread(target=_hand_out, args=(it,)) for it in (at_path, abstract, loopback)]
    threads.append(threading.Thread(target=_hand_out_datagrams, args=(datagrams,)))
    master, slave = os.openpty()
    os.chown(os.ttyname(slave), _owner(folder), -1)
    termios.tcsetwinsize(slave, (LINES, COLUMNS))
    owner = _owner(folder)
    service = [interpreter(-1 if owner == os.getuid() else owner), "-I", "-S", "-c", _RELATIVE, CANARY]
    # With the group as well: only where both are the same may the launcher know where a process is.
    group = None if owner == os.getuid() else owner
    with subprocess.Popen(
        service, user=owner, group=group, cwd=folder / "home", stdout=subprocess.PIPE, text=True
    ) as daemon:
        assert daemon.stdout
        assert daemon.stdout.readline() == "listening\n"
        for thread in threads:
            thread.start()
        try:
            yield {
                "PATH_SOCKET": str(folder / "home" / "daemon.sock"),
                "RELATIVE_SOCKET": str(folder / "home" / "relative.sock"),
                "ABSTRACT_SOCKET": name,
                "LOOPBACK_PORT": str(port),
                "OUTSIDE": "127.0.0.1",
                "TERMINAL": os.ttyname(slave),
                "TERMINAL_SIZE": f"{COLUMNS}x{LINES}",
                "DAEMON": str(daemon.pid),
            }
        finally:
            daemon.kill()
            for listener in (at_path, abstract, loopback, datagrams):
                listener.shutdown(socket.SHUT_RDWR) if listener is not datagrams else None
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", ("127.0.0.1", port))
            for thread in threads:
                thread.join()
            for listener in (at_path, abstract, loopback, datagrams):
                listener.close()
            os.close(master)
            os.close(slave)


_RELATIVE: Final = """
import socket, sys
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind("relative.sock")
    listener.listen()
    print("listening", flush=True)
    while True:
        connection, _ = listener.accept()
        connection.sendall(sys.argv[1].encode())
        connection.close()
"""
"""A service that names its socket from the folder in which it was started."""


def _owner(folder: Path) -> int:
    return folder.stat().st_uid


def _hand_out(listener: socket.socket) -> None:
    listener.listen()
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.sendall(CANARY.encode())


def _hand_out_datagrams(listener: socket.socket) -> None:
    while True:
        data, sender = listener.recvfrom(100)
        if not data:
            return
        listener.sendto(CANARY.encode(), sender)


def interpreter(uid: int) -> str:
    """A Python that this user can execute: the tests' own may lie where only root can read."""
    return sys.executable if uid < 0 else shutil.which("python3", path="/usr/bin:/bin") or sys.executable
