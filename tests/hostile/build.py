"""Builds a house: installs the program, logs in, and starts the neighbours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.e2e.desk import Desk
from tests.hostile import neighbours
from tests.hostile.canaries import Canaries
from tests.hostile.world import House
from tests.isolation.world import ROOT, world
from tests.keyed import add_keyed
from tests.standin import StandIn

PACKAGES: Final = ("launcher", "oauth", "proxy", "vault")
CHILD: Final = (
    "__init__.py",
    *(f"isolation/{name}.py" for name in ("__init__", "attacks")),
    *(f"e2e/{name}.py" for name in ("__init__", "hostile")),
    *(
        f"hostile/{name}.py"
        for name in (
            "__init__",
            "child",
            "machine",
            "processes",
            "commands",
            "daemons",
            "later",
            "logins",
            "wire",
        )
    ),
)
"""The files of this folder's parent that the hostile program consists of."""


MORE = 40
"""Connections besides the login that every run offers."""


@contextmanager
def house(user: str) -> Iterator[House]:
    """A house for one of `USERS`, with a fresh login."""
    with world(user) as around, StandIn() as standin:
        shutil.rmtree(around.vault)
        desk = Desk(standin, around.home)
        desk.login()
        add_keyed(desk.home, MORE)
        made = House(around, standin, Canaries.of(desk), neighbours.obliging)
        _install(made)
        shutil.copy(standin.ca_file, around.home / "roots.pem")
        for name in (".profile", ".bashrc"):
            (around.home / name).touch()
        (around.home / "job-token").write_text("token of the job\n")
        owner = around.folder.stat()
        for path in (around.home, *around.home.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
        (around.home / "roots.pem").chmod(0o644)
        with ExitStack() as stack:
            for neighbour in neighbours.ALL:
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
    shutil.copy(ROOT / "launcher/authsome.sh", script)
    (house.home / ".local/bin").mkdir()
    Path(house.authsome).symlink_to(script)
    subprocess.run([sys.executable, "-m", "compileall", "-q", site], check=True)
    for name in CHILD:
        target = house.project / "tests" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "tests" / name, target)
