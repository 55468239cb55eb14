"""Several processes over one real vault and one real token endpoint that rotates."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.oauth.process import KEY, agreed, open_vault
from tests.standin import CLIENT_ID, CLIENT_SECRET, Answer, Mishap, StandIn, Tokens
from vault.model import ClientRegistration, Connection, OAuthTokens, Status

ROOT = Path(__file__).parents[2]
LOCK_WAIT = 10.0
CLIENT = ClientRegistration(client_id=CLIENT_ID, client_secret=SecretStr(CLIENT_SECRET))


@pytest.fixture
def home(tmp_path: Path, standin: StandIn) -> Path:
    """A home whose one connection has a token that is due."""
    home = tmp_path / "home"
    granted = standin.discord.grant(standin.discord.register_app())
    with open_vault(home) as vault:
        vault.put_client(KEY.profile, KEY.provider, CLIENT, expected=None)
        connection = due_connection(granted).model_copy(update={"reach": agreed(home, KEY.provider)})
        vault.put_connection(KEY, connection, expected=None)
    return home


def due_connection(granted: Tokens) -> Connection:
    now = time.time()
    assert granted.refresh_token
    tokens = OAuthTokens(
        access_token=SecretStr(granted.access_token),
        refresh_token=SecretStr(granted.refresh_token),
        scopes=granted.scopes,
        issued_at=now - 3600,
        expires_at=now - 1,
    )
    return Connection(credential=tokens, created_at=now, updated_at=now)


@contextmanager
def asking(home: Path, standin: StandIn, count: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that are ready to ask; killed at the end where they have not ended."""
    argv = [sys.executable, "-m", "tests.oauth.process", str(home), str(standin.https_port)]
    argv += [str(standin.ca_file), str(LOCK_WAIT)]
    with ExitStack() as stack:
        started = []
        for _ in range(count):
            process = subprocess.Popen(
                argv, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            started.append(process)
        for process in started:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
        yield started


def go(processes: Sequence[subprocess.Popen[str]]) -> None:
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()


def answers(processes: Sequence[subprocess.Popen[str]]) -> list[str]:
    return [process.communicate(timeout=20)[0].strip() for process in processes]


def stored(home: Path) -> Connection:
    with open_vault(home) as vault:
        found = vault.connection(KEY)
    assert found
    return found.value


def tokens(connection: Connection) -> OAuthTokens:
    assert isinstance(connection.credential, OAuthTokens)
    return connection.credential


def wait_for_request(standin: StandIn) -> None:
    deadline = time.monotonic() + 5
    while not standin.seen:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_processes_that_ask_at_once_cost_one_refresh_and_get_the_same_token(
    home: Path, standin: StandIn
) -> None:
    standin.discord.token_faults.append(Mishap(delay=0.2))
    with asking(home, standin, 6) as processes:
        go(processes)
        found = set(answers(processes))
    assert (standin.discord.refresh_count, standin.discord.refused_refreshes) == (1, 0)
    newest = standin.discord.issued[-1]
    assert found == {newest.access_token}
    assert standin.discord.access(newest.access_token)
    assert tokens(stored(home)).refresh_token == SecretStr(newest.refresh_token or "")


def test_a_process_that_dies_with_the_lock_leaves_it_to_the_next(home: Path, standin: StandIn) -> None:
    # Answered instead of carried out, so that the refresh token is still good when the holder dies.
    standin.discord.token_faults.append(Answer(503, delay=15.0))
    with asking(home, standin, 2) as (holder, waiter):
        go([holder])
        wait_for_request(standin)
        go([waiter])
        time.sleep(0.1)
        assert len(standin.seen) == 1
        holder.kill()
        assert answers([waiter]) == [standin.discord.issued[-1].access_token]
    assert standin.discord.refresh_count == 1


def test_processes_that_ask_with_a_revoked_token_ask_the_provider_once(home: Path, standin: StandIn) -> None:
    granted = standin.discord.issued[-1]
    standin.discord.revoke(granted.user, granted.app)
    with asking(home, standin, 3) as processes:
        go(processes)
        found = answers(processes)
    assert all(text.startswith("dead: ") for text in found)
    assert len(standin.seen) == 1
    connection = stored(home)
    assert connection.status is Status.EXPIRED
    assert tokens(connection).refresh_token == SecretStr(granted.refresh_token or "")


def test_no_token_or_secret_lies_readable_in_the_home(home: Path, standin: StandIn) -> None:
    with asking(home, standin, 1) as processes:
        go(processes)
        answers(processes)
    secrets = [CLIENT_SECRET]
    for issued in standin.discord.issued:
        secrets += [issued.access_token, issued.refresh_token or ""]
    kept = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    assert kept
    assert not [secret for secret in secrets if secret.encode() in kept]
