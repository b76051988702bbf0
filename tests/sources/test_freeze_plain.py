"""Rows that are frozen without DuckDB are what DuckDB would have made of them."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from backfill.memory import ROW_GROUP_ROWS
from backfill.records import Kind
from tests.support.sourcing import Staged, job_over, staged

COLUMNS = {
    "integer": "integer", "decimal": "decimal", "number": "number", "boolean": "boolean", "date": "date",
    "timestamp": "timestamp", "json": "json",
}  # fmt: skip
#: Rows of texts that are sure, then some of which are not.
SURE = '7,1.50,2.5,t,2024-02-29,2024-01-31 12:30:15-05,"{""a"": 1}",x\n-20,0,1e3,f,,2024-01-31 12:30:15+00,[],\n'
ODD = "007,+1.5,NaN,yes,2024-02-30,2024-01-31 12:30,nan,x\n+3,.5,0x1,1,2024-02-01,2024-01-31 12:30:15Z,3,y\n"
_BEFORE = ",".join([*COLUMNS, "plain"]) + "\n"


def both(tmp_path: Path, text: str) -> tuple[Staged, Staged]:
    """The rows without and with an SQL that keeps all."""
    path = tmp_path / "rows.csv"
    path.write_text(_BEFORE + text)
    return tuple(
        staged(job_over(path, columns=COLUMNS, where=where), tmp_path / f"state-{where}") for where in (None, "true")
    )  # type: ignore[return-value]


def as_read(result: Staged) -> pl.DataFrame:
    """The columns, and the text of each that was cast, which is the value's where there is none."""
    cast = [column for column in result.snapshot.columns if column.raw]
    texts = [
        pl.coalesce(pl.col(column.raw or ""), pl.col(column.name).cast(pl.String)).alias(f"text of {column.name}")
        for column in cast
    ]
    return result.frame.select(*COLUMNS, "plain", *texts, "__bf_utc:timestamp", "__bf_record")


def test_the_same_as_by_sql(tmp_path: Path) -> None:
    """Values, texts, flags and kinds, whether Arrow is sure of all or DuckDB is asked."""
    for number, text in enumerate((SURE, ODD, SURE + ODD)):
        folder = tmp_path / str(number)
        folder.mkdir()
        plain, by_sql = both(folder, text)
        assert as_read(plain).equals(as_read(by_sql)), text
        own = [
            [column for column in one.snapshot.columns if column.kind is not Kind.BOOLEAN] for one in (plain, by_sql)
        ]
        assert own[0] == own[1]


def test_no_text_beside_what_prints_as_it(tmp_path: Path) -> None:
    """Of whole numbers, decimals, days and JSON."""
    plain = both(tmp_path, SURE)[0]
    for name in ("integer", "decimal", "date", "json"):
        assert plain.column(f"__bf_raw:{name}") == [None, None], name
    assert plain.column("__bf_raw:boolean") == ["t", "f"]


def test_row_groups(tmp_path: Path) -> None:
    """They hold as many rows as those that DuckDB writes."""
    rows = 2 * ROW_GROUP_ROWS + 5
    plain, by_sql = both(tmp_path, "".join(f"{n},1.5,,,,,,x\n" for n in range(rows)))
    for result in (plain, by_sql):
        footer = pq.ParquetFile(result.snapshot.parts[0].path).metadata
        assert [footer.row_group(at).num_rows for at in range(footer.num_row_groups)] == [
            ROW_GROUP_ROWS, ROW_GROUP_ROWS, 5,
        ]  # fmt: skip
