"""A call that is forked says and does what a fresh process does."""

import os
import sys
from pathlib import Path

import pytest

from tests.launcher.cli import Program, Said
from tests.launcher.forking import AUTHSOME


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("frobnicate",),
        ("list",),
        ("list", "--json"),
        ("get", "discord"),
        ("get", "discord", "--field", "status"),
        ("get", "nope"),
        ("inspect", "discord"),
        ("export", "discord"),
        ("audit",),
        ("vault", "verify"),
        ("login", "nope"),
        ("logout", "nope"),
        ("check", "nope"),
        ("confirm", "discord"),
        ("run", "--no-sandbox", "--", "sh", "-c", "pwd; env | sort | cut -d= -f1; exit 7"),
        (
            "run",
            "--no-sandbox",
            "--",
            sys.executable,
            "-c",
            "import os; print(sorted(os.listdir('/proc/self/fd')))",
        ),
        ("run", "--no-sandbox", "--", "cat"),
        ("run", "--no-sandbox", "--", "sh", "-c", "kill -9 $$"),
    ],
)
def test_both_say_the_same(authsome: Program, arguments: tuple[str, ...], tmp_path: Path) -> None:
    authsome.connect()
    (tmp_path / "work").mkdir()
    calls = (authsome, authsome.fresh)
    forked, fresh = (call(*arguments, stdin="given\n", cwd=tmp_path / "work") for call in calls)
    assert forked == fresh


def test_it_is_a_process_of_its_own(authsome: Program) -> None:
    assert authsome("list").status == 0
    assert AUTHSOME.pid not in (0, os.getpid())


def test_a_call_beside_another_one_is_a_fresh_process(authsome: Program) -> None:
    with AUTHSOME._busy:
        assert AUTHSOME.call(["list"], authsome.environ, "", Path("/")) is None
        assert authsome("get", "nope") == authsome.fresh("get", "nope")


def test_nothing_of_a_call_is_left_for_the_next(authsome: Program, tmp_path: Path) -> None:
    other = Program(tmp_path / "other", {"AUTHSOME_PROFILE": "A B"})
    before = authsome("list")
    assert other("list").status == 2
    assert authsome("list") == before == Said(0, before.out, before.err)
