import gzip
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from proxy.decode import decoders_for


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


def two_members(data: bytes) -> bytes:
    middle = len(data) // 2
    return gzip.compress(data[:middle]) + gzip.compress(data[middle:])


def two_frames(data: bytes) -> bytes:
    middle = len(data) // 2
    return zstandard.compress(data[:middle]) + zstandard.compress(data[middle:])


CODINGS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("gzip", two_members),
    ("X-GZIP", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("br", brotli.compress),
    ("zstd", zstandard.compress),
    ("zstd", two_frames),
    ("identity", bytes),
    ("", bytes),
    ("gzip, br", lambda data: brotli.compress(gzip.compress(data))),
]


def decoded(value: str, chunks: list[bytes]) -> bytes:
    decoders = decoders_for([value])
    assert decoders is not None
    whole = b""
    for chunk in chunks:
        for decoder in decoders:
            chunk = decoder.decode(chunk)
        whole += chunk
    return whole


@pytest.mark.parametrize(("value", "encode"), CODINGS)
@given(data=st.binary(max_size=2000), size=st.integers(1, 300))
def test_what_was_encoded_comes_out_however_it_is_cut(
    value: str, encode: Callable[[bytes], bytes], data: bytes, size: int
) -> None:
    body = encode(data)
    assert decoded(value, [body[at : at + size] for at in range(0, len(body), size)]) == data


@pytest.mark.parametrize("value", ["compress", "aes128gcm", "gzip, gzip, gzip", "gzip;q=1"])
def test_an_unknown_coding_is_not_decoded(value: str) -> None:
    assert decoders_for([value]) is None


@pytest.mark.parametrize("value", ["gzip", "deflate", "br", "zstd"])
def test_a_body_that_is_not_what_it_says_is_an_error(value: str) -> None:
    with pytest.raises(ValueError, match="not "):
        decoded(value, [b"this is plain text, which no decoder takes for its own \xff\xff\xff\xff" * 10])
