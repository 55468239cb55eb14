import base64
import html
import itertools
import json
import re
from collections.abc import Callable
from random import Random
from urllib.parse import quote, unquote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from proxy.search.scrub import Scrubber, Search
from proxy.search.spelling import Spelling

SECRET = "MTIzNDU2Nzg5.cAnArY-tok_en+/=~42"
PLACEHOLDER = b"authsome-proxy-managed"
SEARCH = Search([SECRET], PLACEHOLDER)


def percent(text: str) -> str:
    return "".join(f"%{ord(letter):02X}" for letter in text)


BACKSLASH = "\\"
ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "standard": base64.b64encode,
    "url": base64.urlsafe_b64encode,
    "slashes escaped": lambda raw: base64.b64encode(raw).replace(b"/", b"\\/"),
    "in a url": lambda raw: quote(base64.b64encode(raw), safe="").encode(),
}


def forms_of(secret: str) -> dict[str, str]:
    return (
        {
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
            "percent, thrice": percent(secret).replace("%", "%2525"),
            "percent of unicode": "".join(f"%u{ord(letter):04x}" for letter in secret),
            "json, long": "".join(f"\\U{ord(letter):08x}" for letter in secret),
            "json in json": json.dumps("".join(f"\\u{ord(letter):04x}" for letter in secret)),
            "json four deep": "".join(f"{BACKSLASH * 8}u{ord(letter):04X}" for letter in secret),
            "json in a url": quote("".join(f"\\u{ord(letter):04x}" for letter in secret)),
            "html, zeros before": "".join(f"&#{ord(letter):07};" for letter in secret),
            "html, hexadecimal, zeros before": "".join(f"&#X{ord(letter):06x};" for letter in secret),
            "html in html": html.escape("".join(f"&#{ord(letter)};" for letter in secret)),
            "html in json": "".join(f"\\u0026#{ord(letter)};" for letter in secret),
            "html in a url": "".join(f"%26%23{ord(letter)}%3B" for letter in secret),
            "html names": secret.replace(".", "&period;").replace("_", "&lowbar;").replace("=", "&equals;"),
            "hexadecimal": secret.encode().hex(),
            "hexadecimal, upper case": secret.encode().hex().upper(),
        }
        | {
            f"base64, alignment {before}, {name}": encode(b"x" * before + secret.encode() + b"yz").decode()
            for before in range(4)
            for name, encode in ENCODERS.items()
        }
        | {
            f"{codec} in base64, alignment {before}": base64.b64encode(
                b"x" * before + secret.encode(codec)
            ).decode()
            for before in range(3)
            for codec in ("utf-16-le", "utf-16-be")
        }
        | {
            f"base64 in base64, alignments {inner} and {outer}": base64.b64encode(
                b"x" * outer + base64.b64encode(b"?" * inner + secret.encode() + b"??") + b"yz"
            ).decode()
            for inner in range(3)
            for outer in range(3)
        }
    )


FORMS = forms_of(SECRET)


def search_for(*secrets: str) -> Search:
    return Search(secrets, PLACEHOLDER)


def scrubbed(chunks: list[bytes], search: Search = SEARCH) -> bytes:
    scrubber = Scrubber(lambda: search)
    return b"".join([*map(scrubber.feed, chunks), scrubber.finish()])


CROWD = search_for(*(f"another-credential-{number:04}-q0W.e9R~" for number in range(99)), SECRET)
"""Many credentials, of which the one is the last."""


@st.composite
def cut_anywhere(draw: st.DrawFn, pieces: st.SearchStrategy[bytes]) -> list[bytes]:
    """Text made up of pieces, in chunks that end anywhere."""
    text = b"".join(draw(st.lists(pieces, max_size=6)))
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=6)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def exposes(text: bytes) -> bool:
    return SEARCH.exposes(text) or SECRET.encode() in text


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_is_found_and_replaced_at_its_length(form: str) -> None:
    text = f'{{"before": 1, "{form}": 2}}'.encode()
    assert exposes(text)
    clean = scrubbed([text])
    assert not exposes(clean)
    assert len(clean) == len(text)
    assert b"authsome" in clean
    assert clean.startswith(b'{"before": 1')


@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_found_wherever_the_chunks_are_cut(name: str) -> None:
    text = f"event: x\ndata: {FORMS[name]}\n\n".encode()
    whole = scrubbed([text])
    for chunks in ([text[:cut], text[cut:]] for cut in range(len(text))):
        clean = scrubbed(chunks)
        assert not exposes(clean)
        assert len(clean) == len(text)
        # Of a base64 text with escapes in it all of the word goes that has come, which the cut decides.
        assert clean == whole or name.endswith("in a url")
    assert scrubbed([bytes([byte]) for byte in text], CROWD) == scrubbed([bytes([byte]) for byte in text])
    # Among others it is found just so.
    assert scrubbed([text], CROWD) == whole


def test_other_bytes_are_untouched() -> None:
    text = bytes(range(256)) * 40
    assert scrubbed([text]) == text


@pytest.mark.parametrize("text", [b"data: hello\n\n", b'{"a": 1}', b"[1, 2]", b'"word"', b"two words\r\n"])
def test_where_a_word_has_ended_nothing_is_held_back(text: bytes) -> None:
    assert passed(SEARCH, [text]) == [len(text)]


def test_the_last_word_is_held_back_until_it_ends() -> None:
    scrubber = Scrubber(lambda: SEARCH)
    assert scrubber.feed(b"data: hel") == b"data: "
    assert scrubber.feed(b"lo") == b""
    assert scrubber.feed(b" wor") == b"hello "
    assert scrubber.finish() == b"wor"


@pytest.mark.parametrize("letter", [b"x", b"=", b"\0", b"%"])
def test_of_an_endless_word_no_more_is_held_back_than_could_be_a_credential(letter: bytes) -> None:
    assert passed(SEARCH, [letter * 70_000] * 3) == [70_000 - SEARCH.longest + 1, 70_000, 70_000]


UNUSUAL = "a 'secret', <of> {all} \"kinds\"."
OTHERS = {SECRET: "q0W.e9R-t8Y_u7I+o6P/a5S=d4F~g3H!", UNUSUAL: "(Another) [one], {of} as many>."}
"""For each credential one of the same length and kind."""


class Telling(Search):
    """Holds back only what begins the credential."""

    def begins(self, text: bytes) -> int:
        return min(
            len(text) - length
            for known in self._known
            for literal in known.literals
            for length in range(len(literal))
            if text.endswith(literal[:length])
        )


def passed(search: Search, chunks: list[bytes]) -> list[int]:
    """How much is passed on after each chunk."""
    scrubber = Scrubber(lambda: search)
    lengths = [len(scrubber.feed(chunk)) for chunk in chunks]
    assert not scrubber.found
    return lengths


@pytest.mark.parametrize("secret", OTHERS)
@pytest.mark.parametrize("kind", [Search, Telling])
def test_what_is_held_back_does_not_tell_a_right_letter_from_a_wrong_one(
    secret: str, kind: type[Search]
) -> None:
    search = kind([secret], PLACEHOLDER)
    guesses = [
        b"text\n" + form.encode()[:n] for form in forms_of(secret).values() for n in range(1, len(form))
    ]
    guesses = [guess for guess in guesses if guess[-1:].isalnum() and not search.exposes(guess)]
    told = [guess for guess in guesses if passed(search, [guess]) != passed(search, [guess[:-1] + b"@"])]
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
    one, other = search_for(secret), search_for(OTHERS[secret])
    assume(not one.exposes(b"".join(chunks)) and not other.exposes(b"".join(chunks)))
    assert passed(one, chunks) == passed(other, chunks)


def test_what_is_held_back_shows_the_length_and_the_kind_of_the_credential() -> None:
    """The negative twin: what is compared above does differ where it may."""
    endless, words = b"x" * 4000, b"some words"
    assert passed(SEARCH, [endless]) != passed(search_for(SECRET[1:]), [endless])
    assert passed(SEARCH, [words]) != passed(search_for(UNUSUAL), [words])


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


@given(cut_anywhere(PIECES))
def test_no_cut_lets_one_of_many_credentials_through(chunks: list[bytes]) -> None:
    clean = scrubbed(chunks, CROWD)
    assert not exposes(clean)
    assert len(clean) == sum(map(len, chunks))


def test_of_credentials_that_overlap_no_rest_is_left() -> None:
    search = search_for("abcdefgh-first", "first-ijklmnop", "ijklmnop-third-12345")
    clean = search.replaced(b"<abcdefgh-first-ijklmnop-third-12345>")
    assert clean[1:-1] == search.stand_in(35)


def test_credentials_that_end_alike_are_all_found_behind_what_could_be_an_escape() -> None:
    ends = [f"41{letter}a-credential-that-ends-alike" for letter in "bcd"]
    search = search_for(*ends)
    for secret in ends:
        text = f"<%{secret.replace('-', '%2D')}>".encode()
        assert search.replaced(text) == b"<%" + search.stand_in(len(text) - 3) + b">"
        wrong = text.replace(b"a%2Dc", b"A%2Dc")
        assert search.replaced(wrong) == wrong


@pytest.mark.parametrize(
    "before", ["%", "%u", "%2", "\\", "\\u", "\\u00", "\\x", "&", "&#", "&#x", "&amp;", "%25", "%5C"]
)
@pytest.mark.parametrize(
    "secret", [SECRET, "41424344-a-credential-of-figures", "0041x-a-credential-of-figures"]
)
def test_what_stands_before_hides_no_credential(before: str, secret: str) -> None:
    search = search_for(secret)
    for at, letter in enumerate(secret):
        form = f"{secret[:at]}%{ord(letter):02x}{secret[at + 1 :]}"
        clean = search.replaced(f"<{before}{form}>".encode())
        assert form[8:].encode() not in clean
        assert len(clean) == len(f"<{before}{form}>")


@pytest.mark.parametrize("letter", [b"\\", b"%25", b"&amp;", b"%5C", b"\\u0041"])
def test_a_text_of_escapes_takes_no_time_to_speak_of(letter: bytes) -> None:
    """A search that took the square of its length would not end here."""
    text = letter * (2_000_000 // len(letter))
    assert scrubbed([text], CROWD) == text


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
        assert scrubbed([right]) == b"<<" + SEARCH.stand_in(len(right) - 4) + b">>"
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
    search = search_for(secret)
    wholly = ("".join(escape.format(ord(letter)) for letter in secret) for escape in ESCAPES)
    for form in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1], *wholly):
        scrubber = Scrubber(lambda: search)
        clean = b"".join(scrubber.feed(bytes([byte])) for byte in f"<{form}>\n".encode())
        assert clean == b"<" + search.stand_in(len(form)) + b">\n"


@given(
    secret=st.one_of(st.sampled_from(AWKWARD), st.text("ab%25\\u0x41&#;", min_size=8, max_size=20)),
    random=st.randoms(use_true_random=False),
)
def test_an_awkward_credential_is_found_behind_its_own_beginning(secret: str, random: Random) -> None:
    search = search_for(secret)
    form = "".join(random.choice(["{:c}", *ESCAPES]).format(ord(letter)) for letter in secret)
    begun = form[: random.randrange(len(form))]
    for text in (f"{begun}{form}{begun}".encode(), f"{begun}!{form[:-1]}".encode()):
        for chunks in ([text], [bytes([byte]) for byte in text]):
            scrubber = Scrubber(lambda: search)
            clean = b"".join([*map(scrubber.feed, chunks), scrubber.finish()])
            assert scrubber.found == (search.exposes(text))
            assert scrubber.found or clean == text
            assert scrubber.found or form.encode() not in text
            assert not search.exposes(clean)
            assert len(clean) == len(text)


def test_a_value_is_scrubbed_whole() -> None:
    assert SEARCH.replaced(f"/next?t={SECRET}".encode()) == (b"/next?t=" + SEARCH.stand_in(len(SECRET)))


@pytest.mark.parametrize("length", [8, 23, 24, 60, 400])
def test_what_stands_in_has_the_length_of_what_it_replaces(length: int) -> None:
    assert len(SEARCH.stand_in(length)) == length


def test_a_value_that_ordinary_text_could_hold_is_not_looked_for() -> None:
    with pytest.raises(ValueError, match="too short"):
        Spelling("abc")


def test_a_credential_that_is_the_placeholder_ends_the_search() -> None:
    search = search_for(PLACEHOLDER.decode())
    text = b"a" + PLACEHOLDER * 2 + b"b"
    clean = search.replaced(text)
    assert not search.exposes(clean)
    assert len(clean) == len(text)


def test_what_stands_in_never_completes_a_credential_that_was_begun_before_it() -> None:
    secret = "3N-WyZtjlwF-l-yNURHxUa"
    begun = secret[:-1]
    assert PLACEHOLDER.startswith(b"a"), "the character that would be missing"
    search, text = search_for(secret), begun + secret
    for chunks in ([text], [begun, secret], [f"{begun}3", secret[1:]], list(text)):
        scrubber = Scrubber(lambda: search)
        clean = b"".join([*(scrubber.feed(chunk.encode()) for chunk in chunks), scrubber.finish()])
        assert not search.exposes(clean)
        assert len(clean) == len(text)


def test_without_needles_nothing_is_held() -> None:
    scrubber = Scrubber(search_for)
    assert scrubber.feed(SECRET.encode()) == SECRET.encode()


def _layers() -> dict[str, Callable[[str], str]]:
    whole: dict[str, Callable[[str], str]] = {
        "percent": lambda text: "".join(f"%{ord(c):02x}" for c in text),
        "json": lambda text: "".join(f"\\u{ord(c):04x}" for c in text),
        "program": lambda text: "".join(f"\\x{ord(c):02x}" for c in text),
        "decimal": lambda text: "".join(f"&#{ord(c)};" for c in text),
        "hexadecimal": lambda text: "".join(f"&#x{ord(c):x};" for c in text),
    }
    every_other = {
        f"some {name}": lambda text, layer=layer: "".join(
            layer(c) if n % 2 else c for n, c in enumerate(text)
        )
        for name, layer in whole.items()
    }
    first = {
        f"first {name}": lambda text, layer=layer: layer(text[0]) + text[1:] for name, layer in whole.items()
    }
    return {**whole, **every_other, **first}


def _read(text: str, layers: tuple[str, str]) -> str:
    """Two layers undone as browsers and parsers do, the outer one first."""
    for layer in layers:
        match layer.split()[-1]:
            case "percent":
                text = unquote(text)
            case "json" | "program":
                text = re.sub(r"\\(?:u00|x)([0-9a-f]{2})|\\(.)", _meant, text)
            case _:
                text = html.unescape(text)
    return text


def _meant(found: re.Match[str]) -> str:
    return chr(int(found[1], 16)) if found[1] else found[2]


@pytest.mark.parametrize("piece", [7, 1 << 20])
def test_escapes_within_escapes_are_found_two_deep_in_any_mixture(piece: int) -> None:
    token = "MTEwMDAwMDAwMDAx.Gk3QpZ.aB_-7sTqRrWvYzZ0"
    search, shown, tried = Search([token], b"placeholder"), [], 0
    for (inner, one), (outer, other) in itertools.product(_layers().items(), repeat=2):
        text = f'"{other(one(token))}"'.encode()
        if token not in _read(text.decode(), (outer, inner)):
            continue  # what was escaped partly cannot be told from what was not at all
        scrubber, tried = Scrubber(lambda: search), tried + 1
        out = b"".join(scrubber.feed(text[at : at + piece]) for at in range(0, len(text), piece))
        if token in _read((out + scrubber.finish()).decode(), (outer, inner)):
            shown.append((inner, outer))
    assert tried > 180
    assert shown == []


@pytest.mark.parametrize("zeros", [0, 8, 30, 300])
@pytest.mark.parametrize("number", ["&#{zeros}{code}{end}", "&#x{zeros}{code:x}{end}"])
@pytest.mark.parametrize("end", [";", ""])
def test_a_number_of_html_may_have_any_zeros_and_no_semicolon(zeros: int, number: str, end: str) -> None:
    token = "ZTEwMDAwMDAwMDAx.Gk3QpZ.XY_-7sTqRrWvYzZZ"
    escaped = number.format(zeros="0" * zeros, code=ord(token[0]), end=end) + "&#84;" + token[2:]
    assert b"wMDAwMDAx" not in Search([token], b"placeholder").replaced(escaped.encode())


def test_what_is_looked_for_alone_is_found_in_escaped_base64_as_well() -> None:
    token = "abcdx41uabcdEFGHIJKLmnop._-9"  # (holds what could be a part of an escape)
    for form in (base64.b64encode(token.encode()).decode(), token.encode().hex()):
        escaped = f"{form[:5]}%{ord(form[5]):02x}{form[6:]}".encode()
        assert form[6:].encode() not in Search([token], b"placeholder").replaced(escaped)


def test_utf_16_of_base64_and_of_hexadecimal_is_found() -> None:
    token = "MTEwMDAwMDAwMDAx.Gk3QpZ.aB_-7sTqRrWvYzZ0"
    for form in (base64.b64encode(token.encode()).decode(), token.encode().hex()):
        for order in ("utf-16-le", "utf-16-be"):
            text = f'"{form}"'.encode(order)
            assert form[4:-4].encode(order) not in Search([token], b"placeholder").replaced(text)
