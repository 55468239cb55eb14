"""What `authsome doctor` says, here and on machines that lack something."""

import errno
import json
import os
import platform
import re
import socket
import subprocess
import sys
import tomllib
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

from launcher.actions.doctor import (
    MITMPROXY,
    Diagnosis,
    bytecode_finding,
    home_finding,
    libraries_finding,
    mitmproxy_finding,
    port_finding,
    proxy_finding,
)
from launcher.actions.finding import Finding, State
from launcher.isolation.causes import Cause, Host, explain
from launcher.isolation.model import Level
from launcher.isolation.outside.probe import PROBED, Fails, Works
from launcher.isolation.steps import Step
from launcher.setup.app import App
from launcher.setup.settings import Settings
from launcher.text.diagnosis import as_json_text, as_tables
from tests.launcher.cli import PROGRAM, ROOT, Program, Said

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="stands for other Linux machines"
)

FINE = """\
LEVEL        STATE  STEP
sandbox      works  -
guard        works  -
guard-nopid  works  -
landlock     works  -

COMMAND                 LEVEL HERE
authsome run            guard
authsome run --sandbox  sandbox
"""

DOCKER = """\
LEVEL        STATE          STEP
sandbox      does not work  could not make the namespaces
guard        does not work  could not make the namespaces
guard-nopid  does not work  could not make the namespaces
landlock     works          -

sandbox, guard, guard-nopid: a filter of system calls refuses namespaces, as Docker's default profile does
  remedy: start the container with a seccomp profile that allows unshare, clone and mount

COMMAND                 LEVEL HERE
authsome run            landlock
authsome run --sandbox  refused
"""

NO_USER_NAMESPACES = """\
LEVEL        STATE          STEP
sandbox      does not work  could not make the namespaces
guard        does not work  could not make the namespaces
guard-nopid  does not work  could not make the namespaces
landlock     works          -

sandbox, guard, guard-nopid: user.max_user_namespaces allows no more user namespaces
  remedy: run 'sudo sysctl user.max_user_namespaces=10000'

COMMAND                 LEVEL HERE
authsome run            landlock
authsome run --sandbox  refused
"""

MASKED_PROC = """\
LEVEL        STATE          STEP
sandbox      does not work  could not mount a private /proc
guard        does not work  could not mount a private /proc
guard-nopid  works          -
landlock     works          -

sandbox, guard: parts of /proc are masked here, as in containers, so no new one can be mounted
  remedy: start the container with '--security-opt systempaths=unconfined'

COMMAND                 LEVEL HERE
authsome run            guard-nopid
authsome run --sandbox  refused
"""

NO_LANDLOCK = """\
LEVEL        STATE          STEP
sandbox      works          -
guard        works          -
guard-nopid  works          -
landlock     does not work  could not restrict files with Landlock

sandbox, guard, guard-nopid: works, but could not restrict signals and abstract sockets with Landlock
  remedy: use a kernel from 6.12 on with 'landlock' among the modules of its 'lsm=' option

landlock: the kernel has no Landlock, or it is not enabled
  remedy: use a kernel from 5.13 on with 'landlock' among the modules of its 'lsm=' option

COMMAND                 LEVEL HERE
authsome run            guard
authsome run --sandbox  sandbox
"""

NOTHING = """\
LEVEL        STATE          STEP
sandbox      does not work  could not make the namespaces
guard        does not work  could not make the namespaces
guard-nopid  does not work  could not make the namespaces
landlock     does not work  could not restrict files with Landlock

sandbox, guard, guard-nopid: a filter of system calls refuses namespaces, as Docker's default profile does
  remedy: start the container with a seccomp profile that allows unshare, clone and mount

landlock: the kernel has no Landlock, or it is not enabled
  remedy: use a kernel from 5.13 on with 'landlock' among the modules of its 'lsm=' option

COMMAND                 LEVEL HERE
authsome run            refused
authsome run --sandbox  refused
"""


def doctor(authsome: Program, *options: str, host: str = "") -> Said:
    """On this kind of machine."""
    order = {"argv": [*PROGRAM, "doctor", *options], "uid": -1, "host": host, "folder": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.isolation.on_host", json.dumps(order)],
        cwd=ROOT,
        env=authsome.environ,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return Said(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("host", "words", "status"),
    [
        ("", FINE, 0),
        ("docker", DOCKER, 0),
        ("no-user-namespaces", NO_USER_NAMESPACES, 0),
        ("masked-proc", MASKED_PROC, 0),
        ("no-landlock", NO_LANDLOCK, 0),
        ("nothing", NOTHING, 1),
    ],
)
def test_it_says_what_works_and_why_the_rest_does_not(
    authsome: Program, host: str, words: str, status: int
) -> None:
    said = doctor(authsome, host=host)
    assert said.out.split("\nCHECK")[0] == words
    assert (said.status, said.err) == (status, "")


def test_it_says_what_else_it_found(authsome: Program) -> None:
    authsome.connect()
    lines = doctor(authsome).out.split("\nCHECK")[1].splitlines()[1:]
    found = {line[:16].strip(): line[16:].split(maxsplit=1)[1] for line in lines if line[:16].strip()}
    assert found["python"] == f"{platform.python_version()} at {sys.executable}"
    assert found["mitmproxy"] == version("mitmproxy")
    assert found["home"] == str(authsome.home)
    assert found["key"] == f"file: {authsome.home / 'master.key'}"
    assert found["providers"] == "read, 0 of them your own"
    assert found["upstream proxy"] == "none: connections are direct"
    assert {"bytecode", "login port"} < set(found)


def test_it_makes_nothing_and_asks_for_nothing(authsome: Program) -> None:
    said = doctor(authsome)
    assert re.search(rf"ok +{re.escape(str(authsome.home))} does not exist yet", said.out)
    assert not authsome.home.exists()


def test_programs_read_the_same_as_json(authsome: Program) -> None:
    answer = json.loads(doctor(authsome, "--json", host="masked-proc").out)
    assert answer["commands"] == {"authsome run": "guard-nopid", "authsome run --sandbox": None}
    assert answer["levels"][0] == {
        "level": "sandbox",
        "works": False,
        "step": "mount a private /proc",
        "errno": 1,
        "cause": "parts of /proc are masked here, as in containers, so no new one can be mounted",
        "remedy": "start the container with '--security-opt systempaths=unconfined'",
    }
    assert answer["levels"][2] == {"level": "guard-nopid", "works": True, "missing": []}
    home = next(check for check in answer["checks"] if check["name"] == "home")
    assert home == {
        "name": "home",
        "state": "ok",
        "text": f"{authsome.home} does not exist yet",
        "remedy": None,
    }


def test_a_problem_is_told_with_its_remedy_and_exit_1(authsome: Program) -> None:
    authsome.connect()
    authsome.home.chmod(0o755)
    said = doctor(authsome)
    assert said.status == 1
    assert f"other users can use {authsome.home}\n" in said.out
    assert f"\nhome: run 'chmod 700 {authsome.home}'\n" in said.out
    authsome.home.chmod(0o700)
    assert doctor(authsome).status == 0


def test_a_missing_key_file_is_a_problem(authsome: Program) -> None:
    authsome.connect()
    (authsome.home / "master.key").unlink()
    said = doctor(authsome)
    assert said.status == 1
    assert f"cannot read {authsome.home / 'master.key'}: no such file or directory" in said.out


def test_a_wrong_provider_file_is_a_warning(authsome: Program) -> None:
    authsome.connect()
    (authsome.home / "providers").mkdir(mode=0o700, exist_ok=True)
    (authsome.home / "providers" / "acme.json").write_text("{}")
    said = doctor(authsome)
    assert said.status == 0
    assert "warning  " in said.out
    assert "acme.json" in said.out


def test_inside_of_a_run_it_says_so(authsome: Program) -> None:
    authsome.connect()
    said = authsome("run", "--", *PROGRAM, "doctor")
    assert "this is inside of a run, which has no vault" in said.out
    assert said.status == 0


def test_the_password_of_the_upstream_proxy_is_not_shown(authsome: Program) -> None:
    said = doctor(replace(authsome, variables={"HTTPS_PROXY": "http://user:CANARY@proxy.example:3128"}))
    assert "HTTPS_PROXY: proxy.example:3128\n" in said.out
    assert "CANARY" not in said.out + said.err


def test_a_proxy_that_cannot_be_used_is_a_problem(tmp_path: Path) -> None:
    settings = Settings(tmp_path, "default")
    with App(settings, {"HTTPS_PROXY": "socks5://proxy.example"}) as app:
        assert proxy_finding(app).state is State.PROBLEM
    with App(settings, {"HTTPS_PROXY": "proxy.example:3128"}) as app:
        assert proxy_finding(app).state is State.OK


def test_a_port_that_another_program_has_is_a_warning() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = port_finding(port)
        text = f"a login could not listen on 127.0.0.1:{port}: address already in use"
        assert (found.state, found.text) == (State.WARNING, text)
    assert port_finding(port).state is State.OK


def test_modules_without_bytecode_are_a_warning_with_the_command_that_helps(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "module.py").write_text("")
    folders = [tmp_path / "one", tmp_path / "other"]
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(folders[0])], check=True)
    found = bytecode_finding(folders)
    assert found.state is State.WARNING
    assert found.text.startswith("1 of 2 files are not compiled")
    assert found.remedy == f"run '{sys.executable} -m compileall -q {folders[1]}'"
    subprocess.run(found.remedy.removeprefix("run '").removesuffix("'").split(), check=True)
    assert bytecode_finding(folders).state is State.OK


def test_libraries_with_another_name_are_a_warning(tmp_path: Path) -> None:
    library = tmp_path / "package" / "fast.abi3.so"
    library.parent.mkdir()
    library.write_bytes(b"")
    assert libraries_finding([tmp_path]) == Finding("libraries", State.OK, "1, each with one name")
    os.link(library, tmp_path / "cached")
    found = libraries_finding([tmp_path])
    assert (found.state, found.text.split(" (")[0]) == (State.WARNING, "1 of 1 have other names")


def test_the_version_of_mitmproxy_is_the_one_that_is_installed_with_authsome() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (requirement,) = (line for line in wanted if line.startswith("mitmproxy"))
    assert requirement == f"mitmproxy>={MITMPROXY}1,<12.4"
    assert mitmproxy_finding(version("mitmproxy")).state is State.OK
    assert mitmproxy_finding("12.2.0").state is State.PROBLEM
    assert mitmproxy_finding("12.30.0").state is State.PROBLEM


def test_a_home_that_is_a_file_or_has_an_open_folder_in_it_is_a_problem(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    inside = home / "runs"
    assert home_finding(home, [inside]).state is State.OK
    inside.mkdir(mode=0o755)
    inside.chmod(0o755)
    found = home_finding(home, [inside])
    assert found == Finding(
        "home", State.PROBLEM, f"other users can use {inside}", f"run 'chmod 700 {inside}'"
    )
    file = tmp_path / "file"
    file.touch(mode=0o600)
    assert home_finding(file).text == f"cannot use {file}: not a directory"


def test_a_home_that_cannot_be_written_is_a_problem_except_for_root(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert home_finding(tmp_path).state is (State.PROBLEM if os.geteuid() else State.OK)
    tmp_path.chmod(0o700)
    assert home_finding(tmp_path).state is State.OK


def test_doctor_does_not_advise_to_run_doctor() -> None:
    cause = explain(Step.HIDE, errno.EIO, Host(None, None, None, False))
    assert "<doctor>" in cause.remedy
    diagnosis = Diagnosis((Fails(Level.GUARD, Step.HIDE, errno.EIO, cause),), ())
    assert f"\n{Level.GUARD}: {cause.text}\n" in as_tables(diagnosis)
    for text in (as_tables(diagnosis), as_json_text(diagnosis)):
        assert "authsome doctor" not in text


def test_a_system_without_any_of_it_runs_nothing_and_that_is_exit_1() -> None:
    cause = Cause("isolation needs Linux, and this is darwin", "give --no-sandbox")
    diagnosis = Diagnosis(tuple(Fails(level, Step.SYSTEM, 0, cause) for level in PROBED), ())
    assert diagnosis.level(Level.GUARD) is None
    assert diagnosis.level(Level.SANDBOX) is None
    assert not diagnosis.works
    works = Diagnosis((Works(Level.LANDLOCK, ()),), (Finding("home", State.WARNING, "x"),))
    assert works.level(Level.GUARD) is Level.LANDLOCK
    assert works.works
    assert not replace(works, findings=(Finding("home", State.PROBLEM, "x"),)).works


def test_an_audit_that_cannot_be_read_is_a_warning(authsome: Program) -> None:
    folder = authsome.home / "audit"
    folder.mkdir(parents=True, mode=0o700)
    (folder / "audit.jsonl").mkdir()
    found = [line for line in authsome("doctor").out.splitlines() if line.startswith("audit")]
    assert any(f"cannot read the audit in {folder}" in line for line in found)
