import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.text.render import dotenv_quoted, printable, shell_quoted, table
from launcher.times import age, utc


def test_times_are_rfc_3339_in_utc_to_the_second() -> None:
    assert utc(0.9) == "1970-01-01T00:00:00Z"
    assert utc(1_800_000_000) == "2027-01-15T08:00:00Z"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5.0, "0s"),
        (0.9, "0s"),
        (59.9, "59s"),
        (60.0, "1m"),
        (3599.0, "59m"),
        (3600.0, "1h"),
        (86399.0, "23h"),
        (86400.0, "1d"),
        (9e9, "104166d"),
    ],
)
def test_an_age_is_a_whole_number_of_its_largest_unit(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_columns_are_aligned_and_empty_cells_are_a_dash() -> None:
    assert table(("A", "BB"), [("x", ""), ("long", "y")]) == "A     BB\nx     -\nlong  y"


def test_control_characters_are_shown_and_not_sent_to_the_terminal() -> None:
    assert printable("a\x1b[31mb\nc\u202e") == "a\\x1b[31mb\\x0ac\\x202e"
    assert "\x1b" not in table(("A",), [("\x1b]0;title\x07",)])


@given(st.text(alphabet=st.characters(codec="ascii", exclude_characters="\0")))
def test_shell_quoting_is_one_word_with_the_same_text(text: str) -> None:
    assert shlex.split(shell_quoted(text)) == [text]


def test_shell_quoting_is_understood_by_a_shell() -> None:
    text = "a'b\"c $HOME `id` \\ !"
    done = subprocess.run(
        ["/bin/sh", "-c", f"printf %s {shell_quoted(text)}"], capture_output=True, text=True
    )
    assert done.stdout == text


def test_dotenv_quoting_escapes_what_is_special_in_double_quotes() -> None:
    assert dotenv_quoted('a"$b\\c\nd') == '"a\\"\\$b\\\\c\\nd"'
