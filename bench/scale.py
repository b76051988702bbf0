"""`python -m bench.scale`: what a dry run costs as its source grows ten times in each way, in every format.

A source of one row tells what starting costs; that is taken off. Then a shape and the same ten times as large (rows,
columns, files, size of a cell, depth of nesting) are measured: CPU seconds, since the machine may be busy, and the peak
memory of the process. What grows more than ten times, or holds more than is stated, is flagged; exit 1.
"""

import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import click

FORMATS = ("csv", "ndjson", "parquet", "sqlite")
#: Those beside them, which grow in rows, columns and cells only; a dump is one file of one table.
MORE_FORMATS = ("arrow", "avro", "bson", "excel", "json", "mysqldump", "orc", "pg_dump")
MORE_WAYS = ("rows", "columns", "cell", "huge-cell")
DUMPS = ("mysqldump", "pg_dump")
#: Ten times as much may cost that many times as much: the machine's noise is in it.
LINEAR = 14.0
#: Less CPU seconds than that are noise, not a size to compare with.
LEAST_SECONDS = 0.3
#: The memory that a dry run may take whatever its source is, in MB: what DuckDB may hold, and the program around it.
STATED_MEGABYTES = 600
#: A process that holds more than this is ended.
CAP_MEGABYTES = 3_000
LOOK_SECONDS = 0.02
JOB = """\
version: 1
name: scale
source: {source}
calls:
  - type: track
    message_key: [id]
    userId: id
    event: {{value: Seen}}
    timestamp: {{value: "2024-01-01T00:00:00Z"}}
    properties: {{"*": {{}}}}
"""


@dataclass(frozen=True)
class Size:
    """The shape of a source."""

    rows: int = 1
    columns: int = 5
    files: int = 1
    cell: int = 10
    depth: int = 0


#: Each way to grow: the field of the shape, and the smaller one of its two shapes.
WAYS = {
    "rows": ("rows", Size(rows=20_000)),
    "columns": ("columns", Size(rows=200, columns=500)),
    "files": ("files", Size(rows=2_000, files=100)),
    "cell": ("cell", Size(rows=3_000, columns=2, cell=3_000)),  # up to what a call may hold
    "huge-cell": ("cell", Size(rows=100, columns=2, cell=100_000)),  # no call may hold that: all are rejected
    "depth": ("depth", Size(rows=2_000, depth=9)),
}


@dataclass(frozen=True)
class Cost:
    """What one dry run took, or how it ended instead."""

    cpu_seconds: float = 0.0
    megabytes: float = 0.0
    failure: str = ""


def ten_times(way: str) -> Size:
    """The larger shape. Where files are more, so are rows: there are as many in each."""
    field, small = WAYS[way]
    grown = {field: 10 * getattr(small, field)} | ({"rows": 10 * small.rows} if field == "files" else {})
    return replace(small, **grown)


def sizes_of(form: str, way: str) -> tuple[Size, Size] | None:
    """Both shapes; None where there is no such way: a database is one file, and SQLite ends at 2,000 columns."""
    small, large = WAYS[way][1], ten_times(way)
    if (form in MORE_FORMATS and way not in MORE_WAYS) or (form == "excel" and way == "huge-cell"):
        return None  # 32,767 characters are the most that a cell of a workbook holds
    if form not in ("sqlite", *DUMPS):
        return small, large
    if way == "columns":
        most = 1_600 if form in DUMPS else 1_900  # PostgreSQL's most
        return replace(small, columns=most // 10), replace(large, columns=most)
    if form != "sqlite":
        return small, large
    return None if way == "files" else (small, large)


def measure(form: str, size: Size, folder: Path, seconds: float) -> Cost:
    """Make the source, and a dry run of it, in the folder."""
    data = folder / "data"
    data.mkdir(parents=True)
    command = [sys.executable, "-m", "bench.scale_data", form, str(data), *map(str, astuple(size))]
    subprocess.run(command, check=True)
    source = "{path: data}"
    if form == "sqlite":
        source = f"{{database: 'sqlite:///{data}/rows.db', query: SELECT * FROM rows ORDER BY rowid}}"
    if form in DUMPS:
        source = f"{{path: data, format: {form}, table: {'public.rows' if form == 'pg_dump' else 'rows'}}}"
    (folder / "job.yaml").write_text(JOB.format(source=source), encoding="utf-8")
    state = str(folder / "state")
    return watched(
        [sys.executable, "-m", "backfill", "dry-run", "job.yaml", "--state-dir", state, "-q"], folder, seconds
    )


def watched(command: Sequence[str], folder: Path, seconds: float) -> Cost:
    """Run the command to its end, for so long and with so much memory at most."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    with (folder / "said.txt").open("w", encoding="utf-8") as said:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said)
        deadline, peak, failure = time.monotonic() + seconds, 0.0, ""
        while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            peak = max(peak, peak_megabytes(process.pid))
            failure = "out of time" if time.monotonic() > deadline else "out of memory" if peak > CAP_MEGABYTES else ""
            if failure:
                process.send_signal(signal.SIGKILL)
                ended = os.wait4(process.pid, 0)
                break
            time.sleep(LOOK_SECONDS)
    process.returncode = os.waitstatus_to_exitcode(ended[1])
    if process.returncode not in (0, 3) and not failure:  # 3: calls that are larger than the API takes
        failure = f"exit {process.returncode}"
    return Cost(ended[2].ru_utime + ended[2].ru_stime, peak, failure)


def peak_megabytes(pid: int) -> float:
    """The most that a process has held so far: `wait4` counts what its parent held when it was started."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1_000 for line in lines if line.startswith("VmHWM")), 0.0)


@dataclass(frozen=True)
class Growth:
    """A shape and the same ten times as large."""

    form: str
    way: str
    sizes: tuple[int, int]
    start: Cost
    small: Cost
    large: Cost

    @property
    def times(self) -> float:
        """How many times as much the larger one costs, starting aside."""
        before = max(self.small.cpu_seconds - self.start.cpu_seconds, LEAST_SECONDS)
        return max(self.large.cpu_seconds - self.start.cpu_seconds, 0.0) / before

    def faults(self, stated: float) -> Iterator[str]:
        """What is not as it should be."""
        for size, cost in zip(self.sizes, (self.small, self.large), strict=True):
            if cost.failure:
                yield f"{size:,}: {cost.failure}"
        if not (self.small.failure or self.large.failure) and self.times > LINEAR:
            yield "above linear"
        if max(self.small.megabytes, self.large.megabytes) > stated:
            yield "above the stated memory"

    def line(self, stated: float) -> str:
        """A row of the table."""
        cells = [self.form, self.way, f"{self.sizes[0]:,} to {self.sizes[1]:,}"]
        for cost in (self.small, self.large):
            cells += [cost.failure or f"{cost.cpu_seconds:.1f}", f"{cost.megabytes:,.0f}"]
        failed = self.small.failure or self.large.failure
        cells += ["" if failed else f"{self.times:.1f}", "; ".join(self.faults(stated))]
        return f"| {' | '.join(cells)} |"


HEAD = """\
| format | grows | from, to | CPU s | peak MB | CPU s at ten times | peak MB | times the CPU | |
|---|---|---|---|---|---|---|---|---|"""


@click.command()
@click.option("--format", "formats", multiple=True, type=click.Choice(FORMATS + MORE_FORMATS), help="Only these.")
@click.option("--way", "ways", multiple=True, type=click.Choice(list(WAYS)), help="Only these.")
@click.option("--seconds", default=120.0, show_default=True, help="The most that one dry run may take.")
@click.option("--memory", default=STATED_MEGABYTES, show_default=True, help="MB that a dry run may hold.")
def main(*, formats: tuple[str, ...], ways: tuple[str, ...], seconds: float, memory: float) -> None:
    """Measure, print the table; exit 1 where something is above linear or above the stated memory."""
    click.echo(f"{platform.platform()}, {os.cpu_count()} CPUs, Python {platform.python_version()}\n\n{HEAD}")
    bad = False
    for form in formats or FORMATS + MORE_FORMATS:
        start = one(form, Size(), seconds)
        for way in ways or WAYS:
            if (sizes := sizes_of(form, way)) is None:
                continue
            small, large = (one(form, size, seconds) for size in sizes)
            field = WAYS[way][0]
            growth = Growth(form, way, (getattr(sizes[0], field), getattr(sizes[1], field)), start, small, large)
            click.echo(growth.line(memory))
            bad = bad or any(growth.faults(memory))
    sys.exit(bad)


def one(form: str, size: Size, seconds: float) -> Cost:
    """Measure in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="backfill-scale-") as folder:
        return measure(form, size, Path(folder), seconds)


if __name__ == "__main__":
    main()
