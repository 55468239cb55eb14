"""What must not be seen: the real secrets of a login, in every form in which they could be shown."""

from __future__ import annotations

import base64
import gzip
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import brotli
import zstandard

from tests.e2e.desk import Desk
from tests.standin import CLIENT_SECRET, Tokens


@dataclass(frozen=True, slots=True)
class Canaries:
    values: dict[str, bytes] = field(repr=False)

    @classmethod
    def of(cls, desk: Desk) -> Canaries:
        tokens = desk.tokens()
        assert tokens.refresh_token
        key = (desk.home / "master.key").read_bytes().strip()
        match = re.fullmatch(rb"authsome-key-1:(.+)", key)
        assert match
        values = {
            "access token": tokens.access_token.get_secret_value().encode(),
            "refresh token": tokens.refresh_token.get_secret_value().encode(),
            "client secret": CLIENT_SECRET.encode(),
            "key": key,
            "key as text": match[1],
            "key as bytes": base64.b64decode(match[1] + b"=="),
        }
        return cls(values)

    def with_tokens(self, issued: Iterable[Tokens]) -> Canaries:
        """These and all that a provider has issued."""
        values = dict(self.values)
        for number, tokens in enumerate(issued):
            values[f"access token {number}"] = tokens.access_token.encode()
            if tokens.refresh_token:
                values[f"refresh token {number}"] = tokens.refresh_token.encode()
        return Canaries(values)

    @property
    def key(self) -> bytes:
        return self.values["key"]

    def stand_in(self, data: bytes) -> list[str]:
        """The names of the secrets that `data` holds, in any form."""
        readings = list(_readings(data))
        return [
            name
            for name, value in self.values.items()
            if any(form in reading for reading in readings for form in _forms(value))
            or any(value.hex().encode() in reading.lower() for reading in readings)
        ]


def _readings(data: bytes) -> Iterator[bytes]:
    """Data as it is, and the body of an HTTP message in it without chunks and coding."""
    yield data
    head, _, body = data.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 "):
        return
    pieces = body.split(b"\r\n")
    whole = b"".join(pieces[1::2]) if b"chunked" in head.lower() else body
    yield whole
    for unpack in (gzip.decompress, zlib.decompress, brotli.decompress, zstandard.decompress):
        try:
            yield unpack(whole)
        except (OSError, EOFError, zlib.error, brotli.error, zstandard.ZstdError):
            continue


def _forms(value: bytes) -> list[bytes]:
    """As it is, in UTF-16, both in base64 at each alignment, escaped whole; hexadecimal is compared without
    case."""
    wide = value.decode("latin-1").encode("utf-16-le")[:-1]
    forms = [value, value[::-1], wide]
    for text in (value, wide):
        for before in range(3):
            encoded = base64.b64encode(b"\0" * before + text)
            forms.append(encoded[(before * 8 + 5) // 6 : (before + len(text)) * 8 // 6])
    forms += [
        "".join(escape % byte for byte in value).encode() for escape in ("%%%02x", "\\u%04x", "\\\\u%04x")
    ]
    return forms
