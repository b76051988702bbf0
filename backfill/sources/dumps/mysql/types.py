"""The columns of a CREATE TABLE statement, and what each of MySQL's and MariaDB's types becomes in a snapshot.

Rules
1) A type whose every value Arrow holds as it is printed is read as that: integers, DECIMAL of up to 38 digits, DOUBLE.
2) Dates and times may hold what no calendar has (0000-00-00), JSON what is none, so these are text to be cast: what
   does not fit is a bad value of its row, not an unreadable row. TIME goes from -838:59:59 to 838:59:59 and stays text.
3) BIT is an integer, BINARY, BLOB and geometry are bytes; ENUM, SET and all else is text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pyarrow as pa  # type: ignore[import-untyped]

from backfill.errors import JobError
from backfill.job.models import ColumnSpec, Job
from backfill.sources.columns import SourceColumn

_QUOTED = r"'(?:[^'\\]|''|\\.)*'"
_NAME = r'`(?:[^`]|``)+`|"(?:[^"]|"")+"'
_TOKEN = re.compile(rf"{_QUOTED}|{_NAME}|/\*M?!\d*|\*/|--[ \t][^\n]*|[\w$.\x80-\U0010ffff]+|[(),]|\S", re.DOTALL)
_KEYS = frozenset(
    ("PRIMARY", "UNIQUE", "KEY", "INDEX", "FULLTEXT", "SPATIAL", "CONSTRAINT", "FOREIGN", "CHECK", "PERIOD")
)
_HIDDEN = re.compile(r"/\*|\*/|--")

_INTEGERS = (
    "tinyint",
    "smallint",
    "mediumint",
    "int",
    "integer",
    "bigint",
    "year",
    "int1",
    "int2",
    "int3",
    "int4",
    "int8",
)
_BYTES = (
    "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "geometry", "point", "linestring", "polygon",
    "multipoint", "multilinestring", "multipolygon", "geometrycollection", "geomcollection", "vector",
)  # fmt: skip
_LARGEST_PRECISION = 38
_DIGITS = 10  # of DECIMAL without a precision


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column as the table was created with it."""

    name: str
    type: str  # in lower case, without what follows in parentheses
    arguments: tuple[str, ...] = ()
    unsigned: bool = False
    generated: bool = False
    is_json: bool = False  # MariaDB's JSON: text with a check

    def __str__(self) -> str:
        return f"{self.type.upper()}({', '.join(self.arguments)})" if self.arguments else self.type.upper()


def table_columns(statement: str) -> tuple[TableColumn, ...]:
    """The columns of a CREATE TABLE statement; none of one that lists no columns."""
    tokens = [token for token in _TOKEN.findall(statement) if not _HIDDEN.match(token)]
    if "(" not in tokens:
        return ()
    found, item, depth = list[TableColumn](), list[str](), 0
    for part in tokens[tokens.index("(") :]:
        depth += (part == "(") - (part == ")")
        if depth == 0 or (depth == 1 and part == ","):
            column = _column(item)
            found += [column] if column else []
            item = []
            if depth == 0:
                break
        elif item or depth > 1 or part != "(":
            item.append(part)
    return tuple(found)


def _column(item: list[str]) -> TableColumn | None:
    """One item of the list, if it is a column."""
    if len(item) < len(("name", "type")) or item[0].upper() in _KEYS:
        return None
    name = item[0]
    if name[0] in '`"':
        name = name[1:-1].replace(name[0] * 2, name[0])
    words = [word.upper() for word in item]
    arguments = tuple(item[3 : words.index(")")]) if item[2:3] == ["("] and ")" in words else ()
    generated = any(words[place : place + 2] == ["AS", "("] for place in range(2, len(words)))
    return TableColumn(
        name,
        item[1].lower(),
        tuple(one for one in arguments if one != ","),
        unsigned="UNSIGNED" in words or "ZEROFILL" in words,
        generated=generated,
        is_json=item[1].lower() == "json" or any(word == "JSON_VALID" for word in words),
    )


@dataclass(frozen=True, slots=True)
class Reading:
    """How a column's values are read: `column` as the snapshot's, `parsed` the type that the text is parsed as."""

    column: SourceColumn
    parsed: pa.DataType
    is_bit: bool = False
    suffix: str = ""  # behind every value


def reading(job: Job, column: TableColumn, *, is_utc: bool) -> Reading:
    """How the job reads a column; `is_utc` says that values of TIMESTAMP are UTC.

    Raises:
        JobError: it is declared as what it cannot be.
    """
    declared = job.source.columns.get(column.name)
    is_instant = column.type == "timestamp" and is_utc
    if declared is not None and not (is_instant and declared.type == "timestamp"):
        if column.type in _BYTES or column.type == "bit":
            raise JobError(
                f"source.columns.{column.name}: the dump says that it is {column}, so it cannot be declared",
                hint="leave it out of `columns`" + ("" if column.type == "bit" else ", and cast it in SQL: hex(...)"),
            )
        spec = None if declared.type == "text" else declared
        return Reading(SourceColumn(column.name, pa.string(), spec), pa.string())
    if declared is not None and declared.model_fields_set > {"type"}:
        raise JobError(
            f"source.columns.{column.name}: the dump says that it is {column} in UTC",
            hint="leave its format and time zone out",
        )
    return _by_type(column, is_instant=is_instant)


def _by_type(column: TableColumn, *, is_instant: bool) -> Reading:
    spec, kind = _spec(column, is_instant=is_instant), _arrow_type(column)
    if column.type == "bit":
        return Reading(SourceColumn(column.name, pa.uint64()), pa.binary(), is_bit=True)
    kind = pa.string() if spec is not None else kind
    return Reading(SourceColumn(column.name, kind, spec), kind, suffix="+00:00" if is_instant else "")


def _spec(column: TableColumn, *, is_instant: bool) -> ColumnSpec | None:
    """The type that text of the column is to be cast to."""
    if column.is_json:
        return ColumnSpec(type="json")
    if column.type == "date":
        return ColumnSpec(type="date")
    if column.type in ("datetime", "timestamp"):
        fraction = ".%f" if column.arguments and column.arguments[0] != "0" else ""
        return ColumnSpec(type="timestamp", format=f"%Y-%m-%d %H:%M:%S{fraction}{'%z' if is_instant else ''}")
    if column.type in _DECIMALS and _precision(column)[0] > _LARGEST_PRECISION:
        return ColumnSpec(type="decimal")
    return None


_DECIMALS = ("decimal", "numeric", "dec", "fixed")


def _precision(column: TableColumn) -> tuple[int, int]:
    """Digits, and of these those behind the point."""
    numbers = [int(one) for one in column.arguments]
    return (numbers[0] if numbers else _DIGITS, numbers[1] if len(numbers) > 1 else 0)


def _arrow_type(column: TableColumn) -> pa.DataType:
    if column.type in _INTEGERS:
        return pa.uint64() if column.unsigned and column.type in ("bigint", "int8") else pa.int64()
    if column.type in _DECIMALS:
        digits, behind = _precision(column)
        return pa.decimal128(min(digits, _LARGEST_PRECISION), min(behind, _LARGEST_PRECISION))
    if column.type in ("float", "double", "real"):
        return pa.float64()
    return pa.binary() if column.type in _BYTES else pa.string()
