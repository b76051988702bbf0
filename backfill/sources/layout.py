"""From a source's columns to the snapshot's: declared types cast, `where` applied, expressions and times computed.

The SQL has three floors, each a projection of the one below, so that DuckDB does all in one pass:
    1. the source's columns; declared ones cast, their text beside them; local times that SQL reads made instants
    2. whether `where` keeps the row, and whether it could be asked at all
    3. the expressions, and times parsed for the calls; both only of rows that are kept and whose columns are good
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from duckdb.sqltypes import DuckDBPyType

from backfill.errors import JobError
from backfill.job.models import ColumnSpec, Job
from backfill.records import FILE_COLUMN, INTERNAL_PREFIX, RECORD_COLUMN, Column, Kind, Zone
from backfill.sources.casts import cast_of, seen_by_sql
from backfill.sources.engine import Engine, literal, quoted
from backfill.sources.sqltext import check_expression
from backfill.sources.storage import kind_of, stored, zone_of
from backfill.sources.syntax import enclosed

RAW = "__bf_raw:"
TEXT = "__bf_text:"  # the value as the snapshot has it, where SQL sees another
UTC_FLAG = "__bf_utc:"
KEEP = "__bf_keep"
WHERE_BAD = "__bf_where_bad"


@dataclass(frozen=True, slots=True)
class SourceColumn:
    """One column as the source gives it; `spec` is its declared type, for text that is to be cast."""

    name: str
    type: DuckDBPyType
    spec: ColumnSpec | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """What to write for each row: `select` gives the SQL, `columns` says what comes out."""

    columns: tuple[Column, ...]
    floor: _Floor
    keep: str | None  # SQL of `where` over floor 1; None: every row
    where_bad: str | None
    outputs: tuple[str, ...]  # select list of floor 3

    def select(self, relation: str, *, filtered: bool, extra: Sequence[str] = ()) -> str:
        """SQL that gives the snapshot's columns of a relation, and the relation's `extra` ones as they are.

        With `filtered` rows that `where` does not keep are left out, else the column KEEP says so.
        """
        flags = [f"{self.keep or 'true'} AS {KEEP}", f"{self.where_bad or 'false'} AS {WHERE_BAD}"]
        outputs = [*self.outputs, *extra, *([] if filtered or self.keep is None else [KEEP])]
        tail = f" WHERE {KEEP}" if filtered and self.keep is not None else ""
        return (
            f"SELECT {', '.join(outputs)} FROM (SELECT *, {', '.join(flags)} FROM "
            f"{self.floor.over(relation, extra)} AS source) AS source{tail}"
        )


@dataclass(slots=True)
class _Floor:
    """Floor 1: its select list, and the instants that are made of it."""

    values: list[str] = field(default_factory=list)
    instants: list[str] = field(default_factory=list)
    #: Per cast column the SQL that its value is bad: it does not fit, or is a local time that is no one instant.
    bad: dict[str, str] = field(default_factory=dict)

    def over(self, relation: str, extra: Sequence[str] = ()) -> str:
        """SQL: the floor as a relation."""
        below = f"(SELECT {', '.join([*self.values, *extra])} FROM {relation})"
        return f"(SELECT *, {', '.join(self.instants)} FROM {below})" if self.instants else below


def declared(job: Job, names: Sequence[str]) -> dict[str, ColumnSpec]:
    """The declared columns that are to be cast; some may not be among the names (see refuse_absent).

    Raises:
        JobError: the source's names cannot be used.
    """
    check_names(names)
    return {name: spec for name, spec in job.source.columns.items() if spec.type != "text"}


def refuse_absent(job: Job, names: Sequence[str]) -> None:
    """Raise JobError where a column is declared that the source does not have, or its names cannot be used."""
    check_names(names)
    known = set(names)
    unknown = [name for name in job.source.columns if name not in known]
    if unknown:
        raise JobError(f"source.columns.{unknown[0]}: the source has no such column", hint=f"it has {', '.join(names)}")


def text_columns(engine: Engine, job: Job, names: Sequence[str]) -> tuple[SourceColumn, ...]:
    """Columns of a format that holds text only; raises JobError as `declared` does."""
    specs = declared(job, names)
    text = engine.connection.sql("SELECT ''").types[0]
    return tuple(SourceColumn(name, text, specs.get(name)) for name in names)


def check_names(names: Sequence[str]) -> None:
    """Raise JobError where names are repeated, equal but for case, empty, or backfill's own."""
    seen: dict[str, str] = {}
    for name in names:
        if not name:
            raise JobError("the source has a column without a name", hint="give it one in the source or its query")
        if name.lower() in seen:
            raise JobError(
                f"the source has two columns that SQL cannot tell apart: {seen[name.lower()]!r} and {name!r}",
                hint="rename one of them in the source, or select with another name in its query",
            )
        if name.lower().startswith(INTERNAL_PREFIX):
            raise JobError(f"the source has a column {name!r}: names with {INTERNAL_PREFIX} are backfill's own")
        seen[name.lower()] = name


def lay_out(
    engine: Engine, job: Job, columns: Sequence[SourceColumn], *, in_query: Sequence[str] = (), trimmed: bool = False
) -> Layout:
    """The layout of a job over a source's columns; `in_query` are columns that a query reads besides.

    With `trimmed`, decimals lose closing zeros after the point: the columns are computed of declared decimals, whose
    scale in SQL is not the source's.

    Raises:
        SqlRefusal, duckdb.Error: an expression is wrong (see inspect, which finds out all that is).
    """
    names = [column.name for column in columns]
    reads = {text: check_expression(engine, text, names) for text in sql_texts(job)}
    by_sql = {name for read in reads.values() for name in read} | set(in_query)
    floor, outputs, described = _floor(columns, by_sql, job.source.timezone, trimmed=trimmed)
    bad = floor.bad
    decimals = {column.name for column in columns if column.spec is not None and column.spec.type == "decimal"}
    where_reads = tuple(name for name in reads.get(job.where or "", ()) if name in bad)
    where_bad = " OR ".join(bad[name] for name in where_reads) if where_reads else None
    keep = _keep(job.where, where_bad)
    scope = f"{floor.over(empty_relation(columns))} AS source"
    for text, name in job.expressions().items():
        inner = [bad[read] for read in reads[text] if read in bad]
        guard = " OR ".join([*inner, *([f"NOT {KEEP}"] if keep else [])])
        kind = engine.connection.sql(f"SELECT {enclosed(text)} FROM {scope}").types[0]
        value = written(enclosed(text), kind, trimmed=trimmed or not decimals.isdisjoint(reads[text]))
        outputs.append(f"{f'CASE WHEN {guard} THEN NULL ELSE {value} END' if guard else value} AS {quoted(name)}")
        described.append(Column(name, kind_of(kind), zone_of(kind), reads=reads[text]))
    _add_times(job, columns, outputs, described)
    if where_bad is not None:
        outputs.append(WHERE_BAD)
        described.append(Column(WHERE_BAD, Kind.BOOLEAN, reads=where_reads))
    return Layout(tuple(described), floor, keep, where_bad, tuple(outputs))


def sql_texts(job: Job) -> list[str]:
    """Every expression of the job over source columns, `where` first."""
    return [*([job.where] if job.where else []), *job.expressions()]


def place_columns(*, file: bool) -> tuple[Column, ...]:
    """The columns that say where a row came from."""
    record = Column(RECORD_COLUMN, Kind.INTEGER)
    return (Column(FILE_COLUMN, Kind.INTEGER), record) if file else (record,)


def settled_zones(engine: Engine, parts: Sequence[Path], columns: Sequence[Column]) -> tuple[Column, ...]:
    """The columns, those of MIXED times told apart by what the parts hold: all instants, all wall clocks, or both.

    The statistics in the Parquet footers say it; a column without any value counts as instants.
    """
    flags = [column.utc_flag for column in columns if column.utc_flag is not None]
    if not flags:
        return tuple(columns)
    rows = engine.rows(
        "SELECT path_in_schema, coalesce(bool_and(stats_min_value = 'true'), true), "
        "coalesce(bool_and(stats_max_value = 'false'), true) "
        f"FROM parquet_metadata({literal([str(part) for part in parts])}) "
        f"WHERE path_in_schema IN ({', '.join(literal(flag) for flag in flags)}) GROUP BY path_in_schema"
    )
    zones = {name: Zone.UTC if all_utc else Zone.NAIVE for name, all_utc, all_naive in rows if all_utc or all_naive}
    return tuple(
        replace(column, zone=zones[column.utc_flag], utc_flag=None) if column.utc_flag in zones else column
        for column in columns
    )


def written(value: str, kind: DuckDBPyType, *, trimmed: bool) -> str:
    """SQL: the value as the snapshot keeps it; a decimal without closing zeros after the point if it is trimmed."""
    if trimmed and kind.id == "decimal" and dict(kind.children)["scale"]:
        return f"rtrim(rtrim(CAST({value} AS VARCHAR), '0'), '.')"
    return stored(value, kind)


def _keep(where: str | None, where_bad: str | None) -> str | None:
    """SQL: the row is staged. A row that `where` cannot be asked of is kept, for prepare to reject."""
    if where is None:
        return None
    asked = f"coalesce(CAST({enclosed(where)} AS BOOLEAN), false)"
    return f"CASE WHEN {where_bad} THEN true ELSE {asked} END" if where_bad else asked


def binding_scope(job: Job, columns: Sequence[SourceColumn]) -> str:
    """A relation without rows that expressions bind against as they do when they run."""
    floor = _floor(columns, {column.name for column in columns}, job.source.timezone)[0]
    return f"{floor.over(empty_relation(columns))} AS source"


def empty_relation(columns: Sequence[SourceColumn]) -> str:
    """A relation of those columns without rows, to bind SQL against."""
    values = ", ".join(f"CAST(NULL AS {column.type}) AS {quoted(column.name)}" for column in columns)
    return f"(SELECT {values} WHERE false)"


def _floor(
    columns: Sequence[SourceColumn], by_sql: set[str], zone: str | None, *, trimmed: bool = False
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
            outputs.append(f"{written(name, column.type, trimmed=trimmed)} AS {name}")
            own.append(Column(column.name, kind_of(column.type), zone_of(column.type)))
            continue
        cast = cast_of(name, column.spec, read_by_sql=column.name in by_sql)
        raw, text, flag = RAW + column.name, TEXT + column.name, UTC_FLAG + column.name
        seen = None
        if cast.kind is Kind.TIMESTAMP and column.name in by_sql:
            seen = seen_by_sql(quoted(text), column.spec, zone, utc_flag=quoted(flag))
        kept = name if seen is None and cast.in_sql == cast.value else quoted(text)
        floor.values.append(f"{name} AS {quoted(raw)}")
        if kept != name:
            floor.values.append(f"{cast.value} AS {kept}")
        if seen is None:
            floor.values.append(f"{cast.in_sql} AS {name}")
        else:
            floor.instants.append(f"{seen} AS {name}")
        outputs.append(f"{kept} AS {name}")
        own.append(Column(column.name, cast.kind, cast.zone, raw=raw, utc_flag=flag if cast.utc_flag else None))
        internal.append((quoted(raw), Column(raw, Kind.TEXT)))
        if cast.utc_flag:
            floor.values.append(f"{cast.utc_flag} AS {quoted(flag)}")
            internal.append((quoted(flag), Column(flag, Kind.BOOLEAN)))
        floor.bad[column.name] = f"({quoted(raw)} IS NOT NULL AND {name} IS NULL)"
    outputs += [sql for sql, _ in internal]
    return floor, outputs, [*own, *(column for _, column in internal)]


def _add_times(job: Job, columns: Sequence[SourceColumn], outputs: list[str], described: list[Column]) -> None:
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
