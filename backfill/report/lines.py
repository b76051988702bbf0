"""Where problems are: lines, looked up only where problems are shown or exported, and rows of a query.

With `source.query` the record number of a call is its row's place in the query's result, which is in no file. Only
unreadable records, which belong to no call, are numbered in their file there.

To find a line means to read the source again, with the libraries that it takes. Lines of records that were shown once
are kept in the run's folder, so that `rejects` shows them at once, also when the source is gone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from backfill.disk import PRIVATE_FILE
from backfill.errors import JobError
from backfill.records import Problem, RunRecord, SourceFile, StoredRun
from backfill.report.samples import QUERY

if TYPE_CHECKING:
    import polars as pl

    from backfill.job.models import Job

#: In a run's folder: lines that were looked up.
LINES_FILE = "lines.json"
#: An export of more is not kept: it would take longer to read than it saves.
MOST_KEPT = 10_000
#: File name -> record number -> line; 0 of a record that has none, as its format has no lines.
Lines = dict[str, dict[int, int]]


def with_places(problems: Sequence[Problem], folder: StoredRun) -> list[Problem]:
    """Problems of a run with their lines as far as they are known or can be told, or said to be rows of its query.

    Raises:
        LedgerError: The ledger cannot be read.
    """
    record, files = source_of(folder)
    found = [of_query(problem) for problem in problems] if queried(record) else list(problems)
    lines = lines_of(folder, record, files, wanted_lines(found))
    return [with_line(problem, lines) for problem in found]


def source_of(folder: StoredRun) -> tuple[RunRecord, Sequence[SourceFile]]:
    """What a run was made from, and the files of it that may have lines: one that is read in place is Parquet."""
    with folder.read() as reader:
        record, snapshot = reader.status().record, reader.snapshot()
    return record, () if snapshot is None or snapshot.in_place else snapshot.files


def wanted_lines(problems: Iterable[Problem]) -> dict[str, set[int]]:
    """The records whose lines are to be told, by file."""
    wanted: dict[str, set[int]] = {}
    for problem in problems:
        if problem.record and not problem.line and problem.file != QUERY:
            wanted.setdefault(problem.file, set()).add(problem.record)
    return wanted


def with_line(problem: Problem, lines: Mapping[str, Mapping[int, int]]) -> Problem:
    """The problem with its line, where it has none and one is known."""
    line = 0 if problem.line else lines.get(problem.file, {}).get(problem.record, 0)
    return replace(problem, line=line) if line else problem


def lines_of(
    folder: StoredRun, record: RunRecord, files: Sequence[SourceFile], wanted: Mapping[str, set[int]]
) -> Lines:
    """The lines of those records of a run; of one that is not there no line can be told any more."""
    lines = read_kept_lines(folder)
    unknown = {name: records - lines.get(name, {}).keys() for name, records in wanted.items()}
    missing = [file for file in files if unknown.get(file.name)]
    job = job_of(record) if missing else None
    if job is not None:
        for file in missing:
            lines[file.name] = lines.get(file.name, {}) | find_lines(file, job, unknown[file.name])
        keep_lines(folder, lines)
    return lines


def find_lines(file: SourceFile, job: Job, records: Iterable[int]) -> dict[int, int]:
    """Read the file for the lines of these records: 0 where the format has none; empty where the file has changed."""
    from backfill.sources import unchanged  # noqa: PLC0415 (readers: only where a line is not known)
    from backfill.sources.formats import line_of  # noqa: PLC0415

    wanted = sorted(records)
    unknown = dict.fromkeys(wanted, 0)
    if file.pin:  # an object is not fetched again for it
        return unknown
    return unknown | line_of(file, job, wanted) if unchanged(file) else {}


def read_kept_lines(folder: StoredRun) -> Lines:
    """The lines that were looked up before; none where their file is not there or not as `keep_lines` writes it."""
    try:
        kept = json.loads((folder.path / LINES_FILE).read_text(encoding="utf-8"))
        return {name: {int(record): int(line) for record, line in lines.items()} for name, lines in kept.items()}
    except (OSError, ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return {}


def keep_lines(folder: StoredRun, lines: Lines) -> None:
    """Keep these lines unless they are very many; where that cannot be written they are looked up again."""
    if sum(map(len, lines.values())) > MOST_KEPT:
        return
    path = folder.path / LINES_FILE
    with suppress(OSError):
        path.touch(PRIVATE_FILE)
        path.write_text(json.dumps(lines, ensure_ascii=False), encoding="utf-8")


def job_of(record: RunRecord) -> Job | None:
    """The job of a run, where its file is there and still what it was."""
    from backfill.job import fingerprint, load_job  # noqa: PLC0415 (pydantic: only where a line is not known)

    try:
        job = load_job(Path(record.job_file))
    except JobError:
        return None
    return job if fingerprint(job) == record.job_fingerprint else None


def queried(record: RunRecord) -> bool:
    """Whether the run's rows are those of a query, not of a file."""
    return record.facts.has_query


def of_query(problem: Problem) -> Problem:
    """The problem of a job with a query, said to be a row of its result where it is one."""
    return replace(problem, file=QUERY) if problem.call else problem


def with_lines(problems: Sequence[Problem], job: Job, files: Sequence[SourceFile]) -> list[Problem]:
    """The problems of a sample, of which no run keeps anything, with their lines."""
    wanted = wanted_lines(problems)
    lines = {file.name: find_lines(file, job, wanted[file.name]) for file in files if file.name in wanted}
    return [with_line(problem, lines) for problem in problems]


def with_line_column(rejects: pl.LazyFrame, folder: StoredRun) -> pl.LazyFrame:
    """The same as `with_places` for a frame of REJECT_COLUMNS, however long."""
    import polars as pl  # noqa: PLC0415 (only an export has frames)

    record, files = source_of(folder)
    if queried(record):
        rejects = rejects.with_columns(file=pl.when(pl.col("call") == "").then("file").otherwise(pl.lit(QUERY)))
    unknown = rejects.filter((pl.col("line") == 0) & (pl.col("record") > 0) & (pl.col("file") != QUERY))
    parts = unknown.select("file", "record").unique().collect().partition_by("file", as_dict=True)
    wanted = {str(name): set(part["record"]) for (name,), part in parts.items()}
    lines = lines_of(folder, record, files, wanted)
    tables = [
        pl.LazyFrame(
            {"record": list(found), "found": list(found.values())}, schema={"record": pl.UInt64, "found": pl.UInt64}
        ).select(pl.lit(name).alias("file"), "record", "found")
        for name, found in lines.items()
    ]
    if not tables:
        return rejects
    joined = rejects.join(pl.concat(tables), on=["file", "record"], how="left", maintain_order="left")
    line = pl.when(pl.col("line") == 0).then(pl.col("found").fill_null(0)).otherwise(pl.col("line"))
    return joined.with_columns(line=line).drop("found")
