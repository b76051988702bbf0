"""The memory of a preparing process, as the system counts it: bounded by its frames, whatever the rows weigh."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from tests.prepare.test_prepare import rows

MEGABYTE = 1_000_000
CHILD = """
import sys
from pathlib import Path
from tests.prepare.test_prepare import PROPERTIES, job_of, run, snapshot_of, track

def held():
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

folder = Path(sys.argv[1])
run(job_of(track(properties=PROPERTIES)), snapshot_of(folder / "small.parquet"), None, workers=1)
before = held()
prepared = run(job_of(track(properties=PROPERTIES)), snapshot_of(folder / "large.parquet"), None, workers=1)
print(prepared.plan.planned, held() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the memory of a process so")
@pytest.mark.parametrize(
    ("count", "each", "most"),
    [(32_768, 12_000, 350), (512, 400_000, 670)],
    ids=["a shard that is larger than a frame", "a first slice that is"],
)
def test_preparing_holds_frames_not_shards(tmp_path: Path, repository: Path, count: int, each: int, most: int) -> None:
    """A file that unfolds to hundreds of megabytes is prepared within what a few frames need."""
    text = pl.format("{} {}", pl.int_range(pl.len()), pl.lit("y" * each)).alias("text")  # no two alike: no dictionary
    rows(count).with_columns(text).write_parquet(tmp_path / "large.parquet", row_group_size=max(1, 8_000_000 // each))
    rows(500).write_parquet(tmp_path / "small.parquet")
    assert (tmp_path / "large.parquet").stat().st_size < 10 * MEGABYTE
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)], cwd=repository, capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr
    planned, grown = map(int, child.stdout.split())
    assert planned == count
    assert grown < most * MEGABYTE


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the memory of a process so")
def test_columns_cost_what_their_cells_do(tmp_path: Path, repository: Path) -> None:
    """Whether a row has too many properties is told by its nulls: a text of each to count them took 600 MB more."""
    texts = [pl.lit(f"text {number}").alias(f"c{number}") for number in range(5_000)]
    rows(200).with_columns(texts).write_parquet(tmp_path / "large.parquet")
    rows(500).write_parquet(tmp_path / "small.parquet")
    starred = CHILD.replace("PROPERTIES)", 'PROPERTIES.model_copy(update={"star": Star()}))')
    child = subprocess.run(
        [sys.executable, "-c", "from backfill.job.models import Star\n" + starred, str(tmp_path)],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    assert int(child.stdout.split()[1]) < 500 * MEGABYTE
