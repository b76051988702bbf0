"""How a CSV file is written, and its text as UTF-8, piece by piece, from the line on where its records begin."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from itertools import chain

from backfill.errors import JobError, SourceError
from backfill.frozen import frozen
from backfill.job.models import CsvSpec, Job
from backfill.records import SourceFile
from backfill.sources.origins.content import PIECE, Watch, origin_of, plain_pieces, unwatched

LF, CR, BLANKS = b"\n"[0], b"\r"[0], b" \t"
#: What a sign behind the escape stands for in PostgreSQL's COPY text, MySQL's files, ClickHouse's and Redshift's.
C_ESCAPES = {
    b"b"[0]: b"\b"[0],
    b"f"[0]: b"\f"[0],
    b"n"[0]: LF,
    b"r"[0]: CR,
    b"t"[0]: b"\t"[0],
    b"v"[0]: b"\v"[0],
    b"0"[0]: 0,
    b"Z"[0]: 0x1A,
    b"'"[0]: b"'"[0],
}
#: Control characters that stand for signs past ASCII while a file is read (see Dialect.swaps).
_SPARE = (*range(0x0E, 0x20), *range(0x01, 0x09))
_BYTE = 0x80
#: Stands for a CR that ends no line: no text in UTF-8 has this byte, nor the other, which it is where a file has it.
CR_MARK, _NO_UTF8 = b"\xfe", b"\xff"


@frozen
class Dialect:
    """The signs of a file, each one byte of ASCII."""

    separator: int
    quote: int | None = b'"'[0]
    escape: int | None = None  # None: a quote inside quotes is doubled
    comment: int | None = None
    c_escapes: bool = False
    null_values: tuple[str, ...] = ("",)
    #: Signs of the job past ASCII, in UTF-8, each with the byte that changes places with it in the text.
    swaps: tuple[tuple[bytes, bytes], ...] = ()
    #: A CR ends no line: CR_MARK stands for it in the text.
    only_lf: bool = False

    @property
    def null_escapes(self) -> frozenset[int]:
        r"""What stands behind the escape in null values such as \N."""
        if self.escape is None:
            return frozenset()
        sign = chr(self.escape)
        return frozenset(ord(value[1]) for value in self.null_values if len(value) == len(r"\N") and value[0] == sign)

    def swap(self, text: bytes) -> bytes:
        """The text with the swapped signs for one another; the same again gives the text as it was."""
        for sign, spare in self.swaps:
            text = spare.join(part.replace(spare, sign) for part in text.split(sign))
        return text

    def shown(self, text: bytes) -> bytes:
        """The text as the file has it."""
        text = self.swap(text)
        return text.replace(CR_MARK, b"\r") if self.only_lf else text


def dialect_of(job: Job, usual: str, separator: str = "") -> Dialect:
    """The dialect that the job states; `usual` is its format's separator, `separator` the one that a file itself says.

    Raises:
        JobError: one character stands for two things.
    """
    spec = job.source.csv
    signs = [separator or spec.delimiter or usual, spec.quote, _escape(spec), spec.comment or ""]
    others = dict(zip(("quote", "escape", "comment"), signs[1:], strict=True))
    if clash := next((name for name, sign in others.items() if sign == signs[0]), None):
        raise JobError(f"source.csv.{clash}: {signs[0]!r} is the delimiter as well")
    taken = {ord(sign) for sign in signs if sign and ord(sign) < _BYTE}
    spare = iter([byte for byte in _SPARE if byte not in taken])
    swaps = {sign: next(spare) for sign in signs if sign and ord(sign) >= _BYTE}
    at, quote, escape, comment = (swaps.get(sign, ord(sign)) if sign else None for sign in signs)
    assert at is not None
    return Dialect(
        at,
        quote,
        escape,
        comment,
        spec.c_escapes,
        spec.null_values,
        tuple((sign.encode(), bytes([byte])) for sign, byte in swaps.items()),
        only_lf=spec.line_end == "lf",
    )


def _escape(spec: CsvSpec) -> str:
    """The escape, where it is not the quote itself."""
    return "" if spec.escape in (None, spec.quote) else str(spec.escape)


def encoding(spec: CsvSpec) -> str:
    """Python's own name of the stated encoding; raises JobError for an unknown one."""
    try:
        return codecs.lookup(spec.encoding).name
    except LookupError:
        raise JobError(
            f"source.csv.encoding: {spec.encoding!r} is no known encoding", hint="for example utf-8, utf-16, cp1252"
        ) from None


#: Stands for bytes that are not in the encoding: a lone surrogate, written as the byte 0xFF, which is never UTF-8.
_MARK = "\udcff"
#: Byte order marks that no UTF-8 begins with; that of UTF-32 begins with one of UTF-16.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_HEAD = 32
#: The line that tells Excel a file's separator.
_SEPARATOR_LINE = re.compile('("?)sep=([^\\w\\s"]|[ \\t])\\1(?:\r\n|\r|\n|$)', re.IGNORECASE)
_LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")


@frozen
class CsvText:
    """A file opened."""

    dialect: Dialect
    line: int  # the line, from 1, that the pieces begin at
    pieces: Iterator[bytes]


def open_text(file: SourceFile, job: Job, usual: str, watch: Watch = unwatched) -> CsvText:
    """Open a file as the job states it; `usual` is the separator where neither the job nor the file says one.

    Raises:
        SourceError: the file is truncated or corrupt, or not in the encoding stated at all.
        JobError: its first line says another separator than the job.
    """
    spec = job.source.csv
    codec = encoding(spec)
    stored = grouped(plain_pieces(origin_of(file), watch), PIECE)
    head = next(stored, b"")
    refuse_other_encodings(head, file.name, codec)
    pieces = decoded(chain([head], stored), codec, file.name)
    pieces = without_lines(pieces, spec.skip_lines)
    first = next(pieces, b"")
    while len(first) < _HEAD and (more := next(pieces, b"")):
        first += more
    pieces = chain([first], pieces)
    separator = _stated_separator(first, file, spec)
    if separator:
        pieces = without_lines(pieces, 1)
    dialect = dialect_of(job, usual, separator)
    line = 1 + spec.skip_lines + bool(separator)
    if dialect.only_lf:
        pieces = (piece.replace(CR_MARK, _NO_UTF8).replace(b"\r", CR_MARK) for piece in pieces)
    return CsvText(dialect, line, map(dialect.swap, _whole_signs(pieces)) if dialect.swaps else pieces)


def refuse_other_encodings(head: bytes, name: str, codec: str) -> None:
    """Raise SourceError where a file's byte order mark says another encoding."""
    found = next((said for mark, said in _MARKS.items() if head.startswith(mark)), None)
    if found is not None and not codec.startswith(found):
        stated = f"read as {codec.upper()}"
        raise SourceError(f"{name} is {found.upper()}, and {stated}", hint=f"state `encoding: {found}`")


def grouped(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The same bytes in pieces of at least that size, the last one aside: small ones cost as much as large ones."""
    held: list[bytes] = []
    total = 0
    for piece in pieces:
        held.append(piece)
        total += len(piece)
        if total >= size:
            yield b"".join(held)
            held, total = [], 0
    if held:
        yield b"".join(held)


def _mark(error: UnicodeError) -> tuple[str, int]:
    """Codec error handler: the mark in place of what could not be decoded."""
    return _MARK, error.end if isinstance(error, UnicodeDecodeError) else 0


codecs.register_error("backfill-mark", _mark)


def decoded(pieces: Iterable[bytes], codec: str, name: str) -> Iterator[bytes]:
    """The text as UTF-8, a byte 0xFF for what is not in the encoding, and without byte order mark.

    UTF-8 comes as it is, whatever it holds.

    Raises:
        SourceError: the text cannot be in that encoding.
    """
    pieces = _encoded_anew(pieces, codec, name) if codec not in ("utf-8", "utf-8-sig") else iter(pieces)
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= len(codecs.BOM_UTF8):
            break
    return chain([head.removeprefix(codecs.BOM_UTF8)], pieces)


def _encoded_anew(pieces: Iterable[bytes], codec: str, name: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(codec)("backfill-mark")
    try:
        for piece in pieces:
            yield decoder.decode(piece).encode("utf-8", "surrogateescape")
        yield decoder.decode(b"", final=True).encode("utf-8", "surrogateescape")
    except UnicodeError as error:
        hint = "state `encoding: utf-16-le` or `utf-16-be`: the file has no byte order mark"
        mark = "BOM" in str(error)
        raise SourceError(
            f"{name} is not {codec}: {error}", hint=hint.replace("16", codec[4:6]) if mark else ""
        ) from error


def without_lines(pieces: Iterator[bytes], lines: int) -> Iterator[bytes]:
    """The text without its first `lines` lines, whatever they hold."""
    held = b""
    while lines:
        found = _LINE_END.search(held)
        if found:
            held, lines = held[found.end() :], lines - 1
            continue
        piece = next(pieces, None)
        if piece is None:
            return
        held = held[-1:] + piece if held.endswith(b"\r") else piece
    if held:
        yield held
    yield from pieces


def _stated_separator(head: bytes, file: SourceFile, spec: CsvSpec) -> str:
    """The separator that the file says in its first line; nothing where it says none."""
    found = _SEPARATOR_LINE.match(head.decode("utf-8", "replace"))
    if not found:
        return ""
    separator = found.group(2)
    if spec.delimiter not in (None, separator):
        raise JobError(
            f"source.csv.delimiter: {file.name} says `sep={separator}` in its first line, the job {spec.delimiter!r}",
            hint="leave `delimiter` out, or leave that line out with `skip_lines: 1`",
        )
    return separator


def _whole_signs(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same text in pieces that cut no character of UTF-8 in two."""
    held = b""
    for piece in pieces:
        text = held + piece
        body = text.rstrip(bytes(range(0x80, 0xC0)))
        tail = text[len(body) :]
        if body[-1:] >= b"\xc0" and len(tail) < len("fff"):
            body, tail = body[:-1], body[-1:] + tail
            held = tail
            yield body
        else:
            held = b""
            yield text
    yield held
