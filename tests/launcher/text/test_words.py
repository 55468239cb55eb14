"""A message names actions and inputs; what is typed for them is put there by whoever shows it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import pytest

from launcher.cli import commands
from launcher.text.words import ACTIONS, INPUTS, REFERENCE, words
from oauth.outcome import log_in
from vault.model import ConnectionKey

ROOT: Final = Path(__file__).parents[3]

TYPED: Final = re.compile(r"'authsome [a-z]|^authsome (?:login|run|confirm|vault) |(?<![\w-])--[a-z]")
"""What is typed at a command line."""

NOT_OURS: Final = re.compile(r"--security-opt|--link-mode")
"""Options of other programs."""


def texts(path: Path) -> Iterator[str]:
    """The string constants of a file, but for its docstrings; an f-string's fields are written as `{}`."""
    tree = ast.parse(path.read_text())
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts: set[int] = set()
    for node in ast.walk(tree):
        match node:
            case ast.JoinedStr(values=values):
                parts |= {id(value) for value in values}
                yield "".join(str(v.value) if isinstance(v, ast.Constant) else "x" for v in values)
            case ast.Constant(value=str(text)) if id(node) not in told | parts:
                yield text


def below_the_commands() -> list[Path]:
    shown = ("launcher/commands/", "launcher/text/", "launcher/cli.py", "launcher/__main__.py")
    found = [
        path for package in ("launcher", "oauth", "proxy", "vault") for path in (ROOT / package).rglob("*.py")
    ]
    return [path for path in found if not str(path.relative_to(ROOT)).startswith(shown)]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see <list>", "see 'authsome list'"),
        ("<list>", "authsome list"),
        ("run <login default/discord/default>", "run 'authsome login discord'"),
        (
            "run <login team/discord/work scopes=a,b new_application>",
            "run 'authsome --profile team login discord --connection work --scopes a,b --new-application'",
        ),
        ("<vault forget-key k1> removes it", "'authsome vault forget-key k1' removes it"),
        ("give <set writable> FOLDER", "give --rw FOLDER"),
        ("<set nothing>, <b> and <run 1 > 0>", "<set nothing>, <b> and <run 1 > 0>"),
    ],
)
def test_what_is_typed_stands_in_the_place_of_a_reference(text: str, shown: str) -> None:
    assert words(text) == shown


def test_a_key_is_named_whole_and_shown_short() -> None:
    assert words(log_in(ConnectionKey("default", "discord", "default"))) == "authsome login discord"


def test_nothing_below_the_commands_knows_what_is_typed() -> None:
    found = [(path.name, text) for path in below_the_commands() for text in texts(path) if TYPED.search(text)]
    assert [(name, text) for name, text in found if not _is_excused(name, text)] == []


def _is_excused(name: str, text: str) -> bool:
    if name in ("envelope.py", "wrapping.py", "authority.py", "page_html.py"):
        return True  # the purposes of keys, a certificate's name, style sheets
    return NOT_OURS.search(text) is not None


@pytest.mark.parametrize("text", ["run 'authsome login discord'", "give --rw FOLDER"])
def test_what_is_typed_would_be_noticed(text: str) -> None:
    assert TYPED.search(text)


def test_every_reference_in_a_message_is_one_that_can_be_shown() -> None:
    named = [
        found
        for path in below_the_commands()
        for text in texts(path)
        for found in re.findall(r"<[a-z][^<>]*>", text)
    ]
    ours = [
        text for text in named if re.match(r"<(?:set|login|list|vault|inspect|doctor|run|confirm)\b", text)
    ]
    assert len(ours) > 50
    assert [text for text in ours if not REFERENCE.fullmatch(text)] == []
    assert [text for text in ours if text.startswith("<set ") and words(text) == text] == []


def test_every_action_and_input_is_a_command_and_an_option() -> None:
    options, actions = set(), set()
    groups: list[tuple[str, click.Group]] = [("", commands)]
    for prefix, group in groups:
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            actions.add(f"{prefix}{name}")
            options |= {option for parameter in command.params for option in parameter.opts}
            if isinstance(command, click.Group):
                groups.append((f"{prefix}{name} ", command))
    assert actions >= ACTIONS
    assert options >= set(INPUTS.values())
