import json
import sys
from pathlib import Path

import pytest

from tests.launcher.cli import ACCESS, REFRESH, SECRET, Program, Said
from vault.model import ClientRegistration

TELL = "import json, os; print(json.dumps({**os.environ}))"

JOB = {
    "ACTIONS_ID_TOKEN_REQUEST_URL": "https://ci.example/token",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "CANARY-identity-of-a-job",
    "COPIED": "Bearer CANARY-identity-of-a-job",
}
PROVIDER = {
    "DISCORD_BOT_TOKEN": "CANARY-of-a-bot",
    "discord_token": "CANARY-of-a-user",
    "DISCORD_CLIENT_SECRET": "C",
}
OTHERS = {"GITHUB_TOKEN": "CANARY-of-the-user", "PLAIN": "xo" + "xb-0123456789-CANARY"}


def program(tmp_path: Path, **variables: str) -> Program:
    made = Program(tmp_path / "home", variables)
    made.connect(client=ClientRegistration(client_id="1", client_secret=SECRET))
    return made


def run(program: Program, *options: str) -> tuple[dict[str, str], list[str]]:
    """The environment of a program, and what the launcher said."""
    said = program("run", *options, "--", sys.executable, "-I", "-c", TELL)
    assert said.status == 0, said.err
    found: dict[str, str] = json.loads(said.out)
    return found, said.err.splitlines()


def test_where_there_is_nothing_to_say_nothing_is_said(tmp_path: Path) -> None:
    assert run(program(tmp_path, PLAIN="x"))[1] == []


@pytest.mark.parametrize("level", [[], ["--sandbox"], ["--no-sandbox"]])
def test_the_program_gets_no_identity_of_the_job_and_no_secret_of_the_provider(
    tmp_path: Path, level: list[str]
) -> None:
    found, said = run(program(tmp_path, **JOB, **PROVIDER), *level)
    assert not {*JOB, *PROVIDER} & found.keys()
    assert "CANARY" not in str(found)
    assert said[-1] == (
        "authsome: not passed on to the program: the job's identity (ACTIONS_ID_TOKEN_REQUEST_TOKEN, "
        "ACTIONS_ID_TOKEN_REQUEST_URL, COPIED); what authsome holds itself (DISCORD_BOT_TOKEN, "
        "DISCORD_CLIENT_SECRET, discord_token); --keep-env NAME passes one on"
    )
    assert "CANARY" not in "".join(said)


@pytest.mark.parametrize("value", [ACCESS, REFRESH, SECRET, f"Bearer {ACCESS}", f"x={REFRESH}&y"])
def test_what_the_vault_holds_is_passed_on_to_nobody(tmp_path: Path, value: str) -> None:
    found, said = run(program(tmp_path, MINE=value), "--keep-env", "MINE")
    assert "MINE" not in found
    assert said == [
        "authsome: warning: not passed on in spite of --keep-env: MINE",
        "authsome: hint: it holds something of your vault, which goes to no program",
    ]


def test_what_the_vault_does_not_hold_is(tmp_path: Path) -> None:
    found, said = run(program(tmp_path, MINE=ACCESS[:-1]))
    assert (found["MINE"], said) == (ACCESS[:-1], [])


def test_what_is_to_be_kept_is_passed_on_silently(tmp_path: Path) -> None:
    given = {**JOB, **PROVIDER, **OTHERS}
    options = [word for name in given for word in ("--keep-env", name)]
    started = program(tmp_path, **given)
    for more in ([], ["--clean-env"]):
        found, said = run(started, *options, *more)
        assert (found.items() >= given.items(), said) == (True, [])


def test_other_secrets_are_named_or_taken_out(tmp_path: Path) -> None:
    started = program(tmp_path, **OTHERS)
    found, said = run(started)
    assert found.items() >= OTHERS.items()
    assert said == [
        "authsome: warning: the program gets what may be secrets: GITHUB_TOKEN, PLAIN; "
        "--clean-env takes them out, --keep-env NAME says that one is meant"
    ]
    found, said = run(started, "--clean-env")
    assert not OTHERS.keys() & found.keys()
    assert said == [
        "authsome: not passed on to the program: perhaps secrets (GITHUB_TOKEN, PLAIN); "
        "--keep-env NAME passes one on"
    ]


@pytest.mark.parametrize(
    "name", ["DISCORD_ACCESS_TOKEN", "DISCORD_REFRESH_TOKEN", "HTTPS_PROXY", "AUTHSOME_HOME"]
)
def test_what_a_run_sets_itself_cannot_be_kept(tmp_path: Path, name: str) -> None:
    said = program(tmp_path)("run", "--keep-env", name, "--", "true")
    assert said == Said(
        2,
        "",
        f"authsome: error: --keep-env {name} cannot be given: a run sets {name} itself, or takes it out\n"
        "authsome: hint: leave it out\n",
    )


@pytest.mark.parametrize("name", ["", "A=B"])
def test_what_is_no_name_of_a_variable_cannot_be_kept(tmp_path: Path, name: str) -> None:
    said = program(tmp_path)("run", "--keep-env", name, "--", "true")
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith(f"authsome: error: --keep-env {name!r} is not the name of a variable\n")


READ = "import sys; print(repr(open(sys.argv[1]).read()))"


@pytest.mark.parametrize("level", [[], ["--sandbox"]])
def test_a_token_that_a_variable_names_by_its_file_cannot_be_read(tmp_path: Path, level: list[str]) -> None:
    file = tmp_path / "elsewhere" / "token"
    file.parent.mkdir()
    file.write_text("CANARY")
    name = "AWS_WEB_IDENTITY_TOKEN_FILE"
    started = program(tmp_path, **{name: str(file)})
    if level:
        (tmp_path / "project").mkdir()
    command = ["run", *level, "--rw", str(file.parent)] if level else ["run"]
    said = started(*command, "--", sys.executable, "-I", "-c", READ, str(file))
    assert (said.status, said.out) == (0, "''\n")
    said = started(*command, "--keep-env", name, "--", sys.executable, "-I", "-c", READ, str(file))
    assert (said.status, said.out) == (0, "'CANARY'\n")
