"""The levels of isolation through the real command line."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.desk import AUTHSOME, Desk
from tests.isolation.world import ROOT

LOOK = (
    'cat "$HOME/.authsome/master.key" "$HOME/.authsome/vault.db" >/dev/null 2>&1 && echo read || echo hidden'
)
ASK = 'curl -sS -o /dev/null -w "%{http_code}\\n" -H "Authorization: Bearer $DISCORD_ACCESS_TOKEN" '
ME = "https://discord.com/api/v10/users/@me"
NO_PROXY = "env -u HTTPS_PROXY -u https_proxy -u HTTP_PROXY -u http_proxy "


@pytest.mark.parametrize(
    ("options", "seen"), [([], "hidden"), (["--sandbox"], "hidden"), (["--no-sandbox"], "read")]
)
def test_the_vault_is_hidden_unless_the_user_wants_no_isolation(
    connected: Desk, options: list[str], seen: str
) -> None:
    done = connected.run("sh", "-c", f"{LOOK}; {ASK}{ME}", options=options)
    assert done.stdout.split() == [seen, "200"], done.stderr
    assert ("no isolation" in done.stderr) is (seen == "read")


def test_a_key_that_is_kept_elsewhere_is_hidden_too(desk: Desk) -> None:
    desk.login()
    elsewhere = desk.folder / "keys"
    elsewhere.mkdir(mode=0o700)
    key = (desk.home / "master.key").rename(elsewhere / "key")
    desk.extra = {"AUTHSOME_KEY_FILE": str(key)}
    script = f"cat {key} >/dev/null 2>&1 && echo read || echo hidden; {ASK}{ME}"
    assert desk.run("sh", "-c", script).stdout.split() == ["hidden", "200"]
    assert desk.run("sh", "-c", script, options=["--no-sandbox"]).stdout.split() == ["read", "200"]


@pytest.mark.parametrize(
    ("options", "host"), [([], ""), (["--sandbox"], ""), ([], "docker"), (["--no-sandbox"], "")]
)
def test_a_key_that_is_handed_over_cannot_be_read_where_it_lies(
    desk: Desk, options: list[str], host: str
) -> None:
    """Under Docker's filter Landlock stands in."""
    desk.login()
    key = (desk.home / "master.key").rename(desk.work / "key")
    argv = [str(AUTHSOME), "run", *options, "--", "sh", "-c", f"head -c 14 {key}; echo; {ASK}{ME}"]
    order = json.dumps({"argv": argv, "uid": -1, "host": host, "folder": str(desk.work)})
    start = shlex.join([sys.executable, "-m", "tests.isolation.on_host", order])
    done = subprocess.run(
        ["sh", "-c", f"AUTHSOME_KEY_FD=3 {start} 3<{key}"],
        env=desk.environ(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    read = "authsome-key-1" if options == ["--no-sandbox"] else ""
    assert done.stdout.splitlines() == [read, "200"], done.stderr


@pytest.mark.parametrize("options", [[], ["--sandbox"], ["--no-sandbox"]])
def test_the_usual_vault_is_hidden_beside_the_one_in_use(desk: Desk, options: list[str]) -> None:
    other = Desk(desk.standin, desk.folder, {"AUTHSOME_HOME": str(desk.folder / "other")})
    other.login()
    desk.home.mkdir(mode=0o700)
    (desk.home / "master.key").write_text("usual")
    script = f"cat {desk.home}/master.key {desk.folder}/other/master.key | head -c 5; echo; {ASK}{ME}"
    read = "usual" if options == ["--no-sandbox"] else ""
    assert other.run("sh", "-c", script, options=options).stdout.splitlines() == [read, "200"]


def test_a_key_in_the_working_folder_cannot_be_hidden_and_nothing_is_run(desk: Desk) -> None:
    desk.login()
    key = (desk.home / "master.key").rename(desk.work / "key")
    done = desk.authsome("run", "--", "echo", "ran", extra={"AUTHSOME_KEY_FILE": str(key)})
    assert done.returncode == 2
    assert done.stdout == ""
    assert "in a folder of its own" in done.stderr


def test_in_a_sandbox_a_program_that_ignores_the_proxy_is_served_and_cannot_go_elsewhere(
    connected: Desk,
) -> None:
    outside = f"{NO_PROXY}curl -sS -m 5 -o /dev/null https://127.0.0.1:{connected.standin.https_port}/"
    script = f"{NO_PROXY}{ASK}{ME}; {outside} 2>/dev/null && echo out || echo kept"
    assert connected.run("sh", "-c", script, options=["--sandbox"]).stdout.split() == ["200", "kept"]
    assert connected.run("sh", "-c", f"{outside} -k && echo out", options=[]).stdout.split() == ["out"]


def test_a_sandbox_leaves_only_what_was_allowed(desk: Desk) -> None:
    desk.login()
    kept = desk.folder / "kept"
    kept.mkdir()
    script = f"echo x > {desk.folder}/.bashrc; echo x > {kept}/file; echo x > file; cat {desk.folder}/.bashrc"
    done = desk.run("sh", "-c", script, options=["--sandbox", "--rw", str(kept)])
    assert done.stdout == "x\n", done.stderr
    assert not (desk.folder / ".bashrc").exists()
    assert (kept / "file").exists()
    assert (desk.work / "file").exists()


def test_options_that_contradict_each_other_are_usage_errors(desk: Desk, tmp_path: Path) -> None:
    desk.login()
    for options in (
        ["--sandbox", "--no-sandbox"],
        ["--rw", str(tmp_path)],
        ["--sandbox", "--rw", "/no/such"],
    ):
        done = desk.authsome("run", *options, "--", "echo", "ran")
        assert (done.returncode, done.stdout) == (2, "")
