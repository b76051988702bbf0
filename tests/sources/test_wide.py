"""Sources of very many columns: frozen some columns at a time, with the same result as all at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from backfill.job.models import ColumnSpec, TimestampSpec
from backfill.sources import freeze, freeze_wide
from tests.support.sourcing import job_over, staged

COLUMNS: dict[str, Any] = {
    "n": "integer",
    "d": "decimal",
    "t": ColumnSpec(type="timestamp", format="iso8601"),
    "u": ColumnSpec(type="timestamp", format="iso8601", timezone="Europe/Berlin"),
    "b": "boolean",
}
ROWS = [
    {
        "id": f"{number:03}",
        "n": str(number) if number % 7 else "x",
        "d": f"{number}.50",
        "t": "2024-01-01T00:00:00Z",
        "u": "2024-01-01 00:00:00" + "Z" * (number % 2),
        "b": "true",
        "at": "2024-01-01 00:00:00",
        "text": "x" * number,
    }
    for number in range(1, 60)
]


def write(path: Path) -> None:
    """The rows, as CSV or NDJSON by the suffix."""
    if path.suffix == ".csv":
        lines = [",".join(ROWS[0]), *(",".join(row.values()) for row in ROWS)]
        path.write_text("\n".join([*lines, "1,2"]), encoding="utf-8")
    else:
        lines = [json.dumps(row | {"o": {"k": number}}) for number, row in enumerate(ROWS)]
        path.write_text("\n".join([*lines, "{"]), encoding="utf-8")


@pytest.mark.parametrize("where", [None, "n > 20", "false"])
@pytest.mark.parametrize("name", ["rows.csv", "rows.ndjson"])
def test_same_as_all_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, where: str | None) -> None:
    """Rows, columns and counts do not depend on how many columns are seen at a time."""
    write(tmp_path / name)
    job = job_over(
        tmp_path / name,
        columns=COLUMNS,
        where=where,
        sql=("n + 1", "d * 2", "hour(u)", "CAST(text AS INTEGER)"),
        timestamp=TimestampSpec(column="at", format="iso8601"),
    )
    together = staged(job, tmp_path / "together")
    monkeypatch.setattr(freeze, "WIDE_COLUMNS", 1)
    monkeypatch.setattr(freeze_wide, "WIDE_COLUMNS", 2)
    monkeypatch.setattr(freeze_wide, "_CELLS", 50)
    apart = staged(job, tmp_path / "apart")
    assert_frame_equal(apart.frame, together.frame, check_column_order=False)
    assert apart.snapshot.columns == together.snapshot.columns
    assert (apart.snapshot.read, apart.snapshot.filtered, apart.snapshot.unreadable) == (
        together.snapshot.read,
        together.snapshot.filtered,
        together.snapshot.unreadable,
    )


def test_sql_that_reads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Expressions of constants alone are computed for every row."""
    write(tmp_path / "rows.csv")
    monkeypatch.setattr(freeze, "WIDE_COLUMNS", 1)
    monkeypatch.setattr(freeze_wide, "WIDE_COLUMNS", 2)
    rows = staged(job_over(tmp_path / "rows.csv", where="true", sql=("1 + 1",)), tmp_path / "snapshot")
    assert rows.column("__bf_sql_0") == [2] * len(ROWS)
    assert rows.column("id") == [row["id"] for row in ROWS]


def test_thousands_of_columns(tmp_path: Path) -> None:
    """Two thousand columns, in the memory that the program gives."""
    names = [f"c{number}" for number in range(2_000)]
    line = ",".join(names)
    (tmp_path / "rows.csv").write_text(f"{line}\n" + f"{line}\n" * 300, encoding="utf-8")
    job = job_over(tmp_path / "rows.csv", where="c1 = 'c1'", sql=("c7 || c9",))
    result = staged(job, tmp_path / "state", memory_bytes=400 * 2**20)
    assert result.frame.select(names).equals(pl.DataFrame({name: [name] * 300 for name in names}))
    assert result.column("__bf_sql_0") == ["c7c9"] * 300
    assert result.records == list(range(1, 301))
