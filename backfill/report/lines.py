"""Where problems are: lines, looked up only where problems are shown or exported, and rows of a query.

With `source.query` the record number of a call is its row's place in the query's result, which is in no file. Only
unreadable records, which belong to no call, are numbered in their file there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from backfill.errors import JobError
from backfill.job import fingerprint, load_job
from backfill.job.models import Job
from backfill.records import Problem, RunRecord, SourceFile
from backfill.report.samples import QUERY

if TYPE_CHECKING:
    import polars as pl


def job_of(record: RunRecord) -> Job | None:
    """The job of a run, where its file is there and still what it was."""
    try:
        job = load_job(Path(record.job_file))
    except JobError:
        return None
    return job if fingerprint(job) == record.job_fingerprint else None


def queried(record: RunRecord) -> bool:
    """Whether the run's rows are those of a query, not of a file."""
    return json.loads(record.job_data)["source"].get("query") is not None


def of_query(problem: Problem) -> Problem:
    """The problem of a job with a query, said to be a row of its result where it is one."""
    return replace(problem, file=QUERY) if problem.call else problem


def with_query(rejects: pl.LazyFrame) -> pl.LazyFrame:
    """The same for a frame of REJECT_COLUMNS."""
    import polars as pl  # noqa: PLC0415 (only an export has frames)

    return rejects.with_columns(file=pl.when(pl.col("call") == "").then("file").otherwise(pl.lit(QUERY)))


def with_lines(problems: Sequence[Problem], job: Job, files: Sequence[SourceFile]) -> list[Problem]:
    """The problems with their lines, where the format has lines and the file is still what it was.

    To be asked after `of_query`: a row of a query has no line.
    """
    from backfill.sources.line_of import line_of  # noqa: PLC0415 (readers: only where a line is to be shown)

    found = list(problems)
    for file in files:
        wanted = {one.record for one in found if one.file == file.name and one.record and not one.line}
        lines = line_of(file, job, sorted(wanted)) if wanted else {}
        found = [
            replace(one, line=lines[one.record]) if one.file == file.name and one.record in lines else one
            for one in found
        ]
    return found


def with_line_column(rejects: pl.LazyFrame, job: Job, files: Sequence[SourceFile]) -> pl.LazyFrame:
    """The same for a frame of REJECT_COLUMNS, however long."""
    import polars as pl  # noqa: PLC0415

    from backfill.sources.line_of import line_of  # noqa: PLC0415

    unknown = rejects.filter((pl.col("line") == 0) & (pl.col("record") > 0)).select("file", "record").unique()
    wanted = {
        name: part["record"].to_list() for (name,), part in unknown.collect().partition_by("file", as_dict=True).items()
    }
    tables = []
    for file in files:
        lines = line_of(file, job, sorted(wanted[file.name])) if file.name in wanted else {}
        if lines:
            columns = {"record": list(lines), "found": list(lines.values())}
            tables.append(
                pl.LazyFrame(columns, schema={"record": pl.UInt64, "found": pl.UInt64}).with_columns(
                    file=pl.lit(file.name)
                )
            )
    if not tables:
        return rejects
    joined = rejects.join(pl.concat(tables), on=["file", "record"], how="left", maintain_order="left")
    line = pl.when(pl.col("line") == 0).then(pl.col("found").fill_null(0)).otherwise(pl.col("line"))
    return joined.with_columns(line=line).drop("found")
