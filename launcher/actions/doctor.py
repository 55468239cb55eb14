"""What `authsome doctor` looks at: which isolation works here, and what else a run and a login need."""

from __future__ import annotations

import errno
import importlib.util
import os
import platform
import socket
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, assert_never
from urllib.parse import urlsplit

from launcher.actions.finding import Finding, State
from launcher.actions.vault_admin import described_key
from launcher.errors import LauncherError
from launcher.isolation.model import Level
from launcher.isolation.outside.levels import FALLBACKS
from launcher.isolation.outside.probe import Probe, working_level
from launcher.run.audit_log import MOST_BYTES, reach
from launcher.setup.app import App
from launcher.setup.settings import RUN_VARIABLE
from launcher.startup import PACKAGES
from launcher.times import utc
from oauth.errors import ProviderInvalid
from oauth.protocol import LOGIN_PORT
from oauth.registry import Registered
from vault.errors import LoosePermissions, VaultError
from vault.files import require_private
from vault.keys.wrapping import Source

MITMPROXY: Final = "12.3."
"""How the version begins that the proxy was written for: it leans on what promises no stability."""

HEAVY: Final = ("mitmproxy", "cryptography", "pydantic", "httpx")
"""Packages whose imports make the start of a run slow where they have no bytecode."""

UNCOMPILED: Final = 0.1
"""The share of files without bytecode that is worth a word: packages hold some that nobody imports."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Everything that was found."""

    probes: tuple[Probe, ...]
    findings: tuple[Finding, ...]

    def level(self, wanted: Level) -> Level | None:
        """What a run gets here that wants this level; None where it is refused."""
        working = {working_level(probe) for probe in self.probes}
        return next((level for level in FALLBACKS[wanted] if level in working), None)

    @property
    def works(self) -> bool:
        """Whether a run would start and keep its promise."""
        isolated = self.level(Level.GUARD) is not None
        return isolated and all(finding.state is not State.PROBLEM for finding in self.findings)


def findings(app: App) -> list[Finding]:
    """Everything but the isolation."""
    return [finding for section in SECTIONS for finding in section(app)]


def _program(_: App) -> Iterator[Finding]:
    yield Finding("python", State.OK, f"{platform.python_version()} at {sys.executable}")
    try:
        yield mitmproxy_finding(version("mitmproxy"))
    except PackageNotFoundError:
        yield Finding("mitmproxy", State.PROBLEM, "it is not installed", "install authsome anew")
    folders = [folder for name in (*HEAVY, *PACKAGES) if (folder := _folder(name))]
    yield bytecode_finding(folders)
    yield libraries_finding({folder.parent for name in HEAVY if (folder := _folder(name))})


def mitmproxy_finding(found: str) -> Finding:
    """Whether this version of mitmproxy is the one that the proxy was written for."""
    if found.startswith(MITMPROXY):
        return Finding("mitmproxy", State.OK, found)
    wanted = f"this authsome needs {MITMPROXY}x"
    return Finding("mitmproxy", State.PROBLEM, f"{found}, and {wanted}", "install authsome anew")


def bytecode_finding(folders: Sequence[Path]) -> Finding:
    """Whether the modules in these folders were compiled."""
    files = [file for folder in folders for file in folder.rglob("*.py")]
    missing = [file for file in files if not os.path.exists(importlib.util.cache_from_source(str(file)))]
    if len(missing) <= UNCOMPILED * len(files):
        return Finding("bytecode", State.OK, f"{len(files) - len(missing)} of {len(files)} files compiled")
    lacking = [str(folder) for folder in folders if any(folder in file.parents for file in missing)]
    return Finding(
        "bytecode",
        State.WARNING,
        f"{len(missing)} of {len(files)} files are not compiled, so a start takes three times as long",
        f"run '{sys.executable} -m compileall -q {' '.join(lacking)}'",
    )


def libraries_finding(folders: Iterable[Path]) -> Finding:
    """Whether the libraries in these folders have further names, at which a run could write to them."""
    found = [path.stat() for folder in folders for path in folder.rglob("*.so*") if path.is_file()]
    linked = [status for status in found if status.st_nlink > 1 and status.st_uid == os.geteuid()]
    if not linked:
        return Finding("libraries", State.OK, f"{len(found)}, each with one name")
    return Finding(
        "libraries",
        State.WARNING,
        f"{len(linked)} of {len(found)} have other names (hard links), by which a program could change them",
        "install authsome with copies, such as with 'uv tool install --link-mode copy'",
    )


def _audit(app: App) -> Iterator[Finding]:
    if app.environ.get(RUN_VARIABLE):
        return
    folder = app.settings.audit_folder
    try:
        since = reach(folder)
    except OSError as error:
        problem = (error.strerror or "unreadable").lower()
        yield Finding(
            "audit", State.WARNING, f"cannot read the audit in {folder}: {problem}", "check its permissions"
        )
        return
    kept = "holds nothing yet" if since is None else f"reaches back to {utc(since)}"
    yield Finding("audit", State.OK, f"{kept}; {MOST_BYTES // 1_000_000} MB are kept at most")


def _folder(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else None


def _files(app: App) -> Iterator[Finding]:
    settings = app.settings
    if app.environ.get(RUN_VARIABLE):
        text = "this is inside of a run, which has no vault"
        yield Finding("home", State.WARNING, text, "leave the run to see what it hides")
        return
    home = home_finding(
        settings.home, (settings.runs_folder, settings.audit_folder, settings.providers_folder)
    )
    yield home
    if home.state is not State.OK:
        return
    yield _key_finding(app)
    custom = 0
    for found in app.registry.all():
        match found:
            case ProviderInvalid():
                yield Finding("providers", State.WARNING, str(found), found.hint)
            case Registered(source=source):
                custom += source == "custom"
            case never:
                assert_never(never)
    yield Finding("providers", State.OK, f"read, {custom} of them your own")


def home_finding(home: Path, inside: Iterable[Path] = ()) -> Finding:
    """Whether AUTHSOME_HOME can be used, or made; `inside` are folders of ours in it."""
    try:
        found = [_private_folder(path) for path in (home, *inside)]
    except LoosePermissions as error:
        return Finding("home", State.PROBLEM, str(error), error.hint)
    except OSError as error:
        problem = (error.strerror or "unreadable").lower()
        hint = "set AUTHSOME_HOME to a folder that you can write"
        return Finding("home", State.PROBLEM, f"cannot use {error.filename}: {problem}", hint)
    return Finding("home", State.OK, str(home) if found[0] else f"{home} does not exist yet")


def _private_folder(path: Path) -> bool:
    """Whether it exists. Raises: LoosePermissions; OSError where it cannot be used."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    require_private(path, found)
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    if not os.access(path, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    return True


def _key_finding(app: App) -> Finding:
    """Where the vault's key comes from. Neither the key nor a passphrase is asked for."""
    if not app.has_vault:
        return Finding("key", State.OK, "there is no vault yet; the first login makes one")
    try:
        key = described_key(app)
        if key["source"] == Source.FILE:
            place = Path(str(key["details"]))
            require_private(place, place.stat())
    except VaultError as error:
        return Finding("key", State.PROBLEM, str(error), error.hint)
    except OSError as error:
        problem = (error.strerror or "unreadable").lower()
        text = f"cannot read {app.settings.key_file}: {problem}"
        return Finding("key", State.PROBLEM, text, "put the key file of this vault in its place")
    return Finding("key", State.OK, f"{key['source']}: {key['details']}")


def _network(app: App) -> Iterator[Finding]:
    yield port_finding(LOGIN_PORT)
    yield proxy_finding(app)


def port_finding(port: int) -> Finding:
    """Whether a login could listen."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as a login does
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            problem = (error.strerror or "unknown error").lower()
            text = f"a login could not listen on 127.0.0.1:{port}: {problem}"
            return Finding("login port", State.WARNING, text, "end the program that has it before a login")
    return Finding("login port", State.OK, f"127.0.0.1:{port} is free")


def proxy_finding(app: App) -> Finding:
    """What HTTPS_PROXY says, without the password that may be in it."""
    try:
        url = app.routes.proxy
    except LauncherError as error:
        return Finding("upstream proxy", State.PROBLEM, str(error), error.hint)
    if url is None:
        return Finding("upstream proxy", State.OK, "none: connections are direct")
    return Finding("upstream proxy", State.OK, f"HTTPS_PROXY: {urlsplit(url).netloc.rpartition('@')[2]}")


SECTIONS: Final[tuple[Callable[[App], Iterator[Finding]], ...]] = (
    _program,
    _files,
    _audit,
    _network,
)
"""What is looked at, in this order; one more section is one more function here."""
