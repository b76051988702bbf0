"""A job's source and SQL looked at without staging: what columns there are, and what is wrong with the SQL."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from backfill.job.models import Job
from backfill.records import Column, SourceFile
from backfill.sources import database, ndjson
from backfill.sources.binding import sql_faults
from backfill.sources.checksum import plain_pieces
from backfill.sources.delimited import header_names
from backfill.sources.engine import Engine, open_engine, quoted
from backfill.sources.files import extra_files, locate, one_format
from backfill.sources.layout import SourceColumn, binding_scope, empty_relation, lay_out, text_columns
from backfill.sources.parquet import read_footers
from backfill.sources.parquet import source_columns as parquet_columns
from backfill.sources.sqltext import SqlFault
from backfill.sources.stage_database import database_columns, own_query
from backfill.sources.stage_query import has_decimals, input_job, query_columns, query_reads, undeclared

#: Megabytes of each NDJSON file that are looked at.
SAMPLE_PIECES = 4


@dataclass(frozen=True, slots=True)
class Schema:
    """A source's columns as staging would make them, those of SQL included; the latter only where it has no fault."""

    columns: tuple[Column, ...]
    faults: tuple[SqlFault, ...] = ()
    complete: bool = True  # False: made of a sample, so there may be more columns


def inspect(job: Job) -> Schema:
    """Look at headers, footers or a sample, and bind the job's SQL against what is there; no row is staged.

    Raises:
        SourceError: a file is missing or not what it should be.
        JobError: the declared columns do not fit the source, or its query does not bind.
    """
    files, further = extra_files(job, locate(job))
    paths = [file.path for file in (*files, *further.values())]
    with (
        tempfile.TemporaryDirectory(prefix="backfill-") as folder,
        open_engine(Path(folder), paths, timezone=job.source.timezone) as engine,
    ):
        kind = one_format(job, files)
        columns = _source_columns(engine, job, kind, files, Path(folder))
        complete = kind != "ndjson"
        if job.source.query is None or kind == "sqlite":
            return _bound(engine, job, columns, complete=complete)
        names = ", ".join(quoted(column.name) for column in columns)
        engine.run(f"CREATE VIEW source AS SELECT {names} FROM {binding_scope(job, columns)}")
        for name, file in further.items():
            alone = input_job(job, file)
            inputs = _source_columns(engine, alone, one_format(alone, [file]), [file], Path(folder))
            engine.run(f"CREATE VIEW {quoted(name)} AS SELECT * FROM {empty_relation(inputs)}")
        query_reads(engine, job, [column.name for column in columns])
        return _bound(engine, undeclared(job), query_columns(engine, job), trimmed=has_decimals(job))


def _bound(
    engine: Engine, job: Job, columns: Sequence[SourceColumn], *, complete: bool = True, trimmed: bool = False
) -> Schema:
    faults = sql_faults(engine, job, columns)
    wrong = bool(faults)
    if not complete:  # what the sample lacks may come after it; staging, which sees all, will say if it does not
        faults = tuple(fault for fault in faults if "not found" not in fault.message)
    if wrong:
        job = job.model_copy(update={"where": None, "calls": ()})
    return Schema(lay_out(engine, job, columns, trimmed=trimmed).columns, faults, complete)


def _source_columns(
    engine: Engine, job: Job, kind: str, files: Sequence[SourceFile], folder: Path
) -> tuple[SourceColumn, ...]:
    """The columns of the source's rows, before any query but a database's."""
    if kind == "parquet":
        return parquet_columns(job, read_footers(engine, files).columns)
    if kind == "sqlite":
        names = database.describe(files[0], own_query(job))
        return database_columns(engine, job, database.ask_classes(files[0], own_query(job), names))
    if kind == "ndjson":
        return _sampled_columns(engine, job, files, folder)
    return text_columns(engine, job, header_names(files, job, kind))


def _sampled_columns(engine: Engine, job: Job, files: Sequence[SourceFile], folder: Path) -> tuple[SourceColumn, ...]:
    """The columns of the first lines of every NDJSON file."""
    clauses = []
    for file in files:
        lines = b"".join(islice(plain_pieces(Path(file.path)), SAMPLE_PIECES)).splitlines()
        sample = folder / f"sample-{hashlib.sha256(file.path.encode()).hexdigest()}.ndjson"
        sample.write_bytes(b"\n".join(lines[:-1] or lines))
        clauses.append(ndjson.lines_clause(sample, "sampled_rejects"))
    keys = ndjson.collect_keys(engine, [ndjson.object_lines(clause) for clause in clauses])
    names = list(dict.fromkeys([*keys.names, *job.source.columns]))  # a declared key may come first after the sample
    parts = [f"({ndjson.split_select(clause, names, repeated=keys.repeated)})" for clause in clauses]
    return ndjson.source_columns(engine, job, names, parts)
