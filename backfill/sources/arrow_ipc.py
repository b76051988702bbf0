"""Arrow IPC: files (Feather, version 2, is the same) and streams, https://arrow.apache.org/docs/format/Columnar.html.

A file is read once. It has no checksums: what is damaged inside of values that still are what their type says is not
seen. That it is whole is: a file by its footer, a stream by the mark at its end, which every writer leaves.
A record batch is held whole, as whoever wrote the file made it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

import pyarrow as pa  # type: ignore[import-untyped]

from backfill.errors import SourceError
from backfill.job.models import Job
from backfill.records import SourceFile
from backfill.sources.arrow_reader import Head, TypedFiles, head_of, sliced
from backfill.sources.arrow_records import sought

_MAGIC: Final = b"ARROW1"
#: What ends a stream: no further message; without the first four bytes until Arrow 0.15.
_END: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"

_PIECE_BYTES: Final = 1 << 20


class ArrowFiles(TypedFiles):
    """How files and streams of Arrow are opened."""

    def head(self, file: SourceFile) -> Head:
        """What the schema says."""
        with _opened(file) as content:
            return head_of(file, _reader(content).schema)

    def batches(self, file: SourceFile, head: Head) -> Iterator[pa.RecordBatch]:
        """The file's own batches in pieces; raises SourceError also for a stream without its end."""
        del head
        with _opened(file) as content:
            reader = _reader(content)
            if isinstance(reader, pa.RecordBatchFileReader):
                for place in range(reader.num_record_batches):
                    yield from sliced(reader.get_batch(place))
            else:
                for batch in reader:
                    yield from sliced(batch)
                _refuse_cut(file, content)


def _reader(content: pa.NativeFile) -> pa.RecordBatchStreamReader | pa.RecordBatchFileReader:
    is_file = content.read(len(_MAGIC)) == _MAGIC
    content.seek(0)
    return pa.ipc.open_file(content) if is_file else pa.ipc.open_stream(content)


def _refuse_cut(file: SourceFile, content: pa.NativeFile) -> None:
    """Raise SourceError where a stream that was read to its end has no mark there, or something behind it.

    Zeros behind the whole mark are what was left of a buffer when it was written; behind half of it they may be the
    mark themselves, or a hole in place of what was lost.
    """
    end, size = content.tell(), content.size()
    content.seek(max(end - len(_END), 0))
    mark = content.read(len(_END))
    padded = mark == _END and not any(piece.strip(b"\0") for piece in iter(partial(content.read, _PIECE_BYTES), b""))
    if not padded and not (end == size and mark.endswith(_END[4:])):
        raise SourceError(
            f"{file.name} is truncated or corrupt: it does not end where its stream does",
            hint="fetch or export the file again; nothing was sent",
        )


@contextmanager
def _opened(file: SourceFile) -> Iterator[pa.NativeFile]:
    """The file's bytes; raises SourceError for what pyarrow says of them, also while they are read."""
    try:
        with sought(file) as content:
            yield content
    except (OSError, pa.ArrowException, UnicodeDecodeError, MemoryError) as error:
        raise SourceError(f"{file.name} cannot be read: {str(error).partition(chr(10))[0].rstrip('.')}") from error


def open_files(job: Job) -> ArrowFiles:
    """How the files of a job are opened."""
    del job
    return ArrowFiles()
