"""The README says what the program does. `python -m tests.test_readme` writes its command reference."""

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
from launcher.setup.settings import RUN_VARIABLE
from oauth.provider import Provider
from proxy.model import PLACEHOLDER, Reason

ROOT: Final = Path(__file__).parent.parent
README: Final = ROOT / "README.md"

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
    """The words of every authsome command in the code blocks of `text`, up to the `--` of a run."""
    blocks = re.findall(r"(?ms)^```(?:bash|console)\n(.*?)^```", text)
    found = re.findall(
        r"\bauthsome ((?:login|logout|list|get|inspect|export|run|audit|check|doctor)\b[^\n)>]*)",
        "\n".join(blocks),
    )
    return [shlex.split(line.split(" -- ")[0]) for line in found]


def unknown_options(words: list[str]) -> list[str]:
    """The options among the words of a command that it does not have."""
    command = commands.get_command(click.Context(commands), words[0])
    assert command is not None
    known = {option for parameter in command.params for option in parameter.opts}
    return [word for word in words if word.startswith("-") and word not in known]


def table(text: str, title: str) -> list[list[str]]:
    """The cells of the table whose head begins with `title`."""
    (rows,) = re.findall(rf"(?m)^\| {title} \|.*\n\|---.*\n((?:\|.*\n)+)", text)
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows.splitlines()]


def table_keys(text: str, title: str) -> list[str]:
    """The first column of the table whose head begins with `title`."""
    return [row[0].strip("`") for row in table(text, title)]


def schema_keys() -> dict[str, str]:
    """The keys of a provider file with their types, in the words of the README."""
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
    text = README.read_text()
    assert REFERENCE.search(text)
    assert text == with_reference(text), "run `make readme`"


def test_a_reference_that_was_changed_by_hand_is_noticed() -> None:
    text = README.read_text().replace("--no-browser ", "--no-window ")
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
    assert f"```text\n{shown.stdout}```\n" in README.read_text()


def test_every_command_in_the_readme_exists_with_its_options() -> None:
    found = written_commands(README.read_text())
    assert {words[0] for words in found} >= {"login", "run", "get", "export", "inspect", "list"}
    assert [(words, bad) for words in found if (bad := unknown_options(words))] == []


def test_an_option_that_does_not_exist_is_noticed() -> None:
    (words,) = written_commands("```bash\nauthsome login discord --no-window\n```\n")
    assert unknown_options(words) == ["--no-window"]


def test_the_table_of_refusals_names_every_reason_once() -> None:
    assert table_keys(README.read_text(), "reason") == list(Reason)


def test_the_table_of_exit_codes_names_those_that_every_command_has() -> None:
    own_of_run = {ExitCode.RUN_FAILED, ExitCode.NOT_EXECUTABLE, ExitCode.NOT_FOUND}
    shown = {int(code) for code in table_keys(README.read_text(), "code")}
    assert shown == {int(code) for code in ExitCode} - own_of_run - {ExitCode.BROKEN_PIPE}


def test_the_placeholder_is_spelt_as_the_proxy_spells_it() -> None:
    assert PLACEHOLDER in README.read_text()


def test_what_a_run_sets_of_its_own_is_in_the_table_of_variables() -> None:
    assert f"| `{RUN_VARIABLE}` |" in README.read_text()


def test_every_make_target_in_the_readme_exists() -> None:
    named = re.findall(r"(?m)^make (\w+)", README.read_text())
    targets = re.findall(r"(?m)^(\w+):", (ROOT / "Makefile").read_text())
    assert set(named) >= {"test", "lint", "slow", "hostile", "heavy", "browser"}
    assert [name for name in named if name not in targets] == []


def test_the_table_of_a_provider_files_keys_is_that_of_its_schema() -> None:
    assert {row[0].strip("`"): row[1] for row in table(README.read_text(), "key")} == schema_keys()


def test_nobody_is_told_to_install_the_package_of_another_project() -> None:
    told = re.compile(r"(?:pip|pipx|uv|uvx)\s[^\n`]*install[^\n`]*\bauthsome\b(?!-proxy)")
    assert told.search("pip install authsome")
    for path in ("README.md", "SECURITY.md", "CHANGELOG.md"):
        assert not told.search((ROOT / path).read_text())


def test_every_relative_link_leads_to_a_file() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README.read_text())
    assert "SECURITY.md" in links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_way_to_a_definition_of_ones_own_works_where_nothing_is_yet(tmp_path: Path) -> None:
    blocks = re.findall(r"(?ms)^```bash\n(.*?)^```", README.read_text())
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
    README.write_text(with_reference(README.read_text()))
