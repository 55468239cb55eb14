"""A home with the installed `authsome`, a real login, and everything around it that an attacker could use."""

from __future__ import annotations

import array
import base64
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from tests.e2e.desk import Desk
from tests.hostile.canaries import Canaries
from tests.hostile.start import Order
from tests.isolation.world import ROOT, World, world
from tests.standin import Answer, StandIn

PACKAGES: Final = ("launcher", "oauth", "proxy", "vault")
CHILD: Final = (
    "__init__.py",
    *(f"isolation/{name}.py" for name in ("__init__", "attacks")),
    *(f"e2e/{name}.py" for name in ("__init__", "hostile")),
    *(
        f"hostile/{name}.py"
        for name in ("__init__", "child", "machine", "commands", "daemons", "later", "wire")
    ),
)
"""The files of this folder's parent that the hostile program consists of."""

OPTIONS: Final = {"none": ("--no-sandbox",), "guard": (), "landlock": (), "sandbox": ("--sandbox",)}
"""How a level is asked for; Landlock stands in for guard where namespaces are refused."""

TIMEOUT: Final = 240

_MARK: Final = re.compile(rb"X-Attack: ([^\r\n]+)")


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one run of the hostile program."""

    status: int
    output: str
    errors: str
    verdicts: dict[str, str]
    strays: list[str]
    """Hosts besides discord.com that received a secret."""


@dataclass(slots=True)
class House:
    around: World
    standin: StandIn
    kept: Canaries
    """The secrets of the login."""
    neighbours: dict[str, str] = field(default_factory=dict)
    """Variables that tell the hostile program what there is."""

    @property
    def canaries(self) -> Canaries:
        """The secrets of the login, and those that refreshes have brought since."""
        return self.kept.with_tokens(self.standin.discord.issued)

    @property
    def access_token(self) -> str:
        """The one that is stored now."""
        return self.standin.discord.issued[-1].access_token

    @property
    def home(self) -> Path:
        return self.around.home

    @property
    def project(self) -> Path:
        return self.home / "project"

    @property
    def installed(self) -> Path:
        return self.home / ".local/share/authsome"

    @property
    def python(self) -> str:
        return str(self.installed / "bin/python")

    @property
    def authsome(self) -> str:
        return str(self.home / ".local/bin/authsome")

    def environ(self, level: str = "none") -> dict[str, str]:
        more = [
            f"discord.com:8443:127.0.0.1:{self.standin.https_port}",
            f"mitm.it:80:127.0.0.1:{self.standin.http_port}",
        ]
        routes = ",".join([*self.standin.connect_to, *more])
        return {
            **{name: value for name, value in self.around.environ.items() if name in ADDRESSES},
            **self.neighbours,
            "HOME": str(self.home),
            "PATH": f"{self.home}/.local/bin:/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "SSL_CERT_FILE": str(self.home / "roots.pem"),
            "ROOTS": str(self.home / "roots.pem"),
            "AUTHSOME_CONNECT_TO": routes,
            "ROUTES": routes,
            "LEVEL": level,
            # So that the program is found in whatever folder it starts.
            "PYTHONPATH": str(self.project),
        }

    def command(self, level: str, *program: str) -> list[str]:
        """A program, executed as the house's user on the kind of machine that gives this level."""
        order = Order(
            folder=str(self.project),
            uid=self.around.uid,
            home=str(self.home),
            alias=str(self.around.folder / "alias"),
            host="docker" if level == "landlock" else "",
            secret=str(self.around.vault / "master.key"),
        )
        start = [sys.executable, "-m", "tests.hostile.start", json.dumps(asdict(order))]
        return [*start, *program]

    def hostile(self, level: str, attacks: Sequence[str], options: Sequence[str] = ()) -> list[str]:
        """The command that runs the hostile program under the real `authsome run`."""
        run = (self.authsome, "run", *OPTIONS[level], *options, "--")
        return self.command(level, *run, self.python, "-m", "tests.hostile.child", *attacks)

    def attack(
        self, level: str, attacks: Sequence[str], options: Sequence[str] = (), answers: Sequence[Answer] = ()
    ) -> Report:
        """Let the hostile program try, and judge what it got. `answers` are Discord's, one after another."""
        self.standin.forget()
        self.standin.discord.rest_faults.extend(answers)
        with obliging(self):
            done = subprocess.run(
                self.hostile(level, attacks, options),
                cwd=ROOT,
                env=self.environ(level),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        self.standin.discord.rest_faults.clear()
        return self._judged(done)

    def loot(self) -> set[str]:
        """The names in `loot-NAME` files that hold a secret; they are removed."""
        found = set()
        for folder in (self.home, self.project):
            for path in folder.glob("loot-*"):
                if self.canaries.stand_in(path.read_bytes()):
                    found.add(path.name.removeprefix("loot-"))
                path.unlink()
        return found

    def _judged(self, done: subprocess.CompletedProcess[str]) -> Report:
        verdicts: dict[str, str] = {}
        for line in filter(None, done.stdout.splitlines()):
            said = json.loads(line)
            leaked = self.canaries.stand_in(base64.b64decode(said["loot"]))
            verdicts[said["attack"]] = "LEAK" if leaked else said["outcome"]
        strays = []
        for seen in self.standin.seen:
            if not self.canaries.stand_in(seen.wire):
                continue
            mark = _MARK.search(seen.wire)
            name = mark[1].decode() if mark else ""
            # What was no request to the server has no host.
            if (seen.host or seen.sni) != "discord.com" or seen.sni != "discord.com" or not seen.tls:
                strays.append(seen.host)
                verdicts[name] = "LEAK"
            elif verdicts.get(name) in ("harmless", "cut", "refused"):
                verdicts[name] = "used"
        verdicts |= dict.fromkeys(self.loot(), "LEAK")
        return Report(done.returncode, done.stdout, done.stderr, verdicts, strays)


ADDRESSES: Final = frozenset(
    {
        "VAULT",
        "ALIAS",
        "TEMPORARY",
        "PATH_SOCKET",
        "ABSTRACT_SOCKET",
        "LOOPBACK_PORT",
        "OUTSIDE",
        "TERMINAL",
        "DAEMON",
    }
)
"""What the world of the isolation's tests offers."""


@contextmanager
def house(user: str) -> Iterator[House]:
    """A house for one of `USERS`, with a fresh login."""
    with world(user) as around, StandIn() as standin:
        shutil.rmtree(around.vault)
        desk = Desk(standin, around.home)
        desk.login()
        made = House(around, standin, Canaries.of(desk))
        _install(made)
        shutil.copy(standin.ca_file, around.home / "roots.pem")
        for name in (".profile", ".bashrc"):
            (around.home / name).touch()
        owner = around.folder.stat()
        for path in (around.home, *around.home.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
        (around.home / "roots.pem").chmod(0o644)
        with ExitStack() as stack:
            for neighbour in (_keeper, _shell, _bus, _terminal_server, _second_run):
                made.neighbours |= stack.enter_context(neighbour(made))
            yield made


def _install(house: House) -> None:
    """As an installer for applications does: an environment of its own, and one program on PATH."""
    site = house.installed / "site"
    for name in PACKAGES:
        shutil.copytree(ROOT / name, site / name, ignore=shutil.ignore_patterns("__pycache__"))
    libraries = house.installed / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    libraries.mkdir(parents=True)
    (libraries / "installed.pth").write_text(f"{site}\n{sysconfig.get_path('purelib')}\n")
    (house.installed / "bin").mkdir()
    (house.installed / "bin/python").symlink_to(Path(sys.base_prefix) / "bin/python3")
    (house.installed / "pyvenv.cfg").write_text(f"home = {sys.base_prefix}/bin\n")
    script = house.installed / "bin/authsome"
    script.write_text(
        f"#!{house.python} -I\nimport sys\nfrom launcher.__main__ import main\nsys.exit(main())\n"
    )
    script.chmod(0o755)
    (house.home / ".local/bin").mkdir()
    Path(house.authsome).symlink_to(script)
    subprocess.run([sys.executable, "-m", "compileall", "-q", site], check=True)
    for name in CHILD:
        target = house.project / "tests" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "tests" / name, target)


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
def _keeper(house: House) -> Iterator[dict[str, str]]:
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
def _shell(house: House) -> Iterator[dict[str, str]]:
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
def _bus(house: House) -> Iterator[dict[str, str]]:
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
    ) as bus:
        try:
            assert bus.stdout
            assert bus.stdout.readline()
            yield {"SESSION_BUS": address}
        finally:
            bus.kill()


@contextmanager
def _terminal_server(house: House) -> Iterator[dict[str, str]]:
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
def _second_run(house: House) -> Iterator[dict[str, str]]:
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
