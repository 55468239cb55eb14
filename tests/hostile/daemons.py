"""Attacks by way of programs that already run for the same user, and would do what they are asked."""

from __future__ import annotations

import array
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.isolation.attacks import VAULT

KEY = VAULT / "master.key"
PATIENCE = 1.0
"""Seconds for a daemon to do what it was asked."""


def _appeared(path: Path) -> bytes:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if path.exists() and (got := path.read_bytes()):
            path.unlink()
            return got
        time.sleep(0.05)
    return b""


def keyring_daemon() -> bytes:
    """A service that keeps the vault's key for the user and hands it to whoever asks."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(os.environ["KEYRING_SOCKET"])
        client.sendall(b"data")
        return client.recv(4096)


def passed_descriptor() -> bytes:
    """The same service passes the open file."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(os.environ["KEYRING_SOCKET"])
        client.sendall(b"file")
        _, ancillary, _, _ = client.recvmsg(10, socket.CMSG_SPACE(4))
        numbers = array.array("i")
        numbers.frombytes(ancillary[0][2][:4])
        return os.pread(numbers[0], 4096, 0)


def late_daemon() -> bytes:
    """A service that begins to listen when the run has started."""
    Path("listen-now").touch()
    end = time.monotonic() + PATIENCE
    while Path("listen-now").exists() and time.monotonic() < end:
        time.sleep(0.02)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(os.environ["LATE_SOCKET"])
        return client.recv(4096)


def session_bus() -> bytes:
    """Let the session's bus start a program, outside of everything."""
    address = os.environ.get("SESSION_BUS")
    if not address or not shutil.which("dbus-send"):
        return b"absent"
    folder, loot = VAULT.parent / ".local/share/dbus-1/services", Path("loot-bus").absolute()
    script = Path("bus.sh").absolute()
    script.write_text(f"#!/bin/sh\ncat {KEY} > {loot}\n")
    script.chmod(0o755)
    folder.mkdir(parents=True, exist_ok=True)
    service = folder / "org.hostile.Loot.service"
    service.write_text(f"[D-BUS Service]\nName=org.hostile.Loot\nExec={script}\n")
    try:
        send = ["dbus-send", f"--bus={address}", "--type=method_call"]
        for whom, message in (
            ("org.freedesktop.DBus", "/org/freedesktop/DBus org.freedesktop.DBus.ReloadConfig"),
            ("org.hostile.Loot", "/ org.hostile.Loot.Go"),
        ):
            command = [*send, f"--dest={whom}", *message.split()]
            subprocess.run(command, capture_output=True, timeout=10, check=False)
        return _appeared(loot)
    finally:
        service.unlink()
        script.unlink()


def terminal_server() -> bytes:
    """Let the user's tmux run a program."""
    where = os.environ.get("TMUX_SOCKET")
    if not where or not shutil.which("tmux"):
        return b"absent"
    loot = Path("loot-tmux").absolute()
    command = ["tmux", "-S", where, "run-shell", f"cat {KEY} > {loot}"]
    subprocess.run(command, capture_output=True, timeout=10, check=False)
    return _appeared(loot)


def any_socket() -> bytes:
    """Whatever `authsome` itself listens on."""
    found = b""
    with open("/proc/net/unix") as sockets:
        for line in sockets:
            if "authsome" in line and str(VAULT) in line:
                found += line.encode()
    return found


def shell_on_loopback() -> bytes:
    """A service on loopback that executes commands as the user, as sshd, Jupyter and debuggers do."""
    loot = Path("loot-shell").absolute()
    with socket.create_connection(("127.0.0.1", int(os.environ["SHELL_PORT"])), PATIENCE) as client:
        client.sendall(f"cat {KEY} > {loot}\n".encode())
        client.recv(10)
    return _appeared(loot)


ATTACKS: tuple[Callable[[], bytes], ...] = (
    keyring_daemon,
    passed_descriptor,
    late_daemon,
    session_bus,
    terminal_server,
    any_socket,
    shell_on_loopback,
)
