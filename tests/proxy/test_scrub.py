import base64
import html
import json
from random import Random
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.scrub import Needle, Scrubber, scrub

SECRET = "MTIzNDU2Nzg5.cAnArY-tok_en+/=~42"
PLACEHOLDER = b"authsome-proxy-managed"
NEEDLE = Needle(SECRET)


def percent(text: str) -> str:
    return "".join(f"%{ord(letter):02X}" for letter in text)


FORMS = {
    "raw": SECRET,
    "bearer": f"Bearer {SECRET}",
    "percent": percent(SECRET),
    "percent, lower case": percent(SECRET).lower(),
    "percent, twice": percent(SECRET).replace("%", "%25"),
    "percent where needed": quote(SECRET, safe=""),
    "json": json.dumps(SECRET),
    "json, escaped slash": json.dumps(SECRET).replace("/", "\\/"),
    "json, all escaped": "".join(f"\\u{ord(letter):04x}" for letter in SECRET),
    "javascript": "".join(f"\\x{ord(letter):02x}" for letter in SECRET),
    "html": html.escape(SECRET),
    "html, decimal": "".join(f"&#{ord(letter)};" for letter in SECRET),
    "html, hexadecimal": "".join(f"&#x{ord(letter):X};" for letter in SECRET),
    "mixed": "".join(percent(letter) if i % 2 else letter for i, letter in enumerate(SECRET)),
} | {
    f"base64, alignment {before}, {name}": encode(b"x" * before + SECRET.encode() + b"yz").decode()
    for before in range(4)
    for name, encode in {"standard": base64.b64encode, "url": base64.urlsafe_b64encode}.items()
}


def scrubbed(chunks: list[bytes]) -> bytes:
    scrubber = Scrubber([NEEDLE], PLACEHOLDER)
    return b"".join([*map(scrubber.feed, chunks), scrubber.finish()])


def exposes(text: bytes) -> bool:
    return NEEDLE.find(text) is not None or SECRET.encode() in text


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_is_found_and_replaced_at_its_length(form: str) -> None:
    text = f'{{"before": 1, "{form}": 2}}'.encode()
    assert exposes(text)
    clean = scrubbed([text])
    assert not exposes(clean)
    assert len(clean) == len(text)
    assert b"authsome" in clean
    assert clean.startswith(b'{"before": 1')


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_is_found_wherever_the_chunks_are_cut(form: str) -> None:
    text = f"event: x\ndata: {form}\n\n".encode()
    whole = scrubbed([text])
    for cut in range(len(text)):
        assert scrubbed([text[:cut], text[cut:]]) == whole
    assert scrubbed([bytes([byte]) for byte in text]) == whole


def test_other_bytes_are_untouched() -> None:
    text = bytes(range(256)) * 40
    assert scrubbed([text]) == text


@pytest.mark.parametrize("text", [b"data: hello\n\n", b'{"a": 1}', b"x" * 70_000, b"100 percent"])
def test_an_ordinary_chunk_is_passed_on_at_once(text: bytes) -> None:
    assert Scrubber([NEEDLE], PLACEHOLDER).feed(text) == text


def test_no_more_is_held_back_than_could_be_a_credential() -> None:
    scrubber = Scrubber([NEEDLE], PLACEHOLDER)
    assert scrubber.feed(b"data: " + SECRET[:10].encode()) == b"data: "
    assert scrubber.feed(b"!\n") == SECRET[:10].encode() + b"!\n"
    assert not scrubber.found


def test_what_begins_a_credential_must_reach_the_end() -> None:
    text = percent(SECRET).encode()
    assert NEEDLE.begins(text[:-1]) == 0
    assert NEEDLE.begins(text + b"zz") == len(text) + 2


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_chunks_without_a_credential_come_out_as_they_went_in(chunks: list[bytes]) -> None:
    assert scrubbed(chunks) == b"".join(chunks)


@st.composite
def pieces(draw: st.DrawFn) -> list[bytes]:
    """Text with credentials in any form, cut anywhere."""
    parts = draw(
        st.lists(
            st.one_of(
                st.binary(max_size=20),
                st.sampled_from([form.encode() for form in FORMS.values()]),
                st.sampled_from([b"%", b"\\u00", b"&#", SECRET[:9].encode(), b"TVRJek5EVTJO"]),
            ),
            max_size=6,
        )
    )
    text = b"".join(parts)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=6)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@given(pieces())
def test_no_cut_lets_a_credential_through(chunks: list[bytes]) -> None:
    clean = scrubbed(chunks)
    assert not exposes(clean)
    assert len(clean) == sum(map(len, chunks))


ESCAPES = (
    "\\{:c}",
    "%{:02x}",
    "%{:02X}",
    "%25{:02x}",
    "\\u{:04x}",
    "\\x{:02X}",
    "&#{};",
    "&#00{};",
    "&#x{:x};",
    "&#X00{:x};",
)


@pytest.mark.parametrize("escape", ESCAPES)
def test_one_escaped_character_hides_no_credential(escape: str) -> None:
    for at, letter in enumerate(map(ord, SECRET)):
        right, wrong = (
            f"<<{SECRET[:at]}{escape.format(one)}{SECRET[at + 1 :]}>>".encode()
            for one in (letter, letter ^ 1)
        )
        assert scrubbed([right]) == b"<<" + NEEDLE.stand_in(PLACEHOLDER, len(right) - 4) + b">>"
        assert scrubbed([wrong]) == wrong


AWKWARD = [
    "50%25-off%2525%z",
    "a\\b\\u0041x4\\\\z",
    "a&#97;b&#x61;&z",
    "#;uxX0%2&#;",
    "abababababab",
    "aaaaaaaaa",
]
"""Credentials that hold what escapes are made of, or their own beginning."""


@pytest.mark.parametrize("secret", AWKWARD)
def test_no_cut_lets_an_awkward_credential_through(secret: str) -> None:
    needle = Needle(secret)
    wholly = ("".join(escape.format(ord(letter)) for letter in secret) for escape in ESCAPES)
    for form in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1], *wholly):
        scrubber = Scrubber([needle], PLACEHOLDER)
        clean = b"".join(scrubber.feed(bytes([byte])) for byte in f"<{form}>".encode())
        assert clean == b"<" + needle.stand_in(PLACEHOLDER, len(form)) + b">"


@given(
    secret=st.one_of(st.sampled_from(AWKWARD), st.text("ab%25\\u0x41&#;", min_size=8, max_size=20)),
    random=st.randoms(use_true_random=False),
)
def test_an_awkward_credential_is_found_behind_its_own_beginning(secret: str, random: Random) -> None:
    needle = Needle(secret)
    form = "".join(random.choice(["{:c}", *ESCAPES]).format(ord(letter)) for letter in secret)
    begun = form[: random.randrange(len(form))]
    for text in (f"{begun}{form}{begun}".encode(), f"{begun}!{form[:-1]}".encode()):
        for chunks in ([text], [bytes([byte]) for byte in text]):
            scrubber = Scrubber([needle], PLACEHOLDER)
            clean = b"".join([*map(scrubber.feed, chunks), scrubber.finish()])
            assert scrubber.found == (needle.find(text) is not None)
            assert scrubber.found or clean == text
            assert scrubber.found or form.encode() not in text
            assert needle.find(clean) is None
            assert len(clean) == len(text)


def test_a_value_is_scrubbed_whole() -> None:
    assert scrub(f"/next?t={SECRET}".encode(), [NEEDLE], PLACEHOLDER) == (
        b"/next?t=" + NEEDLE.stand_in(PLACEHOLDER, len(SECRET))
    )


@pytest.mark.parametrize("length", [8, 23, 24, 60, 400])
def test_what_stands_in_has_the_length_of_what_it_replaces(length: int) -> None:
    assert len(NEEDLE.stand_in(PLACEHOLDER, length)) == length


def test_a_value_that_ordinary_text_could_hold_is_not_looked_for() -> None:
    with pytest.raises(ValueError, match="too short"):
        Needle("abc")


def test_a_credential_that_is_the_placeholder_ends_the_search() -> None:
    needle = Needle(PLACEHOLDER.decode())
    text = b"a" + PLACEHOLDER * 2 + b"b"
    clean = scrub(text, [needle], PLACEHOLDER)
    assert needle.find(clean) is None
    assert len(clean) == len(text)


def test_what_stands_in_never_completes_a_credential_that_was_begun_before_it() -> None:
    secret = "3N-WyZtjlwF-l-yNURHxUa"
    begun = secret[:-1]
    assert PLACEHOLDER.startswith(b"a"), "the character that would be missing"
    needle, text = Needle(secret), begun + secret
    for chunks in ([text], [begun, secret], [f"{begun}3", secret[1:]], list(text)):
        scrubber = Scrubber([needle], PLACEHOLDER)
        clean = b"".join([*(scrubber.feed(chunk.encode()) for chunk in chunks), scrubber.finish()])
        assert needle.find(clean) is None
        assert len(clean) == len(text)


def test_without_needles_nothing_is_held() -> None:
    scrubber = Scrubber([], PLACEHOLDER)
    assert scrubber.feed(SECRET.encode()) == SECRET.encode()
