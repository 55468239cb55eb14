"""What others get out of a login that waits: a program in a run, and another user of the machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict

import pytest

from tests.hostile.person import Person, logging_in
from tests.hostile.start import Order
from tests.hostile.verdicts import LEVELS, LOGIN, LOGIN_SEEN
from tests.hostile.world import House
from tests.isolation.world import ROOT

STRANGER = 24002
"""A user id that nobody has."""


def assert_the_person_logs_in(person: Person) -> None:
    """Undisturbed, and with an account of their own."""
    assert person.stored() == ""
    assert person.finish() == person.house.access_token


@pytest.mark.parametrize(
    "level", ["guard", *(pytest.param(level, marks=pytest.mark.heavy) for level in LEVELS)]
)
@pytest.mark.parametrize("table", [LOGIN, LOGIN_SEEN], ids=["waiting", "seen"])
def test_a_run_gets_nothing_of_a_login(mine: House, level: str, table: dict[str, tuple[str, ...]]) -> None:
    with logging_in(mine) as person:
        report = mine.attack(level, list(table))
        assert report.verdicts == {name: words[LEVELS.index(level)] for name, words in table.items()}
        if "open" not in report.verdicts.values():
            assert_the_person_logs_in(person)


def stranger(house: House, attacks: Sequence[str]) -> dict[str, str]:
    """The verdicts of another user, without any run."""
    order = json.dumps(asdict(Order(folder=str(ROOT), uid=STRANGER, home=str(house.home))))
    program = (sys.executable, "-m", "tests.hostile.child", *attacks)
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile.start", order, *program],
        cwd=ROOT,
        env=house.environ() | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {line["attack"]: line["outcome"] for line in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("table", [LOGIN, LOGIN_SEEN], ids=["waiting", "seen"])
def test_another_user_gets_nothing_of_a_login(mine: House, table: dict[str, tuple[str, ...]]) -> None:
    """Where the tests may not become another user, the program of the same one stands in, which is not
    shown the file that it could read."""
    attacks = [name for name in table if os.getuid() == 0 or name != "login_letter"]
    with logging_in(mine) as person:
        if table is LOGIN_SEEN:
            person.come()
        found = stranger(mine, attacks) if os.getuid() == 0 else mine.attack("none", attacks).verdicts
        assert found == dict.fromkeys(attacks, "blocked")
        assert_the_person_logs_in(person)
