"""What is worth another try, and when."""

from __future__ import annotations

import pytest

from oauth.client import CONNECT_TIMEOUT
from oauth.errors import ClientRefused, GrantRefused, OAuthError, ProviderUnavailable, RequestRefused
from oauth.keeper.refresh import LOCK_WAIT
from oauth.keeper.retry import (
    FAILURE_PAUSE,
    LONGEST_OBEYED,
    LONGEST_PAUSE,
    LONGEST_WAITED,
    RETRY_BUDGET,
    TRIES,
    patience_after,
    pause_after,
    wait_before_retry,
)
from oauth.patience import EXCHANGE_PATIENCE


def unavailable(again: float | None) -> ProviderUnavailable:
    return ProviderUnavailable("no", again=again)


def test_each_wait_is_twice_the_one_before_and_chance_adds_up_to_a_half() -> None:
    assert [wait_before_retry(unavailable(0.0), n, 0.0, 0.0) for n in (1, 2)] == [0.5, 1.0]
    assert wait_before_retry(unavailable(0.0), 1, 0.0, 1.0) == 0.75


def test_the_last_try_is_followed_by_none() -> None:
    assert wait_before_retry(unavailable(0.0), TRIES, 0.0, 0.0) is None


@pytest.mark.parametrize(
    "error", [GrantRefused("no"), ClientRefused("no"), RequestRefused("no"), unavailable(None)]
)
def test_what_another_try_cannot_help_is_not_tried_again(error: OAuthError) -> None:
    assert wait_before_retry(error, 1, 0.0, 0.0) is None


def test_what_the_provider_asks_for_is_waited_unless_it_takes_too_long() -> None:
    assert wait_before_retry(unavailable(RETRY_BUDGET), 1, 0.0, 0.0) == RETRY_BUDGET
    assert wait_before_retry(unavailable(RETRY_BUDGET), 1, 0.1, 0.0) is None


def test_no_process_waits_for_the_lock_in_vain_while_another_tries_again() -> None:
    assert RETRY_BUDGET + 2 * CONNECT_TIMEOUT + EXCHANGE_PATIENCE < LOCK_WAIT


def test_the_pause_doubles_up_to_its_limit() -> None:
    pauses = [pause_after(unavailable(0.0), n) for n in range(1, 2000)]
    assert pauses[:3] == [FAILURE_PAUSE, 2 * FAILURE_PAUSE, 4 * FAILURE_PAUSE]
    assert max(pauses) == pauses[-1] == LONGEST_PAUSE


def test_a_request_that_waits_obeys_for_a_minute_at_most() -> None:
    assert patience_after(unavailable(30.0), 1) == 30.0
    assert {patience_after(unavailable(1e9), n) for n in range(1, 99)} == {LONGEST_WAITED}
    for error in (unavailable(0.0), unavailable(None), ClientRefused("no")):
        assert [patience_after(error, n) for n in range(1, 99)] == [
            pause_after(error, n) for n in range(1, 99)
        ]


def test_a_longer_pause_that_the_provider_asks_for_is_kept_within_reason() -> None:
    assert pause_after(unavailable(900.0), 1) == 900.0
    assert pause_after(unavailable(1e9), 1) == LONGEST_OBEYED
