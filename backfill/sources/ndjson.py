"""NDJSON: one JSON object a line. Its keys become columns; numbers keep the digits that they are written with.

Rules
1) A line is an object of RFC 8259 without repeated keys, or unreadable. Empty lines are no records.
2) The columns are all keys of all files: those of the first object in its order, then the others in byte order.
3) A column of strings (and nulls) is text, one of booleans is boolean, anything else is JSON text as it stands. A
   declared column is cast from the scalar's text.
4) DuckDB's JSON reader prints a number anew (1.10 as 1.1, digits beyond a double's lost), all but long integers. So
   numbers of lines that hold such a one are made strings that begin with a mark before, and unmarked after. The
   mark is U+0001, as often as the line has it and once more; so nothing of the line's own is taken for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backfill.errors import JobError, SourceError
from backfill.job.models import ColumnSpec, Job
from backfill.records import RECORD_COLUMN
from backfill.sources.casts import JSON_STRING, strict_json
from backfill.sources.checksum import compression_of
from backfill.sources.engine import Engine, literal, quoted
from backfill.sources.layout import SourceColumn, check_names, declared

#: No valid JSON has this character, so a line is one field; one that has it is rejected as bad JSON.
DELIMITER = "\x1f"
MAX_LINE_BYTES = 16 * 2**20
BUFFER_BYTES = 32 * 2**20
MAX_KEYS = 5_000
LINE = "__bf_line"
FAULT = "__bf_fault"
EMPTY = "__bf_empty"
#: Numbers that DuckDB would print anew: a closing zero after the point, an exponent, minus zero, over 16 digits.
FRAGILE = r"[:,\[\s](?:-?[0-9]+\.[0-9]*0[,\]}\s]|-?[0-9]+(?:\.[0-9]+)?[eE]|-0[,\]}\s]|-?[0-9.]{17,})"
_NUMBER_OR_STRING = f"({JSON_STRING})|(-?[0-9][0-9.eE+-]*)"
#: JSON has no other way to write U+0001.
_SIGN = r"\u0001"
_MARK = f"'\"' || repeat('{_SIGN}', CAST(signs AS BIGINT))"
FAULTS = {
    "json": "not valid JSON",
    "object": "no JSON object",
    "keys": "a key stands twice in the object",
}


def lines_clause(path: Path, rejects: str) -> str:
    """The relation of a file's lines, `line` being NULL for an empty one; what cannot be read goes to `rejects`."""
    options: dict[str, str | int | bool] = {
        "auto_detect": False,
        "header": False,
        "delim": DELIMITER,
        "quote": "",
        "escape": "",
        "store_rejects": True,
        "rejects_table": rejects,
        "rejects_scan": f"{rejects}_scan",
        "max_line_size": MAX_LINE_BYTES,
        "buffer_size": BUFFER_BYTES,
        "compression": compression_of(path) or "none",
    }
    written = ", ".join(f"{name} = {literal(value)}" for name, value in options.items())
    return f"read_csv({literal(str(path))}, columns = {{'line': 'VARCHAR'}}, {written})"


def fault_expression(line: str, *, repeated: bool) -> str:
    """SQL: what is wrong with a line that is not empty, a key of FAULTS; NULL where nothing is."""
    keys = f"json_keys({line})"
    twice = f" WHEN list_unique({keys}) <> len({keys}) THEN 'keys'" if repeated else ""
    return (
        f"CASE WHEN NOT {filled(line)} THEN NULL WHEN NOT {strict_json(line)} THEN 'json' "
        f"WHEN json_type({line}) <> 'OBJECT' THEN 'object'{twice} END"
    )


def filled(line: str) -> str:
    """SQL: the line holds more than white space."""
    found = f"coalesce(regexp_matches({line}, '[^ \\t\\r]'), false)"
    return f"(CASE WHEN starts_with({line}, '{{') THEN true ELSE {found} END)"


def object_lines(clause: str) -> str:
    """The relation of the lines that are JSON."""
    return f"(SELECT line FROM {clause} WHERE CASE WHEN {filled('line')} THEN {strict_json('line')} ELSE false END)"


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of a source's objects (see rule 2), and whether an object has one of them twice."""

    names: tuple[str, ...]
    repeated: bool


def collect_keys(engine: Engine, relations: Sequence[str]) -> Keys:
    """All keys of all lines that are JSON.

    Raises:
        JobError: there are so many that they must be data, or some cannot be columns.
    """
    first: list[str] = []
    found: set[str] = set()
    repeated = False
    for relation in relations:
        for (keys,) in engine.run(f"SELECT DISTINCT json_keys(line) FROM {relation}"):
            if len(set(keys)) < len(keys):
                repeated = True
                continue
            found.update(keys)
            if len(found) > MAX_KEYS:
                raise JobError(
                    f"the objects have more than {MAX_KEYS} different keys",
                    hint="keys that are data, such as ids, do not make columns: put them below one key",
                )
        if not first:
            rows = engine.run(f"SELECT json_keys(line) FROM {relation} LIMIT 1")
            first = [key for key in dict.fromkeys(rows[0][0]) if key in found] if rows else []
    names = (*first, *sorted(found - set(first), key=str.encode))
    check_names(names)
    return Keys(names, repeated)


def split_select(clause: str, keys: Sequence[str], *, repeated: bool) -> str:
    """SQL: each line's values as JSON text, one column a key, NULL for null; LINE holds what is at fault, FAULT why.

    Empty lines are rows without anything in them.
    """
    paths = literal(["/" + key.replace("~", "~0").replace("/", "~1") for key in keys])
    values = ", ".join(f"{_unmarked(f'parts[{index}]')} AS {quoted(key)}" for index, key in enumerate(keys, 1))
    good = f"CASE WHEN {FAULT} IS NULL AND filled THEN CASE WHEN signs > 0 THEN {_marked('line')} ELSE line END END"
    signs = (
        f"CASE WHEN NOT regexp_matches(line, {literal(FRAGILE)}) THEN 0 "
        f"WHEN NOT contains(line, '{_SIGN}') THEN 1 "
        f"ELSE 1 + (len(line) - len(replace(line, '{_SIGN}', ''))) // {len(_SIGN)} END"
    )
    return (
        f"SELECT {values + ', ' if keys else ''}CASE WHEN {FAULT} IS NOT NULL THEN line END AS {LINE}, {FAULT}, "
        f"NOT filled AS {EMPTY} FROM (SELECT *, json_extract({good}, {paths}) AS parts FROM (SELECT line, "
        f"{fault_expression('line', repeated=repeated)} AS {FAULT}, {filled('line')} AS filled, {signs} AS signs "
        f"FROM {clause}))"
    )


def _marked(line: str) -> str:
    """SQL: the line with a mark of so many signs before its numbers."""
    return (
        f"replace(replace(replace(regexp_replace({line}, {literal(_NUMBER_OR_STRING)}, E'\\\\1\\x01\\\\2\\x02', 'g'), "
        f"E'\\x01\\x02', ''), E'\\x01', {_MARK}), E'\\x02', '\"')"
    )


def _unmarked(value: str) -> str:
    """SQL: the JSON text with its marked numbers as they were; NULL for null."""
    text = f"CAST({value} AS VARCHAR)"
    numbers = f"regexp_replace(replace({text}, {_MARK}, E'\\x01'), E'\\x01([^\"]*)\"', '\\1', 'g')"
    return f"nullif(CASE WHEN signs > 0 THEN {numbers} ELSE {text} END, 'null')"


def source_columns(engine: Engine, job: Job, keys: Sequence[str], parts: Sequence[str]) -> tuple[SourceColumn, ...]:
    """The columns with their types, by what the parts (relations made by `split_select`) hold.

    Raises:
        JobError: keys that cannot be columns, or declared columns that are none.
        SourceError: there is no key at all.
    """
    if not keys:
        raise SourceError("no record of the source has any key", hint="one JSON object a line is wanted")
    specs = declared(job, keys)
    tests = ", ".join(
        f"coalesce(bool_and({test}), true)"
        for key in map(quoted, keys)
        for test in (f"{key}[1] = '\"'", f"{key} IN ('true', 'false')")
    )
    union = " UNION ALL ".join(f"SELECT * FROM {part}" for part in parts)
    answers = engine.run(f"SELECT {tests} FROM ({union})")[0]
    types = engine.connection.sql("SELECT '', true, CAST('1' AS JSON)").types
    columns = []
    for index, key in enumerate(keys):
        spec, declared_as = specs.get(key), job.source.columns.get(key)
        if declared_as is not None and declared_as.type != "json":
            columns.append(SourceColumn(key, types[0], spec))
        elif declared_as is not None or not (answers[2 * index] or answers[2 * index + 1]):
            columns.append(SourceColumn(key, types[2]))
        else:
            columns.append(SourceColumn(key, types[0] if answers[2 * index] else types[1]))
    return tuple(columns)


def typed_relation(part: str, columns: Sequence[SourceColumn], job: Job, number: str) -> str:
    """The relation of a part's good rows with typed columns and their record numbers."""
    values = [f"{_value(column, job.source.columns.get(column.name))} AS {quoted(column.name)}" for column in columns]
    record = f"CAST({number} AS UBIGINT) AS {RECORD_COLUMN}"
    return f"(SELECT {', '.join([*values, record])} FROM {part} WHERE {FAULT} IS NULL AND NOT {EMPTY})"


def _value(column: SourceColumn, spec: ColumnSpec | None) -> str:
    """SQL: the column's value out of its JSON text."""
    name = quoted(column.name)
    unquoted = f"CASE WHEN contains({name}, '\\') THEN json_extract_string({name}, '$') ELSE {name}[2:-2] END"
    if str(column.type) == "JSON":
        return f"CAST({name} AS JSON)"
    if str(column.type) == "BOOLEAN":
        return f"({name} = 'true')"
    return unquoted if spec is None else f"CASE WHEN {name}[1] = '\"' THEN {unquoted} ELSE {name} END"
