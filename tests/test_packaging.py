"""What is installed: the wheel's contents, its metadata, and the pinned dependencies."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from email import message_from_string
from email.message import Message
from pathlib import Path
from typing import Final
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parent.parent

LOCK: Final = ROOT / "requirements.lock"

PIN: Final = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>\S+)(?: ; .+?)?(?P<hashes>(?: --hash=sha256:[0-9a-f]{64})+)"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built anew by the declared build backend."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        capture_output=True,
        timeout=120,
        check=True,
    )
    (built,) = folder.glob("*.whl")
    return built


def names(wheel: Path) -> list[str]:
    with ZipFile(wheel) as archive:
        return archive.namelist()


def read(wheel: Path, suffix: str) -> str:
    (name,) = (name for name in names(wheel) if name.endswith(suffix))
    with ZipFile(wheel) as archive:
        return archive.read(name).decode()


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    return message_from_string(read(wheel, ".dist-info/METADATA"))


def test_the_wheel_holds_the_four_packages_the_program_and_nothing_else(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in names(wheel)}
    own = {"authsome_proxy-0.1.0.dist-info", "authsome_proxy-0.1.0.data"}
    assert tops == {"launcher", "oauth", "proxy", "vault", *own}


def test_the_wheel_holds_every_provider_definition(wheel: Path) -> None:
    bundled = {f"oauth/providers/{file.name}" for file in (ROOT / "oauth" / "providers").glob("*.json")}
    assert "oauth/providers/discord.json" in bundled
    assert bundled <= set(names(wheel))


def test_the_wheel_holds_every_module_of_the_packages(wheel: Path) -> None:
    packages = ("launcher", "oauth", "proxy", "vault")
    modules = {f.relative_to(ROOT).as_posix() for package in packages for f in (ROOT / package).rglob("*.py")}
    assert modules <= set(names(wheel))


def test_the_command_is_called_authsome_and_is_no_entry_point(wheel: Path) -> None:
    """For one, installers write a program that starts Python without -I."""
    assert read(wheel, ".data/scripts/authsome") == (ROOT / "launcher" / "authsome.sh").read_text()
    assert not any(name.endswith("entry_points.txt") for name in names(wheel))


def test_the_distribution_is_authsome_proxy_and_no_index_takes_it(metadata: Message) -> None:
    assert metadata["Name"] == "authsome-proxy"
    assert "Private :: Do Not Upload" in metadata.get_all("Classifier", [])


def test_the_licence_is_in_the_wheel(wheel: Path, metadata: Message) -> None:
    assert metadata["License-Expression"] == "MIT"
    assert read(wheel, "licenses/LICENSE") == (ROOT / "LICENSE").read_text()


def lock_problems(text: str, requirements: Sequence[Requirement]) -> list[str]:
    """What is wrong with a lock file; empty when all is well."""
    joined = re.sub(r" \\\n\s*", " ", text)
    lines = [line for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    pins = [pin for line in lines if (pin := PIN.fullmatch(line))]
    problems = [f"not a pin with hashes: {line}" for line in lines if not PIN.fullmatch(line)]
    problems += [f"an address or a path: {found}" for found in re.findall(r"\S*(?:://|file:|\s/)\S*", text)]
    for requirement in requirements:
        name = canonicalize_name(requirement.name)
        versions = [pin["version"] for pin in pins if canonicalize_name(pin["name"]) == name]
        if not versions:
            problems.append(f"missing: {requirement}")
        problems += [
            f"{name} {v} is not {requirement}" for v in versions if not requirement.specifier.contains(v)
        ]
    return problems


def declared() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return [
        Requirement(text)
        for text in [
            *project["project"]["dependencies"],
            *project["dependency-groups"]["dev"],
            *project["build-system"]["requires"],
        ]
    ]


def test_the_lock_pins_and_hashes_everything_declared_and_names_no_address() -> None:
    assert lock_problems(LOCK.read_text(), declared()) == []


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://index.example/simple",
        "--find-links /opt/wheels",
        "click>=8.1",
        "click==8.1.8",
        "click @ https://example.org/click.whl",
        "# from https://example.org/simple",
    ],
)
def test_a_lock_with_an_unpinned_line_or_an_address_is_reported(line: str) -> None:
    assert lock_problems(f"{LOCK.read_text()}{line}\n", declared()) != []


@pytest.mark.parametrize("requirement", ["mitmproxy>=13", "not-in-the-lock"])
def test_a_lock_that_does_not_satisfy_the_project_is_reported(requirement: str) -> None:
    assert lock_problems(LOCK.read_text(), [Requirement(requirement)]) != []
