"""The OAuth application of a provider: one that was refused is asked for again; shown, replaced, gone."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from tests.e2e.desk import Desk, finished, until_url
from tests.standin import CLIENT_ID, CLIENT_SECRET, client_of, press
from vault.keys.file import KeyFile
from vault.model import ClientRegistration
from vault.storage import SqliteStorage
from vault.vault import Vault


def log_in(desk: Desk, *options: str, secret: str = CLIENT_SECRET) -> tuple[int, bool, str]:
    """A login in which the form gets `secret`: status, whether there was a form, and what was said."""
    process = desk.start("login", "discord", "--no-browser", *options)
    with finished(process):
        said, address = until_url(process)
        with httpx.Client(trust_env=False, timeout=30) as browser, client_of(desk.standin) as provider:
            answer = browser.get(address)
            asked = answer.status_code == 200
            if asked:
                form = {"client_id": CLIENT_ID, "client_secret": secret}
                answer = browser.post(address, data=form, headers={"Origin": address.rpartition("/")[0]})
            browser.get(press(provider, answer.headers["location"]))
        _, err = process.communicate(timeout=60)
    assert secret not in said + err
    return process.returncode, asked, said + err


def stored(desk: Desk) -> ClientRegistration | None:
    with Vault.open(SqliteStorage(desk.home / "vault.db"), KeyFile(desk.home / "master.key")) as vault:
        found = vault.client("default", "discord")
    return found.value if found else None


def listed(desk: Desk) -> dict[str, object] | None:
    return json.loads(desk.authsome("list", "--json").stdout)[0]["application"]  # type: ignore[no-any-return]


def test_a_wrong_secret_is_asked_for_again(desk: Desk) -> None:
    status, asked, said = log_in(desk, secret="wrong-secret-of-a-test")
    assert (status, asked) == (1, True)
    assert "run 'authsome login discord --new-application'" in said
    assert listed(desk) == {"client_id": CLIENT_ID, "refused": True}
    assert f"{CLIENT_ID} (refused)" in desk.authsome("list").stdout
    status, asked, said = log_in(desk)
    assert (status, asked) == (0, True)
    assert f"Discord refused the stored application {CLIENT_ID}" in said
    assert log_in(desk)[:2] == (0, False)
    assert listed(desk) == {"client_id": CLIENT_ID, "refused": False}


def test_a_secret_that_was_replaced_at_the_provider_is_asked_for_again(desk: Desk) -> None:
    assert log_in(desk)[:2] == (0, True)
    desk.standin.discord.register_app(CLIENT_ID, "the-new-secret-of-a-test")
    assert log_in(desk)[:2] == (1, False)
    assert log_in(desk, secret="the-new-secret-of-a-test")[:2] == (0, True)


def test_an_application_is_replaced_when_the_new_one_is_accepted(desk: Desk) -> None:
    assert log_in(desk)[:2] == (0, True)
    before = stored(desk)
    status, asked, said = log_in(desk, "--new-application", secret="wrong-secret-of-a-test")
    assert (status, asked) == (1, True)
    assert said.count("--new-application") == 1
    assert stored(desk) == before, "a slip of the pen costs nothing"
    late = desk.authsome("login", "discord", "--no-browser", "--new-application", "--timeout", "1")
    assert late.stderr.endswith("hint: run 'authsome login discord --new-application' again\n")
    desk.standin.discord.register_app(CLIENT_ID, "the-new-secret-of-a-test")
    assert log_in(desk, "--new-application", secret="the-new-secret-of-a-test")[:2] == (0, True)
    assert stored(desk) != before


def test_an_application_is_forgotten(desk: Desk) -> None:
    assert log_in(desk)[:2] == (0, True)
    said = desk.authsome("logout", "discord", "--application")
    assert said.returncode == 0
    assert "without it these can be neither refreshed nor revoked: discord/default" in said.stderr
    assert listed(desk) is None
    assert stored(desk) is None
    assert desk.authsome("logout", "discord", "--application").returncode == 4
    assert log_in(desk)[:2] == (0, True)


@pytest.mark.parametrize(
    "options", [("discord", "--client-id", "1", "--client-secret-file", "-"), ("keyed", "--key-file", "-")]
)
def test_an_application_is_asked_for_in_one_way(desk: Desk, options: tuple[str, ...]) -> None:
    folder = desk.home / "providers"
    folder.mkdir(mode=0o700, parents=True)
    desk.home.chmod(0o700)
    keyed = Path(__file__).parents[2] / "examples/providers/keyed.json"
    (folder / "keyed.json").write_bytes(keyed.read_bytes())
    said = desk.authsome("login", *options, "--new-application", given="x")
    assert said.returncode == 2
    assert "--new-application" in said.stderr.splitlines()[0]
