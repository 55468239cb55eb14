from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.audit import reason_of, shown_path
from proxy.model import Event, Inject, PassThrough, Reason, Refuse
from tests.proxy.test_policy import GOOD, RULE


@pytest.mark.parametrize(
    ("decision", "event"),
    [
        (
            Inject(RULE),
            Event("GET", "discord.com", "/api/v10/users/@me", "inject", "discord/default", None, 200),
        ),
        (PassThrough(), Event("GET", "discord.com", "/api/v10/users/@me", "pass", None, None, 200)),
        (
            PassThrough(inert_placeholder=True),
            Event("GET", "discord.com", "/api/v10/users/@me", "pass", None, "inert-placeholder", 200),
        ),
        (
            Refuse(Reason.METHOD, "no"),
            Event("GET", "discord.com", "/api/v10/users/@me", "refuse", None, "method", 200),
        ),
        (
            Refuse(Reason.LOGIN_NEEDED, "no", connection="discord/default"),
            Event(
                "GET", "discord.com", "/api/v10/users/@me", "refuse", "discord/default", "login-needed", 200
            ),
        ),
    ],
)
def test_each_decision_has_its_event(decision: Inject | PassThrough | Refuse, event: Event) -> None:
    assert reason_of(GOOD, decision, 200) == event


def test_a_decision_of_an_unknown_kind_has_no_event() -> None:
    with pytest.raises(AssertionError):
        reason_of(GOOD, object(), 200)  # type: ignore[arg-type]


def test_the_query_is_left_out() -> None:
    assert shown_path("/a/b?code=CANARY#x") == "/a/b"


def test_a_segment_that_may_be_a_secret_is_cut() -> None:
    token = "CANARY" * 12
    assert shown_path(f"/api/webhooks/123456789012345678/{token}/slack") == (
        "/api/webhooks/123456789012345678/CANA…/slack"
    )


@given(st.text(max_size=2000))
def test_no_secret_of_forty_characters_survives_in_a_path(text: str) -> None:
    secret = "s3cr3t" * 7
    assert secret not in shown_path(f"/{text}/{secret}")
    assert len(shown_path(text)) <= 512


def test_no_header_reaches_an_event() -> None:
    target = replace(GOOD, headers=((b"Authorization", b"Bearer CANARY"),))
    event = reason_of(target, Inject(RULE), 200)
    assert "CANARY" not in "".join(str(getattr(event, field.name)) for field in fields(event))
