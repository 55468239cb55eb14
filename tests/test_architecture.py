"""Who may import whom, and what a pure file may use, held over the syntax trees."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent

OURS: Final = ("launcher", "oauth", "proxy", "vault")

FLOORS: Final[tuple[tuple[str, ...], ...]] = (
    ("launcher.__main__",),
    ("launcher.cli",),
    ("launcher.commands",),
    ("launcher.text",),
    ("launcher.actions",),
    ("launcher.run",),
    ("launcher.setup",),
    ("launcher.child",),
    ("launcher.isolation.outside",),
    ("launcher.isolation.inside",),
    ("launcher.isolation.measure",),
    ("launcher.isolation",),
    ("launcher",),
    ("oauth.login", "oauth.keeper", "proxy.server"),
    ("oauth", "proxy.engine"),
    ("vault.vault", "vault.restore", "proxy.addon"),
    ("vault.keys", "proxy.search"),
    ("vault", "proxy"),
)
"""The house from the roof down. A module belongs to the longest name here that it begins with: a room, or
one file that stands above the rooms of its package. It imports from its own room and from lower floors."""

APART: Final = {
    "oauth": ("launcher", "oauth", "vault.model", "vault.errors"),
    "proxy": ("launcher", "proxy"),
    "vault": ("launcher", "vault"),
}
"""What of ours each package may know at all; `launcher`, which joins them, stands above them anyway."""

KNOWS_MITMPROXY: Final = frozenset({"proxy/addon.py", "proxy/engine/handler.py", "proxy/engine/http1.py"})
"""Its import costs more than everything else together, and it promises no stable interface."""

PURE_MAY_IMPORT: Final = (
    "__future__",
    "ahocorasick_rs",
    "base64",
    "binascii",
    "brotli",
    "collections",
    "contextlib",
    "cryptography.exceptions",
    "cryptography.hazmat.primitives",
    "dataclasses",
    "datetime",
    "enum",
    "errno",
    "functools",
    "hashlib",
    "hmac",
    "html",
    "http.HTTPStatus",
    "ipaddress",
    "itertools",
    "json",
    "math",
    "pathlib",
    "pydantic",
    "pydantic_core",
    "re",
    "shlex",
    "string",
    "struct",
    "types",
    "typing",
    "unicodedata",
    "urllib.parse",
    "zlib",
    "zstandard",
)

BUILTIN_DOORS: Final = frozenset(
    {"__import__", "breakpoint", "compile", "eval", "exec", "input", "open", "print"}
)
"""Functions that need no import to reach outside."""

METHOD_DOORS: Final = frozenset(
    {"now", "today", "utcnow", "generate_key", "cwd", "home", "expanduser", "resolve", "absolute", "stat"}
    | {"exists", "is_file", "is_dir", "glob", "iterdir", "open", "read_bytes", "read_text"}
    | {"mkdir", "touch", "unlink", "write_bytes", "write_text"}
)
"""What reads a clock, a random source or a file on classes that a pure file may import for their values."""


def files() -> list[str]:
    return sorted(
        file.relative_to(ROOT).as_posix() for package in OURS for file in (ROOT / package).rglob("*.py")
    )


def module(path: str) -> str:
    """The dotted name of a file."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def calls_itself_pure(path: str) -> bool:
    docstring = ast.get_docstring(ast.parse((ROOT / path).read_text())) or ""
    return re.search(r"\bPure\b", docstring) is not None


MODULES: Final = {module(path): path for path in files()}
PURE: Final = frozenset(path for path in files() if calls_itself_pure(path))
"""Files that do no I/O and have no clock and no randomness of their own, as they say themselves."""


def room(name: str) -> str:
    """The room of a module, or of a name in it."""
    known = (place for floor in FLOORS for place in floor if _within(name, [place]))
    return max(known, key=len)


def arrows() -> Iterator[tuple[str, str]]:
    """Each import from one room to another: the modules that import and are imported."""
    for path in files():
        for _, name in imports((ROOT / path).read_text(), path):
            if name.split(".")[0] in OURS:
                used = name if name in MODULES else name.rpartition(".")[0]
                if room(used) != room(module(path)):
                    yield module(path), used


def imports(source: str, path: str) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything that `source` imports, wherever in the file it does."""
    package = path.removesuffix(".py").split("/")[:-1]
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                above = package[: len(package) - level + 1] if level else []
                base = [*above, module] if module else above
                yield from ((node.lineno, ".".join([*base, alias.name])) for alias in names)
            case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(name)), *_]):
                yield node.lineno, name


def doors(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of each call in `source` that reaches outside without an import of its own."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in BUILTIN_DOORS:
                yield node.lineno, name
            case ast.Call(func=ast.Attribute(attr=name)) if name in METHOD_DOORS:
                yield node.lineno, name


def violations(path: str, source: str) -> list[str]:
    """What `source` does that a file at `path` must not; empty when all is well."""
    found = [f"{path}:{line} imports {name}" for line, name in imports(source, path) if not _may(path, name)]
    if path in PURE:
        found += [f"{path}:{line} calls {name}" for line, name in doors(source)]
    return found


def _may(path: str, name: str) -> bool:
    top = name.split(".")[0]
    if top in ("tests", "examples"):
        return False
    if top == "mitmproxy":
        return path in KNOWS_MITMPROXY
    if top in OURS and not _may_know(module(path), name):
        return False
    return path not in PURE or _pure_may(name)


def _may_know(importer: str, name: str) -> bool:
    package, floor_of = (
        importer.split(".")[0],
        {place: n for n, floor in enumerate(FLOORS) for place in floor},
    )
    if package in APART and not _within(name, APART[package]):
        return False
    here, there = room(importer), room(name)
    return here == there or floor_of[here] < floor_of[there]


def _pure_may(name: str) -> bool:
    if name.split(".")[0] not in OURS:
        return _within(name, PURE_MAY_IMPORT)
    modules = [file.removesuffix(".py").replace("/", ".") for file in PURE]
    return _within(name, [*modules, *(f"{package}.errors" for package in OURS)])


def _within(name: str, allowed: Sequence[str]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in allowed)


def test_every_file_imports_only_what_its_place_allows() -> None:
    assert [found for path in files() for found in violations(path, (ROOT / path).read_text())] == []


def test_decisions_and_searches_are_pure() -> None:
    assert {"proxy/policy.py", "proxy/slots.py", "proxy/search/scrub.py", "oauth/protocol.py"} <= PURE
    assert {"vault/envelope.py", "launcher/run/choose.py", "launcher/isolation/plan.py"} <= PURE


NAMED_AS_OTHERS: Final = frozenset({"errors", "model"})
"""Modules that each package has; a command's module is called as the command, and so is its action's."""


def names_twice(sources: Iterable[tuple[str, str]]) -> set[str]:
    """The classes, and the modules outside of `launcher/commands`, that another one is called as."""
    classes, modules = Counter[str](), Counter[str]()
    for path, source in sources:
        if not path.startswith("launcher/commands/") and not path.endswith("__init__.py"):
            modules[Path(path).stem] += 1
        classes.update(_types(source))
    found = {name for counted in (classes, modules) for name, times in counted.items() if times > 1}
    return found - NAMED_AS_OTHERS


def _types(source: str) -> Iterator[str]:
    for node in ast.parse(source).body:
        match node:
            case ast.ClassDef(name=name):
                yield name
            case ast.Assign(targets=[ast.Name(id=name)]) if re.fullmatch(r"[A-Z][a-z]\w*", name):
                yield name  # an alias
            case ast.TypeAlias(name=ast.Name(id=name)):
                yield name
            case _:
                pass


def test_no_two_classes_and_no_two_modules_have_one_name() -> None:
    assert names_twice((path, (ROOT / path).read_text()) for path in files()) == set()


def test_a_name_that_is_given_twice_is_noticed() -> None:
    sources = [
        ("oauth/client.py", "class Slot: ..."),
        ("proxy/slots.py", "class Slot: ..."),
        ("vault/client.py", ""),
    ]
    assert names_twice(sources) == {"Slot", "client"}


def test_every_room_says_at_its_door_what_it_is() -> None:
    for path in files():
        if path.endswith("/__init__.py"):
            docstring = ast.get_docstring(ast.parse((ROOT / path).read_text()))
            assert docstring, path


def test_each_arrow_between_rooms_is_refused_when_it_is_turned() -> None:
    found = sorted(set(arrows()))
    assert len(found) > 300
    for importer, used in found:
        assert violations(MODULES[used], f"import {importer}"), (importer, used)


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("vault/vault.py", "from oauth.protocol import parse_scopes"),
        ("vault/vault.py", "import launcher.setup.settings"),
        ("vault/vault.py", "from proxy import model"),
        ("proxy/policy.py", "from vault.model import ConnectionKey"),
        ("proxy/server.py", "def start() -> None:\n    from launcher.setup.app import App"),
        ("oauth/keeper/keeper.py", "from vault.vault import Vault"),
        ("oauth/keeper/keeper.py", "from vault import storage"),
        ("oauth/keeper/keeper.py", "import vault"),
        ("oauth/keeper/keeper.py", "from proxy.model import Rule"),
        ("oauth/keeper/keeper.py", "from ...launcher import app"),
        ("oauth/keeper/keeper.py", "import importlib\nimportlib.import_module('launcher.setup.app')"),
        ("launcher/setup/app.py", "from tests.standin import StandIn"),
        ("launcher/actions/login.py", "import launcher.commands.login"),
        ("oauth/login/flows.py", "from oauth.keeper import keeper"),
        ("vault/keys/file.py", "from vault.vault import Vault"),
        ("launcher/setup/app.py", "import mitmproxy.master"),
        ("proxy/front.py", "def relay() -> None:\n    from mitmproxy import http"),
    ],
)
def test_an_import_turned_round_is_reported(path: str, line: str) -> None:
    assert violations(path, line) != []


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("launcher/setup/app.py", "from vault.vault import Vault"),
        ("launcher/commands/get.py", "from launcher.actions import login"),
        ("launcher/setup/app.py", "from proxy import server"),
        ("oauth/keeper/keeper.py", "from vault import model"),
        ("oauth/keeper/keeper.py", "from ..errors import OAuthError"),
        ("proxy/engine/handler.py", "from mitmproxy import http"),
        ("proxy/policy.py", "from proxy.model import Rule"),
    ],
)
def test_the_same_imports_the_right_way_round_are_not_reported(path: str, line: str) -> None:
    assert violations(path, line) == []


@pytest.mark.parametrize(
    "line",
    [
        "import os",
        "import time",
        "import secrets",
        "from random import random",
        "import socket",
        "import subprocess",
        "import urllib.request",
        "import httpx",
        "open('/etc/passwd')",
        "Path('/etc/passwd').read_text()",
        "datetime.now()",
        "Path.home()",
    ],
)
def test_a_pure_file_that_reaches_outside_is_reported(line: str) -> None:
    assert [path for path in PURE if violations(path, line) == []] == []


def test_a_pure_file_that_leans_on_an_impure_one_is_reported() -> None:
    assert violations("proxy/policy.py", "from proxy.server import running_proxy") != []


def imported_by(*arguments: str, home: Path) -> set[str]:
    """The modules that a fresh interpreter imports, measured by the interpreter itself."""
    ended = subprocess.run(
        [sys.executable, "-I", "-X", "importtime", *arguments],
        env={**os.environ, "AUTHSOME_HOME": str(home)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return {
        line.rsplit("|", 1)[1].strip()
        for line in ended.stderr.splitlines()
        if line.startswith("import time:")
    }


def test_list_does_not_import_mitmproxy(tmp_path: Path) -> None:
    modules = imported_by("-m", "launcher", "list", home=tmp_path)
    assert "oauth.registry" in modules
    assert not {module for module in modules if module.split(".")[0] == "mitmproxy"}


def test_an_import_of_mitmproxy_would_be_seen(tmp_path: Path) -> None:
    assert "mitmproxy" in imported_by("-c", "import proxy.addon", home=tmp_path)
