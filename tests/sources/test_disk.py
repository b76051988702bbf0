"""A disk that takes no more of what staging writes by pyarrow: told as a full disk, whatever was being written."""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backfill.errors import StoppedError
from backfill.records import SourceFile
from backfill.sources import freeze_wide
from backfill.sources.reader import Unreadable
from backfill.sources.staging import HELD_RECORDS, UnreadableFile
from tests.support.no_room import no_file_above
from tests.support.sourcing import job_over, staged

FULL = "no space left for"
LIMITED = "File too large"


def fill(path: Path, records: int) -> None:
    """Write so many unreadable records."""
    with UnreadableFile(path, [SourceFile("a.csv", "a.csv", "a.csv", 1, "", 0, 0, 0)]) as unreadable:
        for number in range(records):
            unreadable.add(Unreadable(0, number, "BF002", "wrong", secrets.token_hex(100)))


@pytest.mark.parametrize("records", [1, HELD_RECORDS + 1], ids=["at the end", "on the way"])
@pytest.mark.parametrize("size", [0, 100])
def test_unreadable_records(tmp_path: Path, records: int, size: int) -> None:
    """A file that may not grow, whenever that is found out."""
    with no_file_above(size), pytest.raises(StoppedError, match=LIMITED):
        fill(tmp_path / "unreadable.parquet", records)


def full(*_: Any, **__: Any) -> None:
    """What pyarrow raises where the disk is full."""
    raise OSError(errno.ENOSPC, f"[Errno {errno.ENOSPC}] Error writing bytes to file. {os.strerror(errno.ENOSPC)}")


@pytest.mark.parametrize("at", ["write_table", "write_batch", "close"])
def test_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """The parts of sources of many columns, and the lists of unreadable records."""
    monkeypatch.setattr(freeze_wide, "WIDE_COLUMNS", 1)
    monkeypatch.setattr("backfill.sources.freeze.WIDE_COLUMNS", 1)
    (tmp_path / "a.csv").write_text("a,b\n1,2\n1,2,3\n")
    monkeypatch.setattr(pq.ParquetWriter, at, full)
    with pytest.raises(StoppedError, match=FULL):
        staged(job_over(tmp_path / "a.csv"), tmp_path / "snapshot")


@pytest.mark.parametrize("rows", [1, 60_000])
def test_parts_of_many_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """A part that may not grow, whether at its end or before."""
    monkeypatch.setattr(freeze_wide, "WIDE_COLUMNS", 1)
    monkeypatch.setattr("backfill.sources.freeze.WIDE_COLUMNS", 1)
    pq.write_table(
        pa.table({"a": range(rows), "b": [secrets.token_hex(9) for _ in range(rows)]}), tmp_path / "a.parquet"
    )
    with no_file_above(10), pytest.raises(StoppedError, match=LIMITED):
        staged(job_over(tmp_path / "a.parquet", where="true"), tmp_path / "snapshot")
