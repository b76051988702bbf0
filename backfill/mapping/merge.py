"""Whole objects that come as JSON text: overriding members, counting them. DuckDB's JSON functions do the work.

polars would need to know the objects' fields beforehand; DuckDB's `json_merge_patch` (RFC 7396) keeps every key it is
not told of, and integers of any length. The functions are pure: an own in-memory database without access to anything.
"""

from __future__ import annotations

from typing import Final

import polars as pl

#: An object of more than 300 members has at least this many bytes: `"a":1,` and so on.
_SMALLEST_LARGE_OBJECT: Final = 1_800


def merged(objects: pl.Expr, overrides: pl.Expr) -> pl.Expr:
    """JSON objects with the members of other JSON objects put over theirs, at every depth."""
    query = "SELECT CAST(json_merge_patch(CAST(a AS JSON), CAST(b AS JSON)) AS VARCHAR) AS r FROM frame"
    return _through_duckdb(pl.struct(a=objects, b=overrides), query, pl.String)


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
