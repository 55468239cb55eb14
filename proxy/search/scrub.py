"""Replaces known credentials in what comes back from a server, as it streams by.

Pure. All credentials are looked for in one pass, so that a hundred cost what one does. Every replacement has
the length of what it replaces, so that Content-Length stays right. Where nothing is found the bytes are
untouched.

A word is held back until it ends, as it could become a credential. The end of a line or of a JSON value ends
it, so that a stream stays a stream. It does not matter whether a word begins like the credential: the program
sees the length of each TLS record, and a server that gives back what the program stored would let it try
letter after letter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from ahocorasick_rs import BytesAhoCorasick

from proxy.search.spelling import (
    ESCAPE_STARTS,
    LINE,
    MIN_COMBINED,
    WORD,
    Spelling,
    beside_escape,
    marked,
    undone,
    unfinished,
)

_GUARDS: Final = b"*!~^|:,@$()[]{}<>? ."
"""Bytes outside the base64 alphabets that begin no escape; the first that no credential holds."""

_GUARD_AT_LAST: Final = b"\t"
"""May stand in a header's value, and never in a credential."""

_LONG_WORD: Final = re.compile(b"[%b]{%d,}" % (re.escape(WORD.replace(b"\0", b"")), MIN_COMBINED))
"""A word that has room for a credential; without the zeros of UTF-16, in which there are no escapes."""

type Spans = list[tuple[int, int]]
"""Starts and ends."""


class Search:
    """Looks for any number of credentials at once, in every spelling. `placeholder` is what replaces them."""

    def __init__(self, secrets: Iterable[str], placeholder: bytes) -> None:
        self._placeholder = placeholder
        self._known = [Spelling(secret) for secret in dict.fromkeys(secrets)]
        self._alone = [known for known in self._known if known.tail is None]
        self._together = [known for known in self._known if known.tail is not None]
        used = {*b"".join(known.raw for known in self._known)}
        self._guard = next((bytes([byte]) for byte in _GUARDS if byte not in used), _GUARD_AT_LAST)
        # Two lengths for all credentials: what is held back shows which bytes are in them.
        self._longest_word = max((known.longest for known in self._known if known.is_word), default=0)
        self._longest_line = max((known.longest for known in self._known if not known.is_word), default=0)
        literals = {form for known in self._known for form in known.literals}
        tails: dict[bytes, list[Spelling]] = {}
        for known in self._together:
            tails.setdefault(known.tail or b"", []).append(known)
        patterns = [*literals, *tails]
        self._literals = len(literals)
        self._tails = list(tails.values())
        self._automaton = BytesAhoCorasick(patterns) if patterns else None
        if self._known:
            self._beside = beside_escape(b"", min(len(known.raw) + 1 for known in self._known) // 2)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to look for."""
        return not self._known

    @property
    def longest(self) -> int:
        """Bytes that the longest occurrence takes; 0 where there is nothing to look for."""
        return max(self._longest_word, self._longest_line)

    def exposes(self, text: bytes) -> bool:
        """Whether a credential stands in `text`."""
        return bool(self._spans(text))

    def replaced(self, text: bytes) -> bytes:
        """`text` with each credential replaced; the same object where there is none."""
        spans = self._spans(text)
        if not spans:
            return text
        out, end = bytearray(), 0
        for start, stop in _merged(spans):
            out += text[end:start] + self.stand_in(stop - start)
            end = stop
        return bytes(out + text[end:])

    def stand_in(self, length: int) -> bytes:
        """What replaces `length` bytes: the placeholder between two guards, cut or drawn out with '-'.

        A guard occurs in no spelling of a credential, so that what stands in can never complete one
        together with what is around it, be that sent on already or still to come.
        """
        inner = self._placeholder[: length - 2].ljust(length - 2, b"-")
        return self._guard + (self._guard * len(inner) if self._spans(inner) else inner) + self._guard

    def begins(self, text: bytes) -> int:
        """Where the last word of `text` begins, or as much of it as could still become an occurrence."""
        cut = len(text)
        for longest, letters in ((self._longest_word, WORD), (self._longest_line, LINE)):
            if longest:
                tail = text[1 - longest :]
                cut = min(cut, len(text) - len(tail) + len(tail.rstrip(letters)))
        return cut

    def _spans(self, text: bytes) -> Spans:
        spans = self._literal_spans(text)
        if any(start in text for start in ESCAPE_STARTS):
            for known in self._alone:
                spans += known.escaped(text)
            if self._known and self._beside.search(marked(text)):
                spans += self._spans_in_words(text)
        return spans

    def _matches(self, text: bytes) -> list[tuple[int, int, int]]:
        if self._automaton is None:
            return []
        # Those that overlap as well: of two credentials no rest of one may be left.
        return self._automaton.find_matches_as_indexes(text, overlapping=True)

    def _literal_spans(self, text: bytes) -> Spans:
        return [(start, end) for which, start, end in self._matches(text) if which < self._literals]

    def _spans_in_words(self, text: bytes) -> Spans:
        spans: Spans = []
        for word in _LONG_WORD.finditer(text):
            if any(start in word[0] for start in ESCAPE_STARTS):
                spans += [(word.start() + a, word.start() + b) for a, b in self._spans_in_word(word[0])]
        return spans

    def _spans_in_word(self, word: bytes) -> Spans:
        """Where in a word with escapes a credential is: as nearly as can be told, else all of the word."""
        found = {which for layer in undone(word) for which, _, _ in self._matches(layer)}
        if not found:
            return []
        tails = [self._tails[which - self._literals] for which in found if which >= self._literals]
        spans = [span for knowns in tails for known in knowns for span in known.escaped(word)]
        rest = bytearray(word)
        for start, end in spans:
            rest[start:end] = self._guard * (end - start)
        hidden = any(self._literal_spans(layer) for layer in undone(bytes(rest)))
        return [(0, len(word))] if hidden else spans


class Scrubber:
    """Scrubs one stream. Feed it chunks in order, then call `finish` for what was held back.

    `search` is asked anew for each chunk: a credential may have become another one meanwhile.
    """

    def __init__(self, search: Callable[[], Search]) -> None:
        self._search = search
        self._held = b""
        self.found = False

    def feed(self, chunk: bytes) -> bytes:
        """What can be passed on now."""
        search, text = self._search(), self._held + chunk
        whole = len(text) - len(unfinished(text))
        text = self._replaced(search, text[:whole]) + text[whole:]
        cut = min(whole, search.begins(text))
        self._held = text[cut:]
        return text[:cut]

    def finish(self) -> bytes:
        """The rest, at the end of the stream."""
        rest, self._held = self._replaced(self._search(), self._held), b""
        return rest

    def _replaced(self, search: Search, text: bytes) -> bytes:
        clean = search.replaced(text)
        self.found |= clean is not text
        return clean


def _merged(spans: Spans) -> Iterator[tuple[int, int]]:
    """The spans in order, those that overlap as one."""
    start, end = -1, -1
    for next_start, next_end in sorted(spans):
        if next_start < end:
            end = max(end, next_end)
            continue
        if end >= 0:
            yield start, end
        start, end = next_start, next_end
    yield start, end
