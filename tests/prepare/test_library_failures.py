"""A library that breaks down on a value costs that row; where it does on many, the run, and not in its words."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from backfill.cli.handler import run_reporting_errors
from backfill.cli.session import Session
from backfill.errors import LibraryError
from backfill.job.models import Call, ColumnValue, ConstantValue, TimestampSpec
from backfill.mapping import CompiledCall, compile_job
from backfill.mapping.calls import Check
from backfill.prepare.evaluate import evaluate
from backfill.prepare.faults import library_errors
from backfill.prepare.frames import Frames, snapshot_schema
from backfill.records import Severity
from tests.support.sourcing import job_over, staged

#: Days since 1970 that no calendar has: polars panics where such a date becomes text.
NO_DAY = 2**31 - 1


def call_over(tmp_path: Path, days: list[int]) -> tuple[CompiledCall, pl.DataFrame]:
    """A call that has a check which panics at NO_DAY, and its frame."""
    path = tmp_path / "rows.parquet"
    pl.DataFrame({"day": days}, schema={"day": pl.Int32}).write_parquet(path)
    call = Call(
        type="track",
        message_key=(ColumnValue(column="day"),),
        userId=ColumnValue(column="day"),
        event=ConstantValue(value="Seen"),
        timestamp=TimestampSpec(value="2024-01-01T00:00:00Z"),
    )
    job = job_over(path).model_copy(update={"calls": (call,)})
    snapshot = staged(job, tmp_path / "state").snapshot
    schema = snapshot_schema(snapshot)
    (compiled,) = compile_job(job, snapshot, schema, id_scope="s", library_version="1", now=1_767_225_600.0)
    text = pl.col("day").cast(pl.Date).cast(pl.String)
    check = Check("BF202", Severity.WARNING, "day", text == "never", text)
    frames = Frames(snapshot)
    return replace(compiled, checks=(*compiled.checks, check)), frames.read(0, frames.rows, ["day"])


def test_a_panic_costs_its_row(tmp_path: Path) -> None:
    """The other rows of the frame are made as ever."""
    days = list(range(1, 101))
    days[17] = days[64] = days[99] = NO_DAY
    found = evaluate(*call_over(tmp_path, days), 32_000)
    assert found.counts == {("BF134", "error"): 3}
    assert found.problems.select("row", "code").rows() == [(17, "BF134"), (64, "BF134"), (99, "BF134")]
    assert (found.made_calls, found.rejected) == (100, 3)
    assert found.calls["row"].to_list() == [row for row in range(100) if row not in (17, 64, 99)]


def test_many_panics_are_the_librarys(tmp_path: Path) -> None:
    """The run ends with a sentence of ours."""
    with pytest.raises(LibraryError, match="polars failed while making the track calls of 50 rows; nothing was sent"):
        evaluate(*call_over(tmp_path, [NO_DAY] * 50), 32_000)


def test_a_failure_on_no_row_in_particular(tmp_path: Path) -> None:
    """A column that is not there fails on a frame without rows as well, and is no row's fault."""
    call, frame = call_over(tmp_path, [1, 2])
    with pytest.raises(LibraryError, match="polars failed"):
        evaluate(call, frame.drop("day"), 32_000)


def test_failing_names_what_was_done() -> None:
    """Any library's failure, with what it raised as the cause."""
    with (
        pytest.raises(LibraryError, match="polars failed while reading ids; nothing was sent") as caught,
        library_errors("reading ids"),
    ):
        pl.Series([NO_DAY], dtype=pl.Int32).cast(pl.Date).cast(pl.String)
    assert isinstance(caught.value.__cause__, pl.exceptions.PanicException)


def test_the_run_ends_in_a_sentence_and_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    """What was being done is told first; the report, said where there is no state directory, has the cause in it."""

    def command() -> None:
        with library_errors("reading ids"):
            pl.Series([NO_DAY], dtype=pl.Int32).cast(pl.Date).cast(pl.String)

    assert run_reporting_errors(Session(), command) == 1
    first, *rest = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("Error", "pyo3", "Hint"))]
    assert first == "Error: polars failed while reading ids; nothing was sent"
    assert "pyo3_runtime.PanicException" in rest


PANIC = """
import os, sys
from backfill.cli.streams import keep_native_words, native_words, set_up_streams
set_up_streams()
keep_native_words()
import polars as pl
try:
    pl.DataFrame({"secret": [b"42"]}).select(pl.struct("secret").struct.json_encode())
except pl.exceptions.PanicException:
    print("ours", file=sys.stderr)
print("\\n".join(native_words()))
"""


def test_a_library_that_ends_the_process() -> None:
    """Where it was is told by Python on the standard error."""
    words = PANIC.replace("import polars as pl", "os.abort()")
    found = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=False)
    assert found.returncode < 0
    assert "Fatal Python error: Aborted" in found.stderr


def test_the_words_of_a_panic_stay_off_the_terminal() -> None:
    """They are kept for the crash report: where it was in the code, and no more."""
    found = subprocess.run([sys.executable, "-c", PANIC], capture_output=True, text=True, check=True)
    assert found.stderr == "ours\n"
    first, *rest = found.stdout.splitlines()
    assert "panicked at" in first
    assert "not yet implemented" not in found.stdout
    assert all(line.startswith(" ") for line in rest)
