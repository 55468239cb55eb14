"""Transcripts of the commands that only read."""

import json
import os
import pty
import sqlite3
import subprocess
from pathlib import Path

import pytest

from launcher.run.audit_log import AuditLog
from proxy.model import Event
from tests.launcher.cli import ACCESS, PROGRAM, REFRESH, ROOT, Program
from vault.model import Status

NOT_CONNECTED = (
    "authsome: error: discord/default is not connected\nauthsome: hint: run 'authsome login discord'\n"
)


def test_list_without_connections(authsome: Program) -> None:
    said = authsome("list")
    assert said.out.splitlines() == [
        "PROVIDER  SOURCE   CONNECTION  STATUS  ACCOUNT  EXPIRES  CHECKED",
        "discord   bundled  -           -       -        -        -",
    ]
    assert (said.status, said.err) == (0, "")


def test_list_shows_every_connection_of_the_profile(authsome: Program) -> None:
    authsome.connect()
    authsome.connect(name="work", status=Status.EXPIRED)
    authsome.connect(name="other", profile="ci")
    lines = [line.split()[:5] for line in authsome("list").out.splitlines()[1:]]
    assert lines == [
        ["discord", "bundled", "default", "connected", "nelly"],
        ["discord", "bundled", "work", "expired", "nelly"],
    ]
    (found,) = json.loads(authsome("--profile", "ci", "list", "--json").out)
    assert found["provider"] == "discord"
    assert [shown["connection"] for shown in found["connections"]] == ["other"]


def test_list_shows_a_damaged_record_and_those_beside_it(authsome: Program) -> None:
    authsome.connect()
    authsome.connect(name="work")
    database = sqlite3.connect(authsome.home / "vault.db")
    with database:
        database.execute("UPDATE record SET blob = zeroblob(80) WHERE name = 'work'")
    database.close()
    said = authsome("list")
    assert said.status == 0
    assert [line.split()[2:4] for line in said.out.splitlines()[1:]] == [
        ["default", "connected"],
        ["work", "damaged"],
    ]
    assert said.err.startswith("authsome: warning: discord/work: ")


def test_inspect_into_the_users_folder_round_trips_byte_for_byte(authsome: Program) -> None:
    authsome.connect()
    folder = authsome.home / "providers"
    folder.mkdir(mode=0o700, exist_ok=True)
    shell = f"{' '.join(PROGRAM)} inspect discord > {folder / 'discord.json'}"
    assert subprocess.run(["sh", "-c", shell], env=authsome.environ, timeout=60).returncode == 0
    bundled = (ROOT / "oauth" / "providers" / "discord.json").read_bytes()
    assert (folder / "discord.json").read_bytes() == bundled
    assert authsome("list").out.splitlines()[1].split()[:2] == ["discord", "custom"]
    assert authsome("inspect", "discord").out.encode() == bundled


def test_list_warns_of_a_wrong_provider_file_and_shows_the_others(authsome: Program) -> None:
    (authsome.home / "providers").mkdir(parents=True, mode=0o700)
    (authsome.home / "providers" / "acme.json").write_text("{}")
    said = authsome("list")
    assert said.status == 0
    assert said.out.splitlines()[1].startswith("discord ")
    assert said.err.startswith("authsome: warning: ")
    assert "acme.json" in said.err


def test_a_connection_whose_definition_became_wider_is_shown_as_unconfirmed(authsome: Program) -> None:
    authsome.connect()
    authsome.connect(name="work")
    authsome.widen_discord()
    lines = [line.split()[2:4] for line in authsome("list").out.splitlines()[1:]]
    assert lines == [["default", "unconfirmed"], ["work", "unconfirmed"]]
    assert authsome("get", "discord", "--field", "status").out == "unconfirmed\n"
    assert authsome("confirm", "discord", "--yes").status == 0
    assert authsome("get", "discord", "--field", "status").out == "connected\n"


@pytest.mark.parametrize(("text", "source"), [("{}", "invalid"), (None, "missing")])
def test_list_tells_a_wrong_definition_from_one_that_is_not_there(
    authsome: Program, text: str | None, source: str
) -> None:
    file = authsome.home / "providers" / "keyed.json"
    file.parent.mkdir(mode=0o700, parents=True)
    authsome.home.chmod(0o700)
    file.write_bytes((ROOT / "examples" / "providers" / "keyed.json").read_bytes())
    file.chmod(0o600)
    authsome.connect("keyed")
    file.unlink() if text is None else file.write_text(text)
    assert authsome("list").out.splitlines()[2].split()[:4] == ["keyed", source, "default", "connected"]


def test_get_prints_everything_but_the_credential(authsome: Program) -> None:
    authsome.connect()
    said = authsome("get", "discord")
    assert (said.status, said.err) == (0, "")
    assert "status:           connected\n" in said.out
    assert "scopes:           identify,guilds\n" in said.out
    found = json.loads(authsome("get", "discord", "--json").out)
    assert found["provider"] == "discord"
    assert found["connection"] == "default"
    assert found["scopes"] == ["identify", "guilds"]
    assert found["expires_at"].endswith("Z")
    for text in (said.out, json.dumps(found), authsome("list", "--json").out):
        assert "CANARY" not in text


def test_one_field_is_printed_alone(authsome: Program) -> None:
    authsome.connect()
    assert authsome("get", "discord", "--field", "status").out == "connected\n"
    assert authsome("get", "discord", "--field", "scopes").out == "identify,guilds\n"
    assert authsome("get", "discord", "--field", "scopes", "--json").out == '["identify", "guilds"]\n'


@pytest.mark.parametrize("field", ["access_token", "refresh_token", "credential", ""])
def test_a_field_that_does_not_exist_is_a_usage_error_that_lists_those_that_do(
    authsome: Program, field: str
) -> None:
    authsome.connect()
    said = authsome("get", "discord", "--field", field)
    assert (said.status, said.out) == (2, "")
    assert "choose one of provider, connection, status" in said.err


@pytest.mark.parametrize("command", [("get", "discord"), ("export", "discord"), ("check", "discord")])
def test_without_a_connection_a_login_is_needed(authsome: Program, command: tuple[str, ...]) -> None:
    said = authsome(*command)
    assert (said.status, said.out, said.err) == (3, "", NOT_CONNECTED)
    authsome.connect(name="work")
    said = authsome(*command)
    assert (said.status, said.out, said.err) == (3, "", NOT_CONNECTED)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize(
    "command",
    [
        "get discord --connection nope",
        "export discord --connection nope",
        "logout discord --connection nope",
        "check discord --connection nope",
        "confirm discord --connection nope",
        "run --connection discord/nope -- true",
        "run --provider discord --connection nope -- true",
    ],
)
def test_a_connection_that_was_never_made_under_that_name_is_exit_4(
    authsome: Program, command: str, first: bool
) -> None:
    if not first:
        authsome.connect()
    said = authsome(*command.split())
    assert (said.status, said.out) == (4, "")
    assert said.err.startswith("authsome: error: discord/nope is not connected\nauthsome: hint: see ")
    assert ("login" in said.err) is not command.startswith("logout")


@pytest.mark.parametrize(
    ("style", "text"),
    [
        ("env", f"export DISCORD_ACCESS_TOKEN='{ACCESS}'\n"),
        ("dotenv", f'DISCORD_ACCESS_TOKEN="{ACCESS}"\n'),
        ("json", f'{{"DISCORD_ACCESS_TOKEN": "{ACCESS}"}}\n'),
    ],
)
def test_export_prints_the_access_token_and_never_a_refresh_token(
    authsome: Program, style: str, text: str
) -> None:
    authsome.connect()
    said = authsome("export", "discord", "--format", style)
    assert (said.status, said.out, said.err) == (0, text, "")
    assert REFRESH not in said.out


def test_every_export_is_in_the_audit_without_the_value(authsome: Program) -> None:
    authsome.connect("discord", "work")
    authsome("export", "discord", "--connection", "work", "--format", "json")
    authsome("export", "discord", "--connection", "work")
    authsome("export", "discord")  # which is not connected
    lines = authsome("audit", "--json").out.splitlines()
    first, second = (json.loads(line) for line in lines)
    assert first.pop("time").endswith("Z")
    assert first == {
        "run": "",
        "profile": "default",
        "provider": "discord",
        "connection": "work",
        "host": "",
        "method": "",
        "path": "",
        "decision": "export",
        "reason": "json",
        "status": None,
    }
    assert second["reason"] == "env"
    assert "CANARY" not in "".join(lines)


def test_nothing_is_exported_where_the_audit_cannot_be_written(authsome: Program) -> None:
    authsome.connect()
    audit = authsome.home / "audit"
    audit.mkdir(mode=0o700)
    (audit / "audit.jsonl").mkdir()
    said = authsome("export", "discord")
    assert (said.status, said.out) == (1, "")
    assert said.err.splitlines() == [
        "authsome: error: discord/default is not exported: "
        f"cannot write to the audit in {audit}: is a directory",
        "authsome: hint: check its permissions and the space on its disk",
    ]


def test_export_to_a_shell_sets_the_variable(authsome: Program) -> None:
    authsome.connect(access="it's $HOME")
    shell = f'eval "$({" ".join(PROGRAM)} export discord)"; printf %s "$DISCORD_ACCESS_TOKEN"'
    done = subprocess.run(
        ["sh", "-c", shell], env=authsome.environ, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "it's $HOME"


def test_export_to_a_terminal_warns(authsome: Program) -> None:
    authsome.connect()
    parent, child = pty.openpty()
    done = subprocess.run(
        [*PROGRAM, "export", "discord"], env=authsome.environ, stdout=child, stderr=subprocess.PIPE, text=True
    )
    os.close(child)
    os.close(parent)
    assert done.stderr.startswith("authsome: warning: the token is now on your screen")


def test_export_is_refused_inside_of_a_run(authsome: Program) -> None:
    authsome.connect()
    inside = Program(authsome.home, {"AUTHSOME_RUN": "r1"})
    said = inside("export", "discord")
    assert (said.status, said.out) == (1, "")
    assert said.err.startswith("authsome: error: credentials are not exported inside of a run\n")


@pytest.mark.parametrize(
    "command",
    ["login discord", "get discord", "list", "run -- true", "vault verify", "vault init", "logout discord"],
)
@pytest.mark.parametrize("masked", [False, True])
def test_inside_of_a_run_it_is_said_that_there_is_no_vault(
    authsome: Program, command: str, masked: bool
) -> None:
    if masked:  # as a run hides it
        authsome.home.mkdir(mode=0o755)
    said = Program(authsome.home, {"AUTHSOME_RUN": "r1"})(*command.split())
    assert (said.status, said.out) == (125 if command.startswith("run") else 1, "")
    assert said.err.splitlines() == [
        "authsome: error: this is inside of a run, which has no vault",
        "authsome: hint: call this outside of 'authsome run'",
    ]


def test_inside_of_a_run_that_hides_nothing_the_vault_is_used(authsome: Program) -> None:
    authsome.connect()
    inside = Program(authsome.home, {"AUTHSOME_RUN": "r1"})
    assert inside("get", "discord", "--field", "status").out == "connected\n"


def test_export_of_an_expired_connection_needs_a_login(authsome: Program) -> None:
    authsome.connect(status=Status.EXPIRED)
    said = authsome("export", "discord")
    assert (said.status, said.out) == (3, "")
    assert "CANARY" not in said.err


def test_audit_shows_the_latest_decisions(authsome: Program) -> None:
    folder = authsome.home / "audit"
    folder.mkdir(parents=True, mode=0o700)
    log = AuditLog(folder, "0123456789abcdef", "default", lambda: 0.0)
    for number in range(3):
        log(Event("GET", "discord.com", f"/{number}", "inject", "discord/default", None, 200))
    head, line = authsome("audit", "--limit", "1").out.splitlines()
    assert " ".join(head.split()) == "TIME RUN CONNECTION METHOD HOST PATH DECISION REASON STATUS"
    shown = "1970-01-01T00:00:00Z 01234567 discord/default GET discord.com /2 inject - 200"
    assert " ".join(line.split()) == shown
    lines = authsome("audit", "--json").out.splitlines()
    assert [json.loads(line)["path"] for line in lines] == ["/0", "/1", "/2"]


def test_audit_passes_over_a_line_that_is_not_whole(authsome: Program) -> None:
    folder = authsome.home / "audit"
    folder.mkdir(mode=0o700, parents=True)
    authsome.home.chmod(0o700)
    AuditLog(folder, "r1", "default", lambda: 0.0)(Event("GET", "discord.com", "/whole", "inject"))
    with (folder / "audit.jsonl").open("a") as file:
        file.write('{"time": "1970-01-01T00:00:00Z", "ru')
    said = authsome("audit")
    assert said.status == 0
    assert [line.split()[5] for line in said.out.splitlines()[1:]] == ["/whole"]


def test_a_home_that_others_can_enter_is_refused(authsome: Program, tmp_path: Path) -> None:
    authsome.connect()
    authsome.home.chmod(0o755)
    said = authsome("list")
    assert said.status == 1
    assert "chmod 700" in said.err


@pytest.mark.parametrize("command", ["list", "get discord", "login discord", "vault init"])
def test_a_home_that_is_a_file_is_refused(authsome: Program, command: str) -> None:
    authsome.home.write_text("")
    said = authsome(*command.split())
    assert (said.status, said.out) == (2, "")
    assert said.err.splitlines()[-2:] == [
        f"authsome: error: {authsome.home} is not a folder",
        "authsome: hint: set AUTHSOME_HOME to a folder, or move that file away",
    ]


def test_a_folder_of_definitions_that_others_can_write_to_is_told_once(authsome: Program) -> None:
    authsome.connect()
    folder = authsome.home / "providers"
    folder.mkdir(exist_ok=True)
    (folder / "discord.json").write_bytes((ROOT / "oauth" / "providers" / "discord.json").read_bytes())
    folder.chmod(0o777)
    said = authsome("list")
    assert (said.status, said.out) == (1, "")
    assert said.err.splitlines() == [
        f"authsome: error: other users can use {folder}",
        f"authsome: hint: run 'chmod 700 {folder}'",
    ]
