"""What only the rows of a snapshot's part can say of its columns, by the statistics in its footer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from backfill.records import INTERNAL_PREFIX, Column, Kind, Zone
from backfill.sources.casts import strict_json
from backfill.sources.engine import Engine, own_parquet, path_literal, quoted

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
