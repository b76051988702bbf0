"""gzip_body: one valid gzip member for every reader there is."""

import gzip
import subprocess
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from isal import igzip, isal_zlib

from backfill.gzip_body import gzip_body

TAIL = b'],"sentAt":"2024-01-31T12:00:00.000Z"}'


def with_isal(plain: bytes) -> bytes:
    """The raw deflate stream that the spool makes."""
    compressor = isal_zlib.compressobj(level=1, wbits=-15)
    stream: bytes = compressor.compress(plain) + compressor.flush(isal_zlib.Z_SYNC_FLUSH)
    return stream


def with_zlib(plain: bytes) -> bytes:
    """The same from another compressor."""
    compressor = zlib.compressobj(level=6, wbits=-15)
    return compressor.compress(plain) + compressor.flush(zlib.Z_FULL_FLUSH)


@pytest.mark.parametrize("deflate", [with_isal, with_zlib])
@given(plain=st.one_of(st.binary(max_size=5_000), st.integers(0, 70_000).map(bytes)), tail=st.binary(max_size=200))
def test_every_reader_reads_plain_and_tail(deflate: Callable[[bytes], bytes], plain: bytes, tail: bytes) -> None:
    """gzip, ISA-L and a strict zlib that knows one member only read the plain bytes, then the tail, then the end."""
    body = gzip_body(deflate(plain), len(plain), zlib.crc32(plain), tail)
    assert gzip.decompress(body) == plain + tail
    assert igzip.decompress(body) == plain + tail
    reader = zlib.decompressobj(wbits=31)
    assert reader.decompress(body) == plain + tail
    assert reader.eof
    assert reader.unused_data == b""


def test_gzip_tool_accepts_it() -> None:
    """`gzip -t` finds a whole file, and `gzip -dc` gives the content."""
    plain = b'{"batch":[' + b",".join(b'{"type":"track","n":%d}' % n for n in range(20_000))
    body = gzip_body(with_isal(plain), len(plain), zlib.crc32(plain), TAIL)
    subprocess.run(["gzip", "-t"], input=body, check=True)
    done = subprocess.run(["gzip", "-dc"], input=body, check=True, capture_output=True)
    assert done.stdout == plain + TAIL


def test_nothing_but_a_tail() -> None:
    """An empty stream is a stream."""
    assert gzip.decompress(gzip_body(b"", 0, 0, TAIL)) == TAIL


def test_longest_tail_and_one_more() -> None:
    """A stored block holds 65,535 bytes; a longer tail is refused, not cut."""
    assert gzip.decompress(gzip_body(b"", 0, 0, bytes(65_535))) == bytes(65_535)
    with pytest.raises(ValueError, match="65536"):
        gzip_body(b"", 0, 0, bytes(65_536))


def test_wrong_crc_is_noticed_by_readers() -> None:
    """The trailer continues the checksum that was recorded: bytes altered since are found by whoever receives them."""
    plain = b"x" * 100
    with pytest.raises(gzip.BadGzipFile):
        gzip.decompress(gzip_body(with_isal(plain), len(plain), zlib.crc32(plain) ^ 1, TAIL))
