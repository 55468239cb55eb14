"""The spellings in which a server could hand one credential back, by intent or by accident. Pure.

As it is, and in UTF-16, base64 and hexadecimal; in base64 also of its UTF-16 and of its base64. Then with any
of its characters escaped: for URLs (`%41`, `%u0041`), for JSON and programming languages (`\\u0041`, `\\x41`,
`\\U00000041`, `\\A`), for HTML and XML (`&#65;`, `&#x41;` with zeros before, `&period;`), and escapes within
escapes, as in JSON within JSON.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from functools import cached_property
from typing import Final

MIN_SECRET: Final = 8
"""Characters. A shorter value would be found by chance in ordinary text."""

WORD: Final = bytes({0, *range(0x21, 0x7F)} - {*b"\"'<>{}[](),"})
"""What all spellings of nearly every credential are made of. The zero is half of a character in UTF-16."""

LINE: Final = bytes({*range(256)} - {*b"\n"})
"""For any other: a credential is sent in a header, which is one line."""

LONGEST_ESCAPE: Final = 16
"""Bytes that one character may take, on average: `\\\\\\\\\\\\\\\\u0041` is JSON four deep."""

ESCAPE_STARTS: Final = rb"\%&"
"""What every escape begins with."""

_CLOSELY_READ: Final = re.compile(rb"[\\%&;]|u[0-9A-Fa-f]{4}|U0000|x[2-7][0-9A-Fa-f]")
"""In a credential: what could be taken for a part of an escape."""

MIN_COMBINED: Final = 16
"""Characters from which on a credential can be searched for together with others where there are escapes."""

_MOST_EATEN: Final = 8
"""Characters at the beginning of a credential that what stands before it may turn into the end of an escape:
`%` before one that begins with `41` reads as `A`."""

_MAX_LAYERS: Final = 5
"""Escapes within escapes that are undone."""

_NAMES: Final = {
    b"amp": b"&",
    b"lt": b"<",
    b"gt": b">",
    b"quot": b'"',
    b"apos": b"'",
    b"excl": b"!",
    b"num": b"#",
    b"dollar": b"$",
    b"percnt": b"%",
    b"lpar": b"(",
    b"rpar": b")",
    b"ast": b"*",
    b"plus": b"+",
    b"comma": b",",
    b"period": b".",
    b"sol": b"/",
    b"colon": b":",
    b"semi": b";",
    b"equals": b"=",
    b"quest": b"?",
    b"commat": b"@",
    b"lsqb": b"[",
    b"bsol": b"\\",
    b"rsqb": b"]",
    b"Hat": b"^",
    b"lowbar": b"_",
    b"grave": b"`",
    b"lcub": b"{",
    b"verbar": b"|",
    b"rcub": b"}",
}
"""HTML's names of ASCII characters, as its encoders write them (html.spec.whatwg.org, named character
references)."""

_ESCAPE: Final = re.compile(
    rb"\\(?:(?:u00|x|U000000)([2-7][0-9A-Fa-f])|(?!u[0-9A-Fa-f]{4})([^\n]))"
    rb"|%(?:u00)?([2-7][0-9A-Fa-f])"
    rb"|&#0{0,16}([1-9][0-9]{1,2});"
    rb"|&#[xX]0{0,16}([2-7][0-9A-Fa-f]);"
    rb"|&([A-Za-z]{2,6});"
)
"""One escaped ASCII character. A backslash before any other byte means that byte; `\\u4e2d` is left alone."""


class Spelling:
    """One credential, and how to find it."""

    def __init__(self, secret: str) -> None:
        raw = secret.encode()
        if len(raw) < MIN_SECRET:
            raise ValueError("too short to be looked for")
        self.raw = raw
        self.literals = _literals(secret)
        """What stands in a text as it is."""
        self.longest = len(raw) * LONGEST_ESCAPE
        """Bytes that an occurrence may take."""
        used = {*b"".join(self.literals)}
        self.is_word = used <= {*WORD}
        """Whether no spelling goes beyond a word."""
        combined = self.is_word and len(raw) >= MIN_COMBINED and not _CLOSELY_READ.search(raw)
        self.tail = raw[min(_MOST_EATEN, len(raw) // 3) :] if combined else None
        """What is left of it in a text whose escapes were undone, whatever stands before it; None where
        undoing them could change the credential itself, so that it has to be looked for alone."""

    @cached_property
    def _beside(self) -> re.Pattern[bytes]:
        return beside_escape(self.raw, (len(self.raw) + 1) // 2)

    # Takes milliseconds to compile, and most runs do not need it.
    @cached_property
    def _escaped(self) -> re.Pattern[bytes]:
        return re.compile(b"".join(b"(?:%b)" % forms for forms in map(_forms_of, self.raw)))

    def escaped(self, text: bytes) -> list[tuple[int, int]]:
        """Start and end of each occurrence whose characters are each as they are or escaped."""
        # To look for an escape first takes a fifth of the time.
        if not self._beside.search(marked(text)):
            return []
        return [match.span() for match in self._escaped.finditer(text)]


def marked(text: bytes) -> bytes:
    """`text` with one byte for what begins an escape: `re` is fastest where a pattern begins with one."""
    return text.replace(b"%", b"\\").replace(b"&", b"\\")


def beside_escape(raw: bytes, half: int) -> re.Pattern[bytes]:
    """Finds in a marked text an escape with room for half of a credential at one side, made of `raw`.

    An occurrence is longer than the credential and all of its characters, so each escape in it has.
    """
    room = b"[%b]{%d}" % (re.escape(bytes({*raw, *WORD})), half)
    return re.compile(rb"\\(?:(?=%b)|(?<=%b\\))" % (room, room))


def undone(text: bytes) -> Iterator[bytes]:
    """`text` with its escapes undone once, and twice, and so on until there is none."""
    for _ in range(_MAX_LAYERS):
        plain = _ESCAPE.sub(_meant, text)
        if plain == text:
            return
        yield plain
        text = plain


def _meant(match: re.Match[bytes]) -> bytes:
    digits = match[1] or match[3] or match[5]
    if digits:
        return bytes([int(digits, 16)])
    if match[4]:
        return bytes([number]) if (number := int(match[4])) < 0x7F else match[0]
    return match[2] or _NAMES.get(match[6], match[0])


def _forms_of(byte: int) -> bytes:
    """A regular expression for one ASCII character: as it is, and escaped up to four deep.

    All repetitions are bounded, else a text of backslashes would take the square of its length.
    """
    either_case = b"".join(
        b"[%b%b]" % (digit.lower().encode(), digit.upper().encode()) if digit.isalpha() else digit.encode()
        for digit in f"{byte:02x}"
    )
    plain = re.escape(bytes([byte]))
    percent = rb"%(?:25){0,4}"
    backslash = rb"(?:\\|%b5[cC]){1,8}" % percent
    ampersand = rb"(?:&|%bu0026|%b26)(?:amp;){0,3}" % (backslash, percent)
    number = rb"(?:#|%b23)" % percent
    end = rb"(?:;|%b3[bB])" % percent
    names = [name for name, letter in _NAMES.items() if letter == bytes([byte])]
    return b"|".join(
        (
            plain,
            backslash + plain,
            percent + rb"(?:u00)?" + either_case,
            backslash + rb"(?:u00|x|U000000)" + either_case,
            ampersand + number + rb"0{0,7}%d" % byte + end,
            ampersand + number + rb"[xX]0{0,7}" + either_case + end,
            *(ampersand + name + end for name in names),
        )
    )


def _literals(secret: str) -> tuple[bytes, ...]:
    raw = secret.encode()
    wide = secret.encode("utf-16-le")[:-1]  # in both byte orders, less a zero at one end
    once = _base64_forms(raw)
    twice = [form for core in once for form in _base64_forms(core)]
    found = (raw, wide, raw.hex().encode(), raw.hex().upper().encode(), *once, *twice, *_base64_forms(wide))
    return tuple(dict.fromkeys(found))


def _base64_forms(raw: bytes) -> list[bytes]:
    """What every base64 text that contains `raw` contains, for each of the three alignments.

    The characters at both ends that also depend on the bytes around it are left out.
    """
    forms: list[bytes] = []
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw + b"\0" * (-(before + len(raw)) % 3))
        start = (before * 8 + 5) // 6
        core = encoded[start : (before + len(raw)) * 8 // 6]
        forms += [core, core.replace(b"+", b"-").replace(b"/", b"_")]
    return list(dict.fromkeys(forms))
