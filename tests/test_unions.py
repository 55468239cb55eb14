"""Every union is closed: where it is taken apart, the type checker names the member that is missing."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.test_architecture import OURS, ROOT, files


@dataclass(frozen=True, slots=True)
class Union:
    """One union, and how a member is added to it."""

    name: str
    path: str
    """Where it is defined."""
    members: str
    """As they are written there."""
    added: str = "class {name}: ..."
    """The definition of one more, to be put in front."""
    beside: str = ""
    """What else a wider union of it has."""

    @property
    def member(self) -> str:
        return f"Added{self.name}"

    def types(self) -> set[str]:
        return set(re.findall(r"\w+", self.members))

    def wider(self) -> set[str]:
        return self.types() | set(self.beside.split())


STORED: Final = 'class {name}(_Stored):\n    kind: Literal["added"] = "added"'
PUBLIC: Final = 'class {name}(_Public):\n    source: Literal["added"] = "added"'
DEFINED: Final = 'class {name}(_Strict):\n    type: Literal["added"] = "added"'

UNIONS: Final = (
    Union("Decision", "proxy/model.py", "Inject | PassThrough | Refuse"),
    Union("Credential", "vault/model.py", "OAuthTokens | ApiKey", STORED),
    Union("CredentialAnswer", "proxy/model.py", "Fresh | Unavailable"),
    Union("Outcome", "oauth/outcome.py", "FreshCredential | NotUsable", beside="Due"),
    Union("Judgement", "oauth/keeper/judge.py", "Outcome | Due", beside="FreshCredential NotUsable"),
    Union("Response", "oauth/login/page_http.py", "Page | Redirect", beside="Nothing"),
    Union("Definition", "oauth/registry.py", "Registered | ProviderInvalid"),
    Union("StoredConnection", "vault/vault.py", "Versioned[Connection] | RecordDamaged | FormatTooNew"),
    Union("Progress", "launcher/isolation/progress.py", "Ready | Failed"),
    Union("Isolation", "launcher/isolation/outside/levels.py", "Isolated[C] | NotIsolated"),
    Union("Auth", "oauth/provider.py", "OAuth2 | StaticKey", DEFINED),
    Union(
        "KeyOrigin",
        "vault/keys/wrapping.py",
        "FromFile | FromDescriptor | FromKeyring | FromPassphrase",
        PUBLIC,
    ),
    Union("Probe", "launcher/isolation/outside/probe.py", "Works | Fails"),
    Union(
        "Operation",
        "launcher/isolation/model.py",
        "Hide | Seal | Mask | Scratch | Restore | Freeze | FreezeAll | Overlay | Terminals | Processes",
    ),
)


def with_one_more(union: Union, source: str) -> str:
    """The file of a union that has a member more."""
    alias = re.search(rf"(?m)^(?:type )?{union.name}(?:\[.*?\])? = .*{re.escape(union.members)}", source)
    assert alias, union
    more = alias[0].replace(union.members, f"{union.members} | {union.member}")
    return source.replace(alias[0], f"{union.added.format(name=union.member)}\n\n\n{more}")


def taken_apart(union: Union) -> set[tuple[str, str]]:
    """The files and functions in which every member is told apart, and no other is allowed."""
    return {(path, name) for path in files() for name in _functions(union, (ROOT / path).read_text())}


def _functions(union: Union, source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for match in (inner for inner in ast.walk(node) if isinstance(inner, ast.Match)):
                named = {
                    p.cls.id
                    for case in match.cases
                    for p in ast.walk(case.pattern)
                    if isinstance(p, ast.MatchClass) and isinstance(p.cls, ast.Name)
                }
                if named & union.types() and named <= union.wider() and _is_closed(match):
                    yield node.name


def _is_closed(match: ast.Match) -> bool:
    last = ast.walk(match.cases[-1])
    return any(isinstance(node, ast.Name) and node.id == "assert_never" for node in last)


CAUGHT: Final = frozenset({"ProviderInvalid", "RecordDamaged", "FormatTooNew"})
"""Members that are errors as well: what was caught with others is not a union."""


def told_by_isinstance(source: str) -> set[str]:
    """The members of unions that `source` asks for where it leaves the others unnamed."""
    members = set[str]().union(*(union.types() for union in UNIONS))
    asked = set[str]()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Name(id="isinstance"), args=[_, kinds]):
                asked |= {name.id for name in ast.walk(kinds) if isinstance(name, ast.Name)}
            case _:
                pass
    return asked & members - CAUGHT


def test_no_member_of_a_union_is_told_by_isinstance() -> None:
    found = {path: told_by_isinstance((ROOT / path).read_text()) for path in files()}
    assert {path: names for path, names in found.items() if names} == {}


def test_a_member_that_is_told_by_isinstance_is_noticed() -> None:
    assert told_by_isinstance("isinstance(decision, int | Refuse)") == {"Refuse"}


@pytest.mark.slow
def test_the_type_checker_names_every_place_that_a_new_member_touches(tmp_path: Path) -> None:
    for package in OURS:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for union in UNIONS:
        file = tmp_path / union.path
        file.write_text(with_one_more(union, file.read_text()))
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--cache-dir",
        str(tmp_path / "cache"),
        *(f"-p{package}" for package in OURS),
    ]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300).stdout
    reported = re.findall(
        r"(?m)^(\S+?):(\d+): error: .*\"assert_never\" has incompatible type \"([\w |]+)\"", said
    )
    found = {
        (name, path, _function_at(tmp_path / path, int(line)))
        for path, line, names in reported
        for name in names.split(" | ")
    }
    for union in UNIONS:
        expected = {(union.member, path, name) for path, name in taken_apart(union)}
        assert len(expected) > 0, union
        assert {one for one in found if one[0] == union.member} == expected, said


def _function_at(file: Path, line: int) -> str:
    functions = [
        node
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.lineno <= line <= (node.end_lineno or 0)
    ]
    return max(functions, key=lambda node: node.lineno).name
