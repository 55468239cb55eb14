"""Every protection, removed in turn from the installed program, turns at least one verdict."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.hostile.build import PACKAGES
from tests.hostile.mutations import FOR_ROOT, ISOLATION, LOGIN, POLICY, WATCHED, WIRE, Edit, Mutation, Watched
from tests.hostile.person import logging_in
from tests.hostile.test_verdicts import echoes
from tests.hostile.verdicts import expected
from tests.hostile.world import House
from tests.isolation.world import ROOT
from tests.standin import Answer, StandIn

pytestmark = pytest.mark.heavy


@contextmanager
def edited(house: House, edit: Edit | None) -> Iterator[None]:
    """The installed program with one text replaced."""
    if edit is None:
        yield
        return
    name, old, new = edit
    path = house.installed / "site" / name
    text = path.read_text()
    assert text.count(old) == 1, f"{name} does not hold {old!r} once"
    _write(path, text.replace(old, new))
    try:
        yield
    finally:
        _write(path, text)


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()  # it could pass for that of another text of the same size and second


def verdicts(house: House, mutation: Mutation) -> dict[str, str]:
    answers: list[Answer] = []
    if any(name.startswith(("echo: ", "clear: answer")) for name in mutation.attacks):
        every = echoes(house.access_token)
        answers = [every[int(name.removeprefix("echo: "))] for name in mutation.attacks if "echo" in name]
        answers = answers or every[:1]
    return house.attack(mutation.level, mutation.attacks, mutation.options, answers).verdicts


def before(mutation: Mutation) -> dict[str, str]:
    """The verdicts of the unchanged program."""
    table = expected(mutation.level, root=os.getuid() == 0)
    found = {name: table[name] for name in mutation.attacks if name in table}
    found |= {name: "refused" for name in mutation.attacks if name.startswith("limits: ")}
    found |= {name: "used" for name in mutation.attacks if name.startswith("echo: ")}
    if os.getuid():  # what only root could do anyway
        found |= {name: "blocked" for name in mutation.attacks if name not in found}
    faulty = mutation.given is not None and mutation.given[0] == POLICY
    return found | ({"inside: honest": "refused"} if faulty else {})


def turned(house: House, mutation: Mutation) -> dict[str, str]:
    old = before(mutation)
    with edited(house, mutation.given):
        if mutation.given or mutation.options:
            assert verdicts(house, mutation) == old
        with edited(house, mutation.edit):
            new = verdicts(house, mutation)
    assert new.keys() == old.keys(), "the changed program does not run"
    return {name: f"{old[name]} -> {new[name]}" for name in old if new[name] != old[name]}


@pytest.mark.parametrize("mutation", [*WIRE, *ISOLATION], ids=str)
def test_without_the_protection_a_verdict_turns(mine: House, mutation: Mutation) -> None:
    changed = turned(mine, mutation)
    print(f"\n{mutation}: {changed}")
    assert changed


@pytest.mark.parametrize("mutation", FOR_ROOT, ids=str)
def test_without_the_protection_from_root_a_verdict_turns(mine: House, mutation: Mutation) -> None:
    if os.getuid():
        assert not turned(mine, mutation)
        return
    changed = turned(mine, mutation)
    print(f"\n{mutation}: {changed}")
    assert changed


@pytest.mark.parametrize("mutation", LOGIN, ids=str)
def test_without_the_protection_of_a_login_a_verdict_turns(mine: House, mutation: Mutation) -> None:
    with edited(mine, mutation.edit), logging_in(mine):
        new = verdicts(mine, mutation)
    print(f"\n{mutation}: {new}")
    assert "open" in new.values()


@pytest.mark.parametrize("removed", [None, "trust", "name"])
@pytest.mark.parametrize("impostor", ["trust", "name"])
def test_an_impostor_gets_the_token_only_from_a_proxy_that_does_not_verify(
    mine: House, impostor: str, removed: str | None
) -> None:
    """One whose certificate nobody trusts; one with a trusted certificate for another host."""
    edits: dict[str | None, Edit | None] = {
        None: None,
        "trust": ("proxy/tls.py", "SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT", "SSL.VERIFY_NONE"),
        "name": (
            "proxy/tls.py",
            "library.X509_VERIFY_PARAM_set1_host(parameters, name, len(name)) == 1",
            "True",
        ),
    }
    roots = mine.home / "roots.pem"
    trusted = roots.read_text()
    hosts = ("discord.com",) if impostor == "trust" else ("evil.example",)
    with StandIn(hosts=hosts) as other, edited(mine, edits[removed]):
        if impostor == "name":
            roots.write_text(trusted + other.ca_file.read_text())
        way = ("--connect-to", f"discord.com:443:127.0.0.1:{other.https_port}")
        try:
            report = mine.attack("none", ["inside: honest"], way)
        finally:
            roots.write_text(trusted)
        # Logins of others are issued later ones.
        issued = [tokens.access_token.encode() for tokens in mine.standin.discord.issued]
        got = any(other.wire_contains(token) for token in issued)
    # Without any verification the name is not verified either.
    assert got == (removed == impostor or removed == "trust")
    assert report.verdicts["inside: honest"] == ("harmless" if got else "refused")


@pytest.mark.parametrize("tested", WATCHED, ids=str)
def test_without_the_protection_its_test_fails(tmp_path: Path, tested: Watched) -> None:
    for name in (*PACKAGES, "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    assert _result(tmp_path, tested.test) == pytest.ExitCode.OK
    name, old, new = tested.edit
    text = (tmp_path / name).read_text()
    assert text.count(old) == 1, f"{name} does not hold {old!r} once"
    _write(tmp_path / name, text.replace(old, new))
    assert _result(tmp_path, tested.test) == pytest.ExitCode.TESTS_FAILED


def _result(folder: Path, test: str) -> int:
    """How the test ends on the copy in `folder`, which is imported because it stands first."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=False)
    return done.returncode


def test_what_is_changed_is_what_runs(mine: House) -> None:
    """The installed program is the source of this project, file by file."""
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            assert (mine.installed / "site" / path.relative_to(ROOT)).exists()
