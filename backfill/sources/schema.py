"""What a look at a source tells: its columns, and what is wrong with the job's SQL over them."""

from __future__ import annotations

from backfill.frozen import frozen
from backfill.records import Column


@frozen
class SqlFault:
    """What is wrong with one piece of SQL of the job file."""

    path: str  # the field's path, such as calls[0].when
    text: str  # the SQL as written
    offset: int | None  # where in the text, in characters from 0; None where DuckDB does not say
    message: str
    candidates: tuple[str, ...] = ()  # names that may have been meant
    advice: str = ""  # what to write instead
    absence: bool = False  # a name in it is not there, which may come later in what was not looked at

    @property
    def hint(self) -> str:
        """What to write instead, `did you mean ...?`, or nothing."""
        if self.advice:
            return self.advice
        return f"did you mean {' or '.join(self.candidates)}?" if self.candidates else ""


@frozen
class Schema:
    """A source's columns as staging would make them, those of SQL included; the latter only where it has no fault."""

    columns: tuple[Column, ...]
    faults: tuple[SqlFault, ...] = ()
    complete: bool = True  # False: made of a sample, so there may be more columns
    records: int = 0  # in that sample, where it is the columns' names that are known by it
    assumed: frozenset[str] = frozenset()  # declared columns that no record of the sample has
    doubts: tuple[SqlFault, ...] = ()  # SQL over what no record of the sample has
    slips: tuple[SqlFault, ...] = ()  # SQL that is sound, and still looks like a slip
    absent: tuple[str, ...] = ()  # declared columns that the source does not have
    present: tuple[str, ...] = ()  # the source's own columns, where they were compared with the declared ones
    untyped: frozenset[str] = frozenset()  # columns of it that are all null so far, so that their type is not known
