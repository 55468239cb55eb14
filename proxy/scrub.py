"""Replaces known credentials in what comes back from a server, as it streams by.

Pure. A server can hand a credential back as it is, in UTF-16, escaped for a URL, for JSON or for HTML, or
inside something base64-encoded. Every replacement has the length of what it replaces, so that Content-Length
stays right. Where nothing is found the bytes are untouched.

A word is held back until it ends, as it could become a credential. The end of a line or of a JSON value ends
it, so that a stream stays a stream. It does not matter whether a word begins like the credential: the program
sees the length of each TLS record, and a server that gives back what the program stored would let it try
letter after letter.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from functools import cached_property
from typing import Final

MIN_SECRET: Final = 8
"""Characters. A shorter value would be found by chance in ordinary text."""

_GUARDS: Final = b"*!~^|:,@$()[]{}<>? ."
"""Bytes outside the base64 alphabets that begin no escape; the first that the credential does not hold."""

_ESCAPE_BYTES: Final = b"%\\&#;uxX0123456789abcdefABCDEF"
"""What escapes are made of, besides characters of the credential."""

_WORD: Final = bytes({0, *range(0x21, 0x7F)} - {*b"\"'<>{}[](),"})
"""What all forms of nearly every credential are made of. The zero is half of a character in UTF-16."""

_LINE: Final = bytes({*range(256)} - {*b"\n"})
"""For any other: a credential is sent in a header, which is one line."""

_LONGEST_ESCAPE: Final = 8
"""Bytes that one character may take: `&#x0041;`."""


class Needle:
    """One credential in every form a server could give it."""

    def __init__(self, secret: str) -> None:
        raw = secret.encode()
        if len(raw) < MIN_SECRET:
            raise ValueError("too short to be looked for")
        self.literals = (raw, *_base64_forms(raw))
        self._utf_16 = secret.encode("utf-16-le")[:-1]  # in both byte orders, less a zero at one end
        self.longest = len(raw) * _LONGEST_ESCAPE
        self._raw = raw
        self._guard = next(bytes([byte]) for byte in _GUARDS if byte not in raw)
        used = {*b"".join(self.literals), *self._utf_16}
        # One of two for all credentials: what is held back shows which bytes are in it.
        self._word = _WORD if used <= {*_WORD} else bytes({*_LINE, *used})
        half = b"[%b]{%d}" % (re.escape(bytes({*raw, *_ESCAPE_BYTES})), (len(raw) + 1) // 2)
        self._half_beside = re.compile(rb"\\(?:(?=%b)|(?<=%b\\))" % (half, half))

    # Takes milliseconds to compile, and most runs do not need it.
    @cached_property
    def _escaped(self) -> re.Pattern[bytes]:
        return re.compile(b"".join(b"(?:%b)" % forms for forms in map(_forms_of, self._raw)))

    def find(self, text: bytes, start: int = 0) -> tuple[int, int] | None:
        """Start and end of the first occurrence in any form, from `start` on."""
        found = [
            (at, at + len(literal)) for literal in self.literals if (at := text.find(literal, start)) >= 0
        ]
        # First from the end, which takes a fifth of the time in a long run of zeros.
        if 0 in text and text.rfind(self._utf_16, start) >= 0:
            at = text.index(self._utf_16, start)
            found.append((at, at + len(self._utf_16)))
        if self._may_be_escaped(text, start) and (match := self._escaped.search(text, start)):
            found.append(match.span())
        return min(found, default=None)

    def _may_be_escaped(self, text: bytes, start: int) -> bool:
        """Whether there is an escape that has room for half of the credential before or behind it.

        An occurrence is longer than the credential and all of its characters, so each escape in it has. To
        look for that first takes a fifth of the time, as almost no other text has such an escape. What begins
        one is made one byte for it: `re` is fastest where a pattern begins with one certain byte.
        """
        marked = text.replace(b"%", b"\\").replace(b"&", b"\\")
        return self._half_beside.search(marked, start) is not None

    def stand_in(self, placeholder: bytes, length: int) -> bytes:
        """What replaces `length` bytes: the placeholder between two guards, cut or drawn out with '-'.

        A guard occurs in no form of the credential, so that what stands in can never complete one
        together with what is around it, be that sent on already or still to come.
        """
        inner = placeholder[: length - 2].ljust(length - 2, b"-")
        return self._guard + (self._guard * len(inner) if self.find(inner) else inner) + self._guard

    def begins(self, text: bytes) -> int:
        """Where the last word of `text` begins, or as much of it as could still become an occurrence."""
        tail = text[1 - self.longest :]
        return len(text) - len(tail) + len(tail.rstrip(self._word))


class Scrubber:
    """Scrubs one stream. Feed it chunks in order, then call `finish` for what was held back."""

    def __init__(self, needles: Iterable[Needle], placeholder: bytes) -> None:
        self._needles = tuple(needles)
        self._placeholder = placeholder
        self._held = b""
        self.found = False

    def feed(self, chunk: bytes) -> bytes:
        """What can be passed on now."""
        text = self._replaced(self._held + chunk)
        cut = min((needle.begins(text) for needle in self._needles), default=len(text))
        self._held = text[cut:]
        return text[:cut]

    def finish(self) -> bytes:
        """The rest, at the end of the stream."""
        rest, self._held = self._held, b""
        return rest

    def _replaced(self, text: bytes) -> bytes:
        for needle in self._needles:
            end = 0
            while span := needle.find(text, end):
                self.found = True
                start, end = span
                text = text[:start] + needle.stand_in(self._placeholder, end - start) + text[end:]
        return text


def scrub(text: bytes, needles: Iterable[Needle], placeholder: bytes) -> bytes:
    """Scrub a whole value, such as that of a header."""
    scrubber = Scrubber(needles, placeholder)
    return scrubber.feed(text) + scrubber.finish()


def _forms_of(byte: int) -> bytes:
    """A regular expression for one ASCII character: as it is, and in percent, JSON and HTML escapes."""
    either_case = b"".join(
        b"[%b%b]" % (digit.lower().encode(), digit.upper().encode()) if digit.isalpha() else digit.encode()
        for digit in f"{byte:02x}"
    )
    plain = re.escape(bytes([byte]))
    return b"|".join(
        (
            plain,
            rb"\\%b" % plain,
            b"%(?:25)?" + either_case,
            rb"\\u00" + either_case,
            rb"\\x" + either_case,
            b"&#0{0,2}%d;" % byte,
            b"&#[xX]0{0,2}" + either_case + b";",
        )
    )


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
