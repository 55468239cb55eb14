"""Every record is opened, and what cannot be is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vault.samples import CLIENT, DEFAULT, OTHERS, STATIC, TOKENS, WORK, put_sealed, tamper
from vault.vault import Vault


@pytest.fixture
def filled(vault: Vault) -> Vault:
    for key in (WORK, DEFAULT, OTHERS):
        vault.put_connection(key, TOKENS, expected=None)
    vault.put_client("default", "discord", CLIENT, expected=None)
    return vault


def test_a_whole_vault_has_no_problems(filled: Vault) -> None:
    assert filled.verify() == (4, [])


def test_an_empty_vault_has_no_problems(vault: Vault) -> None:
    assert vault.verify() == (0, [])


@pytest.mark.parametrize(
    ("sql", "named", "trouble"),
    [
        ("UPDATE record SET blob = zeroblob(80) WHERE profile = 'other'", "discord/work", "does not open"),
        ("UPDATE record SET blob = x'02' WHERE profile = 'other'", "discord/work", "newer version"),
        (
            "UPDATE record SET generation = 2 WHERE kind = 'client'",
            "the client registration",
            "does not open",
        ),
        ("UPDATE record SET name = '../x' WHERE profile = 'other'", "discord/../x", "no record is called so"),
        ("UPDATE record SET provider = '' WHERE profile = 'other'", "/work", "no record is called so"),
        ("UPDATE record SET profile = 'A' WHERE profile = 'other'", "discord/work", "no record is called so"),
        ("UPDATE record SET name = 'x' WHERE kind = 'client'", "the client", "no record is called so"),
        (
            "UPDATE record SET kind = 'more' WHERE profile = 'other'",
            "an unknown kind",
            "does not know its kind",
        ),
        ("UPDATE record SET kind = 'slot' WHERE profile = 'other'", "key slot", "does not know its kind"),
    ],
)
def test_what_cannot_be_opened_is_named_and_everything_else_is_opened(
    filled: Vault, home: Path, sql: str, named: str, trouble: str
) -> None:
    tamper(home, sql)

    count, (problem, *others) = filled.verify()
    # What was renamed is missed as well under the name that it had.
    assert {other.trouble for other in others} <= {"its last write is not there"}
    assert count == 4
    assert named in str(problem.record)
    assert trouble in problem.trouble


def test_a_payload_that_opens_and_makes_no_sense_is_found(filled: Vault, home: Path) -> None:
    filled.delete_connection(OTHERS)
    put_sealed(home, OTHERS, b'{"payload": 1, "value": "CANARY"}')

    _, (problem,) = filled.verify()
    assert "does not understand" in problem.trouble
    assert "CANARY" not in problem.trouble


def test_every_problem_is_found(filled: Vault, home: Path) -> None:
    filled.put_connection(WORK, STATIC, expected=1)
    tamper(home, "UPDATE record SET blob = x'' WHERE kind != 'slot'")
    assert len(filled.verify()[1]) == 4


def test_a_record_that_nobody_deleted_and_is_gone_is_named(filled: Vault, home: Path) -> None:
    tamper(home, "DELETE FROM record WHERE profile = 'other'")
    _, (problem,) = filled.verify()
    assert (problem.record.profile, problem.trouble) == ("other", "its last write is not there")
    filled.delete_connection(OTHERS)
    assert filled.verify()[1] == []
