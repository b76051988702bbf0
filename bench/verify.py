"""`python -m bench.verify`: a dry run, and `verify` of it, as their source grows ten times: speed and memory."""

import os
import sys
import tempfile
from pathlib import Path

import click

from bench.contest import JOB
from bench.process import Cost, run

ROOT = Path(__file__).resolve().parents[1]
#: What `verify` is to have of a dry run's speed, in rows a second.
SHARE = 0.25


def measured(folder: Path, rows: int, rounds: int) -> dict[str, Cost]:
    """The costs of both, the round of the fewest seconds counting."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(folder.parent / "compiled")}
    data = folder / "orders.parquet"
    made = run([sys.executable, "-m", "bench.data", str(rows), str(data)], folder, environment)
    assert made.exit_code == 0
    (folder / "job.yaml").write_text(JOB.format(data=data), encoding="utf-8")
    program = [sys.executable, "-m", "backfill"]
    commands = {
        "dry-run": [*program, "dry-run", "job.yaml", "--target", "sandbox", "--no-progress", "-q"],
        "verify": [*program, "verify", "job.yaml", "--dry-run", "-q"],
    }
    best: dict[str, Cost] = {}
    for _ in range(rounds):
        for name, command in commands.items():
            cost = run(command, folder, environment)
            assert cost.exit_code == 0, cost.output
            best[name] = min(cost, best.get(name, cost), key=lambda one: one.seconds)
    return best


@click.command()
@click.option("--rounds", default=3, show_default=True, help="How often each runs, in turn; the fastest counts.")
@click.option("--rows", default=200_000, show_default=True, help="Rows; then ten times as many.")
def main(rounds: int, rows: int) -> None:
    """Measure, print the table; exit 1 where `verify` has less than a quarter of the dry run's speed."""
    click.echo("| | rows | seconds | rows/s | CPU s | peak MB | of the dry run's speed |")
    click.echo("|---|---|---|---|---|---|---|")
    shares = []
    with tempfile.TemporaryDirectory(prefix="backfill-bench-") as temporary:
        for count in (rows, 10 * rows):
            found = measured(Path(temporary) / str(count), count, rounds)
            for name, cost in found.items():
                share = found["dry-run"].seconds / cost.seconds
                shares.append(share)
                click.echo(
                    f"| {name} | {count:,} | {cost.seconds:.1f} | {count / cost.seconds:,.0f} | {cost.cpu_seconds:.1f}"
                    f" | {cost.peak_megabytes:,.0f} | {share:.0%} |"
                )
    sys.exit(0 if min(shares) >= SHARE else 1)


if __name__ == "__main__":
    main()
