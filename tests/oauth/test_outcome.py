import pytest

from oauth.outcome import login_command
from vault.model import ConnectionKey


@pytest.mark.parametrize(
    ("connection", "command"),
    [
        (ConnectionKey("default", "acme", "default"), "authsome login acme"),
        (ConnectionKey("default", "acme", "work"), "authsome login acme --connection work"),
        (ConnectionKey("ci", "acme", "work"), "authsome --profile ci login acme --connection work"),
    ],
)
def test_the_login_command_names_what_is_not_default(connection: ConnectionKey, command: str) -> None:
    assert login_command(connection) == command
