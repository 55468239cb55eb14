"""The documents say what the program does. `python -m tests.test_docs` writes the command reference."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, TypeGuard, get_args, get_origin

import click
import pytest
from pydantic import BaseModel

from launcher.cli import COMMANDS, commands
from launcher.errors import ExitCode
from launcher.setup import settings
from launcher.setup.settings import RUN_VARIABLE
from oauth.provider import Provider
from proxy.model import PLACEHOLDER, Reason
from tests.e2e.desk import Desk
from tests.standin import StandIn
from tests.test_architecture import OURS
from tests.trace import trace

ROOT: Final = Path(__file__).parent.parent
README: Final = ROOT / "README.md"
MANUAL: Final = ROOT / "docs/manual.md"
COMMANDS_FILE: Final = ROOT / "docs/commands.md"
PROVIDERS: Final = ROOT / "docs/providers.md"
HOUSE: Final = ROOT / "docs/house.md"
DOCUMENTS: Final = (
    README,
    ROOT / "SECURITY.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
)

MOST_LINES: Final = 200
"""Of README and SECURITY: what a person in a hurry reads."""

MOST_FILES: Final = 20
"""Steps in the path of one request."""

WIDTH: Final = 98
"""Characters of a line in the reference: what click fills of a terminal of 100 columns."""

REFERENCE: Final = re.compile(r"(?s)(<!-- commands: begin [^\n]*-->\n)(.*?)(<!-- commands: end -->)")


def reference() -> str:
    """The help of every command and subcommand, as Markdown."""
    group = click.Context(commands, info_name="authsome", terminal_width=WIDTH, **commands.context_settings)
    return "".join(f"```text\n{part}\n```\n\n" for part in helps(group, list(COMMANDS)))


def helps(parent: click.Context, names: Sequence[str]) -> Iterator[str]:
    """The help of a group, then that of what is below it, in the given order."""
    group = parent.command
    assert isinstance(group, click.Group)
    yield group.get_help(parent)
    for name in names:
        command = group.get_command(parent, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=parent, **command.context_settings)
        if isinstance(command, click.Group):
            yield from helps(context, command.list_commands(context))
        else:
            yield command.get_help(context)


def with_reference(text: str) -> str:
    """`text` with its command reference written anew."""
    return REFERENCE.sub(lambda match: f"{match[1]}\n{reference()}{match[3]}", text)


def written_commands(text: str) -> list[list[str]]:
    """The words of every authsome command in the code of `text`, up to the `--` of a run."""
    blocks = re.findall(r"(?ms)^ *```(?:bash|console)\n(.*?)^ *```", text)
    inline = re.findall(r"`(authsome [a-z][^`\n]*)`", text)
    found = re.findall(
        r"(?<![\w.-])authsome ((?:--\w+ \w+ )?[a-z][^\n)>#|;]*)", "\n".join([*blocks, *inline])
    )
    return [shlex.split(line.split(" -- ")[0].replace("...", "")) for line in found]


def unknown_words(words: list[str]) -> list[str]:
    """The commands and options among the words of a command line that do not exist."""
    context = click.Context(commands)
    command: click.Command | None = commands
    while isinstance(command, click.Group) and words:
        if words[0].startswith("-"):
            known = {option for parameter in command.params for option in parameter.opts}
            if words[0] not in known:
                return [words[0]]
            words = words[2:]
            continue
        command, words = command.get_command(context, words[0]), words[1:]
        if command is None:
            return ["no such command"]
    assert command is not None
    known = {option for parameter in command.params for option in parameter.opts}
    return [word for word in words if word.startswith("-") and word != "-" and word not in known]


def table(text: str, title: str) -> list[list[str]]:
    """The cells of the table whose head begins with `title`."""
    (rows,) = re.findall(rf"(?m)^\| {title} \|.*\n\|---.*\n((?:\|.*\n)+)", text)
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows.splitlines()]


def table_keys(text: str, title: str) -> list[str]:
    """The first column of the table whose head begins with `title`."""
    return [row[0].strip("`") for row in table(text, title)]


def schema_keys() -> dict[str, str]:
    """The keys of a provider file with their types, in the words of the table."""
    found: dict[str, tuple[list[str], list[bool]]] = {}

    def look(model: type[BaseModel], prefix: str) -> None:
        for name, field in model.model_fields.items():
            key = prefix + (field.alias or name)
            below = [one for one in (field.annotation, *get_args(field.annotation)) if is_model(one)]
            for inner in below:
                look(inner, f"{key}.")
            if not below:
                types, required = found.setdefault(key, ([], []))
                types.append(type_words(field.annotation))
                required.append(field.is_required())

    look(Provider, "")
    return {
        key: " or ".join(dict.fromkeys(types)) + (", required" if all(required) else "")
        for key, (types, required) in found.items()
    }


def is_model(annotation: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def type_words(annotation: object) -> str:
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{json.dumps(value)}`" for value in get_args(annotation))
    if get_origin(annotation) is tuple:
        return "list of texts"
    return "true or false" if annotation is bool else "text"


def test_the_command_reference_is_what_help_prints() -> None:
    text = COMMANDS_FILE.read_text()
    assert REFERENCE.search(text)
    assert text == with_reference(text), "run `make docs`"


def test_a_reference_that_was_changed_by_hand_is_noticed() -> None:
    text = COMMANDS_FILE.read_text().replace("--no-browser ", "--no-window ")
    assert text != with_reference(text)


@pytest.mark.parametrize("words", [[], ["login"], ["run"]])
def test_the_reference_is_what_a_wide_terminal_shows(words: list[str]) -> None:
    shown = subprocess.run(
        [sys.executable, "-I", "-m", "launcher", *words, "--help"],
        env={**os.environ, "COLUMNS": str(WIDTH + 2)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert f"```text\n{shown.stdout}```\n" in COMMANDS_FILE.read_text()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_in_a_document_exists_with_its_options(path: Path) -> None:
    found = written_commands(path.read_text())
    assert [(words, bad) for words in found if (bad := unknown_words(words))] == []


def test_the_documents_show_every_command() -> None:
    shown = {words[0] for path in (README, MANUAL, PROVIDERS) for words in written_commands(path.read_text())}
    assert shown >= set(COMMANDS) - {"doctor"} | {"vault", "confirm"}


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("authsome login discord --no-window", ["--no-window"]),
        ("authsome vault rekey --key-sauce passphrase", ["--key-sauce"]),
        ("authsome vault rotate", ["no such command"]),
        ("authsome confirm discord --sure", ["--sure"]),
        ("authsome --profil work list", ["--profil"]),
        ("authsome run --rw x -- prog --any", []),
    ],
)
def test_a_command_or_option_that_does_not_exist_is_noticed(line: str, wrong: list[str]) -> None:
    (words,) = written_commands(f"```bash\n{line}\n```\n")
    assert unknown_words(words) == wrong


def own_variables() -> set[str]:
    """Every variable of ours that the program knows."""
    found = {value for name, value in vars(settings).items() if name.endswith("_VARIABLE") and name.isupper()}
    return {name for name in found if name.startswith("AUTHSOME_")}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_variable_of_ours_in_a_document_exists(path: Path) -> None:
    assert set(re.findall(r"\bAUTHSOME_[A-Z]\w*", path.read_text())) <= own_variables()


def test_the_manual_explains_every_variable_of_ours() -> None:
    rows = re.findall(r"(?m)^\| (`AUTHSOME_[^|]*)\|", MANUAL.read_text())
    assert {name for row in rows for name in re.findall(r"AUTHSOME_\w+", row)} == own_variables()


def test_the_table_of_refusals_names_every_reason_once() -> None:
    assert table_keys(MANUAL.read_text(), "reason") == list(Reason)


def test_the_table_of_exit_codes_names_those_that_every_command_has() -> None:
    own_of_run = {ExitCode.RUN_FAILED, ExitCode.NOT_EXECUTABLE, ExitCode.NOT_FOUND}
    shown = {int(code) for code in table_keys(MANUAL.read_text(), "code")}
    assert shown == {int(code) for code in ExitCode} - own_of_run - {ExitCode.BROKEN_PIPE}


def test_the_placeholder_is_spelt_as_the_proxy_spells_it() -> None:
    assert PLACEHOLDER in README.read_text()


def test_what_a_run_sets_of_its_own_is_in_the_table_of_variables() -> None:
    assert f"| `{RUN_VARIABLE}` |" in MANUAL.read_text()


def make_targets() -> set[str]:
    return set(re.findall(r"(?m)^([\w-]+):", (ROOT / "Makefile").read_text()))


def test_every_make_target_in_a_document_exists() -> None:
    named = {
        name for path in DOCUMENTS for name in re.findall(r"(?m)(?:^ *|`)make ([a-z-]+)", path.read_text())
    }
    assert named >= {"demo", "test", "setup", "docs", "house", "trace"}
    assert named <= make_targets()


def test_make_help_names_every_target_that_exists() -> None:
    shown = set(re.findall(r'(?m)^\t@echo "make ([\w-]+)', (ROOT / "Makefile").read_text()))
    assert shown == make_targets() - {"help"}


def test_the_table_of_a_provider_files_keys_is_that_of_its_schema() -> None:
    assert {row[0].strip("`"): row[1] for row in table(PROVIDERS.read_text(), "key")} == schema_keys()


def test_nobody_is_told_to_install_the_package_of_another_project() -> None:
    told = re.compile(r"(?:pip|pipx|uv|uvx)\s[^\n`]*install[^\n`]*\bauthsome\b(?!-proxy)")
    assert told.search("pip install authsome")
    for path in (*DOCUMENTS, ROOT / "CHANGELOG.md"):
        assert not told.search(path.read_text())


def test_every_relative_link_leads_to_a_file() -> None:
    assert "](docs/manual.md)" in README.read_text()
    for path in DOCUMENTS:
        links = re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text())
        assert [link for link in links if not (path.parent / link).exists()] == [], path


def test_every_link_into_a_document_leads_to_a_heading() -> None:
    for path in DOCUMENTS:
        for link, anchor in re.findall(r"\]\(([^):]*)#([^)]+)\)", path.read_text()):
            text = (path.parent / link).read_text() if link else path.read_text()
            heads = [
                re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-")
                for head in re.findall(r"(?m)^#+ (.+)$", text)
            ]
            assert anchor in heads, (path, anchor)


@pytest.mark.parametrize("name", ["README.md", "SECURITY.md"])
def test_what_a_person_in_a_hurry_reads_is_short(name: str) -> None:
    assert len((ROOT / name).read_text().splitlines()) <= MOST_LINES


def test_every_file_that_the_map_of_the_house_names_exists() -> None:
    named = re.findall(r"`((?:launcher|oauth|proxy|vault|tests)/[\w/]+(?:\.py)?)`", HOUSE.read_text())
    assert len(named) > 30
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_map_of_the_house_has_every_room() -> None:
    rooms = {
        path.parent.relative_to(ROOT).as_posix()
        for package in OURS
        for path in (ROOT / package).rglob("__init__.py")
    }
    assert rooms - {"launcher", "oauth/providers"} == set(table_keys(HOUSE.read_text(), "room"))


def test_the_path_of_one_request_is_the_one_that_it_takes(standin: StandIn, tmp_path: Path) -> None:
    steps = re.findall(r"(?m)^\d+\. (.+(?:\n   .+)*)", HOUSE.read_text())
    assert 0 < len(steps) <= MOST_FILES
    desk = Desk(standin, tmp_path)
    desk.login()
    reached = [file for file, _ in trace(desk, tmp_path / "trace")]
    written = [re.findall(r"`((?:launcher|oauth|proxy|vault)/[\w/]+\.py)`", step)[0] for step in steps]
    on_the_way = written[written.index("proxy/front.py") : written.index("launcher/run/audit_log.py") + 1]
    assert len(on_the_way) == 10
    assert on_the_way == sorted(on_the_way, key=reached.index)


def test_the_way_to_a_definition_of_ones_own_works_where_nothing_is_yet(tmp_path: Path) -> None:
    blocks = re.findall(r"(?ms)^```bash\n(.*?)^```", PROVIDERS.read_text())
    (block,) = [block for block in blocks if "inspect discord >" in block]
    program = shlex.join([sys.executable, "-I", str(ROOT / "launcher" / "__main__.py")])
    script = f'set -e; umask 022; authsome() {{ {program} "$@"; }}\n{block}authsome vault init'
    done = subprocess.run(
        ["sh", "-c", script],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].split()[:2] == ["discord", "custom"]


if __name__ == "__main__":
    COMMANDS_FILE.write_text(with_reference(COMMANDS_FILE.read_text()))
