"""Whole runs: the real program, the real proxy, and a stand-in provider where one is needed."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.launcher.cli import ACCESS, PROGRAM, REFRESH, Program, connected
from tests.standin import StandIn
from vault.model import Status

FETCH = """
import os, urllib.request
request = urllib.request.Request("https://discord.com/api/v10/users/@me")
request.add_header("Authorization", "Bearer " + os.environ["DISCORD_ACCESS_TOKEN"])
print(urllib.request.urlopen(request).status)
"""


def test_a_child_uses_the_connection_and_holds_the_placeholder(tmp_path: Path, standin: StandIn) -> None:
    authsome, tokens = connected(tmp_path / "home", standin)
    said = authsome("run", "--", sys.executable, "-c", FETCH + "print(dict(os.environ))")
    assert (said.status, said.err) == (0, "")
    assert said.out.startswith("200\n")
    assert "'DISCORD_ACCESS_TOKEN': 'authsome-proxy-managed'" in said.out
    assert tokens.access_token not in said.out
    (seen,) = standin.seen
    assert (b"authorization", f"Bearer {tokens.access_token}".encode()) in [
        (name.lower(), value) for name, value in seen.headers
    ]
    (line,) = authsome("audit", "--json").out.splitlines()
    entry = json.loads(line)
    assert (entry["provider"], entry["connection"], entry["decision"]) == ("discord", "default", "inject")


def test_a_connection_that_is_not_offered_is_not_used(tmp_path: Path, standin: StandIn) -> None:
    authsome, tokens = connected(tmp_path / "home", standin, name="work")
    authsome.connect()
    authsome("run", "--connection", "discord/default", "--", sys.executable, "-c", FETCH)
    assert not standin.wire_contains(tokens.access_token.encode())
    authsome("run", "--connection", "discord/work", "--", sys.executable, "-c", FETCH)
    assert standin.wire_contains(tokens.access_token.encode())


def test_the_status_of_the_run_is_that_of_the_program(authsome: Program) -> None:
    authsome.connect()
    assert authsome("run", "--", "sh", "-c", "exit 7").status == 7
    assert authsome("run", "--", "sh", "-c", "kill -TERM $$").status == 143
    assert authsome("run", "no-such-program-anywhere").status == 127
    said = authsome("run", str(authsome.home))
    assert said.status == 126
    assert said.err.startswith("authsome: error: cannot run ")


@pytest.mark.parametrize("dashes", [(), ("--",)])
def test_what_follows_the_first_word_goes_to_the_program_untouched(
    authsome: Program, dashes: tuple[str, ...]
) -> None:
    authsome.connect()
    words = ("--provider", "x", "--", "--help", "-h", "")
    said = authsome("run", *dashes, sys.executable, "-c", "import sys; print(sys.argv[1:])", *words)
    assert said.out == f"{list(words)}\n"


def test_without_a_connection_there_is_no_run(authsome: Program, tmp_path: Path) -> None:
    said = authsome("run", "--", "touch", str(tmp_path / "started"))
    assert said.status == 3
    assert said.err.splitlines() == [
        "authsome: error: there is no connection to offer",
        "authsome: hint: run 'authsome login discord', or see 'authsome list' for other providers",
    ]
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize(
    ("options", "status"),
    [
        (("--provider", "nope"), 4),
        (("--connection", "nope/work"), 4),
        (("--connection", "nobody"), 4),
        (("--connection", "discord/work"), 4),
        (("--connection", "A"), 2),
        (("--connect-to", "x"), 2),
        (("--nope",), 2),
    ],
)
def test_what_cannot_be_offered_is_refused_before_the_program_starts(
    authsome: Program, tmp_path: Path, options: tuple[str, ...], status: int
) -> None:
    authsome.connect()
    assert authsome("run", *options, "--", "touch", str(tmp_path / "started")).status == status
    assert not (tmp_path / "started").exists()


def test_two_connections_for_one_place_are_refused(authsome: Program) -> None:
    authsome.connect()
    authsome.connect(name="work")
    said = authsome("run", "--connection", "discord/default", "--connection", "discord/work", "true")
    assert said.status == 2
    assert "both go to discord.com" in said.err


def test_a_failure_of_the_run_itself_is_125(authsome: Program, tmp_path: Path) -> None:
    authsome.connect()
    (authsome.home / "master.key").write_text("no key\n")
    said = authsome("run", "--", "touch", str(tmp_path / "started"))
    assert said.status == 125
    assert said.err.startswith("authsome: error: ")
    assert not (tmp_path / "started").exists()


def test_an_expired_connection_is_offered_with_a_warning_and_its_requests_are_refused(
    tmp_path: Path, standin: StandIn
) -> None:
    authsome = Program(
        tmp_path / "home",
        {"AUTHSOME_CONNECT_TO": ",".join(standin.connect_to), "SSL_CERT_FILE": str(standin.ca_file)},
    )
    authsome.connect(status=Status.EXPIRED)
    said = authsome("run", "--", sys.executable, "-c", FETCH)
    assert said.err.splitlines()[:2] == [
        "authsome: warning: discord/default has expired: its requests will be refused",
        "authsome: hint: run 'authsome login discord'",
    ]
    assert "403" in said.err
    assert not standin.seen


def test_a_wrong_provider_file_stops_only_a_run_that_names_it(authsome: Program) -> None:
    authsome.connect()
    authsome.connect("acme")
    (authsome.home / "providers").mkdir(mode=0o700)
    (authsome.home / "providers" / "acme.json").write_text("{}")
    said = authsome("run", "true")
    assert said.status == 0
    assert said.err.startswith("authsome: warning: acme/default is not offered: ")
    assert authsome("run", "--provider", "acme", "true").status == 125


def test_tokens_in_the_environment_of_the_launcher_do_not_reach_the_child(authsome: Program) -> None:
    authsome.connect()
    exported = {
        "DISCORD_ACCESS_TOKEN": ACCESS,
        "DISCORD_REFRESH_TOKEN": REFRESH,
        "SSLKEYLOGFILE": "/dev/null",
    }
    said = Program(authsome.home, exported)("run", "--", "env")
    assert said.status == 0
    assert "CANARY" not in said.out
    assert "DISCORD_REFRESH_TOKEN" not in said.out
    assert "SSLKEYLOGFILE" not in said.out
    assert "AUTHSOME_HOME" not in said.out


def test_certificates_of_the_users_tools_stay_trusted_by_the_child(
    authsome: Program, standin: StandIn
) -> None:
    authsome.connect()
    own = Program(authsome.home, {"REQUESTS_CA_BUNDLE": str(standin.ca_file), "NODE_EXTRA_CA_CERTS": "/none"})
    said = own("run", "--", "sh", "-c", 'cat "$REQUESTS_CA_BUNDLE"; echo; cat "$NODE_EXTRA_CA_CERTS"')
    bundle, extra = said.out.split("\n\n")
    assert standin.ca_file.read_text().strip() in bundle
    assert extra.count("BEGIN CERTIFICATE") == 1
    assert extra.strip() in bundle


def test_nothing_of_a_run_is_left_and_two_runs_have_proxies_of_their_own(authsome: Program) -> None:
    authsome.connect()
    show = 'echo "$HTTPS_PROXY $SSL_CERT_FILE"; sleep 0.2'
    command = ("run", "--", "sh", "-c", show)
    with authsome.started(*command) as one, authsome.started(*command) as other:
        said = [run.communicate(timeout=60)[0].split() for run in (one, other)]
    assert [one.returncode, other.returncode] == [0, 0]
    assert not set(said[0]) & set(said[1])
    assert [path.name for path in (authsome.home / "runs").iterdir()] == [".lock"]


def test_a_killed_launcher_takes_the_child_along_and_the_next_run_cleans_up(authsome: Program) -> None:
    authsome.connect()
    with authsome.started("run", "--", "sh", "-c", "echo ready; exec sleep 30") as run:
        assert run.stdout
        assert run.stdout.readline() == "ready\n"
        run.kill()
        begun = time.monotonic()
        run.communicate(timeout=20)
        assert time.monotonic() - begun < 10
    left = [path for path in (authsome.home / "runs").iterdir() if path.is_dir()]
    assert len(left) == 1
    assert authsome("run", "true").status == 0
    assert not left[0].exists()


def test_a_signal_to_the_launcher_ends_the_child_and_everything_of_the_run(authsome: Program) -> None:
    authsome.connect()
    with authsome.started("run", "--", "sh", "-c", "echo ready; exec sleep 30") as run:
        assert run.stdout
        assert run.stdout.readline() == "ready\n"
        run.send_signal(signal.SIGTERM)
        _, problems = run.communicate(timeout=20)
    assert (run.returncode, problems) == (143, "")
    assert [path.name for path in (authsome.home / "runs").iterdir()] == [".lock"]


def family(pid: int) -> list[int]:
    """A process and all that it has started, by the process ids of this machine."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, timeout=20)
    pairs = [line.split() for line in listed.stdout.splitlines()]
    found = [pid]
    for member in found:  # grows meanwhile
        found += [int(child) for child, parent in pairs if int(parent) == member]
    return found


def visible(pid: int) -> str:
    """The arguments and the environment of a process, as its user's other processes see them."""
    if not sys.platform.startswith("linux"):
        command = ["ps", "eww", "-p", str(pid)]
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout
    text = ""
    for name in ("cmdline", "environ"):
        with suppress(PermissionError):  # then nobody sees it
            text += Path(f"/proc/{pid}/{name}").read_text()
    return text


def test_no_credential_is_in_the_arguments_or_environment_of_child_and_launcher(authsome: Program) -> None:
    authsome.connect()
    with authsome.started("run", "--", "sh", "-c", "echo ready; exec sleep 30") as run:
        assert run.stdout
        assert run.stdout.readline() == "ready\n"
        shown = [visible(pid) for pid in family(run.pid)]
    assert any("authsome-proxy-managed" in text for text in shown)
    assert "CANARY" not in "".join(shown)


def test_a_program_reads_the_terminal_of_the_user(authsome: Program) -> None:
    authsome.connect()
    parent, child = os.openpty()
    script = "test -t 0 && test -t 1 && read line && echo got $line"
    command = [*PROGRAM, "run", "--", "sh", "-c", script]
    with subprocess.Popen(command, env=authsome.environ, stdin=child, stdout=child) as run:
        os.close(child)
        try:
            os.write(parent, b"typed\n")
            assert run.wait(timeout=30) == 0
            assert b"got typed" in os.read(parent, 4096)
        finally:
            run.kill()
            os.close(parent)


@pytest.mark.parametrize("text", ["/x", "A/b", "a/b/c"])
def test_a_connection_that_is_no_name_is_said_to_be_none(authsome: Program, text: str) -> None:
    authsome.connect()
    said = authsome("run", "--connection", text, "--", "true")
    assert said.status == 2
    assert said.err.startswith(f"authsome: error: --connection '{text}' is not NAME or PROVIDER/NAME\n")


def test_an_option_of_the_sandbox_without_it_is_answered_with_how_to_give_both(authsome: Program) -> None:
    said = authsome("run", "--home", "ro", "--", "true")
    assert said.status == 2
    assert said.err.splitlines() == [
        "authsome: error: --home goes with --sandbox",
        "authsome: hint: add --sandbox, or leave --home out",
    ]


MANY = """
import os, resource, socket, urllib.parse
proxy = urllib.parse.urlsplit(os.environ["HTTPS_PROXY"])
idle = [socket.create_connection((proxy.hostname, proxy.port)) for _ in range(40)]
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def test_a_program_may_hold_as_many_connections_as_its_own_limit_allows(
    tmp_path: Path, standin: StandIn
) -> None:
    authsome, _ = connected(tmp_path / "home", standin)
    program = shlex.join([str(part) for part in (*PROGRAM, "run", "--", sys.executable, "-c", MANY + FETCH)])
    done = subprocess.run(
        ["sh", "-c", f"ulimit -S -n 50; exec {program}"],
        env=authsome.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "50\n200\n", "")


def test_a_closed_standard_output_is_the_programs_business(authsome: Program) -> None:
    authsome.connect()
    program = shlex.join([str(part) for part in (*PROGRAM, "run", "--", "sh", "-c", "echo; exit 7")])
    done = subprocess.run(
        ["sh", "-c", f"{program} >&-"], env=authsome.environ, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 7
