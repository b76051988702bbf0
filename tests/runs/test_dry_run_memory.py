"""The memory of a whole dry run, as the system counts it: what one row weighs counts, not how many there are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the memory of a process so")

JOB = """\
version: 1
name: heavy
source: {path: IN}
calls:
  - type: track
    message_key: [id]
    userId: id
    event: {value: Seen}
    timestamp: {value: "2024-01-01T00:00:00Z"}
    properties: {"*": {}}
"""
MEASURE = """
import sys
from pathlib import Path
from backfill.cli import main
code = main(["dry-run", "job.yaml", "--state-dir", "state", "-q"])
status = Path("/proc/self/status").read_text("ascii").split()
print(code, int(status[status.index("VmHWM:") + 1]) // 1000)
"""


def text(number: int, size: int) -> str:
    """A text of so many characters, as no other number has it."""
    return (f"{number} words and é " * (size // 16 + 1))[:size]


def peak(folder: Path, name: str, repository: Path) -> tuple[int, int]:
    """The exit code of a dry run of that file of the folder, and the most megabytes that its process held."""
    (folder / "job.yaml").write_text(JOB.replace("IN", name), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(repository)},
        check=True,
        capture_output=True,
        text=True,
    )
    code, megabytes = map(int, done.stdout.split()[-2:])
    return code, megabytes


@pytest.mark.parametrize(
    ("form", "rows", "each"),
    [("csv", 100, 1_000_000), ("ndjson", 100, 1_000_000), ("ndjson", 8, 14_000_000)],
    ids=["csv", "ndjson", "the longest lines"],
)
def test_rejected_rows_are_written_page_by_page(
    tmp_path: Path, repository: Path, form: str, rows: int, each: int
) -> None:
    """Rows that no call can hold are kept with all that they held, which once took ten times their bytes."""
    with (tmp_path / f"in.{form}").open("w", encoding="utf-8") as file:
        if form == "csv":
            file.write("id,text\n")
        for number in range(rows):
            row = text(number, each)
            file.write(f"{number},{row}\n" if form == "csv" else json.dumps({"id": str(number), "text": row}) + "\n")
    code, megabytes = peak(tmp_path, f"in.{form}", repository)
    (rejects,) = (tmp_path / "state").rglob("*.rejects.parquet")
    kept = pl.read_parquet(rejects)
    assert code == 3
    assert kept.filter(pl.col("code") == "BF107")["record"].to_list() == list(range(2, rows + 1))  # 0 is no user
    assert json.loads(kept["original"][-1])["text"] == text(rows - 1, each)
    assert megabytes < (600 if each < 10_000_000 else 720)  # 980 and 990 held whole


def test_rows_heavier_than_those_before_them_are_read_in_bounds(tmp_path: Path, repository: Path) -> None:
    """A file's first rows do not tell what the later ones weigh; what it says of its row groups does."""
    ids = pl.int_range(1, 16_001, dtype=pl.Int64, eager=True).cast(pl.String)
    texts = pl.Series([text(0, 30) if number < 4_000 else text(number, 20_000) for number in range(16_000)])
    frame = pl.DataFrame({"id": ids, "text": texts})
    frame.write_parquet(tmp_path / "in.parquet", row_group_size=2_000)
    del frame, texts
    code, megabytes = peak(tmp_path, "in.parquet", repository)
    assert code == 0
    assert megabytes < 560


def test_memory_of_files_that_were_read_is_given_back(tmp_path: Path, repository: Path) -> None:
    """What the reader of Parquet was lent does not stay beside what preparing needs."""
    (tmp_path / "in.csv").write_text("id,text\n1,x\n", encoding="utf-8")
    asking = MEASURE + "import pyarrow\nprint(pyarrow.default_memory_pool().backend_name)"
    (tmp_path / "job.yaml").write_text(JOB.replace("IN", "in.csv"), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(repository)}
    environment.pop("ARROW_DEFAULT_MEMORY_POOL", None)
    done = subprocess.run(
        [sys.executable, "-c", asking], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    )
    assert done.stdout.split()[-1] == "system"


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_columns_are_read_and_written_some_at_a_time(tmp_path: Path, repository: Path, form: str) -> None:
    """Five thousand columns cost what their cells do, also where every row has too many of them."""
    names = ["id", *(f"c{number:04}" for number in range(4_999))]
    with (tmp_path / f"in.{form}").open("w", encoding="utf-8") as file:
        if form == "csv":
            file.write(",".join(names) + "\n")
        for number in range(1, 201):
            cells = [str(number), *(f"v{place}xxxxxxx" for place in range(4_999))]
            file.write((",".join(cells) if form == "csv" else json.dumps(dict(zip(names, cells, strict=True)))) + "\n")
    code, megabytes = peak(tmp_path, f"in.{form}", repository)
    assert code == 3
    assert megabytes < 580  # 476 to 545 from run to run; read whole, 640 to 660
