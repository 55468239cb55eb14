import pytest

from oauth.outcome import log_in
from vault.model import ConnectionKey


@pytest.mark.parametrize(
    ("connection", "command"),
    [
        (ConnectionKey("default", "acme", "default"), "<login default/acme/default>"),
        (ConnectionKey("default", "acme", "work"), "<login default/acme/work>"),
        (ConnectionKey("ci", "acme", "work"), "<login ci/acme/work>"),
    ],
)
def test_the_log_in_names_what_is_not_default(connection: ConnectionKey, command: str) -> None:
    assert log_in(connection) == command
