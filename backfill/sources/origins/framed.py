"""LZ4 frames and snappy's framing, unpacked: the two packings whose libraries are asked for when such a file comes.

Both are sequences of small blocks, so memory is bounded by the formats themselves: a block is at most 4 MB (LZ4) or
64 KB (snappy). liblz4, which pyarrow brings, verifies a frame's checksums where it has them, and its end; snappy's
framing has a CRC-32C on every chunk, and no end: a file cut between two chunks cannot be told from a whole one.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import cast

from backfill.extras import required

#: Unpacked bytes handed at once.
_PIECE = 1 << 20
#: The identifier that begins a snappy stream (its framing_format.txt), and that each call of the library wants.
SNAPPY_MAGIC = b"\xff\x06\x00\x00sNaPpY"
#: LZ4's frame format 1.6.
LZ4_MAGIC = b"\x04\x22\x4d\x18"
_CHUNK_HEADER = 4


class SnappyChunks:
    """A run of whole chunks as a `compression.Member`: it ends wherever no chunk is begun."""

    needs_input = True
    unused_data = b""

    def __init__(self) -> None:
        self._library = required("cramjam", "lz4", "snappy files")
        self._begun = b""

    @property
    def eof(self) -> bool:
        """Nothing of a further chunk has come."""
        return not self._begun

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """The plain bytes of the chunks that are whole now; raises ValueError where one is corrupt."""
        del max_length
        data = self._begun + data
        end = 0
        while len(data) - end >= _CHUNK_HEADER:
            size = _CHUNK_HEADER + int.from_bytes(data[end + 1 : end + _CHUNK_HEADER], "little")
            if size > len(data) - end:
                break
            end += size
        self._begun = data[end:]
        try:
            return bytes(self._library.snappy.decompress(SNAPPY_MAGIC + data[:end]))
        except self._library.DecompressionError as error:
            raise ValueError(str(error)) from error


def lz4_pieces(read: Callable[[int], bytes]) -> Iterator[bytes]:
    """The plain bytes of LZ4 frames, of any number; raises ValueError where they are cut, corrupt or something else."""
    import pyarrow as pa  # type: ignore[import-untyped]

    try:
        with pa.CompressedInputStream(pa.PythonFile(_Readable(read), mode="r"), "lz4") as stream:
            while piece := stream.read(_PIECE):
                yield cast("bytes", piece)
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the file's own
        raise ValueError(str(error)) from error


class _Readable(io.RawIOBase):
    """What pyarrow takes for a file."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        super().__init__()
        self._read = read

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        return self._read(size)
