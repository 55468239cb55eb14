"""A user at a desk: a home folder, the installed `authsome`, and a stand-in Discord at the other end."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.standin import CLIENT_ID, CLIENT_SECRET, StandIn, client_of, press
from vault.keys.file import KeyFile
from vault.model import Connection, ConnectionKey, OAuthTokens
from vault.storage import SqliteStorage
from vault.vault import Vault

AUTHSOME = Path(sysconfig.get_path("scripts")) / "authsome"
PYTHON = sys.executable
"""A Python with the HTTP clients of these tests."""

Run = subprocess.CompletedProcess[str]


@dataclass
class Desk:
    standin: StandIn
    folder: Path
    extra: dict[str, str] = field(default_factory=dict)
    """Variables of this user's environment besides the usual ones."""

    def __post_init__(self) -> None:
        self.work.mkdir(exist_ok=True)
        if self.standin.discord.app(CLIENT_ID) is None:
            self.standin.discord.register_app()

    @property
    def home(self) -> Path:
        """AUTHSOME_HOME, in its usual place."""
        return self.folder / ".authsome"

    @property
    def work(self) -> Path:
        """The working folder."""
        return self.folder / "work"

    def environ(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        return {
            "HOME": str(self.folder),
            "PATH": f"{AUTHSOME.parent}:{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "SSL_CERT_FILE": str(self.standin.ca_file),
            "AUTHSOME_CONNECT_TO": ",".join(self.standin.connect_to),
            **self.extra,
            **(extra or {}),
        }

    def start(self, *arguments: str | Path, extra: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """`authsome …` in the background, with pipes."""
        return subprocess.Popen(
            [AUTHSOME, *map(str, arguments)],
            env=self.environ(extra),
            cwd=self.work,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def authsome(
        self, *arguments: str | Path, given: str = "", extra: Mapping[str, str] | None = None
    ) -> Run:
        """`authsome …`, to its end."""
        process = self.start(*arguments, extra=extra)
        out, err = process.communicate(given, timeout=90)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def run(self, *command: str | Path, options: Sequence[str] = (), **more: Mapping[str, str]) -> Run:
        """`authsome run -- command`."""
        return self.authsome("run", *options, "--", *command, **more)  # type: ignore[arg-type]

    def python(self, script: str, *arguments: str, options: Sequence[str] = ()) -> Run:
        """A Python child in a run."""
        return self.run(PYTHON, "-c", script, *arguments, options=options)

    def login(self, *options: str) -> None:
        """`authsome login discord` without a browser; the human presses Approve over HTTP."""
        process = self.start(
            "login", "discord", "--no-browser", "--client-id", CLIENT_ID,
            "--client-secret-file", "-", *options,
        )  # fmt: skip
        with finished(process):
            said, url = until_url(process, CLIENT_SECRET)
            assert approve(self.standin, url).status_code == 200
            out, err = process.communicate(timeout=60)
        assert process.returncode == 0, said + err
        assert out == ""

    def stored(self, name: str = "default") -> Connection:
        """What the vault holds, secrets and all."""
        with Vault.open(SqliteStorage(self.home / "vault.db"), KeyFile(self.home / "master.key")) as vault:
            found = vault.connection(ConnectionKey("default", "discord", name))
        assert found
        return found.value

    def tokens(self, name: str = "default") -> OAuthTokens:
        credential = self.stored(name).credential
        assert isinstance(credential, OAuthTokens)
        return credential

    def access_token(self, name: str = "default") -> str:
        return self.tokens(name).access_token.get_secret_value()

    def status(self) -> str:
        return self.authsome("get", "discord", "--field", "status").stdout.strip()


@contextmanager
def finished(process: subprocess.Popen[str]) -> Iterator[None]:
    """Whatever the test does, its process is gone and its pipes are closed afterwards."""
    with process:
        try:
            yield
        finally:
            process.kill()


def until_url(process: subprocess.Popen[str], secret: str = "") -> tuple[str, str]:
    """What a login says up to its one-time address, and the address."""
    assert process.stdin
    assert process.stderr
    process.stdin.write(secret)
    process.stdin.close()
    process.stdin = None
    said = ""
    while line := process.stderr.readline():
        said += line
        if url := re.search(r"http://127\.0\.0\.1:7998/\S+", line):
            return said, url[0]
    raise AssertionError(said)


def approve(standin: StandIn, address: str, button: str = "approve") -> httpx.Response:
    """Open the address of a login, press a button on the authorization page, and follow the redirect back."""
    with httpx.Client(trust_env=False) as browser, client_of(standin) as provider:
        return browser.get(press(provider, browser.get(address).headers["location"], button))


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Poll until `condition` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
