"""`python -m bench.formats`: a dry run of the same orders from each format, beside a loop in Python over the NDJSON."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import click

from bench.process import run

ROOT = Path(__file__).resolve().parents[1]
JOB = """\
version: 1
name: orders
source: {{path: orders.{suffix}}}
calls:
  - type: track
    message_key: [order_id]
    event: {{value: Order Completed}}
    userId: customer_id
    timestamp: {{column: ordered_at{pattern}}}
    properties: {{"*": {{}}}}
    integrations: {{All: false}}
"""
FORMATS = ("parquet", "csv", "ndjson")


@click.command()
@click.option("--rows", default=500_000, show_default=True, help="Rows of 13 columns.")
@click.option("--rounds", default=3, show_default=True, help="How often each runs, in turn; the least counts.")
def main(*, rows: int, rounds: int) -> None:
    """Make the data, measure in turn, and print CPU seconds with the ratios to Parquet."""
    with tempfile.TemporaryDirectory(prefix="backfill-bench-") as temporary:
        folder = Path(temporary)
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        commands = {}
        for suffix in FORMATS:
            data, job = folder / f"orders.{suffix}", folder / f"{suffix}.yaml"
            run([sys.executable, "-m", "bench.data", str(rows), str(data)], folder / "made", environment)
            pattern = "" if suffix == "parquet" else ", format: iso8601"
            job.write_text(JOB.format(suffix=suffix, pattern=pattern), encoding="utf-8")
            words = ["dry-run", str(job), "--state-dir", str(folder / "state"), "-q"]
            commands[suffix] = [sys.executable, "-m", "backfill", *words]
        loop = ["-m", "bench.peers.loop", str(folder / "orders.ndjson")]
        commands["ndjson, a loop in Python"] = [sys.executable, *loop]
        least: dict[str, float] = {}
        for _ in range(rounds):
            for name, command in commands.items():
                shutil.rmtree(folder / "state", ignore_errors=True)  # no snapshot is taken from the round before
                cost = run(command, folder / "ran", environment)
                if cost.exit_code:
                    raise click.ClickException((folder / "ran" / "stderr.txt").read_text(encoding="utf-8"))
                least[name] = min(cost.cpu_seconds, least.get(name, cost.cpu_seconds))
    click.echo("| source | CPU s | times Parquet |\n|---|---|---|")
    for name, seconds in least.items():
        click.echo(f"| {name} | {seconds:.2f} | {seconds / least['parquet']:.1f} |")


if __name__ == "__main__":
    main()
