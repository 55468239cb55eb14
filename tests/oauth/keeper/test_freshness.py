"""When a token set is due."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from oauth.keeper.freshness import MARGIN, SKEW, due_in, is_alive, is_due, margin
from vault.model import OAuthTokens


def tokens(lifetime: float | None, issued_at: float = 1000.0) -> OAuthTokens:
    expires_at = None if lifetime is None else issued_at + lifetime
    return OAuthTokens(access_token=SecretStr("a"), issued_at=issued_at, expires_at=expires_at)


@pytest.mark.parametrize(
    ("lifetime", "seconds"), [(604800, 300), (1500, 300), (1499, 299.8), (100, 20), (1, 0.2), (0, 0)]
)
def test_the_margin_is_300_seconds_or_a_fifth_of_a_shorter_life(lifetime: float, seconds: float) -> None:
    assert margin(tokens(lifetime)) == pytest.approx(seconds)


@pytest.mark.parametrize("lifetime", [604800.0, 3600.0, 100.0, 10.0])
def test_a_token_is_due_from_the_margin_on_and_not_before(lifetime: float) -> None:
    subject = tokens(lifetime)
    due = 1000.0 + lifetime - margin(subject)
    assert not is_due(subject, due - 0.001)
    assert is_due(subject, due)


def test_a_token_lives_until_its_expiry_and_no_longer() -> None:
    assert is_alive(tokens(100), 1099.9)
    assert not is_alive(tokens(100), 1100.0)


def test_a_token_without_an_expiry_is_never_due() -> None:
    assert not is_due(tokens(None), 1e12)
    assert is_alive(tokens(None), 1e12)


@given(st.floats(0.1, 1e9), st.floats(0, 1e9))
def test_a_token_just_issued_is_never_due_and_a_dead_one_always(lifetime: float, issued_at: float) -> None:
    subject = tokens(lifetime, issued_at)
    assert not is_due(subject, issued_at)
    assert is_due(subject, issued_at + lifetime)


def test_the_margin_leaves_discords_seven_days_nearly_whole() -> None:
    assert MARGIN < 604800 / 1000


def test_a_token_from_the_future_is_due_once_no_clock_kept_in_step_explains_it() -> None:
    subject = tokens(604800, issued_at=1000.0)
    assert not is_due(subject, 1000.0 - SKEW)
    assert is_due(subject, 1000.0 - SKEW - 0.001)
    assert not is_due(tokens(None, issued_at=1000.0), 0.0)


def test_a_token_is_due_ahead_of_time_by_margins() -> None:
    subject = tokens(3600)
    assert not is_due(subject, 4149.9, ahead=0.5)
    assert is_due(subject, 4150.0, ahead=0.5)


@given(st.floats(0.1, 1e9), st.floats(0, 1e9), st.floats(0, 1), st.floats(0, 1.5))
def test_after_the_time_that_is_told_a_token_is_due(
    lifetime: float, issued_at: float, ahead: float, passed: float
) -> None:
    subject, now = tokens(lifetime, issued_at), issued_at + passed * lifetime
    wait = due_in(subject, now, ahead)
    assert wait is not None
    assert (wait == 0) == is_due(subject, now, ahead)
    assert is_due(subject, (now + wait) * (1 + 1e-12) + 1e-6, ahead)


def test_what_is_never_due_has_no_time_to_wait_for() -> None:
    assert due_in(tokens(None), 1e9) is None
