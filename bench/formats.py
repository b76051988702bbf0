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
source: {{path: orders.{suffix}, format: {suffix}}}
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
#: Written by bench.documents.
DOCUMENTS = ("json", "mongoexport", "bson", "dynamodb")
#: Whose instants are no text.
TYPED = ("parquet", "mongoexport", "bson")


@click.command()
@click.option("--rows", default=500_000, show_default=True, help="Rows of 13 columns.")
@click.option("--rounds", default=3, show_default=True, help="How often each runs, in turn; the least counts.")
@click.option("--only", multiple=True, type=click.Choice([*FORMATS, *DOCUMENTS]), help="Of the formats only these.")
def main(*, rows: int, rounds: int, only: tuple[str, ...]) -> None:
    """Make the data, measure in turn, and print CPU seconds with the ratios to Parquet and NDJSON."""
    with tempfile.TemporaryDirectory(prefix="backfill-bench-") as temporary:
        folder = Path(temporary)
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        commands = {}
        for suffix in only or (*FORMATS, *DOCUMENTS):
            data, job = folder / f"orders.{suffix}", folder / f"{suffix}.yaml"
            made = ["bench.data"] if suffix in FORMATS else ["bench.documents", suffix]
            run([sys.executable, "-m", *made, str(rows), str(data)], folder / "made", environment)
            pattern = "" if suffix in TYPED else ", format: iso8601"
            job.write_text(JOB.format(suffix=suffix, pattern=pattern), encoding="utf-8")
            words = ["dry-run", str(job), "--state-dir", str(folder / "state"), "-q"]
            commands[suffix] = [sys.executable, "-m", "backfill", *words]
        if "ndjson" in commands:
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
    bases = [name for name in ("parquet", "ndjson") if name in least]
    click.echo("".join(["| source | CPU s |", *(f" times {base} |" for base in bases)]))
    click.echo("|---" * (2 + len(bases)) + "|")
    for name, seconds in least.items():
        click.echo("".join([f"| {name} | {seconds:.2f} |", *(f" {seconds / least[base]:.2f} |" for base in bases)]))


if __name__ == "__main__":
    main()
