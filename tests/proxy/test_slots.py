import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import slots
from proxy.model import Slot
from proxy.slots import Content

BEARER = Slot("Authorization", "Bearer")
KEY = Slot("X-Api-Key", None)
P = b"authsome-proxy-managed"


@pytest.mark.parametrize(
    ("slot", "headers", "what"),
    [
        (BEARER, ((b"Authorization", b"Bearer " + P),), Content.PLACEHOLDER),
        (BEARER, ((b"authorization", b"bearer   " + P + b" "),), Content.PLACEHOLDER),
        (KEY, ((b"x-api-key", P),), Content.PLACEHOLDER),
        (BEARER, (), Content.NOTHING),
        (BEARER, ((b"Authorization", b"Bearer own-token"),), Content.OTHER),
        (BEARER, ((b"Authorization", P),), Content.OTHER),
        (BEARER, ((b"Authorization", b"Bot " + P),), Content.OTHER),
        (BEARER, ((b"Authorization", b"Bearer " + P + b"x"),), Content.OTHER),
        (BEARER, ((b"Authorization", b"Bearer x" + P),), Content.OTHER),
        (BEARER, ((b"Authorization", b"Bearer " + P + b", Basic x"),), Content.OTHER),
        (BEARER, ((b"Authorization", b"Bearer" + P),), Content.OTHER),
        (BEARER, ((b"X-Authorization", b"Bearer " + P),), Content.NOTHING),
        (BEARER, ((b"Authorization", b"Bearer " + P), (b"authorization", b"x")), Content.AMBIGUOUS),
        (BEARER, ((b"Authorization", b"x"), (b"AUTHORIZATION", b"Bearer " + P)), Content.AMBIGUOUS),
        (BEARER, ((b"Authorization", b"x"), (b"Authorization", b"y")), Content.OTHER),
    ],
)
def test_only_the_whole_value_of_the_one_header_is_a_placeholder(
    slot: Slot, headers: slots.Headers, what: Content
) -> None:
    assert slots.content(headers, slot, P) is what


def test_filling_strips_every_old_value_and_sets_one() -> None:
    headers = ((b"A", b"1"), (b"authorization", b"Bearer " + P), (b"Authorization", b"x"), (b"B", b"2"))
    assert slots.fill(headers, BEARER, b"real") == (
        (b"A", b"1"),
        (b"authorization", b"Bearer real"),
        (b"B", b"2"),
    )


def test_filling_an_absent_slot_appends_it() -> None:
    assert slots.fill(((b"A", b"1"),), KEY, b"real") == ((b"A", b"1"), (b"X-Api-Key", b"real"))


HEADERS = st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=20))).map(tuple)


@given(HEADERS)
def test_after_filling_the_credential_stands_once_and_everything_else_is_untouched(
    headers: slots.Headers,
) -> None:
    filled = slots.fill(headers, BEARER, b"CANARY-credential")
    assert slots.values(filled, b"authorization") == [b"Bearer CANARY-credential"]
    rest = [pair for pair in headers if pair[0].lower() != b"authorization"]
    assert [pair for pair in filled if pair[0].lower() != b"authorization"] == rest


def test_the_placeholder_is_found_wherever_it_stands() -> None:
    assert slots.carries((), f"/?q={P.decode()}", P)
    assert slots.carries(((b"Cookie", b"a=" + P),), "/", P)
    assert slots.carries(((P, b""),), "/", P)
    assert not slots.carries(((b"Cookie", b"a=b"),), "/", P)
