"""What `authsome doctor` says of connections that a provider refused so often that runs answered for it."""

import json
import os
import time
from pathlib import Path
from typing import Final

import pytest
from pydantic import SecretStr

from launcher.app import App
from launcher.audit_log import CURRENT, AuditLog, KeptBack, read_audit, read_kept_back
from launcher.doctor import LOGIN_HELPS, RECENT_DAYS, Finding, State, circuit_findings, findings
from launcher.render import utc
from launcher.settings import RUN_VARIABLE, Settings
from proxy.model import Event
from tests.e2e.desk import PYTHON, Desk, finished, wait_until
from tests.launcher.cli import ACCESS, Program
from tests.standin import StandIn
from vault.errors import KeyUnavailable
from vault.keys import KeyFile
from vault.model import ApiKey, Checked, Connection, ConnectionKey, Health, Status, Versioned
from vault.passphrase import Passphrase
from vault.storage import SqliteStorage
from vault.vault import Vault

DAY: Final = 86_400.0
UNPROVEN: Final = "the provider answers 401"
KEY: Final = ConnectionKey("default", "discord", "default")
NONE: Final = [Finding("circuit", State.OK, "no connection is known to be refused, by the audit of 7 days")]
FOREVER: Final = Passphrase(lambda: "a passphrase", lambda: "a passphrase")


RETRIES: Final = """
import os, urllib.error, urllib.request as u
request = u.Request("https://discord.com/api/v10/users/@me",
    headers={"Authorization": "Bearer " + os.environ["DISCORD_ACCESS_TOKEN"]})
def ask():
    try:
        with u.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
print(ask(), flush=True)
input()
print(*[ask() for _ in range(40)])
"""
"""A child that does not give up."""


def told(
    authsome: Program,
    count: int,
    reason: str = LOGIN_HELPS,
    *,
    connection: str = "discord/default",
    ago: float = 0.0,
) -> str:
    """Let a run that ended `ago` seconds ago tell the audit of a circuit; the time in the line."""
    at = time.time() - ago
    line = Event(
        "",
        "",
        "",
        "circuit",
        connection=connection,
        reason=f"{reason}; {count} requests were answered locally",
    )
    folder = authsome.home / "audit"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    authsome.home.chmod(0o700)
    AuditLog(folder, "r1", lambda: at)(line)
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


def test_a_connection_that_runs_kept_from_the_provider_is_told_once_with_their_sum(authsome: Program) -> None:
    authsome.connect()
    change(authsome, **logged_in(authsome, 3 * DAY))
    told(authsome, 40, UNPROVEN, ago=2 * DAY)
    last = told(authsome, 17)
    text = (
        f"discord/default: 57 requests were answered locally, last in a run that ended {last}: {LOGIN_HELPS}"
    )
    assert circuits(authsome) == [Finding("circuit", State.WARNING, text, "run 'authsome login discord'")]


def logged_in(authsome: Program, ago: float) -> dict[str, object]:
    """What a login that long ago would have stored."""
    at = time.time() - ago
    with authsome.vault() as vault:
        credential = stored(vault).value.credential
    return {"credential": credential.model_copy(update={"issued_at": at}), "created_at": at, "updated_at": at}


def test_the_user_reads_it_and_programs_read_the_same(authsome: Program) -> None:
    authsome.connect()
    last = told(authsome, 1)
    said = authsome("doctor")
    line = f"discord/default: 1 request was answered locally, last in a run that ended {last}: {LOGIN_HELPS}"
    assert f"\ncircuit         warning  {line}\n" in said.out
    assert "\ncircuit: run 'authsome login discord'\n" in said.out
    (check,) = [c for c in json.loads(authsome("doctor", "--json").out)["checks"] if c["name"] == "circuit"]
    remedy = "run 'authsome login discord'"
    assert check == {"name": "circuit", "state": "warning", "text": line, "remedy": remedy}
    assert ACCESS not in said.out + said.err


def test_without_a_line_about_a_circuit_nothing_is_told(authsome: Program) -> None:
    assert circuits(authsome) == NONE
    assert not authsome.home.exists()
    authsome.connect()
    assert circuits(authsome) == NONE
    folder = authsome.home / "audit"
    folder.mkdir(mode=0o700)
    log = AuditLog(folder, "r1", time.time)
    log(Event("GET", "discord.com", "/x", "refuse", "discord/default", "credential-dead", 401))
    log(Event("GET", "discord.com", '/"circuit"', "inject", "discord/circuit", None, 200))
    assert circuits(authsome) == NONE


def test_a_line_that_kept_nothing_from_the_provider_is_not_told(authsome: Program) -> None:
    authsome.connect()
    told(authsome, 0, UNPROVEN)
    assert circuits(authsome) == NONE


def test_a_line_is_told_for_seven_days(authsome: Program) -> None:
    authsome.connect()
    change(authsome, **logged_in(authsome, 30 * DAY))
    told(authsome, 5, ago=RECENT_DAYS * DAY + 60)
    assert circuits(authsome) == NONE
    told(authsome, 6, ago=RECENT_DAYS * DAY - 60)
    (found,) = circuits(authsome)
    assert ": 6 requests " in found.text


@pytest.mark.parametrize(
    ("reason", "key", "command"),
    [
        (LOGIN_HELPS, KEY, "authsome login discord"),
        (UNPROVEN, KEY, "authsome check discord"),
        (UNPROVEN, ConnectionKey("default", "acme", "work"), "authsome check acme --connection work"),
        (
            UNPROVEN,
            ConnectionKey("team", "acme", "work"),
            "authsome --profile team check acme --connection work",
        ),
        (
            LOGIN_HELPS,
            ConnectionKey("team", "acme", "work"),
            "authsome --profile team login acme --connection work",
        ),
    ],
)
def test_the_remedy_is_what_the_reason_asks_for(reason: str, key: ConnectionKey, command: str) -> None:
    told = [KeptBack(str(key), reason, 3, 1_800_000_000.0)]
    (known,) = circuit_findings(key.profile, told, {str(key): 0.0})
    assert known.remedy == f"run '{command}'"
    (unknown,) = circuit_findings(key.profile, told, {str(key): None})
    assert unknown.remedy == f"unless you have logged in since, run '{command}'"
    assert unknown.text == known.text


def test_each_connection_is_told_for_itself() -> None:
    told = [
        KeptBack("discord/work", UNPROVEN, 3, 100.0),
        KeptBack("discord/default", LOGIN_HELPS, 4, 200.0),
        KeptBack("discord/mended", LOGIN_HELPS, 5, 300.0),
        KeptBack("discord/gone", LOGIN_HELPS, 6, 300.0),
    ]
    good_at = {"discord/work": 50.0, "discord/default": 50.0, "discord/mended": 301.0, "discord/fine": 0.0}
    found = [finding.text.split(" req")[0] for finding in circuit_findings("default", told, good_at)]
    assert found == ["discord/default: 4", "discord/work: 3"]


def test_only_what_came_after_the_login_counts() -> None:
    told = [KeptBack("discord/work", LOGIN_HELPS, 1_000, 100.0), KeptBack("discord/work", UNPROVEN, 2, 300.0)]
    (found,) = circuit_findings("default", told, {"discord/work": 200.0})
    assert found.text.startswith("discord/work: 2 requests")
    assert found.remedy == "run 'authsome check discord --connection work'"


def test_a_login_or_a_refresh_since_ends_it(authsome: Program) -> None:
    authsome.connect()
    change(authsome, **logged_in(authsome, DAY))
    told(authsome, 5, ago=60)
    assert circuits(authsome) != NONE
    change(authsome, credential=logged_in(authsome, 0)["credential"])
    assert circuits(authsome) == NONE


def test_a_new_key_since_ends_it(authsome: Program) -> None:
    authsome.connect()
    change(authsome, credential=ApiKey(value=SecretStr("CANARY")), created_at=time.time() - DAY)
    told(authsome, 5, UNPROVEN, ago=60)
    assert circuits(authsome) != NONE
    change(authsome, created_at=time.time())
    assert circuits(authsome) == NONE


@pytest.mark.parametrize("health", Health)
def test_a_check_that_went_well_since_ends_it_and_no_other(authsome: Program, health: Health) -> None:
    authsome.connect()
    change(authsome, **logged_in(authsome, DAY), checked=Checked(health=health, at=time.time() - 120))
    told(authsome, 5, UNPROVEN, ago=60)
    assert circuits(authsome) != NONE
    change(authsome, checked=Checked(health=health, at=time.time()))
    assert (circuits(authsome) == NONE) is (health in (Health.HEALTHY, Health.EXPIRING))


def test_what_is_marked_expired_after_the_line_is_still_told(authsome: Program) -> None:
    authsome.connect()
    change(authsome, **logged_in(authsome, DAY))
    told(authsome, 5, ago=60)
    change(authsome, status=Status.EXPIRED, updated_at=time.time())
    assert circuits(authsome) != NONE


def test_after_a_logout_nothing_is_told(authsome: Program) -> None:
    authsome.connect()
    told(authsome, 5)
    assert circuits(authsome) != NONE
    with authsome.vault() as vault:
        vault.delete_connection(KEY)
    assert circuits(authsome) == NONE


def test_another_profile_has_connections_of_its_own(authsome: Program) -> None:
    authsome.connect()
    told(authsome, 5)
    assert circuits(authsome, "team") == NONE
    assert circuits(authsome) != NONE


def with_passphrase(authsome: Program) -> None:
    """Move the connection into a vault that only a passphrase opens."""
    authsome.connect()
    with authsome.vault() as vault:
        connection = stored(vault).value
    for path in (*authsome.home.glob("vault.db*"), authsome.home / "master.key"):
        path.unlink()
    with Vault.open(SqliteStorage(authsome.home / "vault.db"), FOREVER, create=True) as vault:
        vault.put_connection(KEY, connection, expected=None)


def test_no_passphrase_is_asked_for_and_what_is_not_known_is_said_as_past(authsome: Program) -> None:
    with_passphrase(authsome)
    last = told(authsome, 5)
    said = authsome("doctor")
    assert f"5 requests were answered locally, last in a run that ended {last}" in said.out
    assert "\ncircuit: unless you have logged in since, run 'authsome login discord'\n" in said.out
    assert said.err == ""
    # The twin: whatever needs the connection itself does ask.
    assert "assphrase" in authsome("list").err


def test_a_logout_is_known_without_the_passphrase(authsome: Program) -> None:
    with_passphrase(authsome)
    told(authsome, 5)
    assert circuits(authsome) != NONE
    with Vault.open(SqliteStorage(authsome.home / "vault.db"), FOREVER) as vault:
        vault.delete_connection(KEY)
    assert circuits(authsome) == NONE


def test_a_key_that_is_to_be_given_is_not_read(authsome: Program) -> None:
    with_passphrase(authsome)
    told(authsome, 5)
    reader, writer = os.pipe()
    try:
        os.write(writer, b"a passphrase\n")
        with App(Settings(authsome.home, "default", key_fd=reader, passphrase_fd=reader), {}) as app:
            found = [finding for finding in findings(app) if finding.name == "circuit"]
        assert os.read(reader, 64) == b"a passphrase\n"
    finally:
        os.close(reader)
        os.close(writer)
    assert [finding.state for finding in found] == [State.WARNING]


def test_a_vault_that_does_not_open_is_told_by_the_key_alone(authsome: Program) -> None:
    authsome.connect()
    told(authsome, 5)
    (authsome.home / "master.key").unlink()
    with pytest.raises(KeyUnavailable):
        Vault.open(SqliteStorage(authsome.home / "vault.db"), KeyFile(authsome.home / "master.key"))
    (found,) = circuits(authsome)
    assert found.remedy.startswith("unless ")
    for path in authsome.home.glob("vault.db*"):
        path.write_bytes(b"no database")
    assert circuits(authsome) == []
    (authsome.home / "audit" / CURRENT).unlink()
    assert circuits(authsome) == NONE  # nobody asks the vault


def test_without_a_vault_nothing_is_told_and_none_is_made(authsome: Program) -> None:
    told(authsome, 5)
    assert circuits(authsome) == NONE
    assert [path.name for path in authsome.home.iterdir()] == ["audit"]
    authsome.connect()
    change(authsome, **logged_in(authsome, DAY))
    assert circuits(authsome) != NONE


def test_inside_of_a_run_nothing_is_looked_for(authsome: Program) -> None:
    authsome.connect()
    told(authsome, 5)
    assert circuits(authsome, **{RUN_VARIABLE: "r1"}) == []


def test_an_audit_that_cannot_be_read_is_a_warning(authsome: Program) -> None:
    authsome.connect()
    (authsome.home / "audit").mkdir(mode=0o700)
    (authsome.home / "audit" / CURRENT).mkdir()
    text = f"cannot read the audit in {authsome.home / 'audit'}: is a directory"
    assert circuits(authsome) == [Finding("circuit", State.WARNING, text, "check its permissions")]


LINE: Final = {
    "time": "2027-01-15T08:00:00Z",
    "run": "r1",
    "provider": "discord",
    "connection": "work",
    "decision": "circuit",
    "reason": f"{UNPROVEN}; 7 requests were answered locally",
}


def read(tmp_path: Path, text: str) -> list[KeptBack]:
    (tmp_path / CURRENT).write_text(text, encoding="utf-8", errors="surrogateescape")
    return read_kept_back(tmp_path, 0.0)


def test_a_line_is_read_as_it_was_written(tmp_path: Path) -> None:
    whole = [KeptBack("discord/work", UNPROVEN, 7, 1_800_000_000.0)]
    assert read(tmp_path, json.dumps(LINE) + "\n") == whole
    assert read(tmp_path, f'{{"torn": "circuit"\n{json.dumps(LINE)}\n\udcff "circuit"\n') == whole


@pytest.mark.parametrize(
    "wrong",
    [
        {"time": "yesterday"},
        {"time": "2027-01-15T08:00:00"},
        {"time": "9999-12-31T23:59:59-12:00"},
        {"time": None},
        {"provider": None},
        {"provider": "../x"},
        {"connection": "work\n"},
        {"connection": "x'; rm -r ."},
        {"decision": "refuse", "run": "circuit"},
        {"reason": None},
        {"reason": "7 requests were answered locally"},
        {"reason": f"{UNPROVEN}; many requests were answered locally"},
        {"reason": f"{UNPROVEN}; {'9' * 5000} requests were answered locally"},
    ],
)
def test_a_damaged_line_is_passed_over(tmp_path: Path, wrong: dict[str, object]) -> None:
    assert read(tmp_path, json.dumps(LINE | wrong) + "\n") == []


def test_the_rotated_files_are_read_too_the_oldest_first(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, "r1", lambda: 1_800_000_000.0, max_bytes=600)
    for number in range(6):
        reason = f"{UNPROVEN}; {number} requests were answered locally"
        log(Event("", "", "", "circuit", connection="discord/work", reason=reason))
    assert len(list(tmp_path.glob("*.jsonl"))) > 1
    assert [one.count for one in read_kept_back(tmp_path, 0.0)] == list(range(6))


def test_a_file_that_nobody_has_written_to_of_late_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "audit.1.jsonl").write_text(json.dumps(LINE) + "\n")
    (tmp_path / CURRENT).write_text(json.dumps(LINE) + "\n")
    since = 1_800_000_000.0
    os.utime(tmp_path / CURRENT, (since, since))
    os.utime(tmp_path / "audit.1.jsonl", (since - 1, since - 1))
    assert len(read_kept_back(tmp_path, since)) == 1
    os.utime(tmp_path / "audit.1.jsonl", (since, since))
    assert len(read_kept_back(tmp_path, since)) == 2
    assert len(read_audit(tmp_path)) == 2


def retries(desk: Desk, *, revoked: bool) -> list[str]:
    """The statuses that a child got for its 41 requests, the first before the token may be revoked."""
    with finished(process := desk.start("run", "--", PYTHON, "-c", RETRIES)):
        assert process.stdout
        first = process.stdout.readline().split()
        if revoked:
            granted = desk.standin.discord.issued[-1]
            desk.standin.discord.revoke(granted.user, granted.app)
        out, err = process.communicate("\n", timeout=60)
        assert process.returncode == 0, err
    return first + out.split()


def checked(desk: Desk) -> list[dict[str, str | None]]:
    """What programs read of circuits."""
    checks = json.loads(desk.authsome("doctor", "--json").stdout)["checks"]
    return [check for check in checks if check["name"] == "circuit"]


def test_from_a_revoked_token_to_the_next_login(standin: StandIn, tmp_path: Path) -> None:
    desk = Desk(standin, tmp_path)
    fine = [{"name": "circuit", "state": "ok", "text": NONE[0].text, "remedy": None}]
    desk.login()
    assert set(retries(desk, revoked=False)) == {"200"}
    assert checked(desk) == fine

    standin.forget()
    statuses = retries(desk, revoked=True)
    asked = len([seen for seen in standin.seen if seen.target.endswith("/users/@me")])
    local = statuses.count("403")
    assert local >= 39
    assert asked < 5
    lines = [json.loads(line) for line in desk.authsome("audit", "--json").stdout.splitlines()]
    (line,) = [line for line in lines if line["decision"] == "circuit"]
    text = f"discord/default: {local} requests were answered locally, last in a run that ended {line['time']}"
    remedy = "run 'authsome login discord'"
    (found,) = checked(desk)
    assert found == {
        "name": "circuit", "state": "warning", "text": f"{text}: {LOGIN_HELPS}", "remedy": remedy
    }  # fmt: skip
    said = desk.authsome("doctor")
    assert text in said.stdout
    assert f"\ncircuit: {remedy}\n" in said.stdout

    wait_until(lambda: utc(time.time()) > line["time"])  # the audit knows no less than seconds
    desk.login()
    assert checked(desk) == fine
