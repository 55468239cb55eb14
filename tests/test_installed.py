"""The program as installers leave it: it runs in its own Python, and nothing of the user's Python in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
SCRIPT: Final = ROOT / "launcher" / "authsome.sh"
VERSION: Final = f"python{sys.version_info[0]}.{sys.version_info[1]}"
BASE: Final = Path(sys.base_prefix) / "bin" / VERSION

TAKEN: Final = ("sitecustomize", "usercustomize", "launcher", "encodings", "threading", "signal", "click")
"""Modules that Python or authsome imports, and that a folder of the user's may hold as well."""


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def pip(*arguments: str, python: Path, environ: Mapping[str, str] | None = None) -> None:
    """The pip of this environment, for another one."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "-qq",
        "--no-index",
        "--no-deps",
    ]
    subprocess.run([*command, *arguments], env={**os.environ, **(environ or {})}, timeout=120, check=True)


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The program, by the way in which it was installed."""
    folder = tmp_path_factory.mktemp("in stalled")
    wheel = folder / "wheel"
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheel)]
    subprocess.run(build, cwd=ROOT, capture_output=True, timeout=120, check=True)
    (built,) = map(str, wheel.glob("*.whl"))
    libraries = sysconfig.get_path("purelib")

    own = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(own)], timeout=120, check=True)
    pip(built, python=own / "bin" / "python")
    (own / "lib" / VERSION / "site-packages" / "libraries.pth").write_text(f"{libraries}\n")

    linked = folder / "local" / "bin" / "authsome"
    linked.parent.mkdir(parents=True)
    (folder / "apps").symlink_to("venv")
    (linked.parent / "first").symlink_to("../../apps/bin/authsome")
    linked.symlink_to("first")

    # Without an environment of its own, and in one that has no pyvenv.cfg, such as conda's.
    user, whole = folder / "user", folder / "whole"
    pip("--user", built, python=BASE, environ={"PYTHONUSERBASE": str(user), "PIP_BREAK_SYSTEM_PACKAGES": "1"})
    pip("--prefix", str(whole), built, python=BASE, environ={"PIP_BREAK_SYSTEM_PACKAGES": "1"})
    (whole / "bin" / VERSION).symlink_to(BASE)
    for library in Path(libraries).iterdir():
        beside = whole / "lib" / VERSION / "site-packages" / library.name
        if not beside.exists() and library.suffix != ".pth":
            beside.symlink_to(library)

    return {
        "venv": own / "bin" / "authsome",
        "linked": linked,
        "whole": whole / "bin" / "authsome",
        "user": user / "bin" / "authsome",
    }


@dataclass(frozen=True, slots=True)
class Trap:
    """A project in which a program left modules, and a home with a start file of Python's."""

    folder: Path

    def set(self) -> None:
        # `open` needs the encodings, one of which this may stand for.
        spell = f"import posix; posix.open({str(self.folder / 'sprung')!r}, posix.O_CREAT)\n"
        site = self.folder / "home" / ".local" / "lib" / VERSION / "site-packages"
        site.mkdir(parents=True)
        (site / "x.pth").write_text(spell)
        for name in (*TAKEN, "__future__"):
            (self.folder / f"{name}.py").write_text(spell)
        (self.folder / "start.sh").write_text(f": > {self.folder}/sprung\n")
        for name in ("readlink", "dirname", "python", "python3", VERSION):
            executable(self.folder / "programs" / name, f"#!/bin/sh\n: > {self.folder}/sprung\n")

    def run(self, command: Sequence[str], **variables: str) -> subprocess.CompletedProcess[str]:
        environ = {
            "HOME": str(self.folder / "home"),
            "PATH": f"{self.folder}/programs:{os.environ['PATH']}",
            "PYTHONSTARTUP": str(self.folder / "launcher.py"),
            "ENV": str(self.folder / "start.sh"),
            "BASH_ENV": str(self.folder / "start.sh"),
            "AUTHSOME_HOME": str(self.folder / "vault"),
        }
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**environ, **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def sprung(self) -> bool:
        return (self.folder / "sprung").exists()


@pytest.fixture
def trap(tmp_path: Path) -> Trap:
    made = Trap(tmp_path / "project")
    made.set()
    return made


PATHS: Final = {"named": "{folder}", "empty": ":/nowhere", "relative": "."}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("way", ["venv", "linked", "whole"])
def test_nothing_that_lies_in_a_project_or_home_is_imported(
    ways: dict[str, Path], trap: Trap, way: str, path: str
) -> None:
    done = trap.run([str(ways[way]), "list"], PYTHONPATH=PATHS[path].format(folder=trap.folder))
    assert (done.returncode, done.stderr) == (0, "")
    assert "discord" in done.stdout
    assert not trap.sprung


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("way", ["venv", "whole"])
def test_without_isolation_from_the_first_instruction_it_would_be(
    ways: dict[str, Path], trap: Trap, way: str, path: str
) -> None:
    text = SCRIPT.read_text()
    assert text.count('" -I ') == 2
    careless = executable(ways[way].with_name("careless"), text.replace('" -I ', '" '))
    trap.run([str(careless), "list"], PYTHONPATH=PATHS[path].format(folder=trap.folder))
    assert trap.sprung


def test_a_home_of_pythons_in_a_project_is_not_used(ways: dict[str, Path], trap: Trap) -> None:
    done = trap.run([str(ways["venv"]), "list"], PYTHONHOME=str(trap.folder))
    assert (done.returncode, done.stderr, trap.sprung) == (0, "", False)


def test_where_its_python_is_not_known_it_does_not_look_for_one(ways: dict[str, Path], trap: Trap) -> None:
    done = trap.run([str(ways["user"]), "run", "--", "true"], PYTHONPATH=str(trap.folder))
    if any(Path(folder, VERSION).exists() for folder in ("/usr/local/bin", "/usr/bin")):
        assert "click" in done.stderr  # of this test's making: its libraries are elsewhere
    else:
        assert (done.returncode, done.stdout) == (125, "")
        assert done.stderr.splitlines() == [
            f"authsome: error: there is no Python for {ways['user']}",
            "authsome: hint: install authsome in an environment of its own, such as with 'make setup'",
        ]
    assert not trap.sprung


MODULES: Final = ("__future__", "signal", "threading", "warnings", "contextlib", "pathlib", "click", "json")


@pytest.mark.parametrize("how", [("-m", "launcher"), (str(ROOT / "launcher" / "__main__.py"),)])
def test_started_without_the_program_it_isolates_itself_before_it_imports_anything(
    tmp_path: Path, how: tuple[str, ...]
) -> None:
    """As far as it can: what Python itself imports comes before."""
    for name in MODULES:
        (tmp_path / f"{name}.py").write_text(f"print('TAKEN {name}')")
    environ = {"PATH": os.environ["PATH"], "AUTHSOME_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, *how, "list"], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60
    )
    assert "TAKEN" not in done.stdout + done.stderr
    assert done.returncode == 0
    assert "discord" in done.stdout


SHELLS: Final = [
    shell for shell in (["dash"], ["bash", "--posix"], ["busybox", "ash"]) if shutil.which(shell[0])
]


TELL: Final = "import json, os, sys\nprint(json.dumps([sys.argv[1:], {**os.environ}]))\n"


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """The program beside a Python that tells how it was called."""
    folder = tmp_path / "a venv"
    executable(folder / "bin" / "python", f"#!{sys.executable} -I\n{TELL}")
    (folder / "pyvenv.cfg").touch()
    return Path(shutil.copy(SCRIPT, folder / "bin" / "authsome"))


@pytest.mark.parametrize("shell", [[], *SHELLS], ids=str)
def test_arguments_and_environment_arrive_as_they_are(told: Path, shell: list[str]) -> None:
    words = ["run", "", "a  b", "*", "-n", "line\nend", "$HOME"]
    environ = {"PATH": os.environ["PATH"], "IFS": "/i", "CDPATH": "/", "PWD": str(told.parent), "EMPTY": ""}
    done = subprocess.run(
        [*shell, str(told), *words], cwd=told.parent, env=environ, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    expected = {name: value for name, value in environ.items() if name != "IFS"}  # a shell's own
    arguments, found = json.loads(done.stdout)
    assert arguments == ["-I", "-m", "launcher", *words]
    assert found.items() >= expected.items()
    assert not any(name.startswith("authsome_") for name in found)


@pytest.mark.parametrize("shell", [[], *SHELLS], ids=str)
@pytest.mark.parametrize("target", ["{told}", "../a venv/bin/authsome", "other", "-n"])
def test_it_is_found_behind_links(told: Path, shell: list[str], target: str) -> None:
    folder = told.parent.parent.parent / "links"
    folder.mkdir()
    (folder / "other").symlink_to(told)
    (folder / "-n").symlink_to("../a venv/bin/authsome")
    (folder / "authsome").symlink_to(target.format(told=told))
    for name in ("./authsome", str(folder / "authsome"), *(["authsome"] if shell else [])):
        command = [*shell, name, "list"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
        assert json.loads(done.stdout)[0] == ["-I", "-m", "launcher", "list"], done.stderr


def test_it_is_found_by_a_path_that_names_the_working_folder(told: Path) -> None:
    command = ["/bin/sh", "-c", "authsome list"]
    environ = {"PATH": f":{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=told.parent, env=environ, capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout)[0] == ["-I", "-m", "launcher", "list"], done.stderr
