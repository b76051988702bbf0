"""`python -m bench.reconcile`: both sides of `reconcile` joined, as they grow: seconds, peak memory, and what is found.

Ids and times are made here, as records; a source's own staging and reading is not measured. Of the rows 1,000 are
removed, 200 doubled and 50 moved by five hours, each of which has to be found, whatever the size.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np

from backfill.reconcile.compare import Comparison
from backfill.reconcile.partitions import CALL, ROW, with_ids
from backfill.reconcile.result import Reconciled

ROOT = Path(__file__).resolve().parents[1]
CHUNK = 200_000
MISSING, DOUBLED, SHIFTED = 1_000, 200, 50
#: What the comparison itself may hold, in MB, whatever the size.
MEMORY = 300


def ids(begin: int, end: int) -> np.ndarray:
    """Sixteen bytes that look random, of each number."""
    numbers = np.arange(begin, end, dtype=np.uint64)
    high = (numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    low = (numbers ^ np.uint64(0x5555)) * np.uint64(0xC2B2AE3D27D4EB4F)
    return np.stack([high, low], axis=1).astype(">u8").view(np.uint8).reshape(-1, 16)


def compare(calls: int, folder: Path) -> str:
    """Join so many calls with their rows; the line of the table."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = Reconciled(status=None, source="")
    comparison = Comparison(folder, result, None, 1_000)
    began = time.monotonic()
    for begin in range(0, calls, CHUNK):
        end = min(calls, begin + CHUNK)
        places = np.arange(begin, end)
        times = places * 1_000
        comparison.calls.add(with_ids(ids(begin, end), CALL, place=places, time=times, event=places % 20))
        rows = with_ids(ids(begin, end), ROW, row=places, time=times)
        rows["time"][(places >= MISSING) & (places < MISSING + SHIFTED)] += 5 * 3_600_000
        comparison.rows.add(rows[places >= MISSING])
        comparison.rows.add(rows[(places >= calls - DOUBLED)])
    comparison.calls.finish()
    comparison.rows.finish()
    comparison.compare(calls, [], lambda: None)
    seconds = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts = result.counts
    found = counts["missing"], counts["doubled"], counts["shifted"], counts["unknown_rows"]
    assert found == (MISSING, DOUBLED, SHIFTED, 0), found
    assert [place for some in comparison.missing() for place in some.tolist()] == list(range(MISSING))
    own = (peak - before) / 1_024
    assert own <= MEMORY, own
    return f"| {calls:,} | {seconds:.1f} | {calls / seconds:,.0f} | {own:,.0f} | {peak / 1_024:,.0f} |"


@click.command()
@click.option("--calls", default=2_000_000, show_default=True, help="Calls; then ten times as many.")
@click.option("--once", is_flag=True, hidden=True)
def main(calls: int, *, once: bool) -> None:
    """Measure, print the table; fails where something is not found, or the memory is above its bound."""
    if once:
        with tempfile.TemporaryDirectory(prefix="backfill-bench-") as temporary:
            click.echo(compare(calls, Path(temporary)))
        return
    click.echo("| calls | seconds | calls/s | MB of its own | peak MB of the process |")
    click.echo("|---|---|---|---|---|")
    for size in (calls, 10 * calls):
        command = [sys.executable, "-m", "bench.reconcile", "--once", "--calls", str(size)]
        subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
