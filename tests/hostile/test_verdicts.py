"""What a hostile program gets out of a real run, at each level."""

from __future__ import annotations

import base64
import gzip
import html
import json
import os
import zlib
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from urllib.parse import quote

import brotli
import pytest
import zstandard

from tests.hostile import wire
from tests.hostile.canaries import Canaries
from tests.hostile.verdicts import LEVELS, NOT_PROMISED, expected
from tests.hostile.world import House, Report
from tests.standin import Answer

ISOLATED = LEVELS[1:]


def is_root(house: House) -> bool:
    return house.around.uid < 0 and os.getuid() == 0


def assert_nothing_seen(house: House, report: Report) -> None:
    """No secret in what the program printed, in what foreign servers received, in any file it left."""
    assert house.canaries.stand_in((report.output + report.errors).encode()) == []
    assert report.strays == []
    assert holding(house) == []


def holding(house: House) -> list[Path]:
    """The files of the home that hold a secret, besides the vault's own folder."""
    found = []
    for path in house.home.rglob("*"):
        if path.is_file() and not path.is_symlink() and house.around.vault not in path.parents:
            found += [path] if house.canaries.stand_in(path.read_bytes()) else []
    return found


def assert_as_expected(house: House, level: str) -> None:
    table = expected(level, root=is_root(house))
    report = house.attack(level, list(table))
    assert report.status == 0, report.errors
    words = Counter(report.verdicts.values())
    user = "root" if is_root(house) else "an ordinary user"
    print(f"\n{level} as {user}: {len(table)} attacks, {words['LEAK']} leaks, {words['open']} open")
    wrong = {
        name: f"{report.verdicts.get(name)}, not {verdict}"
        for name, verdict in table.items()
        if report.verdicts.get(name) != verdict
    }
    assert wrong == {}
    assert report.verdicts.keys() == table.keys()
    if level in ISOLATED:
        assert "LEAK" not in report.verdicts.values()
        assert_nothing_seen(house, report)


def test_under_guard_every_attack_fails_as_the_table_says(mine: House) -> None:
    assert_as_expected(mine, "guard")


@pytest.mark.heavy
@pytest.mark.parametrize("level", LEVELS)
def test_each_attack_has_the_verdict_of_its_level(theirs: House, level: str) -> None:
    """Without isolation many leak: the attacks are real ones."""
    assert_as_expected(theirs, level)


@pytest.mark.heavy
@pytest.mark.parametrize("level", LEVELS)
def test_what_guard_does_not_promise_is_what_the_table_says(theirs: House, level: str) -> None:
    report = theirs.attack(level, list(NOT_PROMISED))
    assert report.verdicts == {name: words[LEVELS.index(level)] for name, words in NOT_PROMISED.items()}


def test_without_isolation_most_attacks_on_the_machine_leak() -> None:
    """The negative twin of the whole table."""
    words = list(expected("none", root=True).values())
    assert words.count("LEAK") >= 18
    assert words.count("open") >= 25
    assert len(words) >= 57


def test_limits_hold_against_every_spelling(mine: House) -> None:
    names = [f"limits: {name}" for name in wire.LIMITS]
    report = mine.attack("guard", ["inside: limited", *names], ("--allow", "GET /api/*/users/@me"))
    assert report.verdicts.pop("inside: limited") == "used"
    # The first of its two requests is one that is allowed.
    assert report.verdicts == dict.fromkeys(names, "refused") | {"limits: second request": "used"}
    targets = {seen.target for seen in mine.standin.seen if mine.canaries.stand_in(seen.wire)}
    assert targets == {wire.LIMITED}
    assert_nothing_seen(mine, report)


def test_without_limits_the_same_requests_are_made(mine: House) -> None:
    report = mine.attack("guard", ["limits: other path", "limits: other method", "limits: overridden"])
    assert set(report.verdicts.values()) == {"used"}


async def _letter_by_letter(text: str) -> AsyncGenerator[bytes]:
    for letter in text:
        yield letter.encode()


def echoes(token: str) -> list[Answer]:
    """Answers with the credential in every form a server could give it."""
    packed: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.compress,
        "deflate": zlib.compress,
        "br": brotli.compress,
        "zstd": zstandard.compress,
    }
    bodies: list[bytes] = [
        token.encode(),
        f"Bearer {token}".encode(),
        quote(token, safe="").encode(),
        "".join(f"%{ord(letter):02x}" for letter in token).encode(),
        "".join(f"\\u{ord(letter):04x}" for letter in token).encode(),
        *(base64.b64encode(b"x" * before + token.encode()) for before in range(3)),
        base64.urlsafe_b64encode(f"user:{token}".encode()),
        html.escape(f'<a href="{token}">').encode(),
    ]
    answers = [Answer(200, (), body) for body in bodies]
    answers += [Answer(200, (("Content-Encoding", name),), pack(bodies[0])) for name, pack in packed.items()]
    answers.append(Answer(200, (("X-Echo", token), ("Set-Cookie", f"t={token}"))))
    answers.append(Answer(200, (), _letter_by_letter(token)))
    answers.append(Answer(200, (), token.encode("utf-16-le")))
    answers.append(Answer(99, (), bodies[0]))
    answers.append(Answer(200, (), token.encode().hex().encode()))
    answers.append(Answer(200, (), base64.b64encode(base64.b64encode(b"user:" + token.encode()))))
    answers.append(Answer(200, (), base64.b64encode(token.encode("utf-16-le"))))
    answers.append(Answer(200, (), json.dumps({"log": "".join(f"\\u{ord(a):04x}" for a in token)}).encode()))
    # The first may be asked for again, unseen by the program.
    answers += [Answer(401, (), bodies[1]), Answer(401, (), bodies[0])]
    return answers


@pytest.mark.parametrize("level", ["guard", pytest.param("sandbox", marks=pytest.mark.heavy)])
def test_a_server_that_hands_the_credential_back_is_no_way_to_it(mine: House, level: str) -> None:
    answers = echoes(mine.access_token)
    assert len(answers) == wire.ECHOES + 1
    report = mine.attack(level, [f"echo: {number}" for number in range(wire.ECHOES)], answers=answers)
    assert list(report.verdicts.values()) == ["used"] * wire.ECHOES
    assert_nothing_seen(mine, report)


def test_every_form_would_be_seen(mine: House) -> None:
    """The negative twin of all searches here."""
    for name, value in mine.canaries.values.items():
        wide = value.decode("latin-1").encode("utf-16-be")
        shown = (value, value[::-1], wide, value.hex().encode(), base64.b64encode(b"a" + value))
        assert all(name in mine.canaries.stand_in(b"before " + form + b" after") for form in shown)
    assert mine.canaries.stand_in(gzip.compress(b"nothing")) == []
    assert mine.canaries.stand_in(b"HTTP/1.1 200 OK\r\n\r\n" + gzip.compress(mine.canaries.key))
    assert isinstance(mine.canaries, Canaries)
