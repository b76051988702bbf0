"""Whole JSON objects of a frame taken apart, column-wise, by DuckDB: keys, the types of their values, the values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from backfill.arrays import series

if TYPE_CHECKING:
    import duckdb

#: DuckDB's name of a type in its place here; any other is a number's.
TYPES: Final = ("string", "object", "array", "boolean", "null", "number")
_DUCKDB_TYPES: Final = ("VARCHAR", "OBJECT", "ARRAY", "BOOLEAN", "NULL")
#: The place of what is not there.
ABSENT: Final = len(TYPES)


class JsonObjects:
    """Some JSON objects, of which each belongs to a group."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, texts: pl.Series) -> None:
        self._connection = connection
        self._texts = texts
        self.sizes = texts.str.len_bytes().to_numpy()

    def members(self) -> list[tuple[int, str]]:
        """Each key of an object of each group."""
        query = "SELECT DISTINCT g, unnest(json_keys(j)) FROM frame"
        return [(int(group), str(key)) for group, key in self._connection.sql(query).fetchall()]

    def types(self, keys: Sequence[str]) -> npt.NDArray[np.uint8]:
        """For each object and key the place in TYPES of the value's type, or ABSENT."""
        paths = [pointer(key) for key in keys]
        query = "SELECT json_type(j, $paths) AS t FROM frame"
        table = self._connection.sql(query, params={"paths": paths}).to_arrow_table()
        names = pl.from_arrow(table)["t"].explode()  # type: ignore[index]
        known = pl.Series([*_DUCKDB_TYPES, None], dtype=pl.String)
        places = [TYPES.index(kind) for kind in ("string", "object", "array", "boolean", "null")]
        found = names.replace_strict(
            known, pl.Series([*places, ABSENT], dtype=pl.UInt8), default=TYPES.index("number"), return_dtype=pl.UInt8
        )
        return found.to_numpy().reshape(-1, len(keys))

    def values(self, key: str, places: npt.NDArray[np.intp]) -> pl.Series:
        """The JSON text of a key's values in the objects at these places, in their order."""
        query = "SELECT CAST(json_extract(j, $path) AS VARCHAR) AS v FROM part"
        some = self._texts.gather(series(places)).alias("j").to_frame()
        self._connection.register("part", some.to_arrow(compat_level=pl.CompatLevel.oldest()))
        table = self._connection.sql(query, params={"path": pointer(key)}).to_arrow_table()
        return pl.from_arrow(table)["v"]  # type: ignore[index]


def pointer(key: str) -> str:
    """The JSON pointer to a member (RFC 6901)."""
    return "/" + key.replace("~", "~0").replace("/", "~1")


@contextmanager
def json_objects(texts: pl.Series, groups: npt.NDArray[np.uint32]) -> Iterator[JsonObjects]:
    """Those texts of objects, for as long as the context lasts."""
    import duckdb  # noqa: PLC0415 (60 ms, and few jobs have such objects)

    frame = pl.DataFrame({"g": groups, "j": texts}).to_arrow(compat_level=pl.CompatLevel.oldest())
    with duckdb.connect(config={"threads": 1, "enable_external_access": False}) as connection:
        connection.register("frame", frame)
        yield JsonObjects(connection, texts)
