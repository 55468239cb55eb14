"""Logging in without a browser; the browser's part is tested with the page and the flows."""

import shutil
from pathlib import Path

import pytest

from tests.launcher.cli import ROOT, Program
from vault.model import ApiKey, ConnectionKey

KEY = "CANARY-api-key"


@pytest.fixture
def keyed(authsome: Program) -> Program:
    """A home with a provider that takes an API key."""
    (authsome.home / "providers").mkdir(parents=True, mode=0o700)
    authsome.home.chmod(0o700)
    shutil.copy(ROOT / "examples" / "providers" / "keyed.json", authsome.home / "providers" / "keyed.json")
    (authsome.home / "providers" / "keyed.json").chmod(0o600)
    return authsome


def stored_key(program: Program, name: str = "default") -> str:
    with program.vault() as vault:
        found = vault.connection(ConnectionKey("default", "keyed", name))
    assert found
    assert isinstance(found.value.credential, ApiKey)
    return found.value.credential.value.get_secret_value()


def test_a_key_from_standard_input_is_stored_and_not_printed(keyed: Program) -> None:
    said = keyed("login", "keyed", "--key-file", "-", stdin=f"{KEY}\n")
    assert (said.status, said.out) == (0, "")
    assert said.err.startswith("authsome: logged in to ")
    assert KEY not in said.err
    assert stored_key(keyed) == KEY
    assert keyed("get", "keyed", "--field", "status").out == "connected\n"
    assert KEY.encode() not in b"".join(path.read_bytes() for path in keyed.home.rglob("*") if path.is_file())


def test_a_second_login_replaces_the_first_and_leaves_other_connections_alone(keyed: Program) -> None:
    keyed("login", "keyed", "--key-file", "-", stdin="one")
    keyed("login", "keyed", "--key-file", "-", "--connection", "work", stdin="work")
    keyed("login", "keyed", "--key-file", "-", stdin="two")
    assert stored_key(keyed) == "two"
    assert stored_key(keyed, "work") == "work"


def test_a_login_is_stored_while_another_process_is_busy_with_the_connection(keyed: Program) -> None:
    keyed("login", "keyed", "--key-file", "-", stdin="one")
    with keyed.vault() as vault, vault.lock(ConnectionKey("default", "keyed", "default"), 1.0):
        assert keyed("login", "keyed", "--key-file", "-", stdin="two").status == 0
    assert stored_key(keyed) == "two"


def test_a_key_from_a_file(keyed: Program, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    assert keyed("login", "keyed", "--key-file", str(tmp_path / "key")).status == 0
    assert stored_key(keyed) == KEY


@pytest.mark.parametrize("text", ["", " \n", "two\nlines", "ümlaut", "x" * 20_000])
def test_what_is_no_key_is_refused_without_showing_it(keyed: Program, text: str) -> None:
    said = keyed("login", "keyed", "--key-file", "-", stdin=text)
    assert said.status == 2
    assert "--key-file" in said.err
    assert "lines" not in said.err.replace("one line", "")
    assert keyed("get", "keyed").status == 3


def test_a_missing_file_is_a_usage_error(keyed: Program, tmp_path: Path) -> None:
    said = keyed("login", "keyed", "--key-file", str(tmp_path / "none"))
    assert said.status == 2
    assert "no such file or directory" in said.err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("keyed", "--scopes", "a"), "--scopes means nothing for keyed"),
        (("keyed", "--client-id", "1"), "--client-id means nothing for keyed"),
        (("discord", "--key-file", "-"), "--key-file means nothing for discord"),
        (("discord", "--client-id", "1"), "--client-id is given without --client-secret-file"),
        (("discord", "--client-secret-file", "-"), "--client-secret-file is given without --client-id"),
        (("discord", "--scopes", " , "), "--scopes names no scope"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    keyed: Program, arguments: tuple[str, ...], problem: str
) -> None:
    said = keyed("login", *arguments, stdin="x")
    assert said.status == 2
    assert said.err.splitlines()[0] == f"authsome: error: {problem}"


def test_a_key_file_that_is_no_text_is_told_from_one_that_is_not_there(
    keyed: Program, tmp_path: Path
) -> None:
    (tmp_path / "key").write_bytes(b"\xff\xfe\x00")
    said = keyed("login", "keyed", "--key-file", str(tmp_path / "key"))
    assert said.status == 2
    assert said.err.endswith("not text\nauthsome: hint: give a file that holds one line with the secret\n")
    said = keyed("login", "keyed", "--key-file", str(tmp_path / "nowhere"))
    assert said.err.endswith("authsome: hint: check the path\n")
