"""Transcripts of `authsome vault`."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.launcher.cli import PROGRAM, ROOT, Program, Said
from vault.envelope import SLOT
from vault.keys.file import key_text
from vault.storage import SqliteStorage

pytestmark = pytest.mark.usefixtures("alone_at_the_login_port")

PHRASE = "CANARY-correct-horse"
KEY = key_text(bytes(range(32))).decode()


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """A folder with a passphrase and two keys, as a CI system might provide it."""
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o700)
    for name, text in (("phrase", f"{PHRASE}\n"), ("key", KEY), ("other", key_text(bytes(32)).decode())):
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(text)
    return folder


@contextmanager
def descriptors(files: Mapping[str, Path]) -> Iterator[dict[str, str]]:
    """Open files, and their numbers by name; a subprocess gets them under the same numbers."""
    numbers = {name: os.open(path, os.O_RDONLY) for name, path in files.items()}
    try:
        yield {name: str(number) for name, number in numbers.items()}
    finally:
        for number in numbers.values():
            os.close(number)


def say(program: Program, *arguments: str, **files: Path) -> Said:
    """Run with files open, whose numbers replace `{name}` in arguments and variables."""
    with descriptors(files) as numbers:
        done = subprocess.run(
            [*PROGRAM, *(word.format(**numbers) for word in arguments)],
            env={name: value.format(**numbers) for name, value in program.environ.items()},
            pass_fds=[int(number) for number in numbers.values()],
            capture_output=True,
            text=True,
            timeout=60,
        )
    return Said(done.returncode, done.stdout, done.stderr)


def key_id(program: Program) -> str:
    return str(json.loads(program("vault", "key", "--json").out)["key_id"])


def status_of(program: Program, *, phrase: Path | None = None, key: Path | None = None) -> tuple[int, str]:
    """What a command that needs the key says."""
    variables: dict[str, str] = {}
    files: dict[str, Path] = {}
    if phrase:
        variables["AUTHSOME_PASSPHRASE_FD"], files["phrase"] = "{phrase}", phrase
    if key:
        variables["AUTHSOME_KEY_FD"], files["key"] = "{key}", key
    said = say(
        Program(program.home, {**program.variables, **variables}),
        "get",
        "discord",
        "--field",
        "status",
        **files,
    )
    return said.status, said.out.strip()


def test_init_makes_an_empty_vault_with_a_key_file_once(authsome: Program) -> None:
    said = authsome("vault", "init")
    assert (said.status, said.out) == (0, "")
    assert re.fullmatch(r"authsome: made a vault whose key [0-9a-f]{16} comes from: file\n", said.err)
    assert (authsome.home / "master.key").exists()

    again = authsome("vault", "init")
    assert (again.status, again.out) == (1, "")
    assert again.err == (
        f"authsome: error: there is a vault in {authsome.home}\n"
        "authsome: hint: change its key with 'authsome vault rekey', or set AUTHSOME_HOME to another folder\n"
    )


@pytest.mark.parametrize("words", [("key",), ("rekey",), ("verify",), ("backup", "x"), ("forget-key", "x")])
def test_without_a_vault_the_commands_say_so_and_make_none(authsome: Program, words: tuple[str, ...]) -> None:
    said = authsome("vault", *words)
    assert (said.status, said.out) == (1, "")
    assert said.err == (
        f"authsome: error: there is no vault in {authsome.home}\n"
        "authsome: hint: make one with 'authsome vault init', or log in\n"
    )
    assert not authsome.home.exists()


def test_key_shows_source_id_and_age_and_never_the_key(authsome: Program) -> None:
    authsome.connect()
    said = authsome("vault", "key")
    assert said.status == 0
    assert re.fullmatch(
        rf"source:     file\nkey id:     [0-9a-f]{{16}}\ncreated at: 20\S+Z\nage days:   0\n"
        rf"details:    {re.escape(str(authsome.home))}/master\.key\n",
        said.out,
    )
    secret = (authsome.home / "master.key").read_text().strip().partition(":")[2]
    assert secret not in said.out + authsome("vault", "key", "--json").out


def test_key_needs_no_key(authsome: Program) -> None:
    authsome.connect()
    (authsome.home / "master.key").unlink()
    assert authsome("vault", "key").status == 0
    assert authsome("vault", "verify").status == 1


def test_rekey_changes_the_key_and_keeps_the_connections(authsome: Program) -> None:
    authsome.connect()
    authsome.connect(profile="ci")
    before = key_id(authsome)

    said = authsome("vault", "rekey")
    assert (said.status, said.out) == (0, "")
    assert key_id(authsome) != before
    assert said.err.splitlines() == [
        f"authsome: backups that were made before are opened by the old key only: {before} stays as "
        f"{authsome.home}/master.key.{before}; 'authsome vault forget-key {before}' removes it",
        f"authsome: sealed 2 records under the new key {key_id(authsome)} from: file",
    ]
    assert status_of(authsome) == (0, "connected")


def test_what_becomes_of_the_old_key_is_said_before_anything_is_done(authsome: Program) -> None:
    authsome.connect()
    key, before = (authsome.home / "master.key").read_text(), key_id(authsome)
    with (
        closing(SqliteStorage(authsome.home / "vault.db")) as storage,
        storage.lock(SLOT, 5.0),
        authsome.started("vault", "rekey") as changing,
    ):
        assert changing.stderr
        assert f"{before} stays as {authsome.home}/master.key.{before};" in changing.stderr.readline()
    assert key_id(authsome) == before
    assert (authsome.home / "master.key").read_text() == key


@pytest.mark.parametrize("to", ["file", "passphrase"])
def test_an_older_backup_is_restored_with_the_key_that_a_rekey_kept_until_that_is_forgotten(
    authsome: Program, secrets: Path, tmp_path: Path, to: str
) -> None:
    authsome.connect()
    old, backup = key_id(authsome), str(tmp_path / "backup")
    assert authsome("vault", "backup", backup).status == 0
    words = () if to == "file" else ("--passphrase-fd", "{phrase}")
    assert say(authsome, "vault", "rekey", *words, phrase=secrets / "phrase").status == 0
    newer = key_id(authsome)
    kept = authsome.home / f"master.key.{old}"
    assert authsome("vault", "key").out.splitlines()[-1] == f"kept:       {old} in {kept}"
    assert json.loads(authsome("vault", "key", "--json").out)["kept"] == {old: str(kept)}

    assert authsome("vault", "restore", backup, "--force").status == 0
    assert status_of(authsome) == (0, "connected")
    assert key_id(authsome) == old
    refused = authsome("vault", "forget-key", old)
    assert (refused.status, refused.out) == (1, "")
    assert refused.err == (
        f"authsome: error: {old} is the present key of the vault\n"
        "authsome: hint: change it first, with 'authsome vault rekey'\n"
    )

    assert say(authsome, "vault", "rekey", *words, phrase=secrets / "phrase").status == 0
    said = authsome("vault", "forget-key", old)
    assert (said.status, said.out, said.err) == (0, "", f"authsome: removed the key {old}\n")
    assert not kept.exists()
    assert old not in authsome("vault", "key", "--json").out
    lost = authsome("vault", "restore", backup, "--force")
    assert lost.status == 1
    assert f"give the key {old}" in lost.err
    assert newer != key_id(authsome)


@pytest.mark.parametrize("name", ["0" * 16, "pending", "../master.key", ""])
def test_a_key_that_is_not_kept_is_unknown(authsome: Program, name: str) -> None:
    authsome.connect()
    said = authsome("vault", "forget-key", name)
    assert (said.status, said.out) == (4, "")
    assert said.err == f"authsome: error: no key {name} is kept\nauthsome: hint: see 'authsome vault key'\n"


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_keys_that_were_kept_are_hidden_from_the_program_of_a_run(
    authsome: Program, secrets: Path, elsewhere: bool
) -> None:
    authsome.connect()
    work = authsome.home.parent / "work"
    work.mkdir()
    key, program = authsome.home / "master.key", authsome
    if elsewhere:
        key = key.rename(secrets / "mine")
        program = Program(authsome.home, {"AUTHSOME_KEY_FILE": str(key)})
    assert program("vault", "rekey").status == 0
    for options, seen in (([], "0"), (["--sandbox"], "0"), (["--no-sandbox"], "1")):
        said = program("run", *options, "--", "sh", "-c", f"cat {key}.* | wc -l", cwd=work)
        assert (said.status, said.out.strip()) == (0, seen), said.err


def test_who_keeps_the_old_key_is_said_before_where_it_is_the_user(authsome: Program, secrets: Path) -> None:
    authsome.connect()
    phrase, key = secrets / "phrase", secrets / "key"
    assert say(authsome, "vault", "rekey", "--passphrase-fd", "{phrase}", phrase=phrase).status == 0
    locked = Program(authsome.home, {"AUTHSOME_PASSPHRASE_FD": "{phrase}"})
    said = say(locked, "vault", "rekey", "--key-fd", "{key}", "--key-source", "fd", phrase=phrase, key=key)
    assert said.err.splitlines()[0].endswith("by the old key only: do not forget the old passphrase")
    given = Program(authsome.home, {"AUTHSOME_KEY_FD": "{key}"})
    old = key_id(authsome)
    said = say(given, "vault", "rekey", "--key-source", "file", key=key)
    assert said.err.splitlines()[0].endswith(f"by the old key only: keep {old} where it is given from")

    lost, old = (authsome.home / "master.key").rename(secrets / "lost"), key_id(authsome)
    said = say(given, "vault", "rekey", key=lost)
    assert said.status == 0
    assert f"{old}, which is in no file here; keep it where it is given from" in said.err.splitlines()[0]


def test_a_vault_whose_key_is_lost_is_begun_anew_as_the_hint_says(authsome: Program) -> None:
    authsome.connect()
    (authsome.home / "master.key").unlink()
    said = authsome("list")
    assert said.status == 1
    assert "if it is lost for good, move vault.db away and log in again" in said.err
    (authsome.home / "vault.db").rename(authsome.home / "lost.db")
    authsome.connect()
    assert status_of(authsome) == (0, "connected")


def test_a_vault_goes_from_key_file_to_passphrase_to_descriptor_and_back(
    authsome: Program, secrets: Path
) -> None:
    authsome.connect()
    phrase, key = secrets / "phrase", secrets / "key"

    assert say(authsome, "vault", "rekey", "--passphrase-fd", "{phrase}", phrase=phrase).status == 0
    assert not (authsome.home / "master.key").exists()
    assert "argon2id, 3 iterations, 4 lanes, 64 MiB" in authsome("vault", "key").out
    assert status_of(authsome, phrase=phrase) == (0, "connected")
    assert status_of(authsome, phrase=secrets / "key") == (1, "")

    locked = Program(authsome.home, {"AUTHSOME_PASSPHRASE_FD": "{phrase}"})
    said = say(locked, "vault", "rekey", "--key-source", "fd", "--key-fd", "{key}", phrase=phrase, key=key)
    assert said.status == 0, said.err
    assert status_of(authsome, key=key) == (0, "connected")
    assert status_of(authsome, key=secrets / "other") == (1, "")
    assert status_of(Program(authsome.home, {"AUTHSOME_KEY_FILE": str(key)})) == (0, "connected")

    given = Program(authsome.home, {"AUTHSOME_KEY_FD": "{key}"})
    assert say(given, "vault", "rekey", "--key-source", "file", key=key).status == 0
    assert status_of(authsome) == (0, "connected")


def test_a_vault_that_needs_a_key_says_how_to_give_it(authsome: Program, secrets: Path) -> None:
    assert say(authsome, "vault", "init", "--key-fd", "{key}", key=secrets / "key").status == 0
    said = authsome("vault", "verify")
    assert (said.status, said.out) == (1, "")
    assert said.err == (
        "authsome: error: the key of this vault is to be given through a file descriptor\n"
        "authsome: hint: set AUTHSOME_KEY_FD to its number, or AUTHSOME_KEY_FILE to the path of a key file\n"
    )


def test_without_a_terminal_a_passphrase_has_to_come_from_a_descriptor(
    authsome: Program, secrets: Path
) -> None:
    said = say(authsome, "vault", "init", "--passphrase-fd", "{phrase}", phrase=secrets / "phrase")
    assert said.status == 0
    done = subprocess.run(
        [*PROGRAM, "vault", "verify"],
        env=authsome.environ,
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,
    )
    assert done.stderr == (
        "authsome: error: there is no terminal to ask for the passphrase on\n"
        "authsome: hint: give it through a file descriptor and set AUTHSOME_PASSPHRASE_FD to its number\n"
    )


@pytest.mark.parametrize(
    ("variable", "words"),
    [("AUTHSOME_KEY_FD", ("vault", "init")), ("AUTHSOME_PASSPHRASE_FD", ("vault", "init"))],
)
def test_a_new_vault_gets_the_key_that_the_environment_gives(
    authsome: Program, secrets: Path, variable: str, words: tuple[str, ...]
) -> None:
    program = Program(authsome.home, {variable: "{given}"})
    said = say(program, *words, given=secrets / ("key" if variable == "AUTHSOME_KEY_FD" else "phrase"))
    assert said.status == 0
    assert said.err.rstrip().endswith(("fd", "passphrase"))
    assert not (authsome.home / "master.key").exists()


def test_a_key_file_may_lie_outside_of_the_home(authsome: Program, secrets: Path) -> None:
    program = Program(authsome.home, {"AUTHSOME_KEY_FILE": str(secrets / "key")})
    assert program("vault", "init").status == 0
    assert (secrets / "key").read_text() == KEY
    assert not (authsome.home / "master.key").exists()
    assert program("vault", "verify").status == 0
    assert authsome("vault", "verify").status == 1


def test_a_key_file_that_two_vaults_share_outlives_the_rekey_of_one(tmp_path: Path, secrets: Path) -> None:
    key = secrets / "key"
    one, other = (Program(tmp_path / name, {"AUTHSOME_KEY_FILE": str(key)}) for name in ("one", "other"))
    assert one("vault", "init").status == other("vault", "init").status == 0
    said = one("vault", "rekey")
    assert said.status == 0
    newer = json.loads(one("vault", "key", "--json").out)["details"]
    assert f"the new key is in {newer}; {key} is as it was, as other vaults may need it" in said.err
    assert said.err.splitlines()[0].endswith(f"opened by the old key only: {key_id(other)} stays in {key}")
    refused = other("vault", "forget-key", key_id(one))
    assert refused.status == 1
    assert "may be that of another vault" in refused.err
    assert Path(newer) != key
    assert key.read_text() == KEY
    assert f"keep a copy of {newer} in another place" in one("vault", "backup", str(tmp_path / "bak")).err
    for program in (one, other):
        assert program("vault", "verify").status == 0
        finding = next(line for line in program("doctor").out.splitlines() if line.lstrip().startswith("key"))
        assert "ok" in finding


@pytest.mark.parametrize(
    ("variables", "words", "problem"),
    [
        ({"AUTHSOME_KEY_FD": "x"}, ("list",), "AUTHSOME_KEY_FD 'x' is not the number of a file descriptor"),
        ({"AUTHSOME_KEY_FD": "2"}, ("list",), "AUTHSOME_KEY_FD '2' is not the number of a file descriptor"),
        ({"AUTHSOME_KEY_FD": "99"}, ("list",), "AUTHSOME_KEY_FD: file descriptor 99 is not open"),
        (
            {"AUTHSOME_PASSPHRASE_FD": "99"},
            ("run", "true"),
            "AUTHSOME_PASSPHRASE_FD: file descriptor 99 is not open",
        ),
        ({}, ("vault", "init", "--key-fd", "99"), "--key-fd: file descriptor 99 is not open"),
        ({}, ("vault", "init", "--key-source", "fd"), "the new key is missing"),
        (
            {},
            ("vault", "init", "--key-source", "file", "--passphrase-fd", "0"),
            "invalid value for '--passphrase-fd': 0 is not in the range x>=3",
        ),
    ],
)
def test_a_descriptor_that_makes_no_sense_is_exit_2_and_makes_nothing(
    authsome: Program, variables: dict[str, str], words: tuple[str, ...], problem: str
) -> None:
    said = Program(authsome.home, variables)(*words)
    assert (said.status, said.out) == (2, "")
    assert said.err.splitlines()[0] == f"authsome: error: {problem}"
    assert not (authsome.home / "vault.db").exists()


def test_a_source_and_another_sources_descriptor_do_not_go_together(authsome: Program, secrets: Path) -> None:
    said = say(authsome, "vault", "init", "--key-source", "file", "--key-fd", "{key}", key=secrets / "key")
    assert said.status == 2
    assert said.err.startswith("authsome: error: --key-fd does not go with --key-source file\n")


def test_a_folder_is_no_backup(authsome: Program, tmp_path: Path) -> None:
    said = authsome("vault", "restore", str(tmp_path))
    assert said.status == 1
    assert (
        said.err == f"authsome: error: cannot use {tmp_path}: it is a folder\nauthsome: hint: name a file\n"
    )


def test_a_backup_is_restored(authsome: Program, tmp_path: Path) -> None:
    authsome.connect()
    path = tmp_path / "backup"
    said = authsome("vault", "backup", str(path))
    assert (said.status, said.out) == (0, "")
    key_file = authsome.home / "master.key"
    assert said.err.splitlines() == [
        f"authsome: wrote a backup to {path}",
        f"authsome: the key {key_id(authsome)} is not in it: keep a copy of {key_file} in another place",
    ]
    again = authsome("vault", "backup", str(path))
    assert again.status == 1
    assert again.err.startswith(f"authsome: error: {path} exists and is not overwritten\n")

    authsome.connect(name="work")
    refused = authsome("vault", "restore", str(path))
    assert refused.status == 1
    assert refused.err.splitlines() == [
        f"authsome: error: there is a vault in {authsome.home}",
        "authsome: hint: replace it with --force; it is kept beside",
    ]
    restored = authsome("vault", "restore", str(path), "--force")
    assert (restored.status, restored.out) == (0, "")
    assert restored.err.splitlines() == [
        f"authsome: the vault that was there is kept as {authsome.home}/vault.db.before-restore-1",
        "authsome: restored 1 record",
    ]
    assert authsome("get", "discord", "--field", "status").status == 0
    assert authsome("get", "discord", "--connection", "work").status == 4


def test_a_backup_without_its_key_is_not_restored(authsome: Program, tmp_path: Path) -> None:
    authsome.connect()
    authsome("vault", "backup", str(tmp_path / "backup"))
    fresh = Program(tmp_path / "fresh" / "home")
    (tmp_path / "fresh").mkdir()
    said = fresh("vault", "restore", str(tmp_path / "backup"))
    assert said.status == 1
    assert said.err.startswith("authsome: error: the backup does not open: the master key ")
    assert not (fresh.home / "vault.db").exists()

    (fresh.home / "master.key").touch(mode=0o600)
    (fresh.home / "master.key").write_bytes((authsome.home / "master.key").read_bytes())
    assert fresh("vault", "restore", str(tmp_path / "backup")).status == 0
    assert status_of(fresh) == (0, "connected")


def test_a_backup_that_is_not_there_is_a_clear_error(authsome: Program, tmp_path: Path) -> None:
    said = authsome("vault", "restore", str(tmp_path / "nowhere"))
    assert said.status == 1
    assert said.err.startswith(
        f"authsome: error: cannot use {tmp_path}/nowhere: there is no such file or folder\n"
    )


def test_verify_opens_everything_and_lists_what_is_damaged(authsome: Program) -> None:
    authsome.connect()
    authsome.connect(name="work", profile="ci")
    said = authsome("vault", "verify")
    assert (said.status, said.out, said.err) == (0, "", "authsome: opened 2 records\n")

    with closing(sqlite3.connect(authsome.home / "vault.db")) as database, database:
        database.execute("UPDATE record SET blob = zeroblob(80) WHERE name = 'work'")
        database.execute("INSERT INTO record VALUES ('default', 'connection', 'discord', '\x1b[2J', 1, x'')")
    said = authsome("vault", "verify")
    assert said.status == 1
    lines = [line.split() for line in said.out.splitlines()]
    assert lines[0] == ["PROFILE", "RECORD", "TROUBLE"]
    assert sorted(line[:2] for line in lines[1:]) == [["ci", "discord/work"], ["default", "discord/\\x1b[2J"]]
    assert said.err.startswith("authsome: error: 2 records of 3 cannot be used\n")

    found = json.loads(authsome("vault", "verify", "--json").out)
    assert found["records"] == 3
    assert {entry["profile"] for entry in found["damaged"]} == {"ci", "default"}


def test_a_record_that_does_not_open_is_named_by_rekey_and_left(authsome: Program) -> None:
    authsome.connect()
    authsome.connect(name="work")
    with closing(sqlite3.connect(authsome.home / "vault.db")) as database, database:
        database.execute("UPDATE record SET blob = zeroblob(80) WHERE name = 'work'")
    said = authsome("vault", "rekey")
    assert said.status == 0
    assert said.err.splitlines()[1] == "authsome: warning: discord/work does not open and is left as it was"


def test_a_key_can_be_in_the_systems_keyring(authsome: Program, tmp_path: Path) -> None:
    authsome.connect()
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path\n"
        "import keyring\n"
        "from tests.heavy.rekey_kills import FileKeyring\n"
        "keyring.set_keyring(FileKeyring(Path(sys.argv[1])))\n"
        "from launcher.cli import run_command_line\n"
        "sys.exit(run_command_line(sys.argv[2:]))\n"
    )

    def with_keyring(*words: str) -> Said:
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "keyring"), *words],
            env=authsome.environ,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    assert with_keyring("vault", "rekey", "--key-source", "keyring").status == 0
    assert not (authsome.home / "master.key").exists()
    assert "details:    authsome/" in with_keyring("vault", "key").out
    assert with_keyring("get", "discord", "--field", "status").out == "connected\n"
    first = key_id(authsome)
    assert with_keyring("vault", "backup", str(tmp_path / "backup")).status == 0
    said = with_keyring("vault", "rekey")
    assert f"{first} stays in the keyring as authsome/{first};" in said.err.splitlines()[0]
    second = key_id(authsome)
    assert with_keyring("vault", "forget-key", second).status == 1
    assert with_keyring("vault", "rekey", "--key-source", "file").status == 0
    kept = {path.name for path in (tmp_path / "keyring").iterdir()}
    assert kept == {f"authsome {first}", f"authsome {second}"}
    assert status_of(authsome) == (0, "connected")

    assert with_keyring("vault", "restore", str(tmp_path / "backup"), "--force").status == 0
    assert with_keyring("vault", "rekey", "--key-source", "file").status == 0
    for name in (first, second):
        assert with_keyring("vault", "forget-key", name).status == 0
        assert with_keyring("vault", "forget-key", name).status == 4
    assert list((tmp_path / "keyring").iterdir()) == []
    assert with_keyring("vault", "restore", str(tmp_path / "backup"), "--force").status == 1


@pytest.mark.parametrize("variable", ["AUTHSOME_KEY_FD", "AUTHSOME_PASSPHRASE_FD"])
def test_the_program_of_a_run_has_neither_the_descriptor_nor_its_number(
    authsome: Program, secrets: Path, variable: str
) -> None:
    name = "key" if variable == "AUTHSOME_KEY_FD" else "phrase"
    option = "--key-fd" if name == "key" else "--passphrase-fd"
    authsome.connect()
    assert say(authsome, "vault", "rekey", option, "{given}", given=secrets / name).status == 0

    look = (
        "import os\n"
        "print([os.path.realpath('/proc/self/fd/' + number) for number in os.listdir('/proc/self/fd')])\n"
        "print([name for name in os.environ if name.startswith('AUTHSOME_')])"
    )
    program = Program(authsome.home, {variable: "{given}"})
    said = say(program, "run", "--", sys.executable, "-c", look, given=secrets / name, user=secrets / "other")
    assert said.status == 0, said.err
    opened, named = said.out.splitlines()
    assert str(secrets / name) not in opened
    assert str(secrets / "other") in opened  # what is not ours is passed on
    assert named == "['AUTHSOME_RUN']"


def test_nothing_secret_is_printed(authsome: Program, secrets: Path) -> None:
    authsome.connect()
    said = [
        say(authsome, "--debug", "vault", "rekey", "--key-fd", "{phrase}", phrase=secrets / "phrase"),
        say(authsome, "--debug", "vault", "rekey", "--passphrase-fd", "{phrase}", phrase=secrets / "phrase"),
        say(authsome, "--debug", "vault", "verify"),
        say(authsome, "--debug", "vault", "key"),
    ]
    assert [each.status for each in said] == [1, 0, 1, 0]
    for each in said:
        assert "CANARY" not in each.out + each.err


def test_what_is_no_backup_is_not_restored_and_no_force_is_advised(authsome: Program, tmp_path: Path) -> None:
    authsome.connect()
    path = tmp_path / "letter"
    path.write_text("Dear reader\n" * 100)
    for options in ((), ("--force",)):
        said = authsome("vault", "restore", str(path), *options)
        assert (said.status, said.out) == (1, "")
        assert said.err.splitlines() == [
            f"authsome: error: cannot use {path}: it is not a vault",
            "authsome: hint: use another backup",
        ]
