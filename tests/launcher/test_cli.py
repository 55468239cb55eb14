import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from launcher.cli import COMMANDS, commands
from launcher.run.audit_log import AuditLog
from proxy.model import Event
from tests.launcher.cli import PROGRAM, ROOT, Program


def test_help_names_every_command_and_goes_to_standard_output(authsome: Program) -> None:
    said = authsome("--help")
    assert (said.status, said.err) == (0, "")
    assert said.out.startswith("Usage: authsome [OPTIONS] COMMAND [ARGS]...\n")
    for name in ("login", "logout", "list", "check", "get", "inspect", "export", "run", "audit"):
        assert f"\n  {name} " in said.out
        assert authsome(name, "--help").out.startswith(f"Usage: authsome {name} ")


@pytest.mark.parametrize(
    ("arguments", "problem", "path"),
    [
        (("frobnicate",), "no such command 'frobnicate'", "authsome"),
        (("--frobnicate",), "no such option '--frobnicate'", "authsome"),
        (("get",), "missing argument 'PROVIDER'", "authsome get"),
        (
            ("audit", "--limit", "x"),
            "invalid value for '--limit': 'x' is not a valid integer range",
            "authsome audit",
        ),
        (("run",), "missing argument '[--] PROGRAM [ARGUMENT]...'", "authsome run"),
    ],
)
def test_a_usage_error_is_two_lines_and_exit_2(
    authsome: Program, arguments: tuple[str, ...], problem: str, path: str
) -> None:
    said = authsome(*arguments)
    assert (said.status, said.out) == (2, "")
    assert said.err.splitlines() == [f"authsome: error: {problem}", f"authsome: hint: see '{path} --help'"]


@pytest.mark.parametrize(
    ("arguments", "problem", "hint"),
    [
        (("lgin",), "no such command 'lgin'", "did you mean 'login'? see 'authsome --help'"),
        (
            ("vault", "backp"),
            "no such command 'backp'",
            "did you mean 'backup'? see 'authsome vault --help'",
        ),
        (
            ("list", "--jsn"),
            "no such option '--jsn'",
            "did you mean '--json'? see 'authsome list --help'",
        ),
        (
            ("get", "dicsord"),
            "there is no provider 'dicsord'",
            "did you mean 'discord'? known providers: discord",
        ),
        (
            ("inspect", "discrod"),
            "there is no provider 'discrod'",
            "did you mean 'discord'? known providers: discord",
        ),
        (
            ("run", "--provider", "dscord", "true"),
            "there is no provider 'dscord'",
            "did you mean 'discord'? known providers: discord",
        ),
    ],
)
def test_a_name_that_is_nearly_one_is_answered_with_that_in_the_hint(
    authsome: Program, arguments: tuple[str, ...], problem: str, hint: str
) -> None:
    assert authsome(*arguments).err.splitlines() == [
        f"authsome: error: {problem}",
        f"authsome: hint: {hint}",
    ]


def test_an_unknown_provider_is_exit_4_also_for_run(authsome: Program) -> None:
    for arguments in (
        ("get", "nope"),
        ("inspect", "nope"),
        ("login", "nope"),
        ("run", "--provider", "nope", "true"),
    ):
        said = authsome(*arguments)
        assert said.status == 4
        assert said.err == (
            "authsome: error: there is no provider 'nope'\nauthsome: hint: known providers: discord\n"
        )


def test_a_traceback_is_shown_only_with_debug(authsome: Program) -> None:
    assert "Traceback" not in authsome("get", "nope").err
    assert "Traceback" in authsome("--debug", "get", "nope").err


def test_a_wrong_profile_or_connection_name_is_exit_2(authsome: Program) -> None:
    assert authsome("--profile", "A B", "list").status == 2
    assert authsome("get", "discord", "--connection", "../x").status == 2


@pytest.mark.parametrize("arguments", [(), ("vault",)])
def test_a_group_without_a_command_prints_its_help_to_standard_error_and_ends_with_2(
    authsome: Program, arguments: tuple[str, ...]
) -> None:
    said = authsome(*arguments)
    assert (said.status, said.out) == (2, "")
    assert said.err == authsome(*arguments, "--help").out


@pytest.mark.parametrize(
    "arguments", [("--help",), ("inspect", "discord"), ("list",), ("list", "--json"), ("audit", "--json")]
)
def test_a_reader_that_goes_away_is_no_error_but_status_141(
    authsome: Program, arguments: tuple[str, ...]
) -> None:
    for folder in (authsome.home, authsome.home / "audit"):
        folder.mkdir(mode=0o700)
    AuditLog(folder, "r1", "default", lambda: 0.0)(Event("GET", "discord.com", "/", "inject"))
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*PROGRAM, *arguments],
        env=authsome.environ,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("arguments", ["list", "inspect discord", "list --json", "--help"])
def test_output_that_cannot_be_written_is_one_line_and_a_hint(authsome: Program, arguments: str) -> None:
    done = shell(authsome, f"{arguments} >/dev/full")
    assert (done.returncode, done.stderr.splitlines()) == (
        1,
        [
            "authsome: error: cannot write to standard output: no space left on device",
            "authsome: hint: free some space, or redirect it to another place",
        ],
    )


@pytest.mark.parametrize(("arguments", "status"), [("list", 1), ("inspect discord", 1)])
def test_a_closed_standard_output_is_one_line_and_a_hint(
    authsome: Program, arguments: str, status: int
) -> None:
    done = shell(authsome, f"{arguments} >&-")
    assert (done.returncode, done.stderr.splitlines()) == (
        status,
        [
            "authsome: error: standard output is closed",
            "authsome: hint: redirect it, for example to /dev/null",
        ],
    )


def test_a_closed_standard_error_sends_no_message_to_standard_output(authsome: Program) -> None:
    done = shell(authsome, "get nope 2>&-")
    assert (done.returncode, done.stdout) == (4, "")
    assert shell(authsome, "get nope 2>/dev/full").returncode == 4


@pytest.mark.parametrize(("arguments", "status"), [("list", 1), ("doctor", 1), ("run true", 125)])
def test_a_working_folder_that_is_gone_is_one_line_and_a_hint(
    authsome: Program, tmp_path: Path, arguments: str, status: int
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    done = shell(authsome, arguments, f"cd {folder} && rmdir {folder} && ")
    assert (done.returncode, done.stderr.splitlines()) == (
        status,
        ["authsome: error: the working folder is gone", "authsome: hint: change to a folder that exists"],
    )


def shell(authsome: Program, arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """The program called by a shell."""
    return subprocess.run(
        ["sh", "-c", f"{before}{' '.join(PROGRAM)} {arguments}"],
        env=authsome.environ,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("module", ["launcher.startup", "launcher.cli", "launcher.setup.app"])
def test_an_interrupt_during_the_first_imports_is_one_line_and_exit_130(module: str) -> None:
    start = (
        f"import os, signal, sys; sys.path.append({str(ROOT)!r}); sys.argv = ['authsome', 'list']\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "from launcher.__main__ import main; sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-I", "-c", start], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.lstrip("\n") == "authsome: error: interrupted\n"


def test_interrupting_a_command_is_one_line_and_exit_130(authsome: Program, tmp_path: Path) -> None:
    pipe = tmp_path / "secret"
    os.mkfifo(pipe)
    command = ("login", "discord", "--client-id", "1", "--client-secret-file", str(pipe))
    # The pipe opens when the program has opened it, and now waits for the secret.
    with authsome.started(*command) as process, pipe.open("wb"):
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (out, err.lstrip("\n"), process.returncode) == ("", "authsome: error: interrupted\n", 130)


def test_reading_commands_make_no_files(authsome: Program) -> None:
    for arguments in (
        ("list",),
        ("check",),
        ("get", "discord"),
        ("inspect", "discord"),
        ("audit",),
        ("export", "discord"),
    ):
        authsome(*arguments)
    assert not authsome.home.exists()


def test_list_does_not_import_what_only_a_run_needs() -> None:
    start = (
        f"import sys; sys.path.append({str(ROOT)!r}); sys.argv = ['authsome', 'list']; "
        "from launcher.__main__ import main; status = main(); "
        "print(sorted(name for name in sys.modules if name.split('.')[0] in ('mitmproxy', 'h11')), status)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", start], capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "[] 0"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_of_each_command_is_what_it_says_of_itself(name: str) -> None:
    command = commands.get_command(click.Context(commands), name)
    assert command is not None
    assert command.get_short_help_str(limit=100) == COMMANDS[name]


def test_help_imports_no_command() -> None:
    program = (
        "import sys\nfrom launcher.cli import run_command_line\nassert run_command_line(['--help']) == 0\n"
        "print([name for name in sys.modules if name.startswith(('launcher.commands.', 'vault.vault'))])"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert told.stdout.splitlines()[-1] == "['launcher.commands.invocation']"
