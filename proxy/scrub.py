"""Replaces known credentials in what comes back from a server, as it streams by.

Pure. A server can hand a credential back as it is, escaped for a URL, for JSON or for HTML, or inside
something base64-encoded. Every replacement has the length of what it replaces, so that Content-Length
stays right, and bytes are held back only while they could be the beginning of a credential, so that a
stream stays a stream. Where nothing is found the bytes are untouched.
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

_MARKS: Final = (b"%", b"\\", b"&")
"""What an escaped character begins with."""

_ESCAPE_BYTES: Final = b"%\\&#;uxX0123456789abcdefABCDEF"
"""What escapes are made of, besides characters of the credential."""

_LONGEST_ESCAPE: Final = 8
"""Bytes that one character may take: `&#x0041;`."""


class Needle:
    """One credential in every form a server could give it."""

    def __init__(self, secret: str) -> None:
        raw = secret.encode()
        if len(raw) < MIN_SECRET:
            raise ValueError("too short to be looked for")
        self.literals = (raw, *_base64_forms(raw))
        self.longest = max(len(raw) * _LONGEST_ESCAPE, *map(len, self.literals))
        self._raw = raw
        self._guard = next(bytes([byte]) for byte in _GUARDS if byte not in raw)
        self._alphabet = bytes({*b"".join(self.literals), *_ESCAPE_BYTES})
        half = b"[%b]{%d}" % (re.escape(self._alphabet), (len(raw) + 1) // 2)
        self._half_beside = re.compile(rb"\\(?:(?=%b)|(?<=%b\\))" % (half, half))

    # These two take milliseconds to compile, and most runs need neither.
    @cached_property
    def _escaped(self) -> re.Pattern[bytes]:
        return re.compile(b"".join(b"(?:%b)" % forms for forms in map(_forms_of, self._raw)))

    @cached_property
    def _escaped_begun(self) -> re.Pattern[bytes]:
        """As many of its characters as there are before the end of the text."""
        return re.compile(b"".join(rb"(?:%b|\Z)" % forms for forms in map(_forms_of, self._raw)) + rb"\Z")

    def find(self, text: bytes, start: int = 0) -> tuple[int, int] | None:
        """Start and end of the first occurrence in any form, from `start` on."""
        found = [
            (at, at + len(literal)) for literal in self.literals if (at := text.find(literal, start)) >= 0
        ]
        if self._may_be_escaped(text, start) and (match := self._escaped.search(text, start)):
            found.append(match.span())
        return min(found, default=None)

    def _may_be_escaped(self, text: bytes, start: int) -> bool:
        """Whether there is an escape that has room for half of the credential before or behind it.

        An occurrence is longer than the credential and all of its alphabet, so each escape in it has. To look
        for that first takes a fifth of the time, as almost no other text has such an escape. What begins one
        is made one byte for it: `re` is fastest where a pattern begins with one certain byte.
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
        """Where a suffix of `text` starts that more bytes could make an occurrence; its length if nowhere."""
        tail = text[1 - self.longest :]
        tail = tail[len(tail.rstrip(self._alphabet)) :]
        if not tail:
            return len(text)
        begun = max(
            length
            for literal in self.literals
            for length in range(min(len(literal), len(tail)) + 1)
            if tail.endswith(literal[:length])
        )
        return len(text) - max(begun, self._begun_in_escapes(tail))

    def _begun_in_escapes(self, tail: bytes) -> int:
        """Bytes at the end of `tail` that begin the credential with some of its characters escaped.

        What looks like an unfinished escape may also be characters that are in the credential as they are.
        """
        if not any(mark in tail for mark in _MARKS):
            return 0
        unfinished = _OPEN_ESCAPE.search(tail)
        ends = (len(tail), unfinished.start() if unfinished else len(tail))
        found = (self._escaped_begun.search(tail, 0, end) for end in ends)
        return len(tail) - min(match.start() for match in found if match)


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


_OPEN_ESCAPE: Final = re.compile(
    rb"(?:%(?:2(?:5[0-9A-Fa-f]?)?|[0-9A-Fa-f]?)|\\(?:u?|u0|u00[0-9A-Fa-f]?|x[0-9A-Fa-f]?)|&(?:#[0-9]{0,5}|#[xX][0-9A-Fa-f]{0,4})?)\Z"
)
"""An escape that is not complete yet, at the end of the text."""


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
