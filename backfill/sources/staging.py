"""One staging at work: what all its steps share, how a part is written, and what its footer tells of the columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import duckdb
import pyarrow as pa  # type: ignore[import-untyped]

from backfill.disk import close_writer, out_of_space
from backfill.errors import JobError
from backfill.job import expression_paths
from backfill.job.leaves import expression_columns
from backfill.job.models import ColumnSpec, Job
from backfill.job.shapes import NO_ENTRY
from backfill.records import INTERNAL_PREFIX, RECORD_COLUMN, REJECT_COLUMNS, Column, Kind, Severity, SourceFile, Zone
from backfill.sources.origins.content import until
from backfill.sources.reader import ORIGINAL_CHARACTERS, VALUE_CHARACTERS, Unreadable
from backfill.sources.sql.casts import strict_json
from backfill.sources.sql.engine import (
    Engine,
    literal,
    own_parquet,
    parquet_for,
    path_literal,
    quoted,
    reason,
)
from backfill.sources.sql.layout import KEEP, WHERE_FAILED, Layout

if TYPE_CHECKING:
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

UNREADABLE = "unreadable.parquet"


@dataclass(slots=True, repr=False, eq=False)
class Staging:
    """One staging at work. `progress` gets the rows, and the bytes of all passes over the files."""

    job: Job
    folder: Path
    files: tuple[SourceFile, ...]
    engine: Engine
    progress: Callable[[int, int], None]
    sample: int | None = None  # rows that are wanted, the first ones; None: all
    rows: int = 0
    bytes: int = 0
    numbers: frozenset[str] = frozenset()  # columns of JSON that turned out to be plain numbers
    for_query: bool = False  # a query is to read the rows
    #: Of the columns that were cast from text, whether the job declares their types or the source's own schema does.
    specs: Mapping[str, ColumnSpec] = field(default_factory=dict)

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
        until(self.engine.stopping)(size)
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

    def failing_expression(
        self, layout: Layout, relation: str, opened: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> JobError | None:
        """The error for an expression that fails on a row of a relation, found by asking each alone; None for none.

        `opened` makes the relation anew for each question, where it can be read once only.
        """
        columns = expression_columns(self.job)
        for text, path in expression_paths(self.job).items():
            column = quoted(columns[text]) if text in columns else KEEP
            with opened():
                try:
                    self.engine.run(f"SELECT count({column}) FROM ({layout.select(relation, filtered=False)})")
                except duckdb.Error as error:
                    return JobError(
                        f"{path}: the expression fails on a row: {reason(error)}",
                        hint="guard it, for example with TRY_CAST, nullif or CASE WHEN",
                    )
        return None


#: Unreadable records held before they are written.
HELD_RECORDS = 4_096
_COUNTS = ("record", "line")
_SCHEMA = pa.schema([(name, pa.uint64() if name in _COUNTS else pa.string()) for name in REJECT_COLUMNS])


@dataclass(slots=True, repr=False, eq=False)
class UnreadableFile:
    """The unreadable records of a source as one Parquet file of REJECT_COLUMNS, written in bounded memory.

    A context manager; there is no file where nothing was added.
    """

    path: Path
    files: Sequence[SourceFile]
    count: int = 0
    _held: list[Unreadable] = field(default_factory=list)
    _writer: pq.ParquetWriter | None = None

    def add(self, record: Unreadable) -> None:
        """Note one; written when some have come together. Raises StoppedError where the disk is full."""
        self.count += 1
        self._held.append(record)
        if len(self._held) >= HELD_RECORDS:
            self._write()

    def _write(self) -> None:
        if not self._held:
            return
        import pyarrow.parquet as pq

        rows = pa.RecordBatch.from_pylist([self._row(one) for one in self._held], _SCHEMA)
        with out_of_space(self.path.parent):
            if self._writer is None:
                self._writer = pq.ParquetWriter(self.path, _SCHEMA, compression="zstd")
            self._writer.write_batch(rows)
        self._held.clear()

    def _row(self, one: Unreadable) -> dict[str, Any]:
        return {
            "file": self.files[one.file].name,
            "record": one.record,
            "line": one.line,
            "call": "",
            "code": one.code,
            "severity": Severity.ERROR.value,
            "column": one.column,
            "value": (one.value or one.original)[:VALUE_CHARACTERS],
            "message": one.message,
            "message_id": None,
            "original": one.original[:ORIGINAL_CHARACTERS],
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if error is None:
                self._write()
        finally:
            if self._writer is not None:
                close_writer(self._writer, self.path)


class IgnoredRecords:
    """A sink for a second look at records that are reported already."""

    def add(self, record: Unreadable) -> None:
        """Forget it."""


#: Of DuckDB's words on why an expression failed.
REASON_CHARACTERS = 160
#: How an object and an array begin.
_OPENING = ("{", "[")
#: The least and the greatest value of a column, as text; None where the footer does not say.
_Range = tuple[str | None, str | None]


def refine_columns(engine: Engine, part: Path, layout: Layout, job: Job) -> tuple[Column, ...]:
    """The layout's columns by what the part holds.

    MIXED times become instants or wall clocks where all of them are; a column without any value counts as instants.
    Of an expression it is said that it failed where it did on some row, and why on the first; of text that it is JSON
    where all of it is.
    """
    columns = layout.columns
    rows = engine.rows(
        "SELECT path_in_schema, CASE WHEN count(*) = count(stats_min_value) THEN min(stats_min_value) END, "
        "CASE WHEN count(*) = count(stats_max_value) THEN max(stats_max_value) END "
        f"FROM parquet_metadata({path_literal(part)}) WHERE num_values > coalesce(stats_null_count, 0) "
        "GROUP BY path_in_schema"
    )
    held: dict[str, _Range] = {name: (least, greatest) for name, least, greatest in rows}
    json = _json_columns(engine, part, [column.name for column in columns if _may_be_json(column, held)])
    texts = {name: text for text, name in expression_columns(job).items()} | {WHERE_FAILED: job.where or ""}

    def described(column: Column) -> Column:
        found = _refined(column, held, json)
        if found.failed is None:
            return found
        return replace(found, reason=_why(engine, part, layout, texts[found.name], found.failed))

    return tuple(map(described, columns))


def most_bytes(engine: Engine, part: Path) -> int:
    """What all values of the part weigh at most: none weighs more than its column chunk, dictionary included."""
    weight = "sum(num_values * total_uncompressed_size)"
    ((most,),) = engine.rows(
        f"SELECT CAST(coalesce({weight}, 0) AS HUGEINT) FROM parquet_metadata({path_literal(part)})"
    )
    return int(most)


def _why(engine: Engine, part: Path, layout: Layout, text: str, failed: str) -> str:
    """Why an expression failed on the first of its rows, the values of that row left out; nothing where it will not."""
    try:
        engine.rows(layout.untried(text, failed, own_parquet([part])))
    except (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException):
        return ""  # of a type that the snapshot keeps as another
    except duckdb.Error as error:
        if NO_ENTRY in str(error):
            return NO_ENTRY
        return re.sub(r"'[^']*'|\"[^\"]*\"", "'...'", reason(error))[:REASON_CHARACTERS]
    return ""


def _refined(column: Column, held: Mapping[str, _Range], json: frozenset[str]) -> Column:
    if column.utc_flag is not None:
        least, greatest = held.get(column.utc_flag, ("true", "true"))
        if least == greatest:
            return replace(column, zone=Zone.UTC if least == "true" else Zone.NAIVE, utc_flag=None)
    if column.failed is not None and held.get(column.failed, ("false", "false"))[1] == "false":
        column = replace(column, failed=None)
    return replace(column, json_text=True) if column.name in json else column


def _may_be_json(column: Column, held: Mapping[str, _Range]) -> bool:
    """By the least and the greatest value, where the footer has them: of long texts it has none."""
    own = not column.name.startswith(INTERNAL_PREFIX) or bool(column.reads)
    ends = held.get(column.name, ("", ""))  # not there: without any value
    return own and column.kind is Kind.TEXT and all(end is None or end.startswith(_OPENING) for end in ends)


def _json_columns(engine: Engine, part: Path, names: Sequence[str]) -> frozenset[str]:
    """Those of the columns in which every text is a JSON object or array."""
    if not names:
        return frozenset()
    tests = ", ".join(f"bool_and({_is_object_or_array(quoted(name))})" for name in names)
    found = engine.run(f"SELECT {tests} FROM {own_parquet([part])}")[0]
    return frozenset(name for name, is_json in zip(names, found, strict=True) if is_json)


def _is_object_or_array(text: str) -> str:
    return f"{text} IS NULL OR ({text}[1] IN ('{{', '[') AND {strict_json(text)})"
