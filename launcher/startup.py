"""What this process is made of: which code is imported, from where, and until when."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterable, MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Final, NoReturn

PACKAGES: Final = ("launcher", "oauth", "proxy", "vault")
"""Ours. The names are generic, so another distribution may bring a package of the same name."""

_LATE: Final = (
    # Ours, which import each other in functions so that other commands are fast.
    "launcher.setup.http",
    # Those of libraries, which do the same.
    "anyio._backends._asyncio",
    "concurrent.futures.thread",
    "httpcore._backends.auto",
    # Codecs are imported when they are first used.
    "encodings.idna",
    "encodings.punycode",
    "encodings.utf_16_be",
    "encodings.utf_16_le",
)
"""What a run would otherwise import when its program is running."""


LIBRARY_VARIABLES: Final = ("OPENSSL_CONF", "OPENSSL_CONF_INCLUDE", "OPENSSL_MODULES", "OPENSSL_ENGINES")
"""With these OpenSSL loads code from wherever they say, even from the working folder; openssl-env(7)."""

_held_back: dict[str, str] = {}


def hold_back_library_variables(environ: MutableMapping[str, str] = os.environ) -> None:
    """Take out of this process's environment what has libraries load code. Before one of them is imported.

    What a run left in the project would run at the next command, outside of every run.
    """
    _held_back.update({name: environ.pop(name) for name in LIBRARY_VARIABLES if name in environ})


def inherited_environment() -> dict[str, str]:
    """The environment as it was given to this process."""
    return {**os.environ, **_held_back}


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


NAME_SERVICES: Final = Path("/etc/nsswitch.conf")


def load_everything() -> None:
    """Import all that a run needs, before there is a program that could change what is imported."""
    for name in _LATE:
        importlib.import_module(name)
    if sys.platform.startswith("linux"):
        _load_name_services()
    gc.freeze()  # all of this stays: the collector need not look through it again, least of all at the end


def _load_name_services() -> None:
    """Let the C library load what looks up names of hosts, and never read again which libraries those are.

    It would load them at the first lookup, and others when /etc/nsswitch.conf changes. nsswitch.conf(5).
    """
    import ctypes  # not at the top: other commands do without

    library = ctypes.CDLL(None)
    library.gethostent.restype = ctypes.c_void_p
    with suppress(AttributeError):  # another C library than GNU's, which loads nothing
        library["__nss_configure_lookup"](b"hosts", name_services(NAME_SERVICES))
    while library.gethostent():
        pass
    library.endhostent()


def name_services(path: Path) -> bytes:
    """What a file such as `NAME_SERVICES` says of hosts, or what holds where it says nothing."""
    with suppress(OSError):
        text = path.read_bytes()
        if found := re.search(rb"^[ \t]*hosts[ \t]*:([^#\n]*)", text, re.MULTILINE):
            return found[1].strip()
    return b"files dns"


def seal_imports() -> None:
    """From here on no import finds anything: the program could have written what it would find."""
    sys.meta_path[:] = [Sealed()]


class Sealed:
    """Libraries try to import what may not be installed, and take this for a no."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
        /,
    ) -> NoReturn:
        raise ModuleNotFoundError(f"{fullname} is not imported while a program is running", name=fullname)
