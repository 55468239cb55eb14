import pytest
from pydantic import SecretStr

from launcher.actions.describe import (
    FIELDS,
    as_text,
    describe,
    describe_damaged,
    last_check,
)
from vault.model import ApiKey, Checked, Connection, ConnectionKey, Health, OAuthTokens, Status

KEY = ConnectionKey("default", "discord", "work")
TOKENS = OAuthTokens(
    access_token=SecretStr("CANARY-1"),
    refresh_token=SecretStr("CANARY-2"),
    scopes=("identify", "guilds"),
    issued_at=0.0,
    expires_at=1000.0,
)


def connection(credential: OAuthTokens | ApiKey, status: Status = Status.CONNECTED) -> Connection:
    return Connection(credential=credential, status=status, account="nelly", created_at=0.0, updated_at=1.0)


def test_a_description_has_every_field_and_no_credential() -> None:
    shown = describe(KEY, connection(TOKENS), 10.0)
    assert tuple(shown) == FIELDS
    assert (shown["provider"], shown["connection"]) == ("discord", "work")
    assert shown["scopes"] == ["identify", "guilds"]
    assert shown["expires_at"] == "1970-01-01T00:16:40Z"
    assert "CANARY" not in repr(shown)


def test_a_key_has_no_scopes_and_no_end() -> None:
    shown = describe(KEY, connection(ApiKey(value=SecretStr("CANARY"))), 10.0)
    assert shown["scopes"] == []
    assert shown["expires_at"] is None
    assert "CANARY" not in repr(shown)


def test_a_damaged_connection_has_the_same_fields() -> None:
    shown = describe_damaged(KEY)
    assert tuple(shown) == FIELDS
    assert shown["status"] == "damaged"


@pytest.mark.parametrize(
    ("refresh", "now", "status"),
    [
        (SecretStr("r"), 2000.0, Status.CONNECTED),
        (None, 999.0, Status.CONNECTED),
        (None, 1000.0, Status.EXPIRED),
    ],
)
def test_without_a_refresh_token_the_end_of_the_access_token_is_the_end(
    refresh: SecretStr | None, now: float, status: Status
) -> None:
    tokens = TOKENS.model_copy(update={"refresh_token": refresh})
    assert connection(tokens).current_status(now) is status


def test_an_expired_connection_stays_expired() -> None:
    assert connection(TOKENS, Status.EXPIRED).current_status(0.0) is Status.EXPIRED


def test_scopes_as_text_are_what_login_takes() -> None:
    assert as_text(["a", "b"]) == "a,b"
    assert as_text(None) == ""


def test_the_last_check_is_shown_with_its_time_and_its_age() -> None:
    unchecked = connection(TOKENS)
    checked = unchecked.model_copy(update={"checked": Checked(health=Health.SCOPES_LOST, at=1000.0)})
    shown = describe(KEY, checked, 10.0)
    assert (shown["health"], shown["checked_at"]) == ("scopes-lost", "1970-01-01T00:16:40Z")
    assert last_check(checked, 9000.0) == "scopes-lost 2h ago"
    shown = describe(KEY, unchecked, 10.0)
    assert (shown["health"], shown["checked_at"], last_check(unchecked, 10.0)) == (None, None, "")
