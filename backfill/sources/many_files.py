"""Many small CSV files: those that are alike are read by one statement, as a statement costs more than such a file.

How many records each file has is known beforehand, from its lines. Only where DuckDB gives exactly as many of every
file are the rows taken; files in which it rejects any are read again, each alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import duckdb

from backfill.job.models import Job
from backfill.records import INTERNAL_PREFIX
from backfill.sources.checksum import compression_of
from backfill.sources.engine import literal, quoted
from backfill.sources.layout import Layout
from backfill.sources.reading import Reading, reading_clause
from backfill.sources.staging import Staging

#: Fewer files, or larger ones, are read each alone.
MANY = 32
SMALL_BYTES = 4 * 2**20
#: What one statement reads at most.
RUN_FILES = 1_000
RUN_BYTES = 64 * 2**20
PATH = f"{INTERNAL_PREFIX}path"
_PATTERN = re.compile(r"[*?\[{]")

#: Files to be read by one statement, each with its place among the source's files.
Run = Sequence[tuple[int, Reading]]


def are_many(staging: Staging) -> bool:
    """The source has so many small files that they are read together, and rows carry their file's number."""
    return len(staging.files) >= MANY and sum(file.bytes for file in staging.files) < SMALL_BYTES * len(staging.files)


def runs(staging: Staging, readings: Run) -> Iterator[Run]:
    """The readings in their order, neighbours that are alike together."""
    run: list[tuple[int, Reading]] = []
    size, alike = 0, None
    for index, reading in readings:
        key = _likeness(reading)
        bytes_ = staging.files[index].bytes
        if run and (key is None or key != alike or len(run) == RUN_FILES or size + bytes_ > RUN_BYTES):
            yield run
            run, size = [], 0
        run.append((index, reading))
        size, alike = size + bytes_, key
    if run:
        yield run


def _likeness(reading: Reading) -> tuple[object, ...] | None:
    """What files have to have in common; None for one that is to be read alone."""
    if not reading.parallel or reading.copied or reading.expected is None or _PATTERN.search(str(reading.path)):
        return None
    return (reading.names, reading.survey.leading_empty_lines, compression_of(reading.path))


def read_run(staging: Staging, kind: str, layout: Layout, run: Run) -> list[int]:
    """Write a run's part, which has the number of its first file; returns the files that are to be read again.

    Where there are any, the part is of no use.
    """
    first = run[0][0]
    table = f"rejects_from_{first}_to_{run[-1][0]}"
    clause = _clause(staging.job, kind, run, table)
    size = sum(staging.files[index].bytes for index, _ in run)
    try:
        staging.copy(layout.select(clause, filtered=False, extra=[quoted(PATH)]), staging.part(first), size)
    except duckdb.Error as error:
        raise staging.failure(layout, error, clause, staging.files[first].name) from error
    found = staging.engine.rows(
        f"SELECT {PATH}, count(*), min(file_row_number), max(file_row_number) "
        f"FROM read_parquet({literal(str(staging.part(first)))}, file_row_number = true) GROUP BY {PATH}"
    )
    spans = {path: (count, low, high + 1) for path, count, low, high in found}
    again, row = [], 0
    for index, reading in run:
        count, low, high = spans.get(str(reading.path), (0, row, row))
        if (count, low, high) != (reading.expected, row, row + count):
            again.append(index)
        row += count
    return again


def _clause(job: Job, kind: str, run: Run, table: str) -> str:
    """The relation of the records of all the run's files, PATH telling them apart."""
    one = run[0][1]
    paths = literal([str(reading.path) for _, reading in run])
    alone = reading_clause(one, job, kind, rejects=table)
    return alone.replace(literal(str(one.path)), paths, 1).removesuffix(")") + f", filename = {literal(PATH)})"
