"""Providers that are one JSON file: the examples, end to end."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.desk import Desk, approve, finished, until_url
from tests.standin import CLIENT_ID, CLIENT_SECRET, StandIn

EXAMPLES = Path(__file__).parents[2] / "examples" / "providers"
KEY = "CANARY-static-key-0001"
ASK_ACME = 'curl -sS -H "Authorization: Bearer $ACME_ACCESS_TOKEN" https://acme.example/api/users/@me'
ASK_KEYED = 'curl -sS -H "X-Api-Key: $KEYED_API_KEY" https://keyed.example/data; echo " $KEYED_API_KEY"'


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with StandIn(apis=("acme.example",)) as standin:
        desk = Desk(standin, tmp_path)
        desk.home.mkdir(mode=0o700)
        (desk.home / "providers").mkdir(mode=0o700)
        for file in EXAMPLES.glob("*.json"):
            shutil.copy(file, desk.home / "providers")
        yield desk


def login_acme(desk: Desk) -> None:
    secret = desk.folder / "secret"
    secret.write_text(f"{CLIENT_SECRET}\n")
    process = desk.start(
        "login", "acme", "--no-browser", "--client-id", CLIENT_ID, "--client-secret-file", secret
    )
    with finished(process):
        _, address = until_url(process)
        assert approve(desk.standin, address).status_code == 200
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err


def login_keyed(desk: Desk) -> None:
    done = desk.authsome("login", "keyed", "--key-file", "-", given=f"{KEY}\n")
    assert done.returncode == 0, done.stderr


def test_an_oauth_provider_with_pkce_needs_no_python(desk: Desk) -> None:
    login_acme(desk)
    done = desk.run("sh", "-c", ASK_ACME)
    assert '"username": "nelly"' in done.stdout, done.stderr
    tokens = desk.standin.discord.issued[-1]
    assert desk.standin.wire_contains(b"code_challenge_method=S256")
    assert [seen.host for seen in desk.standin.wire_contains(tokens.access_token.encode())] == [
        "acme.example",  # the name of the account, asked for at login
        "acme.example",
    ]
    assert tokens.access_token not in done.stdout + done.stderr


def test_a_static_key_goes_to_its_host_in_its_header(desk: Desk) -> None:
    login_keyed(desk)
    done = desk.run("sh", "-c", ASK_KEYED)
    assert done.stdout.endswith(" authsome-proxy-managed\n"), done.stderr
    (arrived,) = desk.standin.wire_contains(KEY.encode())
    assert arrived.host == "keyed.example"
    assert arrived.values("x-api-key") == [KEY]
    assert KEY not in done.stdout + done.stderr


def test_each_provider_gets_its_own_credential_only(desk: Desk) -> None:
    login_acme(desk)
    login_keyed(desk)
    wrong = (
        'curl -sS -H "X-Api-Key: $KEYED_API_KEY" https://acme.example/standin/echo; '
        'curl -sS -H "Authorization: Bearer $ACME_ACCESS_TOKEN" https://keyed.example/standin/echo'
    )
    desk.standin.forget()
    done = desk.run("sh", "-c", wrong)
    assert done.stdout.count("authsome-proxy-managed") == 2, "both are inert at the wrong host"
    assert not desk.standin.wire_contains(KEY.encode())
    assert not desk.standin.wire_contains(desk.standin.discord.issued[-1].access_token.encode())


def test_list_shows_every_provider_and_its_source(desk: Desk) -> None:
    login_keyed(desk)
    out = desk.authsome("list").stdout
    assert "acme" in out
    assert "custom" in out
    assert "bundled" in out
    assert KEY not in out


def test_an_export_of_a_key_names_its_variable(desk: Desk) -> None:
    login_keyed(desk)
    assert desk.authsome("export", "keyed", "--format", "dotenv").stdout == f'KEYED_API_KEY="{KEY}"\n'
