import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from launcher.startup import PACKAGES, foreign_packages, name_services
from tests.launcher.cli import PROGRAM, ROOT, Program

pytestmark = pytest.mark.usefixtures("alone_at_the_login_port")


def copy_of_ours(folder: Path) -> Path:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_our_packages_come_from_one_folder() -> None:
    assert foreign_packages(ROOT) == []


def test_a_package_from_elsewhere_is_named_with_its_folder(tmp_path: Path) -> None:
    problems = foreign_packages(tmp_path, ["vault"])
    assert problems == [f"the package 'vault' comes from {ROOT / 'vault'}, not from {tmp_path}"]


def test_a_package_that_is_not_there_is_named() -> None:
    assert foreign_packages(ROOT, ["no_such_package_of_ours"]) == [
        f"the package 'no_such_package_of_ours' comes from nowhere, not from {ROOT}"
    ]


def test_the_program_refuses_to_start_with_another_vault(tmp_path: Path) -> None:
    ours = copy_of_ours(tmp_path / "ours")
    (tmp_path / "other" / "vault").mkdir(parents=True)
    (tmp_path / "other" / "vault" / "__init__.py").write_text("print('TAKEN OVER')")
    start = f"import sys; sys.path[:0] = [{str(tmp_path / 'other')!r}, {str(ours)!r}]; " + (
        "from launcher.__main__ import main; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", start, "list"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"authsome: error: the package 'vault' comes from {tmp_path / 'other' / 'vault'}, not from {ours}",
        "authsome: hint: install authsome in an environment of its own",
    ]


def is_opened(path: Path, command: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Whether a command opens the named pipe `path` to read it; it waits then for somebody to write."""
    os.mkfifo(path)
    process = subprocess.Popen(
        command, env={**environ}, cwd=path.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while process.poll() is None:
            with suppress(OSError):
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
                return True
            time.sleep(0.01)
        return False
    finally:
        process.kill()
        process.wait()
        path.unlink()


@pytest.mark.parametrize("relative", [True, False], ids=["relative", "absolute"])
def test_openssl_is_not_told_where_to_load_code_from(
    authsome: Program, tmp_path: Path, relative: bool
) -> None:
    """A run could leave such a file in the project: OpenSSL would load what it names, at the next command."""
    path = tmp_path / "openssl.cnf"
    authsome.connect()
    environ = {**authsome.environ, "OPENSSL_CONF": path.name if relative else str(path)}
    assert is_opened(path, [sys.executable, "-I", "-c", "import ssl"], environ), "the negative twin"
    for arguments in (["list"], ["doctor"], ["run", "--", "true"]):
        assert not is_opened(path, [*PROGRAM, *arguments], environ)


def test_the_program_of_a_run_has_the_library_variables_of_its_user(authsome: Program) -> None:
    authsome.connect()
    environ = {**authsome.environ, "OPENSSL_CONF": "openssl.cnf"}
    command = [*PROGRAM, "run", "--", "sh", "-c", "echo $OPENSSL_CONF"]
    assert subprocess.check_output(command, env=environ, text=True) == "openssl.cnf\n"


@pytest.mark.parametrize(
    ("thread", "finalized"), [("", True), ("threading.Thread(**forever).start(); ", False)]
)
def test_with_a_thread_left_nothing_is_finalized_that_could_spoil_the_status(
    thread: str, finalized: bool
) -> None:
    start = (
        f"import atexit, sys, threading; sys.path.append({str(ROOT)!r}); sys.argv[1:] = ['--help']; "
        "forever = {'target': threading.Event().wait, 'daemon': True}; "
        f"atexit.register(print, 'finalized'); {thread}"
        "from launcher.__main__ import main; sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-I", "-c", start], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("Usage: authsome ")
    assert done.stdout.endswith("finalized\n") is finalized
    assert (done.returncode, done.stderr) == (0, "")


def test_modules_in_the_working_folder_and_in_pythonpath_are_not_imported(tmp_path: Path) -> None:
    for name in ("click", "httpx", "pydantic", "json"):
        (tmp_path / f"{name}.py").write_text("print('TAKEN OVER')")
    done = subprocess.run(
        [sys.executable, str(ROOT / "launcher" / "__main__.py"), "list"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "AUTHSOME_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "TAKEN OVER" not in done.stdout + done.stderr
    assert done.returncode == 0
    assert "discord" in done.stdout


SEAL = """
import sys
sys.path.append({root!r})
import launcher.run.run
from launcher.startup import load_everything, seal_imports
load_everything()
{seal}
for name in ("colorsys", "no_such_module"):
    try:
        __import__(name)
        print("imported")
    except ModuleNotFoundError as error:
        print(error)
import proxy.engine.handler, json
print("\u00e9".encode("idna"), "x".encode("utf-16-le"))
"""


@pytest.mark.parametrize(
    ("seal", "said"),
    [
        (
            "seal_imports()",
            [
                "colorsys is not imported while a program is running",
                "no_such_module is not imported while a program is running",
            ],
        ),
        ("", ["imported", "No module named 'no_such_module'"]),
    ],
)
def test_once_sealed_nothing_is_imported_that_was_not_there(seal: str, said: list[str]) -> None:
    """What was loaded before goes on working, codecs among it."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", SEAL.format(root=str(ROOT), seal=seal)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [*said, "b'xn--9ca' b'x\\x00'"]


@pytest.mark.parametrize(
    ("text", "services"),
    [
        (
            "passwd: files\nhosts:  files mdns4_minimal [NOTFOUND=return] dns # all\n",
            b"files mdns4_minimal [NOTFOUND=return] dns",
        ),
        ("# hosts: none\n hosts : dns\n", b"dns"),
        ("passwd: files\n", b"files dns"),
        (None, b"files dns"),
    ],
)
def test_the_services_that_look_up_names_are_read(tmp_path: Path, text: str | None, services: bytes) -> None:
    path = tmp_path / "nsswitch.conf"
    if text is not None:
        path.write_text(text)
    assert name_services(path) == services
