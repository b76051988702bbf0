"""The columns of a CREATE TABLE statement, and how their values are read for a job."""

from __future__ import annotations

import re

import pyarrow as pa  # type: ignore[import-untyped]

from backfill.errors import JobError
from backfill.frozen import frozen
from backfill.job.models import Job
from backfill.sources.columns import SourceColumn
from backfill.sources.mysql_types import BYTES, UTC, TableColumn, arrow_type, is_instant, read_as

_QUOTED = r"'(?:[^'\\]|''|\\.)*'"
_NAME = r'`(?:[^`]|``)+`|"(?:[^"]|"")+"'
_TOKEN = re.compile(rf"{_QUOTED}|{_NAME}|/\*M?!\d*|\*/|--[ \t][^\n]*|[\w$.\x80-\U0010ffff]+|[(),]|\S", re.DOTALL)
_KEYS = frozenset(
    ("PRIMARY", "UNIQUE", "KEY", "INDEX", "FULLTEXT", "SPATIAL", "CONSTRAINT", "FOREIGN", "CHECK", "PERIOD")
)
_HIDDEN = re.compile(r"/\*|\*/|--")


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


@frozen
class Reading:
    """How a column's values are read: `column` as the snapshot's, `parsed` the type that the text is parsed as."""

    column: SourceColumn
    parsed: pa.DataType
    is_bit: bool = False
    suffix: str = ""  # behind every value

    def __str__(self) -> str:
        return str(self.column.type) if self.column.spec is None else self.column.spec.type


def reading(job: Job, column: TableColumn, *, is_utc: bool) -> Reading:
    """How the job reads a column; `is_utc` says that values of TIMESTAMP are UTC.

    Raises:
        JobError: it is declared as what it cannot be.
    """
    declared = job.source.columns.get(column.name)
    instants = is_utc and is_instant(column, declared)
    if declared is None or instants:
        return _by_type(column, instants=instants)
    if column.type in BYTES or column.type == "bit":
        raise JobError(
            f"source.columns.{column.name}: the dump says that it is {column}, so it cannot be declared",
            hint="leave it out of `columns`" + ("" if column.type == "bit" else ", and cast it in SQL: hex(...)"),
        )
    return Reading(SourceColumn(column.name, pa.string(), None if declared.type == "text" else declared), pa.string())


def _by_type(column: TableColumn, *, instants: bool) -> Reading:
    spec, kind = read_as(column, is_instant=instants), arrow_type(column)
    if column.type == "bit":
        return Reading(SourceColumn(column.name, pa.uint64()), pa.binary(), is_bit=True)
    kind = pa.string() if spec is not None else kind
    return Reading(SourceColumn(column.name, kind, spec), kind, suffix=UTC if instants else "")
