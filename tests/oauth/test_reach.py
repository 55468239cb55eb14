"""What counts as sending a credential to more places than before."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oauth.provider import Provider, parse_provider
from oauth.reach import reach_of, widened
from vault.model import Reach

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "oauth/providers/discord.json").read_text()

Edit = Callable[[dict[str, Any]], object]


def provider(*edits: Edit) -> Provider:
    definition = json.loads(TEXT)
    for edit in edits:
        edit(definition)
    return parse_provider(json.dumps(definition).encode(), "discord.json")


def ways(before: list[Edit], after: list[Edit]) -> list[str]:
    return widened(reach_of(provider(*before)), reach_of(provider(*after)))


def injecting(**changes: object) -> Edit:
    return lambda definition: definition["proxy"].update(changes)


def logging_in(**changes: object) -> Edit:
    return lambda definition: definition["auth"].update(changes)


NEVER = ["/api/oauth2/token"]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (
            [],
            [injecting(hosts=["discord.com", "evil.example"])],
            "the token to evil.example in 'Authorization: Bearer'",
        ),
        (
            [],
            [injecting(hosts=["discord.com:8443"])],
            "the token to discord.com:8443 in 'Authorization: Bearer'",
        ),
        ([], [injecting(header="X-Log")], "the token to discord.com in 'X-Log: Bearer'"),
        ([], [injecting(scheme=None)], "the token to discord.com in 'Authorization'"),
        ([], [logging_in(token_url="https://evil.example/t")], "secrets to https://evil.example/t"),
        ([], [logging_in(revocation_url="https://evil.example/r")], "secrets to https://evil.example/r"),
        ([], [logging_in(userinfo_url="https://evil.example/u")], "secrets to https://evil.example/u"),
        ([], [logging_in(check_url="https://evil.example/c")], "secrets to https://evil.example/c"),
        ([injecting(never_paths=NEVER)], [injecting(never_paths=[])], f"the token to the path {NEVER[0]}"),
        (
            [injecting(allow=["GET /a"])],
            [injecting(allow=["GET /a", "POST /a"])],
            "the token in requests of POST /a",
        ),
        (
            [injecting(allow=["GET /a"])],
            [injecting(allow=[])],
            "the token in requests of every method and path",
        ),
    ],
)
def test_each_way_to_become_wider_is_named(before: list[Edit], after: list[Edit], expected: str) -> None:
    assert ways(before, after) == [expected]
    # The way back is none, or widens by what was taken away.
    assert expected not in ways(after, before)


@pytest.mark.parametrize(
    "edit",
    [
        injecting(never_paths=[*NEVER, "/api/v10/oauth2/token", "/api/more"]),
        injecting(allow=["GET /api/*/users/@me"]),
        logging_in(revocation_url=None),
        logging_in(check_url="https://discord.com/api/v10/users/@me"),
        logging_in(scopes=["identify", "bot"], client_setup_steps=[]),
        lambda definition: definition.update(display_name="Mine", env={}),
    ],
)
def test_what_is_narrower_or_sends_nothing_needs_no_word(edit: Edit) -> None:
    paths = injecting(never_paths=NEVER)
    assert ways([paths], [paths, edit]) == []


def test_nothing_is_agreed_to_by_default() -> None:
    found = widened(Reach(), reach_of(provider()))
    assert found[0] == "the token to discord.com in 'Authorization: Bearer'"
    assert "secrets to https://discord.com/api/oauth2/token" in found


def test_a_static_key_reaches_its_hosts_and_its_check() -> None:
    text = (ROOT / "examples/providers/keyed.json").read_bytes()
    reach = reach_of(parse_provider(text, "keyed.json"))
    assert len(reach.slots) == 1
    assert reach.endpoints == ()
