"""One staging at work: what all its steps share, how a part is written, and what its footer tells of the columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from backfill.errors import BackfillError, JobError
from backfill.job import expression_paths
from backfill.job.models import Job
from backfill.records import INTERNAL_PREFIX, RECORD_COLUMN, Column, Kind, SourceFile, Zone
from backfill.sources.origins.content import until
from backfill.sources.sql.casts import strict_json
from backfill.sources.sql.engine import (
    Engine,
    literal,
    own_parquet,
    parquet_for,
    path_literal,
    quoted,
    reason,
    storage_failure,
    unreadable_source,
)
from backfill.sources.sql.layout import KEEP, Layout

UNREADABLE = "unreadable.parquet"


@dataclass(slots=True)
class Staging:
    """One staging at work. `progress` is told rows, and the bytes of all passes over the files."""

    job: Job
    folder: Path
    files: tuple[SourceFile, ...]
    engine: Engine
    progress: Callable[[int, int], None]
    sample: int | None = None  # only the first so many rows are wanted; None: all
    rows: int = 0
    bytes: int = 0

    @property
    def unreadable_file(self) -> Path:
        """Where unreadable records go."""
        return self.folder / UNREADABLE

    def part(self, index: int) -> Path:
        """The snapshot's part of that number."""
        return self.folder / f"part-{index:05}.parquet"

    def copy_counted(self, select: str, path: Path, row_bytes: float = 0.0) -> int:
        """Write a result as Parquet, telling what `count` and the stream have counted; returns its rows."""
        count = self.engine.run(
            f"COPY ({select}) TO {literal(str(path))} ({parquet_for(row_bytes)})",
            lambda _: self.progress(self.rows, self.bytes),
        )[0][0]
        self.progress(self.rows, self.bytes)
        return int(count)

    def count(self, size: int) -> None:
        """Count the bytes of a piece that a reader takes, in whatever thread; raises InterruptedRunError to end it."""
        until(self.engine.cancelled)(size)
        self.bytes += size

    def number(self, layout: Layout, path: Path) -> int:
        """Rewrite a part with each row's place as its record, without those `where` leaves out; returns how many."""
        names = [quoted(column.name) for column in layout.columns]
        place = f"CAST(file_row_number + 1 AS UBIGINT) AS {RECORD_COLUMN}"
        target = path.with_suffix(".numbered")
        kept = self.copy_counted(
            f"SELECT {', '.join([*names, place])} FROM {own_parquet([path], 'file_row_number = true')} WHERE {KEEP}",
            target,
        )
        target.replace(path)
        return kept

    def failure(self, layout: Layout, error: duckdb.Error, relation: str, name: str) -> BackfillError:
        """The error to raise for a statement that failed over a relation: the disk's, an expression's, the file's."""
        found = storage_failure(error)
        if found is not None:
            return found
        columns = self.job.expressions()
        for text, path in expression_paths(self.job).items():
            column = quoted(columns[text]) if text in columns else KEEP
            try:
                self.engine.run(f"SELECT count({column}) FROM ({layout.select(relation, filtered=False)})")
            except duckdb.Error as inner:
                return JobError(
                    f"{path}: the expression fails on a row: {reason(inner)}",
                    hint="guard it, for example with TRY_CAST, nullif or CASE WHEN",
                )
        return unreadable_source(name, error)


#: How an object and an array begin.
_OPENING = ("{", "[")
#: The least and the greatest value of a column, as text; None where the footer does not say.
_Range = tuple[str | None, str | None]


def settled(engine: Engine, part: Path, columns: Sequence[Column]) -> tuple[Column, ...]:
    """The columns by what the part holds.

    MIXED times are told apart: all instants, all wall clocks, or both; a column without any value counts as instants.
    Of an expression it is said that it failed where it did on some row, of text that it is JSON where all of it is.
    """
    rows = engine.rows(
        "SELECT path_in_schema, CASE WHEN count(*) = count(stats_min_value) THEN min(stats_min_value) END, "
        "CASE WHEN count(*) = count(stats_max_value) THEN max(stats_max_value) END "
        f"FROM parquet_metadata({path_literal(part)}) WHERE num_values > coalesce(stats_null_count, 0) "
        "GROUP BY path_in_schema"
    )
    held: dict[str, _Range] = {name: (least, greatest) for name, least, greatest in rows}
    json = _json_columns(engine, part, [column.name for column in columns if _may_be_json(column, held)])
    return tuple(_settled(column, held, json) for column in columns)


def _settled(column: Column, held: Mapping[str, _Range], json: frozenset[str]) -> Column:
    if column.utc_flag is not None:
        least, greatest = held.get(column.utc_flag, ("true", "true"))
        if least == greatest:
            return replace(column, zone=Zone.UTC if least == "true" else Zone.NAIVE, utc_flag=None)
    if column.failed is not None and held.get(column.failed, ("false", "false"))[1] == "false":
        column = replace(column, failed=None)
    return replace(column, json_text=True) if column.name in json else column


def _may_be_json(column: Column, held: Mapping[str, _Range]) -> bool:
    """By the least and the greatest value alone."""
    own = not column.name.startswith(INTERNAL_PREFIX) or bool(column.reads)
    ends = held.get(column.name, (None, None))
    return own and column.kind is Kind.TEXT and all(end is not None and end.startswith(_OPENING) for end in ends)


def _json_columns(engine: Engine, part: Path, names: Sequence[str]) -> frozenset[str]:
    """Those of the columns in which every text is a JSON object or array."""
    if not names:
        return frozenset()
    tests = ", ".join(f"bool_and({_is_object_or_array(quoted(name))})" for name in names)
    found = engine.run(f"SELECT {tests} FROM {own_parquet([part])}")[0]
    return frozenset(name for name, is_json in zip(names, found, strict=True) if is_json)


def _is_object_or_array(text: str) -> str:
    return f"{text} IS NULL OR ({text}[1] IN ('{{', '[') AND {strict_json(text)})"
