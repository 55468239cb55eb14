"""The lock holds no version that is known to be vulnerable; `make audit-lock` says which it does."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parent.parent

_PIN: Final = re.compile(r"(?m)^([A-Za-z0-9._-]+)==([^\s;\\]+)")


def advisories(text: str) -> Iterator[tuple[Requirement, str]]:
    """Which versions are meant, and why."""
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            requirement, why = line.split(maxsplit=1)
            yield Requirement(requirement), why


def vulnerable(lock: str, known: str) -> list[str]:
    """The pins of a lock that an advisory names, each with it; one package may be pinned for each Python."""
    pins = [(canonicalize_name(name), version) for name, version in _PIN.findall(lock)]
    return [
        f"{name}=={version}: {why}"
        for wanted, why in advisories(known)
        for name, version in pins
        if name == canonicalize_name(wanted.name) and wanted.specifier.contains(version, prereleases=True)
    ]


def found() -> list[str]:
    lock, known = (ROOT / name for name in ("requirements.lock", ".ci/advisories.txt"))
    return vulnerable(lock.read_text(), known.read_text())


def test_the_lock_holds_no_version_that_an_advisory_names() -> None:
    assert found() == []


@pytest.mark.parametrize(
    ("pin", "bad"),
    [
        ("cryptography==48.0.1", True),
        ("cryptography==48.0.1 ; python_version < '3.13'", True),
        ("Cryptography==49.9", True),
        ("cryptography==50.0.0", False),
        ("cryptography-vectors==48.0.0", False),
    ],
)
def test_a_lock_with_a_version_that_an_advisory_names_is_refused(pin: str, bad: bool) -> None:
    lock = f"click==8.4.0 \\\n    --hash=sha256:00\n{pin} \\\n    --hash=sha256:00\n"
    assert bool(vulnerable(lock, (ROOT / ".ci/advisories.txt").read_text())) is bad


def test_every_package_with_an_advisory_is_one_that_the_lock_pins() -> None:
    pinned = {canonicalize_name(name) for name, _ in _PIN.findall((ROOT / "requirements.lock").read_text())}
    named = {
        canonicalize_name(wanted.name) for wanted, _ in advisories((ROOT / ".ci/advisories.txt").read_text())
    }
    assert named <= pinned


if __name__ == "__main__":
    problems = found()
    print("\n".join(problems) or "requirements.lock: no advisory names a version in it")
    sys.exit(bool(problems))
