"""Whole objects that come as JSON text: overriding members, counting them. DuckDB's JSON functions do the work.

polars would need to know the objects' fields beforehand; DuckDB's `json_merge_patch` (RFC 7396) keeps every key it is
not told of. The one place in `mapping` that runs DuckDB, frame by frame: in memory, without access to anything else, so
that the functions are pure all the same.

DuckDB prints a number anew (1.10 as 1.1, digits beyond a double's lost), all but short integers. So the numbers of
objects that hold such a one are made strings that begin with a mark before, and are unmarked after. The mark is U+0001
as often as the objects have it and once more, so that nothing of their own is taken for it.
"""

from __future__ import annotations

from typing import Final

import polars as pl

#: Numbers that may be printed anew: a point, an exponent, minus zero, over 15 digits. What else looks so is no matter.
_FRAGILE: Final = "[0-9][.eE]|-0|[0-9]{16}"
_STRING_OR_NUMBER: Final = r'("(?:[^"\\]|\\.)*")|(-?[0-9][0-9.eE+-]*)'
#: JSON has no other way to write U+0001.
_SIGN: Final = r"\u0001"

#: An object of more than 300 members has at least this many bytes: `"a":1,` and so on.
_SMALLEST_LARGE_OBJECT: Final = 1_800


def merged(objects: pl.Expr, overrides: pl.Expr) -> pl.Expr:
    """JSON objects with the members of other JSON objects put over theirs, at every depth."""
    both = "a || ' ' || b"
    signs = f"1 + (len({both}) - len(replace({both}, '{_SIGN}', ''))) // {len(_SIGN)}"
    mark = f"CASE WHEN regexp_matches({both}, '{_FRAGILE}') THEN '\"' || repeat('{_SIGN}', {signs}) END AS mark"
    patched = f"json_merge_patch(CAST({_marked('a')} AS JSON), CAST({_marked('b')} AS JSON))"
    query = (
        f"SELECT {_unmarked('r')} AS r FROM "  # noqa: S608
        f"(SELECT mark, CAST({patched} AS VARCHAR) AS r FROM (SELECT a, b, {mark} FROM frame))"
    )
    return _through_duckdb(pl.struct(a=objects, b=overrides), query, pl.String)


def _marked(text: str) -> str:
    """SQL: JSON text with its numbers as marked strings where there is a mark."""
    apart = rf"regexp_replace({text}, '{_STRING_OR_NUMBER}', E'\\1\x01\\2\x02', 'g')"
    marked = rf"""replace(replace(replace({apart}, E'\x01\x02', ''), E'\x01', mark), E'\x02', '"')"""
    return f"CASE WHEN mark IS NULL THEN {text} ELSE {marked} END"


def _unmarked(text: str) -> str:
    """SQL: JSON text with its marked numbers as they were."""
    numbers = rf"""regexp_replace(replace({text}, mark, E'\x01'), E'\x01([^"]*)"', '\1', 'g')"""
    return f"CASE WHEN mark IS NULL THEN {text} ELSE {numbers} END"


def has_object(objects: pl.Expr, path: tuple[str, ...]) -> pl.Expr:
    """Whether JSON objects have another one at that path."""
    pointer = "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in path).replace("'", "''")
    query = f"SELECT coalesce(json_type(CAST(a AS JSON), '{pointer}') = 'OBJECT', false) AS r FROM frame"  # noqa: S608
    return _through_duckdb(pl.struct(a=objects), query, pl.Boolean)


def member_count(objects: pl.Expr) -> pl.Expr:
    """How many members JSON objects have at the top; null where an object is too short to have more than 300."""
    long = pl.when(objects.str.len_bytes() >= _SMALLEST_LARGE_OBJECT).then(objects)
    query = "SELECT CAST(len(json_keys(CAST(a AS JSON))) AS BIGINT) AS r FROM frame"
    return _through_duckdb(pl.struct(a=long), query, pl.Int64)


def _through_duckdb(columns: pl.Expr, query: str, returns: type[pl.DataType]) -> pl.Expr:
    def run(series: pl.Series) -> pl.Series:
        frame = series.struct.unnest()
        if frame["a"].null_count() == len(frame):  # the usual case for counts: nothing to ask for
            return pl.Series(series.name, [None] * len(frame), returns)
        import duckdb  # noqa: PLC0415 (60 ms, and few jobs have such objects)

        with duckdb.connect(config={"threads": 1, "enable_external_access": False}) as connection:
            connection.register("frame", frame.to_arrow(compat_level=pl.CompatLevel.oldest()))
            table = connection.sql(query).to_arrow_table()
        return pl.Series(series.name, pl.from_arrow(table)["r"], returns)  # type: ignore[index]

    return columns.map_batches(run, return_dtype=returns, is_elementwise=True)
