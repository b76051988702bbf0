"""CSV in bounded memory, whatever is wrong with it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

MEASURE = """
import sys
from pathlib import Path
from backfill.sources import stage
from tests.support.sourcing import job_over
folder = Path(sys.argv[1])
snapshot = stage(job_over(folder / "in"), folder / "state", memory_bytes=160 * 2**20, threads=2)
status = Path("/proc/self/status").read_text().split()
print(snapshot.rows, snapshot.unreadable, status[status.index("VmHWM:") + 1])
"""
KINDS: dict[str, Callable[[], list[bytes]]] = {
    "a quote never closed": lambda: [b'id,v\n1,"a\n' + b"12345,a line of some length\n" * 1_500_000],
    "a cell of 40 MB": lambda: [b'id,v\n1,"' + b'a line of a ""cell""\n' * 2_000_000 + b'"\n2,x\n'],
    "a cell of quotes": lambda: [b'id,v\n1,"' + b'"' * 40_000_000 + b'"\n2,x\n'],
    "all rejected": lambda: [b"id,v,name\n" + b"12345,x,caf\xe9\n" * 250_000],
    "all with quotes where none can be": lambda: [b"id,v,name\n" + b'12345, "x",y"\n' * 100_000],
    "many files with a bad line each": lambda: [b"id,v\n1\n" + b"2,3\n" * 50] * 500,
}


def measured(folder: Path, files: list[bytes]) -> tuple[int, int, int]:
    """Rows, unreadable records and the peak in MB of staging those files."""
    (folder / "in").mkdir(parents=True)
    for number, data in enumerate(files):
        (folder / "in" / f"{number:04}.csv").write_bytes(data)
    command = [sys.executable, "-c", MEASURE, str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    rows, unreadable, peak = map(int, done.stdout.split())
    return rows, unreadable, peak // 1024


@pytest.fixture(scope="module")
def least(tmp_path_factory: pytest.TempPathFactory) -> int:
    """The peak in MB for two rows."""
    return measured(tmp_path_factory.mktemp("least"), [b"id,v\n1,2\n3\n"])[2]


@pytest.mark.parametrize("kind", KINDS)
def test_memory_is_bounded(tmp_path: Path, least: int, kind: str) -> None:
    """No more than a little more than for two rows."""
    rows, unreadable, peak = measured(tmp_path / "most", KINDS[kind]())
    expected = {
        "a quote never closed": (0, 1),
        "a cell of 40 MB": (1, 1),
        "a cell of quotes": (1, 1),
        "all rejected": (0, 250_000),
        "all with quotes where none can be": (0, 100_000),
        "many files with a bad line each": (25_000, 500),
    }
    assert (rows, unreadable) == expected[kind]
    assert peak < least + 90, f"{peak} MB, and {least} MB for two rows"
