"""The demo's verdict can fail: a demo that always says ok would show nothing."""

from __future__ import annotations

import pytest

from examples.demo import claims, side_by_side

SAID = "my token is authsome-proxy-managed\nDiscord answered 200: I am nelly\n"
TOKEN = "canary-access-token"


def test_a_run_as_claimed_passes() -> None:
    assert all(claims(SAID, f"Bearer {TOKEN}", TOKEN).values())


@pytest.mark.parametrize(
    ("said", "received", "token", "claim"),
    [
        (f"my token is {TOKEN}\n", f"Bearer {TOKEN}", TOKEN, "the agent held the placeholder"),
        (f"{SAID}{TOKEN}", f"Bearer {TOKEN}", TOKEN, "the agent never saw the token"),
        (SAID.replace("200", "401"), f"Bearer {TOKEN}", TOKEN, "Discord answered the agent"),
        (SAID, "Bearer authsome-proxy-managed", TOKEN, "Discord received the real token"),
        (SAID, "nothing", TOKEN, "Discord received the real token"),
        (SAID, f"Bot {TOKEN}", TOKEN, "Discord received the real token"),
        (
            SAID,
            "Bearer authsome-proxy-managed",
            "authsome-proxy-managed",
            "Discord received the real token",
        ),
    ],
)
def test_anything_else_fails_by_name(said: str, received: str, token: str, claim: str) -> None:
    assert claims(said, received, token)[claim] is False


def test_the_two_sides_stand_in_columns() -> None:
    assert side_by_side(["left", "a"], ["right", "b"]) == "left    right\n-------------\na       b"
