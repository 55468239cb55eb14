"""When to stop sending a credential."""

from __future__ import annotations

import pytest

from oauth.keeper.circuit import MAX_BODY, PROBE_PAUSE, STRIKES, Circuit


def struck(times: int, generation: int = 1) -> Circuit:
    circuit = Circuit()
    for _ in range(times):
        circuit.struck(generation, 0.0)
    return circuit


def test_a_circuit_opens_at_the_last_strike_and_not_before() -> None:
    assert not struck(STRIKES - 1).refuses(1, 0.0)
    assert struck(STRIKES).refuses(1, 0.0)


def test_a_new_generation_begins_anew() -> None:
    circuit = struck(STRIKES)
    assert not circuit.refuses(2, 0.0)
    circuit.struck(2, 0.0)
    assert not circuit.refuses(2, 0.0)


def test_a_late_success_of_an_older_generation_closes_nothing() -> None:
    circuit = struck(STRIKES, generation=2)
    circuit.cleared(1)
    assert circuit.refuses(2, 0.0)
    circuit.cleared(2)
    assert not circuit.refuses(2, 0.0)


def test_probes_come_less_and_less_often() -> None:
    circuit, at = struck(STRIKES), []
    for second in range(1000):
        if not circuit.refuses(1, second):
            at.append(second)
            circuit.struck(1, second)
    assert at == [PROBE_PAUSE, 3 * PROBE_PAUSE, 7 * PROBE_PAUSE, 15 * PROBE_PAUSE]


@pytest.mark.parametrize("body", [b"", b"<html>", b'"text"', b"[]", b'{"a":"' + b"x" * MAX_BODY + b'"}'])
def test_only_a_small_json_object_is_kept_to_be_repeated(body: bytes) -> None:
    circuit = Circuit()
    circuit.remember(body)
    assert circuit.body is None
    circuit.remember(b'{"message": "401: Unauthorized", "code": 0}')
    circuit.remember(body)
    assert circuit.body == b'{"message": "401: Unauthorized", "code": 0}'
