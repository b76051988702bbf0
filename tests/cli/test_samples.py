"""The sample exports: their generator writes what is in the repository, and each job in jobs/ reads as it should."""

import csv
import gzip
import io
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from backfill.job import load_job
from backfill.rules import CODES

JOBS = (
    "01-users.yaml",
    "02-accounts.yaml",
    "03-identity-merges.yaml",
    "04-signups.yaml",
    "05-orders.yaml",
    "06-page-views.yaml",
    "07-app-screens.yaml",
)
MODELINE = "# yaml-language-server: $schema=../docs/job.schema.json\n"


@pytest.fixture(scope="module")
def regenerated(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """A folder into which the generator has just written."""
    folder = tmp_path_factory.mktemp("samples")
    script = repository / "sample_data" / "generate.py"
    subprocess.run([sys.executable, str(script), str(folder)], check=True, cwd=folder)
    return folder


def rows_of(database: Path, table: str) -> list[tuple[Any, ...]]:
    """All rows of a table of an SQLite file."""
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()


@pytest.mark.parametrize("name", ["users.csv", "accounts.ndjson", "signups.tsv", "app_screens.csv"])
def test_text_samples_are_generated_byte_for_byte(name: str, regenerated: Path, repository: Path) -> None:
    """A text export in the repository is the generator's, to the byte."""
    assert (regenerated / name).read_bytes() == (repository / "sample_data" / name).read_bytes()


def test_binary_samples_are_generated_with_equal_content(regenerated: Path, repository: Path) -> None:
    """Parquet, gzip and SQLite files may differ with their library's version, their content may not."""
    samples = repository / "sample_data"
    views = "page_views.csv.gz"
    assert gzip.decompress((regenerated / views).read_bytes()) == gzip.decompress((samples / views).read_bytes())
    assert_frame_equal(pl.read_parquet(regenerated / "orders.parquet"), pl.read_parquet(samples / "orders.parquet"))
    for table in ("staff", "merges"):
        assert rows_of(regenerated / "shop.db", table) == rows_of(samples / "shop.db", table)


def test_generating_twice_gives_the_same_files(regenerated: Path, repository: Path) -> None:
    """With the same libraries every file is the same, byte for byte, SQLite's included."""
    before = {path.name: path.read_bytes() for path in regenerated.iterdir()}
    script = repository / "sample_data" / "generate.py"
    subprocess.run([sys.executable, str(script), str(regenerated)], check=True, cwd=regenerated)
    assert {path.name: path.read_bytes() for path in regenerated.iterdir()} == before
    assert len(before) == 7


def test_samples_stay_small(regenerated: Path) -> None:
    """A clone is not burdened: less than 1.5 MB together, no file under 100 rows' worth."""
    sizes = [path.stat().st_size for path in regenerated.iterdir()]
    assert sum(sizes) < 1_500_000
    assert min(sizes) > 10_000


def test_users_hold_their_nasty_cells(repository: Path) -> None:
    """What the README promises of users.csv is in there, as another CSV reader sees it."""
    text = (repository / "sample_data" / "users.csv").read_bytes().decode()
    rows = list(csv.reader(io.StringIO(text, newline="")))
    cells = {cell for row in rows for cell in row}
    assert {"02134", "000101", "NaN", "Null", "=SUM(A1:A9)", " padded ", "n/a", "1,250"} <= cells
    assert any("\n" in cell for cell in cells)
    assert any('"' in cell for cell in cells)
    assert {"2021-03-14 02:30:00", "2021-11-07 01:30:00"} <= cells
    assert len(rows) == 1 + 1_205


def test_the_jobs_are_those_we_know(repository: Path) -> None:
    """Names of jobs are part of message ids: a new, lost or renamed one is noticed here."""
    paths = sorted((repository / "jobs").glob("*.yaml"))
    assert [path.name for path in paths] == list(JOBS)
    jobs = [load_job(path, {code: rule.lowerable for code, rule in CODES.items()}) for path in paths]
    assert [job.name for job in jobs] == ["shop-" + name[3:].removesuffix(".yaml") for name in JOBS]
    assert {call.type for job in jobs for call in job.calls} == {
        "identify",
        "group",
        "alias",
        "track",
        "page",
        "screen",
    }


@pytest.mark.parametrize("name", JOBS)
def test_every_job_teaches_and_is_safe(name: str, repository: Path) -> None:
    """A shipped job has the editor's modeline, a comment on top, and forwards nothing to any destination."""
    path = repository / "jobs" / name
    text = path.read_text(encoding="utf-8")
    assert text.startswith(MODELINE + "#\n# ")
    job = load_job(path, {code: rule.lowerable for code, rule in CODES.items()})
    assert all(call.integrations == {"All": False} for call in job.calls)


def test_the_readme_names_only_codes_that_exist(repository: Path) -> None:
    """The table of faults in sample_data/README.md speaks of real rules."""
    text = (repository / "sample_data" / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"BF\d{3}", text))
    assert named
    assert named <= set(CODES)
