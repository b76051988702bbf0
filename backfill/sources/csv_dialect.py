"""How a CSV file is written, in bytes: what the scanner and the parser go by. The grammar is in docs/sources.md."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from backfill.errors import JobError
from backfill.job.models import CsvSpec, Job

LF, CR, BLANKS = b"\n"[0], b"\r"[0], b" \t"
#: What a letter behind the escape stands for in PostgreSQL's COPY text and MySQL's files.
C_ESCAPES = {
    b"b"[0]: b"\b"[0],
    b"f"[0]: b"\f"[0],
    b"n"[0]: LF,
    b"r"[0]: CR,
    b"t"[0]: b"\t"[0],
    b"v"[0]: b"\v"[0],
    b"0"[0]: 0,
    b"Z"[0]: 0x1A,
}
#: Control characters that stand for signs past ASCII while a file is read (see Dialect.swaps).
_SPARE = (*range(0x0E, 0x20), *range(0x01, 0x09))
_BYTE = 0x80


@dataclass(frozen=True, slots=True)
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


def dialect_of(job: Job, kind: str, separator: str = "") -> Dialect:
    """The dialect that the job states; `separator` is the one that a file itself says.

    Raises:
        JobError: one character stands for two things.
    """
    spec = job.source.csv
    signs = [separator or delimiter(job, kind), spec.quote, _escape(spec), spec.comment or ""]
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
    )


def _escape(spec: CsvSpec) -> str:
    """The escape, where it is not the quote itself."""
    return "" if spec.escape in (None, spec.quote) else str(spec.escape)


def delimiter(job: Job, kind: str) -> str:
    """The delimiter as the job states it, or as the format has it."""
    return job.source.csv.delimiter or ("\t" if kind == "tsv" else ",")


def encoding(spec: CsvSpec) -> str:
    """Python's own name of the stated encoding; raises JobError for one that nobody knows."""
    try:
        return codecs.lookup(spec.encoding).name
    except LookupError:
        raise JobError(
            f"source.csv.encoding: {spec.encoding!r} is no known encoding", hint="for example utf-8, utf-16, cp1252"
        ) from None
