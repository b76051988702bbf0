"""The stream between readers and DuckDB: every row handed is frozen, in order, or the reason is told."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backfill.errors import BackfillError, InterruptedRunError, SourceError
from backfill.records import FILE_COLUMN, RECORD_COLUMN, REJECT_COLUMNS, SourceFile
from backfill.sources import stage
from backfill.sources.columns import SourceColumn
from backfill.sources.freeze import freeze_stream
from backfill.sources.reader import CompleteReader, Unreadable, UnreadableSink
from backfill.sources.sql.engine import Engine, open_engine, parquet_for
from backfill.sources.staging import HELD_RECORDS, Staging, UnreadableFile
from tests.support.sourcing import job_over

FILES = tuple(SourceFile(f"/nowhere/{name}", name, name, 10, "", 0, 0, 0) for name in ("a", "b"))


@dataclass
class Made(CompleteReader):
    """A reader of invented records: every seventh is unreadable."""

    rows: int = 5_000
    batch_rows: int = 512
    error_at: int | None = None
    error: BaseException = field(default_factory=lambda: SourceError("b is truncated"))
    given: int = 0

    @property
    def columns(self) -> tuple[SourceColumn, ...]:
        """Text, and JSON that comes as text."""
        return (SourceColumn("n", pa.string()), SourceColumn("odd * name", pa.json_()))

    def batches(self, unreadable: UnreadableSink) -> Iterator[pa.RecordBatch]:
        """Good records, the others noted."""
        self.given = 0
        for start in range(0, self.rows, self.batch_rows):
            if self.error_at is not None and start >= self.error_at:
                raise self.error
            numbers = range(start + 1, min(start + self.batch_rows, self.rows) + 1)
            for number in numbers:
                if number % 7 == 0:
                    unreadable.add(Unreadable(1, number, "BF002", "wrong", "x" * 5_000, line=number + 1))
            good = [number for number in numbers if number % 7]
            self.given += len(good)
            yield pa.record_batch(
                {
                    "n": pa.array(map(str, good), pa.string()),
                    "odd * name": pa.array([f"[{number}]" for number in good], pa.string()),
                    FILE_COLUMN: pa.array([1] * len(good), pa.uint32()),
                    RECORD_COLUMN: pa.array(good, pa.uint64()),
                }
            )


def staging_of(folder: Path, engine: Engine, sample: int | None = None, **fields: Any) -> Staging:
    """A staging without files behind it."""
    return Staging(job_over("/nowhere/a", **fields), folder, FILES, engine, lambda rows, size: None, sample)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A locked connection."""
    with open_engine(tmp_path) as opened:
        yield opened


def test_every_row_is_frozen_in_order_with_its_place(tmp_path: Path, engine: Engine) -> None:
    """File and record stand beside each row."""
    snapshot = freeze_stream(staging_of(tmp_path, engine), Made())
    frame = pl.read_parquet(snapshot.parts[0].path)
    wanted = [number for number in range(1, 5_001) if number % 7]
    assert frame[RECORD_COLUMN].to_list() == wanted
    assert frame["n"].to_list() == [str(number) for number in wanted]
    assert frame["odd * name"].to_list() == [f"[{number}]" for number in wanted]
    assert set(frame[FILE_COLUMN]) == {1}
    assert (snapshot.read, snapshot.filtered, snapshot.unreadable) == (5_000, 0, 714)
    assert snapshot.rows == len(wanted)


def test_unreadable_records_are_written_shortened_and_in_order(tmp_path: Path, engine: Engine) -> None:
    """More than are held at once."""
    snapshot = freeze_stream(staging_of(tmp_path, engine), Made(rows=7 * HELD_RECORDS + 70))
    assert snapshot.unreadable_file is not None
    frame = pl.read_parquet(snapshot.unreadable_file)
    assert tuple(frame.columns) == REJECT_COLUMNS
    assert frame["record"].to_list() == list(range(7, 7 * HELD_RECORDS + 71, 7))
    assert set(frame["file"]) == {"b"}
    assert set(frame["value"].str.len_chars()) == {80}
    assert set(frame["original"].str.len_chars()) == {2_000}


def test_where_counts_what_it_leaves_out(tmp_path: Path, engine: Engine) -> None:
    """Read is filtered, unreadable and staged."""
    snapshot = freeze_stream(staging_of(tmp_path, engine, where="n = '8'"), Made())
    assert (snapshot.rows, snapshot.filtered, snapshot.unreadable) == (1, 4_285, 714)


def test_a_sample_ends_the_reading(tmp_path: Path, engine: Engine) -> None:
    """No batch is asked for once there are enough rows."""
    reader = Made(rows=100_000)
    snapshot = freeze_stream(staging_of(tmp_path, engine, sample=600), reader)
    assert snapshot.rows == 600
    assert reader.given < 2_000


@pytest.mark.parametrize("error", [SourceError("b is truncated"), InterruptedRunError("stopped"), MemoryError()])
def test_what_a_reader_raises_is_raised(tmp_path: Path, engine: Engine, error: BaseException) -> None:
    """Not DuckDB's words for it."""
    with pytest.raises(type(error)) as caught:
        freeze_stream(staging_of(tmp_path, engine), Made(error_at=3_000, error=error))
    assert caught.value is error


def test_rows_that_an_expression_fails_on_are_kept(tmp_path: Path, engine: Engine) -> None:
    """For preparing to reject: no other row is lost for them, and the job is none the worse."""
    snapshot = freeze_stream(staging_of(tmp_path, engine, where="CAST(n || 'x' AS INTEGER) > 1"), Made())
    assert (snapshot.read, snapshot.filtered) == (5_000, 0)


def test_a_row_that_gets_lost_is_an_error(tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent of a snapshot that lacks rows."""
    monkeypatch.setattr("backfill.sources.freeze_plain.plain", lambda *_: None)  # the way by SQL
    monkeypatch.setattr("backfill.sources.freeze.typed_relation", lambda *_: "(SELECT * FROM __bf_stream LIMIT 9)")
    with pytest.raises(BackfillError, match="rows came of"):
        freeze_stream(staging_of(tmp_path, engine), Made())


def test_no_file_where_nothing_is_unreadable(tmp_path: Path) -> None:
    """An empty file would say that there was something."""
    with UnreadableFile(tmp_path / "unreadable.parquet", FILES):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("cell", "most"), [(10, 32_768), (1_000, 16_384), (10_000, 2_048), (1_000_000, 2_048)])
def test_a_row_group_weighs_so_much_at_most(cell: int, most: int) -> None:
    """What DuckDB holds until a row group is full depends on the rows' weight: heavy rows make small groups."""
    assert f"ROW_GROUP_SIZE {most}" in parquet_for(cell)


def test_heavy_rows_make_small_groups(tmp_path: Path) -> None:
    """No more is held than some 20 MB, where 32,768 rows were 330 MB."""
    source = tmp_path / "a.csv"
    source.write_text("id,text\n" + "".join(f"{row},{'x' * 10_000}\n" for row in range(5_000)), encoding="utf-8")
    snapshot = stage(job_over(source), tmp_path / "snapshot")
    footer = pq.read_metadata(snapshot.parts[0].path)
    assert sum(footer.row_group(place).num_rows for place in range(footer.num_row_groups)) == 5_000
    assert max(footer.row_group(place).num_rows for place in range(footer.num_row_groups)) <= 2_048
