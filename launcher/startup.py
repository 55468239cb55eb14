"""Checks made before anything else of ours is imported."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

PACKAGES: Final = ("launcher", "oauth", "proxy", "vault")
"""Ours. The names are generic, so another distribution may bring a package of the same name."""


def isolate(program: Path) -> None:
    """Start again with `python -I`, unless this is that.

    Without it the working folder, PYTHONPATH and the user's site-packages can put their own code in
    the place of any module of a process that holds credentials.
    """
    if not sys.flags.isolated:
        os.execv(sys.executable, [sys.executable, "-I", str(program), *sys.argv[1:]])  # noqa: S606


def foreign_packages(root: Path, packages: Iterable[str] = PACKAGES) -> list[str]:
    """The packages that would not be imported from `root`, each as a sentence."""
    found = {name: _folder(name) for name in packages}
    return [
        f"the package {name!r} comes from {folder or 'nowhere'}, not from {root}"
        for name, folder in found.items()
        if folder is None or folder.parent != root
    ]


def _folder(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).resolve().parent if spec and spec.origin else None
