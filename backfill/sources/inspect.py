"""A job's source and SQL looked at without staging: what columns there are, and what is wrong with the SQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backfill.errors import JobError
from backfill.job.models import Job
from backfill.records import Column
from backfill.sources.files import extra_files, locate, look_through
from backfill.sources.parquet.in_place import in_place


@dataclass(frozen=True, slots=True)
class SqlFault:
    """What is wrong with one piece of SQL of the job file."""

    path: str  # the field's path, such as calls[0].when
    text: str  # the SQL as written
    offset: int | None  # where in the text, in characters from 0; None where DuckDB does not say
    message: str
    candidates: tuple[str, ...] = ()  # names that may have been meant
    advice: str = ""  # what to write instead

    @property
    def hint(self) -> str:
        """What to write instead, `did you mean ...?`, or nothing."""
        if self.advice:
            return self.advice
        return f"did you mean {' or '.join(self.candidates)}?" if self.candidates else ""


class AbsentColumns(JobError):  # noqa: N818 (it says what is found, as a fault does)
    """Columns are declared that the source does not have."""

    def __init__(self, absent: Sequence[str], there: Sequence[str]) -> None:
        super().__init__(
            f"source.columns.{absent[0]}: the source has no such column", hint=f"it has {', '.join(there)}"
        )
        self.absent = tuple(absent)


@dataclass(frozen=True, slots=True)
class Schema:
    """A source's columns as staging would make them, those of SQL included; the latter only where it has no fault."""

    columns: tuple[Column, ...]
    faults: tuple[SqlFault, ...] = ()
    complete: bool = True  # False: made of a sample, so there may be more columns
    records: int = 0  # in that sample, where it is the columns' names that are known by it
    assumed: frozenset[str] = frozenset()  # declared columns that no record of the sample has
    doubts: tuple[SqlFault, ...] = ()  # SQL over what no record of the sample has


def inspect(job: Job) -> Schema:
    """Look at headers, footers or a sample, and bind the job's SQL against what is there; no row is staged.

    Raises:
        SourceError: a file is missing or not what it should be; compressed ones are unpacked as far as the first
            megabytes go, so that those of a small source are judged whole.
        JobError: the declared columns do not fit the source, or its query does not bind.
    """
    located = locate(job)
    look_through(located)
    files, further = extra_files(job, located)
    found = in_place(job, files)
    if found is not None:
        return Schema(found.columns)
    from backfill.sources.look import look  # DuckDB

    return look(job, files, further)
