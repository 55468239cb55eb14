"""The real program, run as a user would run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from tests.launcher.forking import AUTHSOME
from tests.oauth.process import agreed
from tests.standin import StandIn, Tokens
from vault.keys.file import KeyFile
from vault.model import ClientRegistration, Connection, ConnectionKey, OAuthTokens, Status
from vault.storage import SqliteStorage
from vault.vault import Vault

ROOT: Final = Path(__file__).resolve().parent.parent.parent
PROGRAM: Final = (sys.executable, "-I", str(ROOT / "launcher" / "__main__.py"))

ACCESS: Final = "CANARY-access-token-of-a-test"
REFRESH: Final = "CANARY-refresh-token-of-a-test"
SECRET: Final = "CANARY-client-secret-of-a-test"


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Program:
    """`authsome` with an AUTHSOME_HOME of its own."""

    home: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def environ(self) -> dict[str, str]:
        inherited = {"PATH": os.environ["PATH"], "HOME": str(self.home.parent), "LANG": "C.UTF-8"}
        return {**inherited, "AUTHSOME_HOME": str(self.home), **self.variables}

    def __call__(self, *arguments: str, stdin: str = "", cwd: Path | None = None) -> Said:
        """Call it and wait, as a fork of a process that has imported it already: see `forking`."""
        ended = AUTHSOME.call(arguments, self.environ, stdin, cwd or Path.cwd())
        return Said(*ended) if ended else self.fresh(*arguments, stdin=stdin, cwd=cwd)

    def fresh(self, *arguments: str, stdin: str = "", cwd: Path | None = None) -> Said:
        """Call it and wait, as a user would; for what only a process from its first instruction on shows."""
        done = subprocess.run(
            [*PROGRAM, *arguments],
            env=self.environ,
            input=stdin,
            capture_output=True,
            text=True,
            cwd=cwd,
            timeout=60,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """A command that goes on beside the test; killed at the end where it has not ended."""
        with subprocess.Popen(
            [*PROGRAM, *arguments],
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def vault(self) -> Vault:
        self.home.mkdir(mode=0o700, exist_ok=True)
        return Vault.open(
            SqliteStorage(self.home / "vault.db"), KeyFile(self.home / "master.key"), create=True
        )

    def widen_discord(self) -> None:
        """Have Discord's definition send the token to one more host than it was agreed to."""
        definition = json.loads((ROOT / "oauth" / "providers" / "discord.json").read_text())
        definition["proxy"]["hosts"].append("wider.example")
        file = self.home / "providers" / "discord.json"
        file.parent.mkdir(mode=0o700, exist_ok=True)
        file.write_text(json.dumps(definition))
        file.chmod(0o600)

    def connect(
        self,
        provider: str = "discord",
        name: str = "default",
        *,
        profile: str = "default",
        status: Status = Status.CONNECTED,
        access: str = ACCESS,
        refresh: str | None = REFRESH,
        lifetime: float = 600_000.0,
        scopes: tuple[str, ...] = ("identify", "guilds"),
        client: ClientRegistration | None = None,
    ) -> None:
        """Store a connection as a login would have."""
        now = time.time()
        tokens = OAuthTokens(
            access_token=SecretStr(access),
            refresh_token=SecretStr(refresh) if refresh else None,
            scopes=scopes,
            issued_at=now,
            expires_at=now + lifetime,
        )
        connection = Connection(
            credential=tokens,
            reach=agreed(self.home, provider),
            status=status,
            requested_scopes=("identify", "guilds", "email"),
            account="nelly",
            created_at=now,
            updated_at=now,
        )
        with self.vault() as vault:
            vault.put_connection(ConnectionKey(profile, provider, name), connection, expected=None)
            if client:
                vault.put_client(profile, provider, client, expected=None)


def connected(home: Path, standin: StandIn, name: str = "default") -> tuple[Program, Tokens]:
    """The program with a connection that the stand-in knows, its tokens, and the way to the stand-in."""
    app = standin.discord.register_app()
    tokens = standin.discord.grant(app)
    registration = ClientRegistration(client_id=app.client_id, client_secret=SecretStr(app.client_secret))
    way = {"AUTHSOME_CONNECT_TO": ",".join(standin.connect_to), "SSL_CERT_FILE": str(standin.ca_file)}
    program = Program(home, way)
    program.connect(name=name, access=tokens.access_token, refresh=tokens.refresh_token, client=registration)
    return program, tokens
