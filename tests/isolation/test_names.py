"""Names and addresses of a sandbox."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.isolation.outside.names import POOL, Names, answer


def query(name: str, kind: int = 1, *, flags: int = 0x0100, class_: int = 1, questions: int = 1) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return (
        struct.pack("!HHHHHH", 7, flags, questions, 0, 0, 0)
        + labels
        + b"\0"
        + struct.pack("!HH", kind, class_)
    )


def test_a_name_gets_an_address_that_tells_the_name() -> None:
    names = Names()
    address = names.address_of("discord.com")
    assert address in POOL
    assert names.asked_for(str(address)) == "discord.com"
    assert names.address_of("discord.com") == address
    assert names.address_of("evil.example") != address


def test_an_address_outside_of_the_pool_means_itself_and_an_unused_one_nothing() -> None:
    names = Names()
    assert names.asked_for("1.2.3.4") == "1.2.3.4"
    assert names.asked_for("2606:4700::1") == "2606:4700::1"
    assert names.asked_for("198.19.255.1") is None


def test_when_all_are_taken_the_longest_unused_gives_way() -> None:
    names = Names(IPv4Network("198.18.0.0/30"))
    first, second, third = (names.address_of(name) for name in ("a", "b", "c"))
    names.address_of("a")
    assert names.address_of("d") == second
    assert [names.asked_for(str(each)) for each in (first, second, third)] == ["a", "d", "c"]


def test_a_question_is_answered_with_the_address() -> None:
    names = Names()
    reply = answer(query("API.Discord.com"), names)
    assert reply is not None
    number, flags, questions, answers, _, _ = struct.unpack_from("!HHHHHH", reply)
    assert (number, questions, answers) == (7, 1, 1)
    assert flags & 0x800F == 0x8000
    assert names.asked_for(str(IPv4Address(reply[-4:]))) == "api.discord.com"


@pytest.mark.parametrize("kind", [28, 65, 16, 12])
def test_a_name_has_nothing_but_an_address(kind: int) -> None:
    reply = answer(query("discord.com", kind), Names())
    assert reply is not None
    assert struct.unpack_from("!HHHH", reply, 2) == (0x8180, 1, 0, 0)


def test_the_name_of_this_machine_stays_on_it() -> None:
    reply = answer(query("localhost"), Names())
    assert reply is not None
    assert reply[-4:] == bytes([127, 0, 0, 1])


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (query("discord.com", flags=0x2800), 4),
        (query("discord.com", questions=2), 1),
        (query("discord.com")[:-1], 1),
        (query("dis cord.com"), 1),
        (query("a" * 63 + ".b")[:-8], 1),
        (b"\0" * 12, 1),
    ],
)
def test_what_is_no_question_is_answered_with_an_error(message: bytes, error: int) -> None:
    reply = answer(message, Names())
    assert reply is not None
    assert struct.unpack_from("!H", reply, 2)[0] & 0xF == error


def test_a_label_with_a_dot_in_it_is_not_taken_for_two() -> None:
    names = Names()
    label = b"discord.com"
    message = query("x")[:12] + bytes([len(label)]) + label + b"\0" + struct.pack("!HH", 1, 1)
    assert answer(message, names) is not None
    assert names.asked_for("198.18.0.1") is None


def test_an_answer_is_not_answered() -> None:
    assert answer(query("discord.com", flags=0x8180), Names()) is None
    assert answer(b"short", Names()) is None


@given(st.binary(max_size=600))
def test_no_message_breaks_it(message: bytes) -> None:
    reply = answer(message, Names())
    assert reply is None or reply[:2] == message[:2]


@given(st.binary(max_size=80))
def test_no_question_breaks_it(rest: bytes) -> None:
    reply = answer(struct.pack("!HHHHHH", 9, 0, 1, 0, 0, 0) + rest, Names())
    assert reply is not None
    assert reply[:2] == b"\0\x09"
