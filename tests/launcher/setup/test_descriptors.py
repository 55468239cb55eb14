"""Descriptors through which secrets are given."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from launcher.errors import UsageProblem
from launcher.setup.descriptors import key_descriptors


@pytest.fixture
def number() -> Iterator[int]:
    descriptor = os.open(os.devnull, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def test_those_that_the_environment_names_are_found(number: int) -> None:
    assert key_descriptors({}) == ()
    assert key_descriptors({"AUTHSOME_KEY_FD": str(number)}) == (number,)
    assert key_descriptors({"AUTHSOME_PASSPHRASE_FD": str(number)}) == (number,)


def test_one_that_is_named_twice_is_closed_once(number: int) -> None:
    assert key_descriptors({"AUTHSOME_KEY_FD": str(number), "AUTHSOME_PASSPHRASE_FD": str(number)}) == (
        number,
    )


def test_one_that_is_not_open_is_a_usage_error() -> None:
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    with pytest.raises(UsageProblem, match=f"file descriptor {descriptor} is not open"):
        key_descriptors({"AUTHSOME_KEY_FD": str(descriptor)})
