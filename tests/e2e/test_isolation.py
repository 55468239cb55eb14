"""The levels of isolation through the real command line."""

import gzip
import json
import os
import shlex
import shutil
import subprocess
import sys
import zlib
from importlib.util import find_spec
from pathlib import Path

import brotli
import cryptography
import pytest
import zstandard as zstd

from tests.e2e.desk import AUTHSOME, PYTHON, Desk
from tests.isolation.world import ROOT
from tests.standin import Answer

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
@pytest.mark.parametrize("name", ["other", ".authsome/ci"])
def test_the_usual_vault_is_hidden_beside_the_one_in_use(desk: Desk, name: str, options: list[str]) -> None:
    desk.home.mkdir(mode=0o700)
    other = Desk(desk.standin, desk.folder, {"AUTHSOME_HOME": str(desk.folder / name)})
    other.login()
    (desk.home / "master.key").write_text("usual")
    script = f"cat {desk.home}/master.key {desk.folder}/{name}/master.key | head -c 5; echo; {ASK}{ME}"
    read = "usual" if options == ["--no-sandbox"] else ""
    assert other.run("sh", "-c", script, options=options).stdout.splitlines() == [read, "200"]


@pytest.mark.parametrize("options", [[], ["--sandbox"], ["--no-sandbox"]])
@pytest.mark.parametrize("name", ["master.key", "vault.db"])
def test_what_a_link_in_the_vault_leads_to_is_hidden_with_its_folder(
    desk: Desk, name: str, options: list[str]
) -> None:
    desk.login()
    elsewhere = desk.folder / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (desk.home / name).symlink_to((desk.home / name).rename(elsewhere / name))
    (elsewhere / "beside").write_text("x")
    script = f"cat {elsewhere}/{name} >/dev/null 2>&1 && echo read || echo hidden; ls {elsewhere} | wc -l"
    done = desk.run("sh", "-c", f"{script}; {ASK}{ME}", options=options)
    seen, beside, status = done.stdout.split()
    assert (seen, status) == ("read" if options == ["--no-sandbox"] else "hidden", "200"), done.stderr
    assert (beside == "0") is (seen == "hidden")


def test_a_key_file_that_is_a_link_is_hidden_at_both_ends(desk: Desk) -> None:
    desk.login()
    for folder in ("real", "link"):
        (desk.folder / folder).mkdir(mode=0o700)
    (desk.folder / "link/key").symlink_to((desk.home / "master.key").rename(desk.folder / "real/key"))
    desk.extra = {"AUTHSOME_KEY_FILE": str(desk.folder / "link/key")}
    script = f"ls {desk.folder}/real {desk.folder}/link | grep -x key; {ASK}{ME}"
    assert desk.run("sh", "-c", script).stdout.split() == ["200"]
    assert desk.run("sh", "-c", script, options=["--no-sandbox"]).stdout.split() == ["key", "key", "200"]


def test_a_key_in_the_working_folder_cannot_be_hidden_and_nothing_is_run(desk: Desk) -> None:
    desk.login()
    key = (desk.home / "master.key").rename(desk.work / "key")
    done = desk.authsome("run", "--", "echo", "ran", extra={"AUTHSOME_KEY_FILE": str(key)})
    assert done.returncode == 2
    assert done.stdout == ""
    assert "in a folder of its own" in done.stderr


LIBRARY = next((Path(cryptography.__file__).parent / "hazmat/bindings").glob("_rust*.so"))
BESIDE = Path(cryptography.__file__)
WRITE = 'for path; do (: >> "$path") 2>/dev/null && echo open || echo closed; done'


@pytest.mark.parametrize(
    ("options", "host", "seen"),
    [
        ([], "", ["closed", "open"]),
        ([], "masked-proc", ["closed", "open"]),
        ([], "docker", ["closed", "open"]),
        (["--sandbox", "--rw", str(BESIDE.parent)], "", ["closed", "open"]),
        (["--sandbox"], "", ["closed", "closed"]),
        (["--no-sandbox"], "", ["open", "open"]),
    ],
)
def test_a_library_that_the_launcher_executes_cannot_be_written(
    connected: Desk, options: list[str], host: str, seen: list[str]
) -> None:
    """What is written would be executed at once. The file beside it is code that was read at the start."""
    argv = [str(AUTHSOME), "run", *options, "--", "sh", "-c", WRITE, "sh", str(LIBRARY), str(BESIDE)]
    order = json.dumps({"argv": argv, "uid": -1, "host": host, "folder": str(connected.work)})
    done = subprocess.run(
        [sys.executable, "-m", "tests.isolation.on_host", order],
        env=connected.environ(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    mine = os.access(LIBRARY, os.W_OK)
    assert done.stdout.split() == (seen if mine else ["closed", "closed"]), done.stderr


BUSY = """
import os, sys, time, urllib.error, urllib.request as u
token = {"Authorization": "Bearer " + os.environ["DISCORD_ACCESS_TOKEN"]}
def ask(url, **more):
    try:
        return u.urlopen(u.Request(url, headers=token, **more)).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
me = "https://discord.com/api/v10/users/@me"
said = [ask(me) for _ in range(6)]
said += [ask(me.replace("https", "http")), ask(me, method="TRACE"), ask("https://xn--bcher-kva.invalid/")]
time.sleep(float(sys.argv[1]))
print(*said, ask(me))
"""
"""Has the proxy do all that it does: answers in every coding, a 401 that has to be explained, requests
that it refuses, a name that nobody has, and a token that has to be refreshed."""


SYSTEM_PYTHON = shutil.which("python3", path="/usr/bin:/bin") or PYTHON
"""The tests' own may lie in /tmp, of which a sandbox has one of its own."""


@pytest.mark.parametrize(
    "options",
    [
        [],
        pytest.param(["--sandbox"], marks=pytest.mark.slow),
        pytest.param(["--no-sandbox"], marks=pytest.mark.slow),
    ],
)
def test_while_the_program_runs_the_launcher_takes_up_no_code(
    desk: Desk, options: list[str], tmp_path: Path
) -> None:
    desk.standin.discord.token_lifetime = 5.0
    desk.login()
    packed = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress, "zstd": zstd.compress}
    answers = [Answer(200, (("Content-Encoding", name),), pack(b"{}")) for name, pack in packed.items()]
    desk.standin.discord.rest_faults.extend([*answers, Answer(401)])
    log = tmp_path / "log"
    watched = ROOT / "tests/isolation/watched.py"
    done = subprocess.run(
        [PYTHON, "-I", watched, log, "run", *options, "--", SYSTEM_PYTHON, "-c", BUSY, "4.5"],
        env=desk.environ(),
        cwd=desk.work,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["200"] * 4 + ["401", "200", "403", "403", "0", "200"], done.stderr
    assert "internal-error" not in desk.authsome("audit").stdout
    assert desk.standin.discord.refresh_count
    taken = {line.split(maxsplit=1)[1] for line in log.read_text().splitlines()}
    # What is not installed is looked for in vain before and after.
    assert [name for name in taken if "/" in name or find_spec(name)] == []
    assert taken


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
