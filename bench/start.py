"""`python -m bench.start`: CPU seconds of verbs on the sample jobs, of which nearly all is starting."""

import os
import sys
import tempfile
from pathlib import Path

import click

from backfill.guess.starter import FIRST_JOB, make
from bench.process import run

ROOT = Path(__file__).resolve().parents[1]
#: What importing its four libraries costs alone: no `check` can take less.
LIBRARIES = "import duckdb, polars, pyarrow, pydantic"


@click.command()
@click.option("--rounds", default=5, show_default=True, help="How often each runs, in turn; the least counts.")
def main(rounds: int) -> None:
    """Measure, and print the table."""
    verb = [sys.executable, "-m", "backfill"]
    commands = {"its libraries alone": [sys.executable, "-c", LIBRARIES], "--help": [*verb, "--help"]}
    data = [ROOT / "sample_data" / name for name in ("users.csv", "accounts.ndjson", "orders.parquet", "signups.tsv")]
    guesses = {f"guess {file.name}": [*verb, "guess", str(file)] for file in data}
    least: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="backfill-bench-") as folder:
        make(Path(folder) / "starter")
        jobs = [Path(folder) / "starter" / FIRST_JOB, *sorted((ROOT / "jobs").glob("0*.yaml"))]
        names = ["the first job of init, 8 records", *(job.name for job in jobs[1:])]
        checks = {f"check {name}": [*verb, "check", str(job)] for name, job in zip(names, jobs, strict=True)}
        commands |= checks | guesses
        kept = {"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": folder}  # as an installed program, it is compiled once
        environment = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | kept
        for turn in range(-1, rounds):
            for name, command in commands.items():
                seconds = run(command, Path(folder) / "run", environment).cpu_seconds
                if turn >= 0:
                    least[name] = min(seconds, least.get(name, seconds))
    click.echo("| | CPU s |\n|---|---|")
    for name, seconds in least.items():
        click.echo(f"| {name} | {seconds:.2f} |")


if __name__ == "__main__":
    main()
