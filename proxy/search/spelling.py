"""The spellings in which a server could hand one credential back, by intent or by accident. Pure.

As it is, and in base64 and hexadecimal, each of them in UTF-16 as well; in base64 also of its UTF-16 and of
its base64. Then with any
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

LONGEST_ESCAPE: Final = 40
"""Bytes that one character may take, on average: `%5C%75%30%30%34%31` is JSON within a URL."""

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
    b"AMP": b"&",
    b"LT": b"<",
    b"GT": b">",
    b"QUOT": b'"',
    b"midast": b"*",
    b"UnderBar": b"_",
    b"DiacriticalGrave": b"`",
    b"lbrack": b"[",
    b"rbrack": b"]",
    b"lbrace": b"{",
    b"rbrace": b"}",
    b"vert": b"|",
    b"VerticalLine": b"|",
}
"""HTML's names of ASCII characters, as its encoders write them (html.spec.whatwg.org, named character
references)."""

_BACKSLASH: Final = re.compile(
    rb"\\(?:(?:u00|x|U000000)([2-7][0-9A-Fa-f])|(?!u[0-9A-Fa-f]{4}|[xuU][0-9A-Fa-f]*\\)([^\n%&]))"
)
"""One ASCII character that is escaped by a backslash. Before any other byte it means that byte; `\\u4e2d` is
left alone, and so is one before what may be another escape or hold one."""


def _reference(end: bytes, hex_end: bytes) -> re.Pattern[bytes]:
    return re.compile(
        rb"%%(?:u00)?([2-7][0-9A-Fa-f])|&#0*+([1-9][0-9]{1,2})%b|&#[xX]0*+([2-7][0-9A-Fa-f])%b|&([A-Za-z]{2,16});"
        % (end, hex_end)
    )


_REFERENCE: Final = _reference(b";", b";")
"""One ASCII character that is escaped for a URL or for HTML."""

_LOOSE_REFERENCE: Final = _reference(rb"(?:;|(?![0-9]))", rb"(?:;|(?![0-9A-Fa-f]))")
"""The same where HTML lacks its semicolons, as browsers read it."""

_UNFINISHED: Final = re.compile(rb"#[xX]?[0-9A-Fa-f]*")


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
        loose = b";" not in self.raw  # else what ends an escape could be the next character
        return re.compile(b"".join(b"(?:%b)" % _forms_of(byte, loose) for byte in self.raw))

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


def unfinished(text: bytes) -> bytes:
    """What of the end of `text` may be a number of HTML that has not ended yet."""
    start = text.rfind(b"#")
    return text[start:] if start >= 0 and _UNFINISHED.fullmatch(text, start) else b""


def undone(text: bytes) -> Iterator[bytes]:
    """`text` with its escapes undone once, and twice, and so on until there is none.

    Those without a backslash come first, each time: one of them may be a part of what a backslash escapes.
    """
    for reference in (_REFERENCE, _LOOSE_REFERENCE):
        for _ in range(_MAX_LAYERS):
            before = text
            for _ in range(_MAX_LAYERS):
                plain = reference.sub(_referred_to, text)
                if plain == text:
                    break
                yield plain
                text = plain
            plain = _BACKSLASH.sub(_escaped_by_backslash, text)
            if plain != text:
                yield plain
            text = plain
            if text == before:
                break


def _referred_to(match: re.Match[bytes]) -> bytes:
    if digits := match[1] or match[3]:
        return bytes([int(digits, 16)])
    if match[2]:
        return bytes([number]) if (number := int(match[2])) < 0x7F else match[0]
    return _NAMES.get(match[4], match[0])


def _escaped_by_backslash(match: re.Match[bytes]) -> bytes:
    return bytes([int(match[1], 16)]) if match[1] else match[2]


def _forms_of(byte: int, loose: bool) -> bytes:
    """A regular expression for one ASCII character: as it is, and escaped up to four deep.

    `loose`: a number of HTML needs no semicolon.

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
    no_digit = rb"(?:%b|(?![0-9]))" % end if loose else end
    no_hex = rb"(?:%b|(?![0-9A-Fa-f]))" % end if loose else end
    names = [name for name, letter in _NAMES.items() if letter == bytes([byte])]
    return b"|".join(
        (
            plain,
            backslash + plain,
            percent + rb"(?:u00)?" + either_case,
            backslash + rb"(?:u00|x|U000000)" + either_case,
            ampersand + number + rb"0*+%d" % byte + no_digit,
            ampersand + number + rb"[xX]0*+" + either_case + no_hex,
            *(ampersand + name + end for name in names),
        )
    )


def _literals(secret: str) -> tuple[bytes, ...]:
    raw = secret.encode()
    wide = secret.encode("utf-16-le")[:-1]  # in both byte orders, less a zero at one end
    once = _base64_forms(raw)
    twice = [form for core in once for form in _base64_forms(core)]
    hexadecimal = (raw.hex().encode(), raw.hex().upper().encode())
    widened = [form.decode().encode("utf-16-le")[:-1] for form in (*hexadecimal, *once)]
    found = (raw, wide, *hexadecimal, *once, *twice, *_base64_forms(wide), *widened)
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
