"""After a full session the secrets are found nowhere but inside sealed records."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.run.environment import TABLE
from tests.e2e.desk import PYTHON, Desk, finished, until_url
from tests.standin import CLIENT_ID, CLIENT_SECRET
from vault.keys.file import KeyFile
from vault.model import OAuthTokens
from vault.storage import SqliteStorage
from vault.vault import Vault


def files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def holding(folder: Path, secrets: list[str]) -> list[Path]:
    return [path for path in files(folder) if any(secret.encode() in path.read_bytes() for secret in secrets)]


def processes() -> Iterator[tuple[int, bytes]]:
    """The arguments and environment of every process that may be looked at."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name != str(os.getpid()):
            for name in ("cmdline", "environ"):
                try:
                    yield int(entry.name), (entry / name).read_bytes()
                except OSError:
                    continue


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc on this system")
def test_no_secret_is_found_after_and_during_a_full_session(desk: Desk) -> None:
    discord = desk.standin.discord
    discord.token_lifetime = 4.0
    desk.login()
    desk.login("--connection", "work")
    said = [desk.authsome("list"), desk.authsome("list", "--json"), desk.authsome("get", "discord", "--json")]
    script = "import time; print(open('/proc/self/environ').read(), flush=True); input()"
    with finished(process := desk.start("run", "--", PYTHON, "-c", script)):
        assert process.stdout
        process.stdout.readline()
        secrets = [CLIENT_SECRET]
        for tokens in discord.issued:
            secrets += [tokens.access_token, *([tokens.refresh_token] if tokens.refresh_token else [])]
        found = [pid for pid, text in processes() if any(secret.encode() in text for secret in secrets)]
        assert found == []
        during = holding(desk.folder, secrets)
        out, err = process.communicate("\n", timeout=30)
    time.sleep(4)
    ask = "curl -sS -H \"Authorization: Bearer $DISCORD_ACCESS_TOKEN\" 'https://discord.com/api/v10/users/@me?a=b'"
    said += [desk.run("sh", "-c", ask), desk.authsome("audit"), desk.authsome("audit", "--json")]
    discord.revoke(discord.logged_in, next(iter(discord.issued)).app)
    time.sleep(4)
    said += [desk.run("sh", "-c", ask), desk.authsome("list"), desk.authsome("logout", "discord")]
    for tokens in discord.issued:
        secrets += [tokens.access_token, *([tokens.refresh_token] if tokens.refresh_token else [])]
    assert discord.refresh_count >= 1
    text = out + err + "".join(run.stdout + run.stderr for run in said)
    assert [secret for secret in secrets if secret in text] == []
    assert during == holding(desk.folder, secrets) == []
    assert "a=b" not in text


def test_the_search_finds_what_the_vault_holds_unsealed(desk: Desk, tmp_path: Path) -> None:
    """The negative twin: the same search over the opened records finds every secret."""
    desk.login()
    with Vault.open(SqliteStorage(desk.home / "vault.db"), KeyFile(desk.home / "master.key")) as vault:
        client = vault.client("default", "discord")
    assert client
    assert client.value.client_secret
    tokens = desk.tokens()
    assert isinstance(tokens, OAuthTokens)
    assert tokens.refresh_token
    secrets = [tokens.access_token, tokens.refresh_token, client.value.client_secret]
    loose = tmp_path / "loose"
    loose.mkdir()
    for number, secret in enumerate(secrets):
        (loose / str(number)).write_text(f"x{secret.get_secret_value()}x")
        assert len(holding(loose, [secret.get_secret_value()])) == 1


def test_a_process_that_holds_a_secret_in_its_arguments_would_be_found() -> None:
    with subprocess.Popen(["sleep", "30"], env={"LOOT": "CANARY-in-environ"}) as process:
        found: list[int] = []
        end = time.monotonic() + 10  # a process that has just begun shows no environment yet
        while process.pid not in found and time.monotonic() < end:
            found = [pid for pid, text in processes() if b"CANARY-in-environ" in text]
        process.kill()
    assert process.pid in found


def test_the_files_of_home_are_closed_to_others(desk: Desk) -> None:
    desk.login()
    desk.run("true")
    for path in [desk.home, *desk.home.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_login_holds_the_secret_in_neither_arguments_nor_environment(desk: Desk) -> None:
    process = desk.start(
        "login", "discord", "--no-browser", "--client-id", CLIENT_ID, "--client-secret-file", "-"
    )
    with finished(process):
        until_url(process, CLIENT_SECRET)
        assert [pid for pid, text in processes() if CLIENT_SECRET.encode() in text] == []


def test_every_row_of_the_environment_has_its_reason() -> None:
    assert all(row.reason for row in TABLE)
