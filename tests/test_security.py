"""docs/promises.md names the tests that hold each promise; those that belong to no single file are here."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from launcher.errors import LauncherError
from launcher.isolation.syscalls import unavailable
from launcher.run.isolate import require_possible
from proxy.dial import Dialer, Lookups
from proxy.errors import DialFailed
from proxy.model import Origin
from tests.e2e.desk import Desk, wait_until
from tests.hostile.mutations import FOR_ROOT, ISOLATION, LOGIN, WATCHED, WIRE
from tests.isolation.world import USERS, world
from tests.launcher.cli import PROGRAM, Program
from tests.launcher.run.test_run import family
from tests.standin import CLIENT_SECRET, StandIn

pytestmark = pytest.mark.usefixtures("alone_at_the_login_port")

ROOT: Final = Path(__file__).parent.parent
SECURITY: Final = ROOT / "SECURITY.md"
PROMISES: Final = ROOT / "docs/promises.md"
PROTECTED: Final = "What is protected"

NAMED: Final = re.compile(r"`(tests/[^`:]+)(?:::([^`]+))?`")
EDIT: Final = re.compile(r"(?<!\*)\*([^*\n]+)\*(?!\*)")
ROW: Final = re.compile(r"(?m)^\| (?!\|)(.+?) \|")
DEFINITIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)


def protected(text: str) -> str:
    """The section with the promises, without comments."""
    (section,) = re.findall(rf"(?ms)^## {PROTECTED}$(.*?)(?=^## |\Z)", text)
    return re.sub(r"(?s)<!--.*?-->\n?", "", section)


def promises(text: str) -> Iterator[tuple[str, str]]:
    """Each promise, and what stands below it."""
    for item in re.split(r"(?m)^- ", protected(text))[1:]:
        sentence, _, below = item.partition("\n\n")[0].partition("\n  - ")
        yield " ".join(sentence.split()), below


def defined(path: str) -> set[str]:
    """The functions, methods and constants of a file, as they are named after its path; "" for the file."""
    file = ROOT / path
    names = {""} if file.is_file() else set()
    for node in ast.parse(file.read_text()).body if names else []:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.ClassDef(name=name, body=body):
                names |= {f"{name}::{of.name}" for of in body if isinstance(of, DEFINITIONS)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
    return names


def complaints(text: str) -> list[str]:
    """What a reader of the document could not rely on."""
    named = NAMED.findall(text)
    found = [f"there is no {path}::{name}" for path, name in named if name not in defined(path)]
    edits = {mutation.protection for mutation in (*WIRE, *ISOLATION, *LOGIN, *FOR_ROOT)}
    edits |= {tested.protection for tested in WATCHED}
    explained = set()
    for sentence, below in promises(text):
        explained |= set(re.findall(r"^\*\*\w\*\*", sentence))
        if not any(name.split("::")[-1].startswith("test_") for _, name in NAMED.findall(below)):
            found.append(f"no test: {sentence}")
        if not sentence.endswith(".") or re.search(r"\. [A-Z`*]", sentence):
            found.append(f"not one sentence: {sentence}")
        found += [f"there is no edit '{name}'" for name in EDIT.findall(below) if name not in edits]
    rows = set(ROW.findall(protected(text)))
    return found + [f"a row and no promise, or the reverse: {row}" for row in sorted(rows ^ explained)]


def test_every_promise_is_one_sentence_and_names_a_test_that_exists() -> None:
    assert complaints(PROMISES.read_text()) == []


def test_no_promise_is_overlooked() -> None:
    """As many as a count of another kind finds: of lines that end a sentence before a list of tests."""
    text = protected(PROMISES.read_text())
    found = list(promises(PROMISES.read_text()))
    assert len(found) == len(re.findall(r"\.\n  - `tests/", text)) == text.count("\n- ") > 50
    assert ROW.findall(text) == ["**a**", "**b**", "**c**", "**d**", "**e**"]


def unfounded(security: str, full: str) -> list[str]:
    """The sentences of SECURITY.md that docs/promises.md does not have."""
    known = {sentence for sentence, _ in promises(full)}
    (section,) = re.findall(r"(?ms)^## What is promised$(.*?)(?=^## )", security)
    said = [" ".join(item.split("\n\n")[0].split()) for item in re.split(r"(?m)^- ", section)[1:]]
    gaps = re.findall(
        r"(?m)^- (\*\*.+?)(?::|\*\*|,|\.)", security[security.index("## What is not protected") :]
    )
    (open_,) = re.findall(r"(?ms)^## What is not protected$(.*)", full)
    flat = " ".join(open_.split())
    return [s for s in said if s not in known] + [gap for gap in gaps if gap not in flat]


def test_every_edit_that_takes_a_protection_away_still_applies() -> None:
    edits = [mutation.edit for mutation in (*WIRE, *ISOLATION, *LOGIN, *FOR_ROOT)]
    edits += [tested.edit for tested in WATCHED]
    ours = [edit for edit in edits if not edit[0].startswith("..")]  # what the installer wrote
    assert len(ours) > 90
    assert [edit for edit in ours if (ROOT / edit[0]).read_text().count(edit[1]) != 1] == []


def test_what_security_says_is_what_the_promises_say() -> None:
    assert unfounded(SECURITY.read_text(), PROMISES.read_text()) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("It never goes over cleartext.", "It never goes over anything."),
        ("**Your network**", "**Your office**"),
    ],
)
def test_a_sentence_that_no_test_holds_is_noticed(old: str, new: str) -> None:
    text = SECURITY.read_text()
    assert old in text
    assert len(unfounded(text.replace(old, new), PROMISES.read_text())) == 1


def test_the_levels_are_the_same_in_both() -> None:
    ours, theirs = SECURITY.read_text(), PROMISES.read_text()
    pattern = r"(?m)^\| (\*\*\w\*\*) \|.*?\| (\w+) \| (\w+) \| (\w+) \|$"
    assert re.findall(pattern, ours) == re.findall(pattern, theirs)
    assert len(re.findall(pattern, ours)) == 5


GOOD: Final = (
    "- It holds.\n  - `tests/test_security.py::complaints`,\n"
    "    `tests/test_docs.py::test_a_command_or_option_that_does_not_exist_is_noticed`;\n"
    "    *bodies are searched*\n"
)
TABLE: Final = "\n| | | guard |\n|---|---|---|\n| **a** | it holds | yes |\n\n"


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (GOOD, None),
        (GOOD + "<!-- It may hold later. -->\n" + GOOD, None),
        (TABLE + GOOD.replace("It holds", "**a** holds"), None),
        (
            GOOD.replace("is_noticed", "is_liked"),
            "there is no tests/test_docs.py::test_a_command_or_option_that",
        ),
        (
            GOOD.replace("test_docs.py", "test_gone.py"),
            "there is no tests/test_gone.py::test_a_command_or_option",
        ),
        (GOOD + "`tests/test_gone.py`\n", "there is no tests/test_gone.py::"),
        (GOOD + "`tests/test_docs.py`\n", None),
        (GOOD + "- It holds as well.\n", "no test: It holds as well."),
        ("- It holds.\n  - `tests/test_security.py::complaints`\n", "no test: It holds."),
        ("- It holds.\n\n" + GOOD[12:], "no test: It holds."),
        (GOOD.replace("It holds.", "It holds. So does that."), "not one sentence: It holds. So does that."),
        (GOOD.replace("It holds.", "It holds"), "not one sentence: It holds"),
        (GOOD.replace("bodies are", "souls are"), "there is no edit 'souls are searched'"),
        (TABLE + GOOD, "a row and no promise, or the reverse: **a**"),
        (GOOD.replace("It holds", "**a** holds"), "a row and no promise, or the reverse: **a**"),
    ],
)
def test_what_could_not_be_relied_on_is_noticed(body: str, complaint: str | None) -> None:
    found = complaints(f"# Security\n\n## {PROTECTED}\n\n{body}\n## What is not\n\n- This.\n")
    assert len(found) == (0 if complaint is None else 1)
    assert complaint is None or found[0].startswith(complaint)


class Rebinding(asyncio.SelectorEventLoop):
    """A loop whose name server says something else when it is asked again. Nothing is really dialled."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = ["192.0.2.1", "127.0.0.1"]
        self.dialled: list[object] = []

    async def getaddrinfo(  # type: ignore[override]
        self, host: object, port: object, **options: int
    ) -> list[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int]]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (self.answers.pop(0), 80))]

    async def sock_connect(self, sock: socket.socket, address: object) -> None:
        self.dialled.append(address)
        raise ConnectionRefusedError


async def dial() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Rebinding)
    lookups = Lookups(lambda _host, _port: [loop.answers.pop(0)])
    dialer = Dialer(lambda host, port: (host, port), lambda host, port: None, lookups=lookups)
    await dialer.dial(Origin("rebound.example", 80))


async def dial_carelessly() -> None:
    assert await asyncio.get_running_loop().getaddrinfo("rebound.example", 80)
    await asyncio.open_connection("rebound.example", 80)


@pytest.mark.parametrize(("how", "address"), [(dial, "192.0.2.1"), (dial_carelessly, "127.0.0.1")])
def test_a_name_that_changes_its_address_leads_to_the_one_that_was_checked(
    how: Callable[[], Awaitable[None]], address: str
) -> None:
    async def dialling() -> None:
        with pytest.raises((DialFailed, OSError)):
            await how()

    with asyncio.Runner(loop_factory=Rebinding) as runner:
        runner.run(dialling())
        loop = runner.get_loop()
    assert isinstance(loop, Rebinding)
    assert loop.dialled == [(address, 80)]


@pytest.mark.parametrize(("given", "status"), [(True, 0), (False, 125)])
def test_a_run_has_its_child_before_it_reads_a_secret(tmp_path: Path, given: bool, status: int) -> None:
    """The key comes through a pipe that is empty until the child is there; without it nothing is run."""
    program = Program(tmp_path / "home")
    program.connect()
    read, write = os.pipe()
    command = [*PROGRAM, "run", "--", "touch", str(tmp_path / "started")]
    environ = {**program.environ, "AUTHSOME_KEY_FD": str(read)}
    with subprocess.Popen(command, env=environ, pass_fds=[read], stderr=subprocess.DEVNULL) as run:
        os.close(read)
        try:
            wait_until(lambda: len(family(run.pid)) > 1)
            assert run.poll() is None
            os.write(write, (program.home / "master.key").read_bytes() if given else b"")
        finally:
            os.close(write)
    assert run.returncode == status
    assert (tmp_path / "started").exists() is given


def test_each_secret_of_a_login_goes_to_its_endpoints_alone(standin: StandIn, tmp_path: Path) -> None:
    standin.discord.token_lifetime = 1.0
    desk = Desk(standin, tmp_path)
    desk.login()
    time.sleep(1.1)
    desk.run("true")
    for words in (["check", "--all"], ["logout", "discord"]):
        assert desk.authsome(*words).returncode == 0
    issued = standin.discord.issued
    assert len(issued) > 1, "there was no refresh"

    def went(*secrets: str | None) -> set[tuple[str, str]]:
        seen = [seen for secret in secrets if secret for seen in standin.wire_contains(secret.encode())]
        return {(each.host, each.target) for each in seen}

    token, revoke = ("discord.com", "/api/oauth2/token"), ("discord.com", "/api/oauth2/token/revoke")
    assert went(CLIENT_SECRET) == {token, revoke}
    assert went(*(tokens.refresh_token for tokens in issued)) == {token, revoke}
    assert went(*(tokens.access_token for tokens in issued)) == {
        ("discord.com", "/api/v10/users/@me"),
        ("discord.com", "/api/v10/oauth2/@me"),
    }


SPACES: Final = ("user", "mnt", "pid", "ipc", "net")


@pytest.mark.parametrize(
    ("level", "own"),
    [("none", ()), ("landlock", ()), ("guard", SPACES[:4]), ("sandbox", SPACES)],
)
def test_an_ordinary_user_gets_the_namespaces_of_each_level(level: str, own: tuple[str, ...]) -> None:
    look = f"for name in {' '.join(SPACES)}; do readlink /proc/self/ns/$name; done"
    with world(USERS[-1]) as around:
        ended = around.run(level, "sh", "-c", look)
    assert ended.status == 0, ended.errors
    inside = dict(zip(SPACES, ended.output.split(), strict=True))
    assert tuple(name for name in SPACES if inside[name] != os.readlink(f"/proc/self/ns/{name}")) == own


@pytest.mark.skipif(os.uname().machine != "x86_64" or not shutil.which("setarch"), reason="needs setarch(8)")
def test_where_there_is_no_isolation_nothing_is_started_unless_none_is_wanted(tmp_path: Path) -> None:
    """A 32-bit machine, as far as a program can tell."""
    program = Program(tmp_path / "home")
    program.connect()

    def run(*options: str) -> tuple[int, str, list[str]]:
        command = ["setarch", "linux32", *PROGRAM, "run", *options, "--", "echo", "ran"]
        done = subprocess.run(command, env=program.environ, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr.splitlines()

    for options in ([], ["--sandbox"]):
        status, out, (error, hint) = run(*options)
        assert (status, out) == (125, "")
        assert error.startswith(
            "authsome: error: cannot isolate the program: isolation does not know the system"
        )
        assert hint == "authsome: hint: give --no-sandbox to run without isolation"
    assert run("--no-sandbox")[:2] == (0, "ran\n")


@pytest.mark.parametrize(
    "reason", [unavailable("darwin", "arm64"), unavailable("linux", "riscv64"), "any other"]
)
def test_a_reason_why_nothing_can_be_isolated_refuses_a_run(reason: str) -> None:
    with pytest.raises(LauncherError, match=f"^cannot isolate the program: {reason}$") as refused:
        require_possible(reason)
    assert refused.value.hint == "give <set no_sandbox> to run without isolation"
    assert unavailable() is None
    require_possible(unavailable())


SECRET: Final = frozenset(
    {"expected", "received", "_state", "_path", "_seal", "user", "password", "_password"}
)
"""What the functions below compare, as they call it."""


def carelessly_compared(source: str) -> set[str]:
    """The names of secrets that are compared by an operator, which ends at the first difference."""
    compared = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Compare)]
    within = [inner for node in compared for inner in ast.walk(node)]
    names = {node.id for node in within if isinstance(node, ast.Name)}
    return set(SECRET) & (names | {node.attr for node in within if isinstance(node, ast.Attribute)})


@pytest.mark.parametrize(
    "path", ["oauth/login/page.py", "oauth/login/page_door.py", "oauth/protocol.py", "proxy/front.py"]
)
def test_what_strangers_can_guess_at_is_compared_in_constant_time(path: str) -> None:
    source = (ROOT / path).read_text()
    assert carelessly_compared(source) == set()
    assert ("same_state(" if path.startswith("oauth/login/") else "hmac.compare_digest(") in source


def test_a_comparison_that_is_not_in_constant_time_is_noticed() -> None:
    edits = {
        "oauth/protocol.py": (
            "hmac.compare_digest(expected.encode(), ",
            "(expected.encode() == ",
            "expected",
        ),
        "oauth/login/page_door.py": ("same_state(self._seal, seal)", "self._seal == seal", "_seal"),
        "proxy/front.py": ("hmac.compare_digest(password, self._password)", "(password == b'')", "password"),
    }
    for path, (old, new, name) in edits.items():
        assert name in carelessly_compared((ROOT / path).read_text().replace(old, new))
