"""Undoes content codings as a body streams by, so that it can be searched. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import brotli
import zstandard

MAX_CODINGS: Final = 2
"""Codings applied to one body; each multiplies what a byte can hold, and two are hardly ever seen."""

_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS
"""The `wbits` value that recognises both headers (zlib's inflateInit2)."""


class Decoder(Protocol):
    """Feed it chunks in order; what it gives belongs to the decoded body."""

    def decode(self, chunk: bytes) -> bytes:
        """Raises: ValueError where the body is not what its coding says."""
        ...


class _Gzip:
    """gzip, of one member or several (RFC 1952 section 2.2), and the zlib form of deflate."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_GZIP_OR_ZLIB)

    def decode(self, chunk: bytes) -> bytes:
        try:
            decoded = self._stream.decompress(chunk)
            while self._stream.eof and self._stream.unused_data:
                rest = self._stream.unused_data
                self._stream = zlib.decompressobj(_GZIP_OR_ZLIB)
                decoded += self._stream.decompress(rest)
        except zlib.error as error:
            raise ValueError("not gzip") from error
        return decoded


class _Deflate:
    """The coding "deflate", which servers send with and without its zlib header (RFC 9110 section 8.4.1)."""

    def __init__(self) -> None:
        self._head = b""
        self._stream: zlib._Decompress | None = None

    def decode(self, chunk: bytes) -> bytes:
        if self._stream is None:
            self._head += chunk
            if len(self._head) < 2:
                return b""
            chunk, self._head = self._head, b""
            # RFC 1950 section 2.2: the method is 8, and both bytes together a multiple of 31.
            with_header = chunk[0] & 0x0F == 8 and int.from_bytes(chunk[:2]) % 31 == 0
            self._stream = zlib.decompressobj(zlib.MAX_WBITS if with_header else -zlib.MAX_WBITS)
        try:
            return self._stream.decompress(chunk)
        except zlib.error as error:
            raise ValueError("not deflate") from error


class _Brotli:
    def __init__(self) -> None:
        self._stream = brotli.Decompressor()

    def decode(self, chunk: bytes) -> bytes:
        try:
            decoded = self._stream.process(chunk)
        except brotli.error as error:
            raise ValueError("not brotli") from error
        return bytes(decoded)


class _Zstandard:
    def __init__(self) -> None:
        self._stream = zstandard.ZstdDecompressor().decompressobj(read_across_frames=True)

    def decode(self, chunk: bytes) -> bytes:
        try:
            return self._stream.decompress(chunk)
        except zstandard.ZstdError as error:
            raise ValueError("not zstandard") from error


_DECODERS: Final[dict[str, Callable[[], Decoder]]] = {
    "gzip": _Gzip,
    "x-gzip": _Gzip,
    "deflate": _Deflate,
    "br": _Brotli,
    "zstd": _Zstandard,
}


def decoders_for(values: Iterable[str]) -> list[Decoder] | None:
    """Decoders for the values of Content-Encoding, in the order in which they are to be applied.

    Empty where the body is as it is; None where a coding is not known here.
    """
    names = [name.strip().lower() for value in values for name in value.split(",")]
    applied = [name for name in names if name not in ("", "identity")]
    if len(applied) > MAX_CODINGS or any(name not in _DECODERS for name in applied):
        return None
    return [_DECODERS[name]() for name in reversed(applied)]
