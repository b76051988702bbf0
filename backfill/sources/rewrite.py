"""Files that DuckDB cannot read as they are, written anew: in UTF-8, and with one kind of line end between records."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from backfill.job.models import CsvSpec
from backfill.sources.checksum import Watch, plain_pieces, unwatched

#: Stands for bytes that are not in the encoding: a lone surrogate, written as the byte 0xFF, which is never UTF-8.
_MARK = "\udcff"


def _mark(error: UnicodeError) -> tuple[str, int]:
    """Codec error handler: the mark in place of what could not be decoded."""
    return _MARK, error.end if isinstance(error, UnicodeDecodeError) else 0


codecs.register_error("backfill-mark", _mark)


def rewrite(
    path: Path,
    target: Path,
    spec: CsvSpec,
    separator: str,
    codec: str,
    *,
    end: tuple[str, int] | None = None,
    watch: Watch = unwatched,
) -> None:
    """Write the file's text in UTF-8, uncompressed, with LF for every line end outside quotes; cells keep theirs.

    Bytes that are not in the encoding become one that DuckDB rejects the record for. `end` is the text of the first
    of so many fields of a record to put behind the last one. `watch` is told the bytes read.
    """
    texts = _decoded(path, codec, watch)
    last = "\n"
    with target.open("wb") as file:
        for text in _unified(texts, spec, separator):
            file.write(text.encode("utf-8", "surrogateescape"))
            last = text[-1:] or last
        if end is not None:
            closing = ("" if last == "\n" else "\n") + end[0] + separator * (end[1] - 1) + "\n"
            file.write(closing.encode())


def _decoded(path: Path, codec: str, watch: Watch) -> Iterator[str]:
    """The file's text without byte order mark, a megabyte or so at a time."""
    decoder = codecs.getincrementaldecoder(codec)("surrogateescape" if codec.startswith("utf-8") else "backfill-mark")
    first = True
    for piece in plain_pieces(path, watch=watch):
        text = decoder.decode(piece)
        yield text.removeprefix("\ufeff") if first else text
        first = False
    yield decoder.decode(b"", final=True)


def _unified(texts: Iterable[str], spec: CsvSpec, separator: str) -> Iterator[str]:
    """The same text with LF for CR and CRLF outside quotes. A quote opens a cell only at the cell's start."""
    escape = spec.quote if spec.escape is None else spec.escape
    if spec.quote:
        opener = re.compile(f"(?<=[\r\n{re.escape(separator[-1])}]){re.escape(spec.quote)}|\r\n?")
        pair = re.escape(escape) + ("." if escape != spec.quote else re.escape(spec.quote))
        closer = re.compile(f"(?s:{pair})|{re.escape(spec.quote)}")
    else:
        opener = closer = re.compile("\r\n?")
    inside, before = False, "\n"
    for text in _uncut(texts, f"\r{spec.quote}{escape}"):
        unified, place, whole = [], 1, before + text
        while found := (closer if inside else opener).search(whole, place):
            token = found.group()
            unified.append(whole[place : found.start()])
            unified.append("\n" if token[0] == "\r" else token)
            inside = inside != (token == spec.quote)
            place = found.end()
        yield "".join(unified) + whole[place:]
        before = whole[-1]


def _uncut(texts: Iterable[str], uncuttable: str) -> Iterator[str]:
    """The same text in pieces that do not end with one of those characters, the last piece aside."""
    held = ""
    for text in texts:
        joined = held + text
        body = joined.rstrip(uncuttable)
        held = joined[len(body) :]
        if body:
            yield body
    if held:
        yield held
