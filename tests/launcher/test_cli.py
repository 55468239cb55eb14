import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_a_reader_that_goes_away_is_no_traceback(authsome: Program) -> None:
    shell = f"{' '.join(PROGRAM)} inspect discord | head -c 1; echo; {' '.join(PROGRAM)} list --json | true"
    done = subprocess.run(
        ["sh", "-c", shell], env=authsome.environ, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("{\n", "")


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
