"""authsome at work, without an account: `make demo`.

Starts a stand-in Discord on this machine, logs in to it, runs `my_agent.py` under the proxy, and shows
what the agent saw beside what Discord received. Exits with 1 where that is not what it claims.
"""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import httpx

ROOT: Final = Path(__file__).resolve().parent.parent
BIN: Final = Path(sys.executable).parent
PLACEHOLDER: Final = "authsome-proxy-managed"
PATIENCE: Final = 30.0
"""Seconds that any single step may take."""

Headers = Mapping[str, str]


@dataclass(frozen=True)
class Discord:
    """A stand-in Discord, in a process of its own."""

    folder: Path
    port: int
    ca_file: str
    connect_to: str
    client_id: str
    client_secret: str

    def received(self) -> list[tuple[str, Headers]]:
        """Request line and headers of every request so far."""
        requests = map(json.loads, (self.folder / "seen.jsonl").read_text().splitlines())
        return [(f"{r['method']} {r['target']}", {k.lower(): v for k, v in r["headers"]}) for r in requests]

    def approve(self, address: str) -> None:
        """Do what a person does in a browser: open the address, press Approve, follow the redirect."""
        trust = ssl.create_default_context(cafile=self.ca_file)
        name = {"sni_hostname": "discord.com"}
        with (
            httpx.Client(trust_env=False, timeout=PATIENCE) as browser,
            httpx.Client(
                verify=trust, trust_env=False, timeout=PATIENCE, headers={"Host": "discord.com"}
            ) as web,
        ):
            url = httpx.URL(browser.get(address).headers["location"])
            page = url.copy_with(host="127.0.0.1", port=self.port)
            web.get(page, extensions=name).raise_for_status()
            approved = web.post(page, extensions=name, data={"decision": "approve"})
            browser.get(approved.headers["location"]).raise_for_status()


@contextmanager
def stand_in(folder: Path) -> Iterator[Discord]:
    """A running stand-in that keeps its files in `folder`. It ends with its standard input."""
    command = [sys.executable, "-m", "tests.standin", "--dir", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE) as process:
        try:
            _wait_for(folder / "standin.json", process)
            facts = json.loads((folder / "standin.json").read_text())
            yield Discord(
                folder=folder,
                port=facts["https_port"],
                ca_file=facts["ca_file"],
                connect_to=",".join(facts["connect_to"]),
                client_id=facts["client_id"],
                client_secret=facts["client_secret"],
            )
        finally:
            process.terminate()


def log_in(discord: Discord, environ: Mapping[str, str]) -> None:
    """`authsome login` as on a machine without a screen; `discord.approve` is the person with the browser."""
    secret = discord.folder / "client_secret"
    secret.write_text(discord.client_secret)
    command = [_authsome(), "login", "discord", "--no-browser", "--timeout", str(PATIENCE)]
    command += ["--client-id", discord.client_id, "--client-secret-file", "-"]
    said = ""
    with (
        secret.open() as stdin,
        subprocess.Popen(command, env=environ, text=True, stdin=stdin, stderr=subprocess.PIPE) as process,
    ):
        try:
            for line in process.stderr or ():
                said += line
                if address := re.search(r"http://127\.0\.0\.1:\S+", line):
                    discord.approve(address[0])
            process.wait(PATIENCE)
        finally:
            process.terminate()
    if process.returncode:
        raise SystemExit(f"the login failed:\n{said}")


def run_agent(environ: Mapping[str, str]) -> str:
    """What `my_agent.py` prints under the proxy."""
    command = [_authsome(), "run", "--", "python", "examples/my_agent.py"]
    ended = subprocess.run(
        command, env=environ, cwd=ROOT, text=True, stdout=subprocess.PIPE, timeout=PATIENCE, check=False
    )
    if ended.returncode:
        raise SystemExit(f"the agent ended with status {ended.returncode}:\n{ended.stdout}")
    return ended.stdout


def real_token(environ: Mapping[str, str]) -> str:
    """The token in the vault, which only the person who logged in can ask for."""
    command = [_authsome(), "export", "discord", "--format", "json"]
    ended = subprocess.run(
        command, env=environ, text=True, stdout=subprocess.PIPE, timeout=PATIENCE, check=True
    )
    return str(json.loads(ended.stdout)["DISCORD_ACCESS_TOKEN"])


def side_by_side(left: list[str], right: list[str]) -> str:
    """Two columns; the first line of each is its title."""
    width = max(map(len, left)) + 4
    rows = [(a.ljust(width) + b).rstrip() for a, b in zip(left, right, strict=True)]
    return "\n".join([rows[0], "-" * max(map(len, rows)), *rows[1:]])


def claims(said: str, received: str, token: str) -> dict[str, bool]:
    """What the demo claims, and whether it is so: from the agent's words, Discord's header, and the vault."""
    return {
        "the agent held the placeholder": f"my token is {PLACEHOLDER}\n" in said,
        "the agent never saw the token": token not in said,
        "Discord answered the agent": "Discord answered 200" in said,
        "Discord received the real token": received == f"Bearer {token}" and token != PLACEHOLDER,
    }


def main() -> int:
    """Run the demo; the return value is the exit status."""
    # So that the folder and the processes are cleared away as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.monotonic()
    with TemporaryDirectory(prefix="authsome-demo-") as name, stand_in(Path(name)) as discord:
        environ = {
            **{key: value for key, value in os.environ.items() if not key.startswith("AUTHSOME_")},
            "PATH": f"{BIN}:{os.environ.get('PATH', os.defpath)}",
            "AUTHSOME_HOME": f"{name}/home",
            # The only things that make this a demo: another address for discord.com, and who vouches for it.
            "AUTHSOME_CONNECT_TO": discord.connect_to,
            "SSL_CERT_FILE": discord.ca_file,
        }
        print("$ authsome login discord --no-browser --client-id ... --client-secret-file -", flush=True)
        log_in(discord, environ)
        before = len(discord.received())
        print("$ authsome run -- python examples/my_agent.py", flush=True)
        said = run_agent(environ)
        line, headers = discord.received()[before:][-1]
        token = real_token(environ)

    received = headers.get("authorization", "nothing")
    print()
    left = ["what the agent saw", *said.splitlines()]
    print(side_by_side(left, ["what Discord received", f"Authorization: {received}", line]))
    print()
    held = claims(said, received, token) | {"nothing is left behind": not Path(name).exists()}
    for claim, true in held.items():
        print(f"{'ok  ' if true else 'FAIL'}  {claim}")
    print(f"\n{time.monotonic() - started:.1f} seconds")
    return 0 if all(held.values()) else 1


def _authsome() -> str:
    return str(BIN / "authsome")


def _wait_for(file: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit("the stand-in Discord did not start")
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
