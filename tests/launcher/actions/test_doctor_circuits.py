"""What `authsome doctor` says of connections whose requests were answered in their provider's place."""

import json
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
from pydantic import SecretStr

from launcher.actions.doctor import findings
from launcher.actions.doctor_circuits import RECENT_DAYS, circuit_findings
from launcher.actions.finding import Finding, State
from launcher.run.audit_log import CURRENT, AuditLog, KeptBack, KeptReason
from launcher.setup.app import App
from launcher.setup.settings import RUN_VARIABLE, Settings
from launcher.times import utc
from proxy.model import Event, Reason
from tests.e2e.desk import PYTHON, Desk, finished, wait_until
from tests.launcher.cli import ACCESS, Program
from tests.standin import StandIn
from vault.keys.passphrase import Passphrase
from vault.model import ApiKey, Checked, Connection, ConnectionKey, Health, Status, Versioned
from vault.storage import SqliteStorage
from vault.vault import Vault

DAY: Final = 86_400.0
LOGIN: Final = Reason.LOGIN_NEEDED
DEAD: Final = Reason.CREDENTIAL_DEAD
KEY: Final = ConnectionKey("default", "discord", "default")
WORK: Final = ConnectionKey("team", "acme", "work")
NONE: Final = [Finding("circuit", State.OK, "no connection is known to be refused, by the audit of 7 days")]
FOREVER: Final = Passphrase(lambda: "a passphrase", lambda: "a passphrase")

RETRIES: Final = """
import os, sys, urllib.error, urllib.request as u
request = u.Request("https://discord.com/api/v10/users/@me",
    headers={"Authorization": "Bearer " + os.environ["DISCORD_ACCESS_TOKEN"]})
def ask():
    try:
        with u.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
for line in sys.stdin:
    print(*[ask() for _ in range(int(line))], flush=True)
"""
"""A child that asks as often as it is told, and does not give up."""


def kept(
    authsome: Program, count: int, reason: KeptReason = LOGIN, *, ago: float = 0.0, profile: str = "default"
) -> str:
    """Let a run have kept requests from Discord that long ago; the time in their lines."""
    at = time.time() - ago
    folder = authsome.home / "audit"
    authsome.home.mkdir(mode=0o700, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    log = AuditLog(folder, "r1", profile, lambda: at)
    for _ in range(count):
        log(Event("GET", "discord.com", "/x", "refuse", "discord/default", reason, 403))
    return utc(at)


def circuits(authsome: Program, profile: str = "default", **environ: str) -> list[Finding]:
    with App(Settings(authsome.home, profile), environ) as app:
        return [found for found in findings(app) if found.name == "circuit"]


def stored(vault: Vault) -> Versioned[Connection]:
    found = vault.connection(KEY)
    assert found
    return found


def change(authsome: Program, **changes: object) -> None:
    """Write the record of the connection anew."""
    with authsome.vault() as vault:
        found = stored(vault)
        vault.put_connection(KEY, found.value.model_copy(update=changes), expected=found.generation)


def logged_in(authsome: Program, ago: float) -> dict[str, object]:
    """What a login that long ago would have stored."""
    at = time.time() - ago
    with authsome.vault() as vault:
        credential = stored(vault).value.credential
    return {"credential": credential.model_copy(update={"issued_at": at}), "created_at": at, "updated_at": at}


@pytest.fixture
def connected(authsome: Program) -> Program:
    """Logged in to Discord a month ago."""
    authsome.connect()
    change(authsome, **logged_in(authsome, 30 * DAY))
    return authsome


def test_a_connection_is_told_once_with_the_count_of_all_runs(connected: Program) -> None:
    kept(connected, 40, DEAD, ago=2 * DAY)
    last = kept(connected, 17)
    text = f"discord/default: 57 requests were answered locally, last at {last}: login-needed"
    assert circuits(connected) == [Finding("circuit", State.WARNING, text, "run 'authsome login discord'")]


def test_the_user_reads_it_and_programs_read_the_same(connected: Program) -> None:
    last = kept(connected, 1)
    said = connected("doctor")
    line = f"discord/default: 1 request was answered locally, last at {last}: login-needed"
    remedy = "run 'authsome login discord'"
    assert f"\ncircuit         warning  {line}\n" in said.out
    assert f"\ncircuit: {remedy}\n" in said.out
    (check,) = [c for c in json.loads(connected("doctor", "--json").out)["checks"] if c["name"] == "circuit"]
    assert check == {"name": "circuit", "state": "warning", "text": line, "remedy": remedy}
    assert ACCESS not in said.out + said.err


def test_without_such_a_line_nothing_is_told(authsome: Program) -> None:
    assert circuits(authsome) == NONE
    assert not authsome.home.exists()
    authsome.connect()
    change(authsome, **logged_in(authsome, DAY))
    kept(authsome, 0)
    log = AuditLog(authsome.home / "audit", "r1", "default", time.time)
    log(Event("GET", "discord.com", "/x", "refuse", "discord/default", "credential-unavailable", 403))
    log(Event("", "", "", "circuit", "discord/default", "why; 7 requests were answered locally"))
    assert circuits(authsome) == NONE


def test_a_line_is_told_for_seven_days(connected: Program) -> None:
    kept(connected, 5, ago=RECENT_DAYS * DAY + 60)
    assert circuits(connected) == NONE
    kept(connected, 6, ago=RECENT_DAYS * DAY - 60)
    (found,) = circuits(connected)
    assert ": 6 requests " in found.text


@pytest.mark.parametrize(
    ("key", "reason", "command"),
    [
        (KEY, LOGIN, "authsome login discord"),
        (KEY, DEAD, "authsome check discord"),
        (WORK, LOGIN, "authsome --profile team login acme --connection work"),
        (WORK, DEAD, "authsome --profile team check acme --connection work"),
    ],
)
def test_the_remedy_is_what_the_last_reason_asks_for(
    key: ConnectionKey, reason: KeptReason, command: str
) -> None:
    other: KeptReason = DEAD if reason is LOGIN else LOGIN
    requests = [KeptBack(key, other, 100.0), KeptBack(key, reason, 200.0)]
    (known,) = circuit_findings(requests, {key: 50.0})
    assert known.remedy == f"run '{command}'"
    (unknown,) = circuit_findings(requests, {key: None})
    assert unknown.remedy == f"unless you have logged in since, run '{command}'"
    assert unknown.text == known.text


def test_only_what_came_after_the_login_counts_for_each_connection_by_itself() -> None:
    work, gone, mended = (ConnectionKey("default", "discord", name) for name in ("work", "gone", "mended"))
    requests = [KeptBack(key, LOGIN, at) for at in (100.0, 200.0, 201.0) for key in (work, gone, mended, KEY)]
    good_at = {work: 200.0, KEY: 50.0, mended: 201.0}
    found = [finding.text.split(" req")[0] for finding in circuit_findings(requests, good_at)]
    assert found == ["discord/default: 3", "discord/work: 1"]


def test_a_login_or_a_refresh_since_ends_it(connected: Program) -> None:
    kept(connected, 5, ago=60)
    assert circuits(connected) != NONE
    change(connected, credential=logged_in(connected, 0)["credential"])
    assert circuits(connected) == NONE


def test_a_new_key_since_ends_it(connected: Program) -> None:
    change(connected, credential=ApiKey(value=SecretStr("CANARY")))
    kept(connected, 5, DEAD, ago=60)
    assert circuits(connected) != NONE
    change(connected, created_at=time.time())
    assert circuits(connected) == NONE


@pytest.mark.parametrize("health", Health)
def test_a_check_that_went_well_since_ends_it_and_no_other(connected: Program, health: Health) -> None:
    change(connected, checked=Checked(health=health, at=time.time() - 120))
    kept(connected, 5, DEAD, ago=60)
    assert circuits(connected) != NONE
    change(connected, checked=Checked(health=health, at=time.time()))
    assert (circuits(connected) == NONE) is (health in (Health.HEALTHY, Health.EXPIRING))


def test_what_is_marked_expired_after_the_line_is_still_told(connected: Program) -> None:
    kept(connected, 5, ago=60)
    change(connected, status=Status.EXPIRED, updated_at=time.time())
    assert circuits(connected) != NONE


def test_after_a_logout_nothing_is_told(connected: Program) -> None:
    kept(connected, 5)
    assert circuits(connected) != NONE
    with connected.vault() as vault:
        vault.delete_connection(KEY)
    assert circuits(connected) == NONE


def test_the_same_connection_of_another_profile_is_another(connected: Program) -> None:
    connected.connect(profile="team", lifetime=1.0)
    kept(connected, 5, ago=-60, profile="team")
    assert circuits(connected) == NONE
    (found,) = circuits(connected, "team")
    assert found.remedy == "run 'authsome --profile team login discord'"


def with_passphrase(authsome: Program) -> None:
    """Move the connection into a vault that only a passphrase opens."""
    with authsome.vault() as vault:
        connection = stored(vault).value
    for path in (*authsome.home.glob("vault.db*"), authsome.home / "master.key"):
        path.unlink()
    with Vault.open(SqliteStorage(authsome.home / "vault.db"), FOREVER, create=True) as vault:
        vault.put_connection(KEY, connection, expected=None)


def test_no_passphrase_is_asked_for_and_what_is_not_known_is_said_as_past(connected: Program) -> None:
    with_passphrase(connected)
    last = kept(connected, 5)
    said = connected("doctor")
    assert f"5 requests were answered locally, last at {last}" in said.out
    assert "\ncircuit: unless you have logged in since, run 'authsome login discord'\n" in said.out
    assert said.err == ""
    # The twin: whatever needs the connection itself does ask.
    assert "assphrase" in connected("list").err


def test_a_logout_is_known_without_the_passphrase(connected: Program) -> None:
    with_passphrase(connected)
    kept(connected, 5)
    assert circuits(connected) != NONE
    with Vault.open(SqliteStorage(connected.home / "vault.db"), FOREVER) as vault:
        vault.delete_connection(KEY)
    assert circuits(connected) == NONE


def test_a_key_that_is_to_be_given_is_not_read(connected: Program) -> None:
    with_passphrase(connected)
    kept(connected, 5)
    reader, writer = os.pipe()
    try:
        os.write(writer, b"a passphrase\n")
        with App(Settings(connected.home, "default", key_fd=reader, passphrase_fd=reader), {}) as app:
            found = [finding for finding in findings(app) if finding.name == "circuit"]
        assert os.read(reader, 64) == b"a passphrase\n"
    finally:
        os.close(reader)
        os.close(writer)
    assert [finding.state for finding in found] == [State.WARNING]


def test_a_vault_that_does_not_open_is_told_by_the_key_alone(connected: Program) -> None:
    kept(connected, 5)
    (connected.home / "master.key").unlink()
    (found,) = circuits(connected)
    assert found.remedy.startswith("unless ")
    for path in connected.home.glob("vault.db*"):
        path.write_bytes(b"no database")
    assert circuits(connected) == []
    (connected.home / "audit" / CURRENT).unlink()
    assert circuits(connected) == NONE  # nobody asks the vault


def test_a_record_under_an_impossible_name_is_passed_over(connected: Program) -> None:
    kept(connected, 5)
    with closing(sqlite3.connect(connected.home / "vault.db")) as database, database:
        database.execute("UPDATE record SET name = '../x' WHERE name = 'default'")
    assert circuits(connected) == NONE


def test_without_a_vault_nothing_is_told_and_none_is_made(authsome: Program) -> None:
    kept(authsome, 5)
    assert circuits(authsome) == NONE
    assert [path.name for path in authsome.home.iterdir()] == ["audit"]


def test_inside_of_a_run_nothing_is_looked_for(connected: Program) -> None:
    kept(connected, 5)
    assert circuits(connected, **{RUN_VARIABLE: "r1"}) == []


def test_an_audit_that_cannot_be_read_is_a_warning(connected: Program) -> None:
    kept(connected, 1)
    (connected.home / "audit" / CURRENT).unlink()
    (connected.home / "audit" / CURRENT).mkdir()
    text = f"cannot read the audit in {connected.home / 'audit'}: is a directory"
    assert circuits(connected) == [Finding("circuit", State.WARNING, text, "check its permissions")]


class Child:
    """A run whose child asks Discord as often as it is told."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.process = desk.start("run", "--", PYTHON, "-c", RETRIES)

    def ask(self, times: int) -> list[str]:
        """The statuses that the child got."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{times}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().split()

    def lose_the_token(self) -> int:
        """Revoke it, and ask 40 times; how many requests were answered locally."""
        granted = self._desk.standin.discord.issued[-1]
        self._desk.standin.discord.revoke(granted.user, granted.app)
        next_second()  # the audit knows no less than seconds
        return self.ask(40).count("403")

    def end(self) -> None:
        _, err = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, err


def next_second() -> None:
    now = utc(time.time())
    wait_until(lambda: utc(time.time()) > now)


def told(desk: Desk) -> list[dict[str, str | None]]:
    """What programs read of circuits."""
    checks = json.loads(desk.authsome("doctor", "--json").stdout)["checks"]
    return [check for check in checks if check["name"] == "circuit"]


FINE: Final = [{"name": "circuit", "state": "ok", "text": NONE[0].text, "remedy": None}]


def test_from_a_revoked_token_to_the_next_login(standin: StandIn, tmp_path: Path) -> None:
    desk = Desk(standin, tmp_path)
    desk.login()
    with finished((child := Child(desk)).process):
        assert set(child.ask(3)) == {"200"}
        assert told(desk) == FINE
        standin.forget()
        local = child.lose_the_token()
        child.end()
    assert local >= 39
    assert len([seen for seen in standin.seen if seen.target.endswith("/users/@me")]) < 5
    lines = [json.loads(line) for line in desk.authsome("audit", "--json").stdout.splitlines()]
    refused = [line for line in lines if line["decision"] == "refuse"]
    assert len(refused) == local
    assert {(line["profile"], line["provider"], line["connection"]) for line in refused} == {
        ("default", "discord", "default")
    }
    (total,) = [line["reason"] for line in lines if line["decision"] == "circuit"]
    assert total == f"the provider refused the refresh token; {local} requests were answered locally"
    last, remedy = refused[-1]["time"], "run 'authsome login discord'"
    text = f"discord/default: {local} requests were answered locally, last at {last}: login-needed"
    assert told(desk) == [{"name": "circuit", "state": "warning", "text": text, "remedy": remedy}]

    desk.login()
    assert told(desk) == FINE


def test_a_login_during_the_run_leaves_no_warning(standin: StandIn, tmp_path: Path) -> None:
    desk = Desk(standin, tmp_path)
    desk.login()
    with finished((child := Child(desk)).process):
        assert child.lose_the_token() >= 39
        assert [check["state"] for check in told(desk)] == ["warning"]
        desk.login()
        assert set(child.ask(3)) == {"200"}
        next_second()  # the run ends later than the login
        child.end()
    lines = desk.authsome("audit", "--json").stdout.splitlines()
    assert [line["decision"] for line in map(json.loads, lines)][-1] == "circuit"
    assert told(desk) == FINE
