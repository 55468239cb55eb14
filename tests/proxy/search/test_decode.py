import gzip
import random
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from proxy.search.decode import decoders_for


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


def zeros(encode: Callable[[bytes], bytes], megabytes: int) -> bytes:
    return encode(bytes(megabytes << 20))


def quickly(data: bytes) -> bytes:
    return bytes(brotli.compress(data, quality=1))


BOMBS: list[tuple[str, Callable[[], bytes]]] = [
    ("gzip, gzip", lambda: gzip.compress(zeros(gzip.compress, 80))),
    ("gzip, deflate", lambda: zlib.compress(zeros(gzip.compress, 80))),
    ("br", lambda: zeros(quickly, 80)),
    ("zstd", lambda: zeros(zstandard.compress, 80)),
    # This ends in nothing, and was large on its way.
    ("gzip, br", lambda: quickly(gzip.compress(b"") * 2_000_000)),
]


@pytest.mark.parametrize(("value", "body"), BOMBS)
@pytest.mark.parametrize("size", [pytest.param(1, marks=pytest.mark.slow), 65535])
def test_a_few_bytes_do_not_fill_the_memory(value: str, body: Callable[[], bytes], size: int) -> None:
    bomb = body()
    chunks = [bomb[at : at + size] for at in range(0, len(bomb), size)]
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="more than any honest body"):
            decoded(value, chunks)
        assert tracemalloc.get_traced_memory()[1] < 128 << 20
    finally:
        tracemalloc.stop()


def test_an_honest_beginning_does_not_earn_a_body_the_memory() -> None:
    noise = random.Random(1).randbytes(2_000_000)
    decoders = decoders_for(["gzip, gzip"])
    assert decoders is not None
    honest = gzip.compress(gzip.compress(noise))
    for at in range(0, len(honest), 65535):
        decoders[0].decode(honest[at : at + 65535])
    with pytest.raises(ValueError, match="more than any honest body"):
        decoders[0].decode(gzip.compress(zeros(gzip.compress, 80)))


@pytest.mark.parametrize("encode", [gzip.compress, zlib.compress, raw_deflate])
def test_a_file_of_zeros_is_honest(encode: Callable[[bytes], bytes]) -> None:
    body = zeros(encode, 80)
    value = "gzip" if encode is gzip.compress else "deflate"
    chunks = [body[at : at + 65535] for at in range(0, len(body), 65535)]
    assert len(decoded(value, chunks)) == 80 << 20


def test_what_follows_the_end_of_a_deflated_body_is_dropped() -> None:
    assert decoded("deflate", [zlib.compress(b"whole"), b"more", b"more"]) == b"whole"
