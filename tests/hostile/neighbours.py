"""What else runs in a house: services of its user, and another run."""

from __future__ import annotations

import array
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.hostile.world import House
from tests.isolation.world import ROOT


def _listener(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o777)
    listener.listen()
    return listener


@contextmanager
def _answering(listener: socket.socket, answer: Callable[[socket.socket], None]) -> Iterator[None]:
    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                answer(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


@contextmanager
def keeper(house: House) -> Iterator[dict[str, str]]:
    """A service that keeps the key of the vault for its user, as a keyring does."""
    path = house.home / ".keyring.sock"
    key = house.around.vault / "master.key"

    def answer(connection: socket.socket) -> None:
        if connection.recv(4) == b"file":
            with open(key, "rb") as file:
                numbers = array.array("i", [file.fileno()])
                connection.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)])
        else:
            connection.sendall(key.read_bytes())

    with _answering(_listener(path), answer):
        yield {"KEYRING_SOCKET": str(path), "LATE_SOCKET": str(house.home / ".late.sock")}


@contextmanager
def _late_service(house: House) -> Iterator[None]:
    """A service that comes too late to be masked."""
    path = house.home / ".late.sock"
    path.unlink(missing_ok=True)
    with _answering(_listener(path), lambda connection: connection.sendall(house.canaries.key)):
        yield


@contextmanager
def shell(house: House) -> Iterator[dict[str, str]]:
    """A service that executes commands as its user, for whoever reaches it on loopback."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(connection: socket.socket) -> None:
        command = connection.recv(4096).decode()
        subprocess.run(["sh", "-c", command], user=_owner(house), check=False)
        connection.sendall(b"done")

    with _answering(listener, answer):
        yield {"SHELL_PORT": str(listener.getsockname()[1])}


def _owner(house: House) -> int:
    return house.around.folder.stat().st_uid


@contextmanager
def bus(house: House) -> Iterator[dict[str, str]]:
    """The bus of the user's session, where there is one to be had."""
    if not shutil.which("dbus-daemon"):
        yield {}
        return
    address = f"unix:path={house.home}/.bus"
    command = [
        "dbus-daemon",
        "--session",
        "--nofork",
        "--nopidfile",
        "--print-address",
        f"--address={address}",
    ]
    data = {"XDG_DATA_HOME": str(house.home / ".local/share")}
    environ = {"HOME": str(house.home), "PATH": os.environ["PATH"], **data}
    with subprocess.Popen(
        command, user=_owner(house), env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as daemon:
        try:
            assert daemon.stdout
            assert daemon.stdout.readline()
            yield {"SESSION_BUS": address}
        finally:
            daemon.kill()


@contextmanager
def terminal_server(house: House) -> Iterator[dict[str, str]]:
    if not shutil.which("tmux"):
        yield {}
        return
    path = str(house.home / ".tmux.sock")
    tmux = ["tmux", "-S", path, "-f", "/dev/null"]
    environ = {"HOME": str(house.home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    subprocess.run([*tmux, "new-session", "-d", "sleep 600"], user=_owner(house), env=environ, check=True)
    try:
        yield {"TMUX_SOCKET": path}
    finally:
        subprocess.run([*tmux, "kill-server"], user=_owner(house), env=environ, check=True)


@contextmanager
def second_run(house: House) -> Iterator[dict[str, str]]:
    """Another run of the same user, at the same time."""
    script = "echo $HTTPS_PROXY; read line"
    command = house.command("none", house.authsome, "run", "--no-sandbox", "--", "sh", "-c", script)
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=house.environ(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as run:
        try:
            assert run.stdout
            url = run.stdout.readline().strip()
            yield {"SECOND_RUN": str(run.pid), "SECOND_PORT": url.rpartition(":")[2]}
        finally:
            run.communicate("\n", timeout=30)


@contextmanager
def obliging(house: House) -> Iterator[None]:
    """Does what the hostile program waits for: starts one more run, and a service."""
    stop = threading.Event()
    run, listen = house.project / "start-now", house.project / "listen-now"
    script = ("sh", "-c", "sleep 1", "race-mark")
    another = house.command("none", house.authsome, "run", "--no-sandbox", "--", *script)

    def wait() -> None:
        with ExitStack() as stack:
            while not stop.wait(0.02):
                if run.exists():
                    run.unlink()
                    subprocess.run(another, cwd=ROOT, env=house.environ(), capture_output=True, check=False)
                if listen.exists():
                    stack.enter_context(_late_service(house))
                    listen.unlink()

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


ALL = (keeper, shell, bus, terminal_server, second_run)
"""Each gives the variables that tell of it."""
