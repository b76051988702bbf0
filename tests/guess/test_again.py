"""Guessing again over an edited job file keeps every edit, and adds what is new."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from backfill.errors import JobError
from backfill.guess import Asked, added, guess
from backfill.job import load_job
from tests.support.projects import backfill

HEADER, ROW = "order_id,customer_id,status,ordered_at", "{0},c{0},paid,2024-01-0{0}T00:00:00Z"


def export(path: Path, header: str = HEADER, row: str = ROW) -> None:
    """Write five rows."""
    path.write_text("\n".join([header, *(row.format(number) for number in range(1, 6)), ""]), "utf-8")


def test_edits_stay_and_columns_are_added(tmp_path: Path) -> None:
    """Values, comments and what was taken out stay; new columns are declared and sent."""
    data, job = tmp_path / "orders.csv", tmp_path / "orders.yaml"
    export(data)
    asked = Asked(data=(str(data),))
    text = guess(asked, job, "orders.csv").text
    edited = text.replace("{value: CHOOSE}", "{value: Order Completed}  # ours").replace("      status: status\n", "")
    job.write_text(edited, "utf-8")
    assert added(guess(asked, job, "orders.csv"), job) == (edited, [])
    export(data, f"{HEADER},gift,id", ROW + ",true,x{0}")
    after, new = added(guess(asked, job, "orders.csv"), job)
    assert new == ["gift", "id"]
    kept = [line for line in after.splitlines() if "gift" not in line and not line.strip().startswith("id:")]
    assert [line.strip() for line in kept if line] == [line.strip() for line in edited.splitlines() if line]
    job.write_text(after, "utf-8")
    loaded = load_job(job)
    assert loaded.source.columns["gift"].type == "boolean"
    assert loaded.calls[0].properties is not None
    assert [path for path, _ in loaded.calls[0].properties.members] == [("order_id",), ("gift",), ("id",)]


def test_ends_of_lines_stay(tmp_path: Path) -> None:
    """CRLF, as some editors write it, in old lines and in new ones."""
    data, job = tmp_path / "orders.csv", tmp_path / "orders.yaml"
    export(data)
    assert backfill("guess", data, "-o", job).code == 0
    job.write_bytes(job.read_bytes().replace(b"\n", b"\r\n"))
    before = job.read_bytes().splitlines(keepends=True)
    export(data, f"{HEADER},gift", ROW + ",true")
    assert backfill("guess", data, "-o", job).code == 0
    after = job.read_bytes().splitlines(keepends=True)
    assert set(before) <= set(after)
    assert len(after) == len(before) + 2
    assert all(line.endswith(b"\r\n") for line in after)


def test_what_is_no_job_is_refused(tmp_path: Path) -> None:
    """A file of another kind is not added to."""
    data, other = tmp_path / "orders.csv", tmp_path / "other.yaml"
    export(data)
    other.write_text("targets: {}\n", "utf-8")
    found = guess(Asked(data=(str(data),)), other, "orders.csv")
    with pytest.raises(JobError, match="no job file"):
        added(found, other)
    assert other.read_text("utf-8") == "targets: {}\n"


def test_columns_of_the_source_s_own_types_are_listed(tmp_path: Path) -> None:
    """What the source types is listed in a comment, by which a column is known the next time."""
    data, job = tmp_path / "orders.parquet", tmp_path / "orders.yaml"
    frame = pl.DataFrame({"order_id": [1, 2], "user_id": ["a", "b"], "note": ["x", "y"]})
    frame.write_parquet(data)
    asked = Asked(data=(str(data),))
    text = guess(asked, job, "orders").text.replace("      note: note\n", "")
    job.write_text(text, "utf-8")
    assert added(guess(asked, job, "orders"), job) == (text, [])
    frame.with_columns(gift=pl.lit(value=True)).write_parquet(data)
    after, new = added(guess(asked, job, "orders"), job)
    assert new == ["gift"]
    assert "\n  #   gift: boolean - new: 100%, 1 different: true\n" in after
    assert "      gift: gift\n" in after
    assert "note: note" not in after
