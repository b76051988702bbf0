"""What every source keeps, whatever its format: subclass a contract with a way to write rows, and run it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backfill.errors import InterruptedRunError, SourceError
from backfill.sources import inspect, load_snapshot, resolve, stage
from backfill.sources.formats import line_of
from tests.support.sourcing import Staged, staged

Row = tuple[str, str | None]

#: Text that tools like to take for something else; None is null.
NASTY: list[str | None] = [
    "00123",
    "9223372036854775808",
    "1234567890123456789012345678901234567890",
    "1e5",
    "NaN",
    "null",
    "true",
    "-0",
    "1.10",
    "0x1F",
    "2024-01-01",
    "",
    None,
    " padded ",
    "two\nlines",
    "two\r\nlines",
    "a\n\nb",
    'he said "hi"',
    '5" disk',
    "comma, semicolon; tab\t",
    "back\\slash \\n",
    "Zoë Ångström",
    "東京 🫖 \u200d",
    "\u2028",
    "x" * 5000,
]
SETTINGS: list[dict[str, Any]] = [
    {},
    {"threads": 1},
    {"threads": 4, "memory_bytes": 256 * 2**20},
    {"threads": 1, "memory_bytes": 128 * 2**20},
]

MEASURE = """
import sys
from pathlib import Path
from backfill.sources import stage
from {module} import {name}
source = {name}()
for folder in map(Path, sys.argv[1:]):
    stage(source.job(folder), folder / "state", memory_bytes=160 * 2**20, threads=2)
    status = Path("/proc/self/status").read_text().split()
    print(status[status.index("VmHWM:") + 1])
"""


class RowsContract:
    """What rows keep, wherever they come from. They are of two columns: id, and text or null."""

    @property
    def source(self) -> Any:
        """The format: see the methods that are used."""
        raise NotImplementedError

    def stage(self, folder: Path, rows: list[Row], **options: Any) -> Staged:
        """Write the rows and stage them."""
        self.source.write(folder, rows)
        return staged(self.source.job(folder), folder / "state", **options)

    @pytest.mark.parametrize("options", SETTINGS)
    def test_exact_text(self, tmp_path: Path, options: dict[str, Any]) -> None:
        """Every text comes through exactly, null apart from empty, whatever the threads and the memory."""
        rows = [(f"{index:05}", text) for index, text in enumerate(NASTY * 40)]
        result = self.stage(tmp_path, rows, **options)
        assert result.rows == rows
        assert result.records == list(range(1, len(rows) + 1))
        assert result.snapshot.unreadable == 0

    def test_same_snapshot_whatever_the_settings(self, tmp_path: Path) -> None:
        """30,000 rows: one thread or four, the same rows in the same order."""
        rows = [(f"{index:06}", NASTY[index % len(NASTY)]) for index in range(30_000)]
        self.source.write(tmp_path, rows)
        job = self.source.job(tmp_path)
        one = staged(job, tmp_path / "one", threads=1)
        four = staged(job, tmp_path / "four", threads=4)
        assert one.rows == four.rows == rows

    def test_where_and_sql(self, tmp_path: Path) -> None:
        """`where` filters and is counted, expressions are columns, numbers of records stay."""
        rows = [(f"{index:03}", "odd" if index % 2 else None) for index in range(100)]
        self.source.write(tmp_path, rows)
        job = self.source.job(tmp_path, where="text = 'odd'", sql=("upper(text) || id",))
        result = staged(job, tmp_path / "state")
        assert (result.snapshot.read, result.snapshot.filtered, result.snapshot.rows) == (100, 50, 50)
        assert result.column("__bf_sql_0") == [f"ODD{index:03}" for index in range(1, 100, 2)]
        assert result.records == list(range(2, 101, 2))

    def test_declared_columns(self, tmp_path: Path) -> None:
        """A value outside its declared type is told by its text, and expressions are not asked of it."""
        rows: list[Row] = [("1", "1.50"), ("2", "x"), ("3", None), ("4", "-0.25")]
        self.source.write(tmp_path, rows)
        job = self.source.job(tmp_path, columns={"text": "number"}, where="text > 0", sql=("1 / text",))
        result = staged(job, tmp_path / "state")
        assert result.column("id") == ["1", "2"]
        assert result.column("text") == [1.5, None]
        assert result.column("__bf_raw:text") == ["1.50", "x"]
        assert result.column("__bf_where_bad") == [False, True]
        assert result.column("__bf_sql_0") == [1 / 1.5, None]
        described = result.snapshot.column("__bf_sql_0")
        assert described is not None
        assert described.reads == ("text",)

    def test_schema_is_that_of_the_snapshot(self, tmp_path: Path) -> None:
        """`inspect` promises the columns that staging makes."""
        self.source.write(tmp_path, [("1", "2024-01-01"), ("2", None)])
        job = self.source.job(tmp_path, columns={"text": "date"}, sql=("text + 1", "id || 'x'"))
        promised = {column.name: column for column in inspect(job).columns}
        made = {column.name: column for column in stage(job, tmp_path / "state").columns}
        assert promised.items() <= made.items()
        assert all(name in promised or name in ("__bf_file", "__bf_record") for name in made)

    def test_snapshot_is_found_again(self, tmp_path: Path) -> None:
        """What `stage` returned is what a later process loads; staging again replaces it."""
        first = self.stage(tmp_path, [("1", "a")]).snapshot
        assert load_snapshot(tmp_path / "state") == first
        job = self.source.job(tmp_path)
        assert staged(job, tmp_path / "state").rows == [("1", "a")]

    def test_stopping(self, tmp_path: Path) -> None:
        """Asked to stop, staging stops, and leaves no snapshot behind."""
        self.source.write(tmp_path, [(f"{index:06}", "text" * 20) for index in range(60_000)])
        job = self.source.job(tmp_path, where="length(regexp_replace(repeat(text, 100), '(t.x)+', 'y', 'g')) > 0")
        with pytest.raises(InterruptedRunError):
            stage(job, tmp_path / "state", threads=1, stopping=lambda: True)
        assert not (tmp_path / "state" / "snapshot.json").exists()

    def test_memory_is_bounded(self, tmp_path: Path) -> None:
        """Ten times the rows take no more than a little more memory: what one process held at most after each."""
        folders = {size: tmp_path / str(size) for size in (12_000, 120_000)}
        for size, folder in folders.items():
            folder.mkdir()
            self.source.write(folder, ((f"{index:07}", f"{index % 977} " * 60) for index in range(size)))
        code = MEASURE.format(module=type(self.source).__module__, name=type(self.source).__name__)
        done = subprocess.run(
            [sys.executable, "-c", code, *folders.values()], check=True, capture_output=True, text=True
        )
        few, many = (int(line) // 1024 for line in done.stdout.splitlines())
        assert many < few + 110, f"peaks in MB: {few}, {many}"


class SourceContract(RowsContract):
    """What files keep besides; a subclass says how its format is written."""

    def test_files_are_known_by_their_bytes(self, tmp_path: Path) -> None:
        """The hash changes with the bytes, and is not asked for again where the stamp is known."""
        self.source.write(tmp_path, [("1", "a")])
        job = self.source.job(tmp_path)
        files = resolve(job)
        os.utime(files[0].path, ns=(1, 1))
        touched = resolve(job, trusted=files)
        assert [file.sha256 for file in touched] == [file.sha256 for file in files]
        forged = [(file.path, file.bytes, file.mtime_ns, file.ctime_ns, file.inode) for file in touched]
        assert resolve(job, trusted=dict.fromkeys(forged, "known"))[0].sha256 == "known"
        self.source.write(tmp_path, [("1", "b")])
        assert resolve(job)[0].sha256 != files[0].sha256

    def test_missing_file(self, tmp_path: Path) -> None:
        """A source that is not there is an error of the source."""
        with pytest.raises(SourceError):
            stage(self.source.job(tmp_path), tmp_path / "state")

    def test_lone_empty_file(self, tmp_path: Path) -> None:
        """A lone file without a byte is an error of the source."""
        self.source.write(tmp_path, [("1", "a")])
        Path(resolve(self.source.job(tmp_path))[0].path).write_bytes(b"")
        with pytest.raises(SourceError, match="empty"):
            stage(self.source.job(tmp_path), tmp_path / "state")

    def test_lines_of_records(self, tmp_path: Path) -> None:
        """Lines are told where the format has them, and only of a file that is unchanged."""
        rows: list[Row] = [("1", "a"), ("2", "two\nlines"), ("3", "b"), ("4", "c")]
        self.source.write(tmp_path, rows)
        job = self.source.job(tmp_path)
        file = resolve(job)[0]
        assert line_of(file, job, [4, 1, 3]) == self.source.lines
        os.utime(file.path, ns=(1, 1))
        assert line_of(file, job, [1]) == {}
