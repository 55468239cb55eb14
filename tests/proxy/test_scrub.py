import base64
import html
import json
from random import Random
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from proxy.scrub import Needle, Scrubber, scrub

SECRET = "MTIzNDU2Nzg5.cAnArY-tok_en+/=~42"
PLACEHOLDER = b"authsome-proxy-managed"
NEEDLE = Needle(SECRET)


def percent(text: str) -> str:
    return "".join(f"%{ord(letter):02X}" for letter in text)


def forms_of(secret: str) -> dict[str, str]:
    return {
        "raw": secret,
        "bearer": f"Bearer {secret}",
        "utf-16, little end first": secret.encode("utf-16-le").decode(),
        "utf-16, big end first": secret.encode("utf-16-be").decode(),
        "percent": percent(secret),
        "percent, lower case": percent(secret).lower(),
        "percent, twice": percent(secret).replace("%", "%25"),
        "percent where needed": quote(secret, safe=""),
        "json": json.dumps(secret),
        "json, escaped slash": json.dumps(secret).replace("/", "\\/"),
        "json, all escaped": "".join(f"\\u{ord(letter):04x}" for letter in secret),
        "javascript": "".join(f"\\x{ord(letter):02x}" for letter in secret),
        "html": html.escape(secret),
        "html, decimal": "".join(f"&#{ord(letter)};" for letter in secret),
        "html, hexadecimal": "".join(f"&#x{ord(letter):X};" for letter in secret),
        "mixed": "".join(percent(letter) if i % 2 else letter for i, letter in enumerate(secret)),
    } | {
        f"base64, alignment {before}, {name}": encode(b"x" * before + secret.encode() + b"yz").decode()
        for before in range(4)
        for name, encode in {"standard": base64.b64encode, "url": base64.urlsafe_b64encode}.items()
    }


FORMS = forms_of(SECRET)


def scrubbed(chunks: list[bytes]) -> bytes:
    scrubber = Scrubber([NEEDLE], PLACEHOLDER)
    return b"".join([*map(scrubber.feed, chunks), scrubber.finish()])


@st.composite
def cut_anywhere(draw: st.DrawFn, pieces: st.SearchStrategy[bytes]) -> list[bytes]:
    """Text made up of pieces, in chunks that end anywhere."""
    text = b"".join(draw(st.lists(pieces, max_size=6)))
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=6)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


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


@pytest.mark.parametrize("text", [b"data: hello\n\n", b'{"a": 1}', b"[1, 2]", b'"word"', b"two words\r\n"])
def test_where_a_word_has_ended_nothing_is_held_back(text: bytes) -> None:
    assert passed(NEEDLE, [text]) == [len(text)]


def test_the_last_word_is_held_back_until_it_ends() -> None:
    scrubber = Scrubber([NEEDLE], PLACEHOLDER)
    assert scrubber.feed(b"data: hel") == b"data: "
    assert scrubber.feed(b"lo") == b""
    assert scrubber.feed(b" wor") == b"hello "
    assert scrubber.finish() == b"wor"


@pytest.mark.parametrize("letter", [b"x", b"=", b"\0", b"%"])
def test_of_an_endless_word_no_more_is_held_back_than_could_be_a_credential(letter: bytes) -> None:
    assert passed(NEEDLE, [letter * 70_000] * 3) == [70_000 - NEEDLE.longest + 1, 70_000, 70_000]


UNUSUAL = "a 'secret', <of> {all} \"kinds\"."
OTHERS = {SECRET: "q0W.e9R-t8Y_u7I+o6P/a5S=d4F~g3H!", UNUSUAL: "(Another) [one], {of} as many>."}
"""For each credential one of the same length and kind."""


class Telling(Needle):
    """Holds back only what begins the credential."""

    def begins(self, text: bytes) -> int:
        return min(
            len(text) - length
            for literal in self.literals
            for length in range(len(literal))
            if text.endswith(literal[:length])
        )


def passed(needle: Needle, chunks: list[bytes]) -> list[int]:
    """How much is passed on after each chunk."""
    scrubber = Scrubber([needle], PLACEHOLDER)
    lengths = [len(scrubber.feed(chunk)) for chunk in chunks]
    assert not scrubber.found
    return lengths


@pytest.mark.parametrize("secret", OTHERS)
@pytest.mark.parametrize("kind", [Needle, Telling])
def test_what_is_held_back_does_not_tell_a_right_letter_from_a_wrong_one(
    secret: str, kind: type[Needle]
) -> None:
    needle = kind(secret)
    guesses = [
        b"text\n" + form.encode()[:n] for form in forms_of(secret).values() for n in range(1, len(form))
    ]
    guesses = [guess for guess in guesses if guess[-1:].isalnum() and needle.find(guess) is None]
    told = [guess for guess in guesses if passed(needle, [guess]) != passed(needle, [guess[:-1] + b"@"])]
    assert len(guesses) > 1000
    assert bool(told) == (kind is Telling)


@st.composite
def begun(draw: st.DrawFn) -> tuple[str, list[bytes]]:
    """A credential, and text with beginnings of it and of another one, cut anywhere."""
    secret = draw(st.sampled_from(list(OTHERS)))
    forms = [form.encode() for one in (secret, OTHERS[secret]) for form in forms_of(one).values()]
    beginning = st.builds(lambda form, n: form[: n % len(form)], st.sampled_from(forms), st.integers(0, 999))
    return secret, draw(cut_anywhere(st.one_of(st.binary(max_size=20), beginning)))


@given(begun())
def test_what_is_held_back_is_the_same_for_another_credential(text: tuple[str, list[bytes]]) -> None:
    secret, chunks = text
    one, other = Needle(secret), Needle(OTHERS[secret])
    assume(one.find(b"".join(chunks)) is None and other.find(b"".join(chunks)) is None)
    assert passed(one, chunks) == passed(other, chunks)


def test_what_is_held_back_shows_the_length_and_the_kind_of_the_credential() -> None:
    """The negative twin: what is compared above does differ where it may."""
    endless, words = b"x" * 1000, b"some words"
    assert passed(NEEDLE, [endless]) != passed(Needle(SECRET[1:]), [endless])
    assert passed(NEEDLE, [words]) != passed(Needle(UNUSUAL), [words])


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_chunks_without_a_credential_come_out_as_they_went_in(chunks: list[bytes]) -> None:
    assert scrubbed(chunks) == b"".join(chunks)


PIECES = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([form.encode() for form in FORMS.values()]),
    st.sampled_from([b"%", b"\\u00", b"&#", SECRET[:9].encode(), b"TVRJek5EVTJO"]),
)


@given(cut_anywhere(PIECES))
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
    'a (b), "c" <d>',
]
"""Credentials that hold what escapes are made of, their own beginning, or what ends a word."""


@pytest.mark.parametrize("secret", AWKWARD)
def test_no_cut_lets_an_awkward_credential_through(secret: str) -> None:
    needle = Needle(secret)
    wholly = ("".join(escape.format(ord(letter)) for letter in secret) for escape in ESCAPES)
    for form in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1], *wholly):
        scrubber = Scrubber([needle], PLACEHOLDER)
        clean = b"".join(scrubber.feed(bytes([byte])) for byte in f"<{form}>\n".encode())
        assert clean == b"<" + needle.stand_in(PLACEHOLDER, len(form)) + b">\n"


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
