"""What counts as sending a credential to more places than before."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launcher.run.rules import rules_for
from oauth.provider import Provider, parse_provider
from oauth.reach import reach_of, widened
from vault.model import ConnectionKey, Reach

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


NEVER = ["/api/admin"]
REVOKE = "/api/oauth2/token/revoke"


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
            [injecting(never_paths=[])],
            [injecting(never_paths=[]), logging_in(revocation_url=None)],
            f"the token to the path {REVOKE}",
        ),
        (
            [injecting(never_paths=[]), logging_in(revocation_url="https://discord.com:443")],
            [injecting(never_paths=[]), logging_in(revocation_url=None)],
            "the token to the path /",
        ),
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
        injecting(never_paths=[*NEVER, "/api/oauth2/token"]),
        injecting(allow=["GET /api/*/users/@me"]),
        lambda definition: (
            injecting(never_paths=[*NEVER, REVOKE])(definition),
            logging_in(revocation_url=None)(definition),
        ),
        logging_in(check_url="https://discord.com/api/v10/users/@me"),
        logging_in(scopes=["identify", "bot"], client_setup_steps=[]),
        lambda definition: definition.update(display_name="Mine", env={}),
    ],
)
def test_what_is_narrower_or_sends_nothing_needs_no_word(edit: Edit) -> None:
    paths = injecting(never_paths=NEVER)
    assert ways([paths], [paths, edit]) == []


def test_a_path_that_is_barred_twice_may_be_barred_once() -> None:
    """By the definition's own list and as an endpoint."""
    twice = injecting(never_paths=["/api/oauth2/token", REVOKE])
    assert ways([twice], [injecting(never_paths=[])]) == []
    assert ways([twice], [twice, logging_in(revocation_url=None)]) == []


def test_an_endpoint_at_a_host_that_gets_no_token_bars_no_path() -> None:
    elsewhere = logging_in(revocation_url="https://discord.com:8443/r")
    assert ways([elsewhere], [logging_in(revocation_url=None)]) == []


def test_a_reach_that_was_stored_without_the_endpoints_paths_needs_no_word() -> None:
    found = reach_of(provider(injecting(never_paths=NEVER)))
    assert found.never_paths == (*NEVER, "/api/oauth2/token", REVOKE)
    assert widened(found.model_copy(update={"never_paths": tuple(NEVER)}), found) == []


@pytest.mark.parametrize(
    "edit",
    [
        injecting(),
        injecting(never_paths=[]),
        injecting(hosts=["discord.com:8443", "api.example"]),
        logging_in(token_url="https://discord.com", revocation_url="https://discord.com:443/r?x=1"),
        logging_in(revocation_url=None),
    ],
)
def test_what_a_run_bars_is_in_the_reach(edit: Edit) -> None:
    definition = provider(edit)
    rules = rules_for([ConnectionKey("default", "discord", "default")], {"discord": definition})
    barred = {path or "/" for rule in rules for path in rule.never_paths}
    assert barred == set(reach_of(definition).never_paths)


def test_nothing_is_agreed_to_by_default() -> None:
    found = widened(Reach(), reach_of(provider()))
    assert found[0] == "the token to discord.com in 'Authorization: Bearer'"
    assert "secrets to https://discord.com/api/oauth2/token" in found


def test_a_static_key_reaches_its_hosts_and_its_check() -> None:
    text = (ROOT / "examples/providers/keyed.json").read_bytes()
    reach = reach_of(parse_provider(text, "keyed.json"))
    assert len(reach.slots) == 1
    assert reach.endpoints == ()
