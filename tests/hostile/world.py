"""A home with the installed `authsome`, a real login, and everything around it that an attacker could use."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from tests.hostile.canaries import Canaries
from tests.hostile.start import Order
from tests.isolation.world import ROOT, World
from tests.standin import Answer, StandIn

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
    oblige: Callable[[House], AbstractContextManager[None]]
    """Does what the hostile program waits for, as long as it runs."""
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
            **job(self.home),
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
            settings=self.around.environ["KERNEL"] if self.around.uid < 0 else "",
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
        with self.oblige(self):
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


def job(home: Path) -> dict[str, str]:
    """What a CI system gives to show who the job is, and how the hostile program knows it again."""
    mark = "identity-of-the-job"
    return {
        "JOB_MARK": mark,
        "JOB_FILE": str(home / "job-token"),
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(home / "job-token"),
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": f"{mark}-of-now",
        "CI_JOB_TOKEN": f"{mark}-of-then",
        "OF_ANOTHER_NAME": f"Bearer {mark}-of-now",
    }


ADDRESSES: Final = frozenset(
    {
        "VAULT",
        "ALIAS",
        "KERNEL",
        "TEMPORARY",
        "PATH_SOCKET",
        "ABSTRACT_SOCKET",
        "LOOPBACK_PORT",
        "OUTSIDE",
        "TERMINAL",
        "TERMINAL_SIZE",
        "DAEMON",
    }
)
"""What the world of the isolation's tests offers."""
