"""The real `authsome run` on machines that lack something: its words, and that it keeps its promise."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.isolation.runs import Runner, runner
from tests.isolation.world import CANARY, USERS, interpreter
from tests.launcher.cli import Said

TRIED = ["launcher_memory", "launcher_environ", "trace", "path_socket", "abstract_socket"]

FILTER = "a filter of system calls refuses namespaces, as Docker's default profile does"
FILTER_HINT = "start the container with a seccomp profile that allows unshare, clone and mount"
MASKED = "parts of /proc are masked here, as in containers, so no new one can be mounted"
MASKED_HINT = "start the container with '--security-opt systempaths=unconfined'"
NONE_LEFT = "user.max_user_namespaces allows no more user namespaces"
NONE_LEFT_HINT = "run 'sudo sysctl user.max_user_namespaces=10000'"
INSTEAD = (
    "landlock stands in: the program can make no files directly in the home folder and in those that hold "
    "authsome's libraries, and use no unix sockets"
)


@pytest.fixture(scope="module", params=USERS)
def user(request: pytest.FixtureRequest) -> Iterator[Runner]:
    with runner(request.param) as made:
        yield made


def attacked(user: Runner, *options: str, host: str = "") -> Said:
    """What a hostile program gets of the vault's files, and of the launcher and the daemons."""
    tries = f"{interpreter(user.around.uid)} {user.around.attacks} {' '.join(TRIED)}"
    vault = 'for f in vault.db master.key; do head -c 1 "$VAULT/$f" >/dev/null 2>&1 && echo "read $f"; done'
    return user.authsome("run", *options, "--", "sh", "-c", f"{vault}; {tries}", host=host)


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("", []),
        ("docker", [f"guard is not available: {FILTER}; {INSTEAD}", FILTER_HINT]),
        ("no-user-namespaces", [f"guard is not available: {NONE_LEFT}; {INSTEAD}", NONE_LEFT_HINT]),
        (
            "masked-proc",
            [
                f"guard is not available: {MASKED}; guard-nopid stands in: "
                "the names of other processes stay visible",
                MASKED_HINT,
            ],
        ),
    ],
)
def test_guard_says_what_stands_in_for_it_and_nothing_can_be_read(
    user: Runner, host: str, words: list[str]
) -> None:
    said = attacked(user, host=host)
    kinds = ("warning", "hint")
    assert said.err.splitlines() == [
        f"authsome: {kind}: {text}" for kind, text in zip(kinds, words, strict=False)
    ]
    lines = said.out.splitlines()
    assert [line.split(", ")[:2] for line in lines] == [[f'["{name}"', '"blocked"'] for name in TRIED]
    assert CANARY not in said.out + said.err
    assert said.status == 0


@pytest.mark.parametrize("host", ["", "docker", "masked-proc"])
def test_no_signal_is_blocked_in_the_program_whatever_was_tried_before(user: Runner, host: str) -> None:
    said = user.authsome("run", "--", "grep", "SigBlk", "/proc/self/status", host=host)
    assert said.out.split() == ["SigBlk:", "0" * 16]


def test_guard_says_where_the_kernel_leaves_abstract_sockets_open(user: Runner) -> None:
    said = attacked(user, host="no-landlock")
    warning, hint = said.err.splitlines()
    assert warning.startswith(
        "authsome: warning: the program can reach your daemons' abstract sockets, such as @"
    )
    assert hint == "authsome: hint: give --sandbox, or use Linux from 6.12 on with Landlock"
    reached = [line for line in said.out.splitlines() if '"blocked"' not in line]
    assert reached == ['["abstract_socket", "leak", ""]']
    kept = [word for folder in user.around.shown for word in ("--rw", folder)]
    said = attacked(user, "--sandbox", *kept, host="no-landlock")
    assert said.err == ""
    assert all('"blocked"' in line for line in said.out.splitlines())


def test_without_isolation_the_same_program_reads_the_vault(user: Runner) -> None:
    said = attacked(user, "--no-sandbox")
    assert said.err == (
        "authsome: warning: no isolation: the program can read your vault and its key as you can\n"
    )
    lines = said.out.splitlines()
    assert lines[:2] == ["read vault.db", "read master.key"]
    assert '["path_socket", "leak", ""]' in lines


@pytest.mark.parametrize(
    ("options", "host", "error", "hint"),
    [
        ((), "nothing", f"could not make the namespaces: {FILTER}", FILTER_HINT),
        (("--sandbox",), "docker", f"could not make the namespaces: {FILTER}", FILTER_HINT),
        (("--sandbox",), "masked-proc", f"could not mount a private /proc: {MASKED}", MASKED_HINT),
        (
            ("--sandbox",),
            "no-user-namespaces",
            f"could not make the namespaces: {NONE_LEFT}",
            NONE_LEFT_HINT,
        ),
    ],
)
def test_what_cannot_be_kept_is_refused_and_nothing_is_started(
    user: Runner, options: tuple[str, ...], host: str, error: str, hint: str
) -> None:
    said = user.authsome("run", *options, "--", "touch", "started", host=host)
    assert said == Said(
        125,
        "",
        f"authsome: error: cannot isolate the program: {error}\n"
        f"authsome: hint: {hint}; or give --no-sandbox to run without isolation\n",
    )
    assert not (user.around.home / "project" / "started").exists()
