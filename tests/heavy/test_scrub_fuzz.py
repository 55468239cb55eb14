"""Many minutes of random bodies, cuts and encodings against the scrubber; the seed is printed."""

import base64
import os
import random
import time
from urllib.parse import quote

import pytest

from proxy.search.scrub import Scrubber, Search

SECONDS = float(os.environ.get("FUZZ_SECONDS", "600"))
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-~+/="
AWKWARD = ("ab", "ab%25", "ab\\u0041x", "ab&#x61;", 'ab "<c>, (d)')
"""Of these a credential is like an escape, begins again within itself, or holds what ends a word."""

PLACEHOLDER = b"authsome-proxy-managed"


FORMS = (
    "{:c}",
    "\\{:c}",
    "%{:02x}",
    "%{:02X}",
    "%25{:02X}",
    "%252525{:02x}",
    "%u{:04x}",
    "\\u{:04x}",
    "\\u{:04X}",
    "\\\\u{:04x}",
    "\\\\\\\\u{:04x}",
    "%5Cu{:04x}",
    "\\x{:02X}",
    "\\U{:08x}",
    "&#{};",
    "&#00{};",
    "&#00000{};",
    "&#x{:x};",
    "&#X00{:X};",
    "&amp;#{};",
    "\\u0026#{};",
    "%26%23{}%3B",
)


def escaped(random_: random.Random, secret: str) -> bytes:
    """The secret with each character in a form of its own, of few or of all."""
    forms = ("{:c}", random_.choice(FORMS)) if random_.random() < 0.5 else FORMS
    return "".join(random_.choice(forms).format(ord(letter)) for letter in secret).encode()


def spelled(random_: random.Random, secret: str) -> bytes:
    """One of the ways in which a server could hand it back."""
    raw = secret.encode()
    match random_.randrange(9):
        case 0:
            return raw
        case 1:
            before = random_.randbytes(random_.randrange(7))
            encode = random_.choice([base64.b64encode, base64.urlsafe_b64encode])
            return encode(before + raw + random_.randbytes(random_.randrange(7)))
        case 2:
            return quote(secret, safe="").encode()
        case 3:
            return b"Bearer " + raw
        case 4:
            at = random_.randrange(len(secret))
            return secret[:at].encode() + escaped(random_, secret[at]) + secret[at + 1 :].encode()
        case 5:
            return raw.hex().encode()
        case 6:
            wide = secret.encode(random_.choice(["utf-16-le", "utf-16-be"]))
            inner = random_.choice([wide, base64.b64encode(random_.randbytes(random_.randrange(4)) + raw)])
            return base64.b64encode(random_.randbytes(random_.randrange(7)) + inner)
        case 7:
            return secret.encode(random_.choice(["utf-16-le", "utf-16-be"]))
        case _:
            return escaped(random_, secret)


def noise(random_: random.Random, secret: str) -> bytes:
    """Text that is near to the secret, and is not it."""
    match random_.randrange(5):
        case 0:
            return random_.randbytes(random_.randrange(200))
        case 1:
            return secret[: random_.randrange(len(secret))].encode()
        case 2:
            return escaped(random_, secret[: random_.randrange(len(secret))])
        case 3:
            return secret[: random_.randrange(len(secret))].encode("utf-16-le")
        case _:
            return random_.choice([b"%", b"\\u00", b"&#x", b"%2", b"\\", b"&", b"\n\n"]) * random_.randrange(
                4
            )


def cut(random_: random.Random, text: bytes) -> list[bytes]:
    if random_.random() < 0.2:
        return [bytes([byte]) for byte in text]
    places = sorted(random_.randrange(len(text) + 1) for _ in range(random_.randrange(6)))
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


@pytest.mark.heavy
def test_no_cut_and_no_spelling_lets_a_credential_through() -> None:
    seed = random.randrange(2**32)
    random_ = random.Random(seed)
    end, rounds, found, untouched = time.monotonic() + SECONDS, 0, 0, 0
    while time.monotonic() < end:
        alphabet = ALPHABET if random_.random() < 0.7 else random_.choice(AWKWARD)
        secret = "".join(random_.choices(alphabet, k=random_.randrange(16, 73)))
        others = ["".join(random_.choices(ALPHABET, k=40)) for _ in range(random_.choice([0, 0, 40]))]
        search = Search([*others, secret], PLACEHOLDER)
        for _ in range(200):
            parts = [noise(random_, secret) for _ in range(random_.randrange(5))]
            holds = random_.random() < 0.5
            if holds:
                parts.insert(random_.randrange(len(parts) + 1), spelled(random_, secret))
            text = b"".join(parts)
            scrubber = Scrubber(lambda search=search: search)  # type: ignore[misc]
            clean = b"".join([*map(scrubber.feed, cut(random_, text)), scrubber.finish()])
            context = f"seed {seed}, round {rounds}, secret {secret!r}, text {text!r}"
            assert not search.exposes(clean), context
            assert secret.encode() not in clean, context
            assert len(clean) == len(text), context
            if not search.exposes(text):
                assert clean == text, context
                untouched += 1
            assert scrubber.found or not holds, context
            found += scrubber.found
            rounds += 1
    print(f"\nscrub fuzz: {rounds} bodies in {SECONDS:.0f} s, seed {seed}")
    print(f"{found} held a credential, {untouched} held none and came out untouched")
    assert found
    assert untouched
