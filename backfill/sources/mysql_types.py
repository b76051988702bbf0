"""What each of MySQL's and MariaDB's types becomes in a snapshot, in a dump and in a server's answer.

Rules
1) A type whose every value Arrow holds as it is printed is read as that: integers, DECIMAL of up to 38 digits, DOUBLE.
2) Dates and times may hold what no calendar has (0000-00-00), JSON what is none, so these are text to be cast: what
   does not fit is a bad value of its row, not an unreadable row. TIME goes from -838:59:59 to 838:59:59 and stays text.
3) BIT is an integer, BINARY, BLOB and geometry are bytes; ENUM, SET and all else is text.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa  # type: ignore[import-untyped]

from backfill.errors import JobError
from backfill.frozen import frozen
from backfill.job.models import ColumnSpec

_INTEGERS: Final = frozenset(
    ("tinyint", "smallint", "mediumint", "int", "integer", "bigint", "year", "int1", "int2", "int3", "int4", "int8")
)
#: Types that hold bytes.
BYTES: Final = frozenset((
    "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "geometry", "point", "linestring", "polygon",
    "multipoint", "multilinestring", "multipolygon", "geometrycollection", "geomcollection", "vector",
))  # fmt: skip
_DECIMALS: Final = frozenset(("decimal", "numeric", "dec", "fixed"))
_LARGEST_PRECISION: Final = 38
_DIGITS: Final = 10  # of DECIMAL without a precision
#: In place of the digits of a fraction, of which each value has its own number.
VARIES: Final = "varies"
#: Behind the text of an instant.
UTC: Final = "+00:00"


@frozen
class TableColumn:
    """A column as the server says that it is."""

    name: str
    type: str  # in lower case, without what follows in parentheses
    arguments: tuple[str, ...] = ()
    unsigned: bool = False
    generated: bool = False
    is_json: bool = False  # MariaDB's JSON: text with a check

    def __str__(self) -> str:
        return f"{self.type.upper()}({', '.join(self.arguments)})" if self.arguments else self.type.upper()


def read_as(column: TableColumn, *, is_instant: bool) -> ColumnSpec | None:
    """What text of the column is to be cast to; None where it is `arrow_type` already."""
    if column.is_json:
        return ColumnSpec(type="json")
    if column.type == "date":
        return ColumnSpec(type="date")
    if column.type in ("datetime", "timestamp") and column.arguments == (VARIES,):
        return ColumnSpec(type="timestamp")
    if column.type in ("datetime", "timestamp"):
        fraction = ".%f" if column.arguments and column.arguments[0] != "0" else ""
        return ColumnSpec(type="timestamp", format=f"%Y-%m-%d %H:%M:%S{fraction}{'%z' if is_instant else ''}")
    if column.type in _DECIMALS and _precision(column)[0] > _LARGEST_PRECISION:
        return ColumnSpec(type="decimal")
    return None


def _precision(column: TableColumn) -> tuple[int, int]:
    """Digits, and of these those behind the point."""
    numbers = [int(one) for one in column.arguments]
    return (numbers[0] if numbers else _DIGITS, numbers[1] if len(numbers) > 1 else 0)


def arrow_type(column: TableColumn) -> pa.DataType:
    """The type of the column's values as they are printed, BIT's and those that are read as another aside."""
    if column.type in _INTEGERS:
        return pa.uint64() if column.unsigned and column.type in ("bigint", "int8") else pa.int64()
    if column.type in _DECIMALS:
        digits, behind = _precision(column)
        return pa.decimal128(min(digits, _LARGEST_PRECISION), min(behind, _LARGEST_PRECISION))
    if column.type in ("float", "double", "real"):
        return pa.float64()
    return pa.binary() if column.type in BYTES else pa.string()


def is_instant(column: TableColumn, declared: ColumnSpec | None) -> bool:
    """Whether a column whose TIMESTAMP values are UTC is read as instants: not where it is declared as another type.

    Raises:
        JobError: it is declared as a timestamp of some format or zone.
    """
    if column.type != "timestamp" or (declared is not None and declared.type != "timestamp"):
        return False
    if declared is not None and declared.model_fields_set > {"type"}:
        raise JobError(
            f"source.columns.{column.name}: it is {column} in UTC", hint="leave its format and time zone out"
        )
    return True
