"""From a source's columns to the snapshot's: declared types cast, `where` applied, expressions and times computed.

The SQL has floors, each a projection of the one below, so that DuckDB does all in one pass:
    1. the source's columns; declared ones cast, their text beside them; local times that SQL reads made instants
    2. `where` tried, and of that whether it keeps the row, failed, or could not be asked at all
    3. the expressions tried, of rows that are kept and whose columns are good
    4. the snapshot's columns: those of 1, times parsed for the calls, values of the expressions and whether they failed
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import pyarrow as pa  # type: ignore[import-untyped]
from duckdb.sqltypes import DuckDBPyType

from backfill.frozen import frozen
from backfill.job.leaves import expression_columns
from backfill.job.models import ColumnSpec, Job
from backfill.records import FILE_COLUMN, RECORD_COLUMN, Column, Kind, Zone
from backfill.sources.columns import SourceColumn
from backfill.sources.sql.casts import cast_of, instants_in_sql, seen_by_sql
from backfill.sources.sql.duckdb_types import kind_of, sql_type, stored, zone_of
from backfill.sources.sql.engine import Engine, attempt, quoted
from backfill.sources.sql.syntax import enclosed

RAW = "__bf_raw:"
TEXT = "__bf_text:"  # the value as the snapshot has it, where SQL sees another
UTC_FLAG = "__bf_utc:"
KEEP = "__bf_keep"
WHERE = "__bf_where"
WHERE_BAD = "__bf_where_bad"
WHERE_FAILED = "__bf_where_failed"
TRIED = "__bf_tried:"
FAILED = "__bf_failed:"


@frozen
class SqlColumn:
    """A source's column as DuckDB sees it.

    `spec` is its declared type, for text that is to be cast. `refused` says what it holds where no snapshot can hold
    it: such a column can be listed, but a job that reads it is refused.
    """

    name: str
    type: DuckDBPyType
    spec: ColumnSpec | None = None
    computed: bool = False  # JSON whose text SQL made, or a nested value with such JSON in it
    refused: str = ""
    made: bool = False  # its values are SQL's


def sql_columns(engine: Engine, columns: Sequence[SourceColumn]) -> tuple[SqlColumn, ...]:
    """A source's columns with the types that DuckDB has for Arrow's."""
    if not columns:
        return ()
    engine.connection.register(_EMPTY, pa.schema([(column.name, column.type) for column in columns]).empty_table())
    try:
        types = engine.connection.sql(f"SELECT * FROM {_EMPTY}").types
    finally:
        engine.connection.unregister(_EMPTY)
    return tuple(
        SqlColumn(column.name, kind, column.spec, refused=column.refused)
        for column, kind in zip(columns, types, strict=True)
    )


@frozen
class Expression:
    """One of the job's expressions, bound over a source's columns."""

    reads: tuple[str, ...]  # columns, in their order
    type: DuckDBPyType
    computed: bool = False  # it gives JSON, or JSON inside, whose text SQL made
    takes_json: bool = False  # it may take JSON apart


@frozen
class Layout:
    """What to write for each row: `select` gives the SQL, `columns` says what comes out."""

    source: tuple[SqlColumn, ...]
    bound: Mapping[str, Expression]  # the job's expressions over those
    columns: tuple[Column, ...]
    floor: _Floor
    tried: tuple[str, ...]  # select list of floor 3
    outputs: tuple[str, ...]  # select list of floor 4
    keep: str | None = None  # SQL of `where` as an attempt; None: every row is kept
    where_bad: str = "false"

    def select(self, relation: str, *, filtered: bool, extra: Sequence[str] = ()) -> str:
        """SQL that gives the snapshot's columns of a relation, and the relation's `extra` ones as they are.

        With `filtered` rows that `where` does not keep are left out, else the column KEEP says so.
        """
        rows = f"{self.floor.over(relation, extra)} AS source"
        outputs = [*self.outputs, *extra]
        if self.keep is not None:
            asked = f"(SELECT *, {self.keep} AS {WHERE}, {self.where_bad} AS {WHERE_BAD} FROM {rows}) AS source"
            # A row that `where` cannot be asked of, or fails on, is kept for prepare to reject.
            flags = f"{WHERE}.failed AS {WHERE_FAILED}, {WHERE_BAD} OR {WHERE}.failed OR {WHERE}.value AS {KEEP}"
            rows = f"(SELECT *, {flags} FROM {asked}) AS source"
            if filtered:
                rows = f"(SELECT * FROM {rows} WHERE {KEEP}) AS source"
            else:
                outputs.append(KEEP)
        if self.tried:
            rows = f"(SELECT *, {', '.join(self.tried)} FROM {rows}) AS source"
        return f"SELECT {', '.join(outputs)} FROM {rows}"

    def untried(self, text: str, failed: str, snapshot: str) -> str:
        """SQL: an expression of one row of the snapshot on which it failed, which fails again and says why."""
        names = ", ".join(
            f"{_as_read(column) if column.spec else quoted(column.name)} AS {quoted(column.name)}"
            for column in self.source
        )
        row = f"(SELECT {names or _NOTHING} FROM {snapshot} WHERE {quoted(failed)} LIMIT 1)"
        floor = self.floor.over(typed_relation(self.source, row))
        return f"SELECT CAST({enclosed(text)} AS VARCHAR) FROM {floor} AS source"


def beside(raw: str, value: str, kind: Kind) -> str:
    """SQL: the text to keep beside a value that was cast from it: none where the value is that text."""
    return f"nullif({raw}, {value})" if kind in (Kind.DECIMAL, Kind.JSON) else raw


def _as_read(column: SqlColumn) -> str:
    """SQL: the text of a snapshot's column that was cast, which is the value's where none is beside it."""
    return f"coalesce({quoted(RAW + column.name)}, CAST({quoted(column.name)} AS VARCHAR))"


_EMPTY = "__bf_empty"
#: Stands for the columns of records without keys: SQL has no relation without columns.
_NOTHING = "0"


@dataclass(slots=True)
class _Floor:
    """Floor 1: its select list, and the instants that are made of it."""

    values: list[str] = field(default_factory=list)
    instants: dict[str, Callable[[], str]] = field(default_factory=dict)  # by column: what gives their SQL
    #: Per cast column the SQL that its value is bad: it does not fit, or is a local time that is no one instant.
    bad: dict[str, str] = field(default_factory=dict)

    def any_bad(self, names: Sequence[str]) -> list[str]:
        """SQL: for each of the columns that can be bad, that it is."""
        return [self.bad[name] for name in names if name in self.bad]

    def over(self, relation: str, extra: Sequence[str] = (), *, empty: bool = False) -> str:
        """SQL: the floor as a relation; of an `empty` one there are no clocks to look up, as only the types count."""
        below = f"(SELECT {', '.join([*self.values, *extra]) or _NOTHING} FROM {relation})"
        made = [f"{'CAST(NULL AS TIMESTAMPTZ)' if empty else sql()} AS {name}" for name, sql in self.instants.items()]
        return f"(SELECT *, {', '.join(made)} FROM {below})" if made else below


def lay_out(
    job: Job,
    columns: Sequence[SqlColumn],
    bound: Mapping[str, Expression],
    *,
    in_query: Sequence[str] = (),
    trimmed: bool = False,
) -> Layout:
    """The layout of a job over a source's columns; `bound` has every expression, `in_query` what a query reads besides.

    With `trimmed`, decimals lose closing zeros after the point: the columns are computed of declared decimals, whose
    scale in SQL is not the source's.
    """
    reads = {text: bound[text].reads for text in sql_texts(job)}
    by_sql = {name for read in reads.values() for name in read} | set(in_query)
    floor, outputs, described = _floor(columns, by_sql, job.source.timezone, trimmed=trimmed)
    decimals = {column.name for column in columns if column.spec is not None and column.spec.type == "decimal"}
    tried = []
    for text, name in expression_columns(job).items():
        kind = bound[text].type
        value = written(enclosed(text), kind, trimmed=trimmed or not decimals.isdisjoint(reads[text]), made=True)
        skip = floor.any_bad(reads[text]) + ([f"NOT {KEEP}"] if job.where else [])
        made, failed = quoted(TRIED + name), FAILED + name
        tried.append(f"{attempt(value, skip)} AS {made}")
        outputs += [f"{made}.value AS {quoted(name)}", f"{made}.failed AS {quoted(failed)}"]
        described.append(
            Column(
                name,
                kind_of(kind),
                zone_of(kind),
                reads=reads[text],
                failed=failed,
                computed=bound[text].computed,
                takes_json=bound[text].takes_json,
            )
        )
        described.append(Column(failed, Kind.BOOLEAN))
    _add_times(job, columns, outputs, described)
    keep, where_bad = None, "false"
    if job.where is not None:
        keep, where_bad = _asked(job.where, floor, reads[job.where], outputs, described)
    return Layout(tuple(columns), bound, tuple(described), floor, tuple(tried), tuple(outputs), keep, where_bad)


def _asked(
    where: str, floor: _Floor, reads: Sequence[str], outputs: list[str], described: list[Column]
) -> tuple[str, str]:
    """SQL: `where` as an attempt, and that it cannot be asked of a row; with what is kept of both."""
    bad = floor.any_bad(reads)
    if bad:
        outputs.append(WHERE_BAD)
        described.append(Column(WHERE_BAD, Kind.BOOLEAN, reads=tuple(name for name in reads if name in floor.bad)))
    outputs.append(WHERE_FAILED)
    described.append(Column(WHERE_FAILED, Kind.BOOLEAN, reads=tuple(reads), failed=WHERE_FAILED))
    return attempt(f"coalesce(CAST({enclosed(where)} AS BOOLEAN), false)", bad), " OR ".join(bad) or "false"


def sql_texts(job: Job) -> list[str]:
    """Every expression of the job over source columns, `where` first."""
    return [*([job.where] if job.where else []), *expression_columns(job)]


def place_columns(*, file: bool) -> tuple[Column, ...]:
    """The columns that say where a row came from."""
    record = Column(RECORD_COLUMN, Kind.INTEGER)
    return (Column(FILE_COLUMN, Kind.INTEGER), record) if file else (record,)


def written(value: str, kind: DuckDBPyType, *, trimmed: bool, made: bool) -> str:
    """SQL: the value as the snapshot keeps it; a decimal without closing zeros after the point if it is trimmed."""
    if trimmed and kind.id == "decimal" and dict(kind.children)["scale"]:
        return f"rtrim(rtrim(CAST({value} AS VARCHAR), '0'), '.')"
    return stored(value, kind, made=made)


def binding_scope(job: Job, columns: Sequence[SqlColumn]) -> str:
    """A relation without rows that expressions bind against as they do when they run."""
    floor = _floor(columns, {column.name for column in columns}, job.source.timezone)[0]
    return f"{floor.over(empty_relation(columns), empty=True)} AS source"


def empty_relation(columns: Sequence[SqlColumn]) -> str:
    """A relation of those columns without rows, to bind SQL against."""
    values = ", ".join(f"CAST(NULL AS {sql_type(column.type)}) AS {quoted(column.name)}" for column in columns)
    return f"(SELECT {values or _NOTHING} WHERE false)"


def typed_relation(columns: Sequence[SqlColumn], relation: str) -> str:
    """SQL: a relation in which JSON is still text, with every column of its type."""
    casts = [
        f"CAST({quoted(column.name)} AS JSON) AS {quoted(column.name)}"
        for column in columns
        if str(column.type) == "JSON"
    ]
    return f"(SELECT * REPLACE ({', '.join(casts)}) FROM {relation})" if casts else relation


def _floor(
    columns: Sequence[SqlColumn], by_sql: set[str], zone: str | None, *, trimmed: bool = False
) -> tuple[_Floor, list[str], list[Column]]:
    """Floor 1, and the outputs and columns made of it; `zone` is that of times without offset."""
    floor = _Floor()
    outputs: list[str] = []
    own: list[Column] = []
    internal: list[tuple[str, Column]] = []
    for column in columns:
        name = quoted(column.name)
        if column.spec is None:
            floor.values.append(name)
            outputs.append(f"{written(name, column.type, trimmed=trimmed, made=column.made)} AS {name}")
            kind, read_as = kind_of(column.type), zone_of(column.type)
            own.append(Column(column.name, kind, read_as, computed=column.computed, refused=column.refused))
            continue
        cast = cast_of(name, column.spec, read_by_sql=column.name in by_sql)
        raw, text, flag = RAW + column.name, TEXT + column.name, UTC_FLAG + column.name
        instants = cast.kind is Kind.TIMESTAMP and column.name in by_sql and instants_in_sql(column.spec, zone)
        kept = name if not instants and cast.in_sql == cast.value else quoted(text)
        floor.values.append(f"{name} AS {quoted(raw)}")
        if kept != name:
            floor.values.append(f"{cast.value} AS {kept}")
        if instants:
            floor.instants[name] = partial(seen_by_sql, quoted(text), column.spec, zone, utc_flag=quoted(flag))
        else:
            floor.values.append(f"{cast.in_sql} AS {name}")
        outputs.append(f"{kept} AS {name}")
        own.append(Column(column.name, cast.kind, cast.zone, raw=raw, utc_flag=flag if cast.utc_flag else None))
        internal.append((f"{beside(quoted(raw), kept, cast.kind)} AS {quoted(raw)}", Column(raw, Kind.TEXT)))
        if cast.utc_flag:
            floor.values.append(f"{cast.utc_flag} AS {quoted(flag)}")
            internal.append((quoted(flag), Column(flag, Kind.BOOLEAN)))
        floor.bad[column.name] = f"({quoted(raw)} IS NOT NULL AND {name} IS NULL)"
    outputs += [sql for sql, _ in internal]
    return floor, outputs, [*own, *(column for _, column in internal)]


def _add_times(job: Job, columns: Sequence[SqlColumn], outputs: list[str], described: list[Column]) -> None:
    """Times that calls read from text columns."""
    texts = {column.name for column in columns if column.spec is None and kind_of(column.type) is Kind.TEXT}
    for (source, pattern), name in job.time_columns().items():
        if source not in texts:
            continue
        cast = cast_of(quoted(source), ColumnSpec(type="timestamp", format=pattern), read_by_sql=False)
        outputs.append(f"{cast.value} AS {quoted(name)}")
        flag = f"{UTC_FLAG}{name}" if cast.utc_flag else None
        described.append(Column(name, Kind.TIMESTAMP, cast.zone, raw=source, utc_flag=flag))
        if flag:
            outputs.append(f"{cast.utc_flag} AS {quoted(flag)}")
            described.append(Column(flag, Kind.BOOLEAN, Zone.UTC))
