"""The shape of the code, checked: who may import whom, and what the command line may not wait for."""

import subprocess
import sys
from pathlib import Path

import pytest

# Each takes 30 to 300 ms of CPU to import; `--help` has 300 ms for everything (README).
HEAVY = {"adbc_driver_manager", "duckdb", "httpx", "numpy", "orjson", "polars", "pydantic", "ruamel", "starlette"}


def test_imports_point_one_way(repository: Path) -> None:
    """Every contract of import-linter in pyproject.toml is kept."""
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"]], ids=" ".join)
def test_help_imports_nothing_heavy(repository: Path, arguments: list[str]) -> None:
    """Help and version answer at once: what a verb needs is imported when the verb runs."""
    command = [sys.executable, "-X", "importtime", "-m", "backfill", *arguments]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    timings = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    said = [line for line in done.stderr.splitlines() if line not in timings]
    assert done.returncode == 0, "\n".join(said)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in timings}
    assert not imported & HEAVY
