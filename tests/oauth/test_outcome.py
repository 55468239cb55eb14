import pytest

from oauth.outcome import log_in
from vault.model import ConnectionKey


@pytest.mark.parametrize(
    ("connection", "command"),
    [
        (ConnectionKey("default", "acme", "default"), "authsome login acme"),
        (ConnectionKey("default", "acme", "work"), "authsome login acme --connection work"),
        (ConnectionKey("ci", "acme", "work"), "authsome --profile ci login acme --connection work"),
    ],
)
def test_the_log_in_names_what_is_not_default(connection: ConnectionKey, command: str) -> None:
    assert log_in(connection) == command
