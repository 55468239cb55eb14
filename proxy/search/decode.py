"""Undoes content codings as a body streams by, so that it can be searched. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol

import brotli
import zstandard

MAX_CODINGS: Final = 2
"""Codings applied to one body; each multiplies what a byte can hold, and two are hardly ever seen."""

MAX_RATIO: Final = 1100
"""Bytes that a byte may decode to over time. Deflate's limit is 1032 (zlib.net/zlib_tech.html), which a file
of zeros reaches; two codings in one another, brotli and zstandard have none worth the name."""

MAX_AHEAD: Final = 32 * 1024 * 1024
"""Bytes that may be decoded beyond `MAX_RATIO`. Brotli may hold back 16 MiB (RFC 7932 section 9.1) and then
give them for one byte."""

_PIECE: Final = 16 * 1024
"""Bytes to decode at a time, about. Small: each gzip member in a piece costs a copy of what is behind it."""

_LEAST: Final = 256
"""Bytes that a piece counts for at least: a gzip member takes its time even if it is empty."""

_ZSTANDARD_CHUNK: Final = 256
"""Bytes to give to zstandard at a time, which cannot be told when to stop: 8 MiB come of them, as four may be
a block of 128 KiB (RFC 8878 section 3.1.1.2)."""

_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS
"""The `wbits` value that recognises both headers (zlib's inflateInit2)."""


class Decoder(Protocol):
    """Feed it chunks in order; what it gives belongs to the decoded body."""

    def decode(self, chunk: bytes) -> bytes:
        """Raises: ValueError where the body is not what its coding says, or decodes to absurdly much."""
        ...


class _Coding(Protocol):
    """Undoes one coding, in pieces: a few bytes may be gigabytes."""

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """Raises: ValueError where the body is not what its coding says."""
        ...


def _inflated(stream: zlib._Decompress, chunk: bytes) -> Iterator[bytes]:
    yield stream.decompress(chunk, _PIECE)
    while piece := stream.decompress(stream.unconsumed_tail, _PIECE):
        yield piece


class _Gzip:
    """gzip, of one member or several (RFC 1952 section 2.2), and the zlib form of deflate."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_GZIP_OR_ZLIB)

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        try:
            yield from _inflated(self._stream, chunk)
            while self._stream.eof and self._stream.unused_data:
                rest = self._stream.unused_data
                self._stream = zlib.decompressobj(_GZIP_OR_ZLIB)
                yield from _inflated(self._stream, rest)
        except zlib.error as error:
            raise ValueError("not gzip") from error


class _Deflate:
    """The coding "deflate", which servers send with and without its zlib header (RFC 9110 section 8.4.1)."""

    def __init__(self) -> None:
        self._head = b""
        self._stream: zlib._Decompress | None = None

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        if self._stream is None:
            self._head += chunk
            if len(self._head) < 2:
                return
            chunk, self._head = self._head, b""
            # RFC 1950 section 2.2: the method is 8, and both bytes together a multiple of 31.
            with_header = chunk[0] & 0x0F == 8 and int.from_bytes(chunk[:2]) % 31 == 0
            self._stream = zlib.decompressobj(zlib.MAX_WBITS if with_header else -zlib.MAX_WBITS)
        if self._stream.eof:
            return  # zlib would keep what follows
        try:
            yield from _inflated(self._stream, chunk)
        except zlib.error as error:
            raise ValueError("not deflate") from error


class _Brotli:
    def __init__(self) -> None:
        self._stream = brotli.Decompressor()

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        try:
            piece = self._stream.process(chunk, output_buffer_limit=_PIECE)
            while piece or not self._stream.can_accept_more_data():
                yield bytes(piece)
                piece = self._stream.process(b"", output_buffer_limit=_PIECE)
        except brotli.error as error:
            raise ValueError("not brotli") from error


class _Zstandard:
    def __init__(self) -> None:
        self._stream = zstandard.ZstdDecompressor().decompressobj(read_across_frames=True)

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        try:
            for at in range(0, len(chunk), _ZSTANDARD_CHUNK):
                yield self._stream.decompress(chunk[at : at + _ZSTANDARD_CHUNK])
        except zstandard.ZstdError as error:
            raise ValueError("not zstandard") from error


class _Bounded:
    """Codings one after the other; what each gives counts, as none of it is free."""

    def __init__(self, codings: Iterable[_Coding]) -> None:
        self._codings = tuple(codings)
        self._left = MAX_AHEAD

    def decode(self, chunk: bytes) -> bytes:
        self._left = min(self._left, MAX_AHEAD) + MAX_RATIO * len(chunk)
        pieces = iter((chunk,))
        for coding in self._codings:
            pieces = self._counted(coding, pieces)
        return b"".join(pieces)

    def _counted(self, coding: _Coding, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            for piece in coding.pieces(chunk):
                self._left -= max(len(piece), _LEAST)
                if self._left < 0:
                    raise ValueError("decodes to more than any honest body")
                yield piece


_CODINGS: Final[dict[str, Callable[[], _Coding]]] = {
    "gzip": _Gzip,
    "x-gzip": _Gzip,
    "deflate": _Deflate,
    "br": _Brotli,
    "zstd": _Zstandard,
}


def decoders_for(values: Iterable[str]) -> list[Decoder] | None:
    """What undoes the values of Content-Encoding, to be applied in order.

    Empty where the body is as it is; None where a coding is not known here.
    """
    names = [name.strip().lower() for value in values for name in value.split(",")]
    applied = [name for name in names if name not in ("", "identity")]
    if len(applied) > MAX_CODINGS or any(name not in _CODINGS for name in applied):
        return None
    return [_Bounded(_CODINGS[name]() for name in reversed(applied))] if applied else []
