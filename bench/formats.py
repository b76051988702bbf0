"""`python -m bench.formats`: what a dry run of the same orders costs in each format, in CPU seconds, in one run.

The formats take turns, and the least of all rounds counts, as the machine may be busy. The array is of one line, so
that nothing but its brackets parts its records. Exit 1 where an array costs more beside lines than is asked for.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import bson
import click
from bson import json_util

from bench.data import orders
from bench.process import run

ROOT = Path(__file__).resolve().parents[1]
JOB = """\
version: 1
name: bench
source: {{path: {path}, format: {format}{more}}}
calls:
  - type: track
    message_key: [order_id]
    userId: customer_id
    timestamp: ordered_at
    event: {{value: Order Completed}}
    properties: {{"*": {{}}}}
"""
#: An array may cost so many times what the same lines cost.
ARRAY_BOUND = 1.3
Row = dict[str, Any]


def as_json(row: Row) -> str:
    """A row as most programs write it."""
    return json.dumps({**row, "ordered_at": row["ordered_at"].isoformat()}, ensure_ascii=False)


def as_extended(row: Row) -> str:
    """A row as mongoexport writes it."""
    return json_util.dumps(row, json_options=json_util.RELAXED_JSON_OPTIONS, ensure_ascii=False)


def as_item(row: Row) -> str:
    """A row as DynamoDB writes it."""
    return json.dumps({"Item": {name: attribute(value) for name, value in row.items()}}, ensure_ascii=False)


def attribute(value: object) -> dict[str, Any]:
    """A value with its type."""
    if value is None:
        return {"NULL": True}
    if isinstance(value, bool):
        return {"BOOL": value}
    return {"N": str(value)} if isinstance(value, int | float) else {"S": str(value)}


def lines(write: Callable[[Row], str]) -> Callable[[Path, Iterable[Row]], object]:
    """Writes each row as a line."""
    return lambda path, rows: path.write_text("".join(f"{write(row)}\n" for row in rows), "utf-8")


def array(path: Path, rows: Iterable[Row]) -> None:
    """Write the rows as one array in one line."""
    path.write_text(f"[{','.join(map(as_json, rows))}]", "utf-8")


def dump(path: Path, rows: Iterable[Row]) -> None:
    """Write the rows as mongodump does."""
    path.write_bytes(b"".join(map(bson.encode, rows)))


WRITERS: dict[str, Callable[[Path, Iterable[Row]], object]] = {
    "ndjson": lines(as_json),
    "json": array,
    "mongoexport": lines(as_extended),
    "bson": dump,
    "dynamodb": lines(as_item),
}
#: Formats whose instants are text.
TYPELESS = ("ndjson", "json", "dynamodb")


@click.command()
@click.option("--rows", default=100_000, show_default=True)
@click.option("--rounds", default=3, show_default=True, help="How often each runs, in turn; the least counts.")
def main(rows: int, rounds: int) -> None:
    """Measure, and print the table."""
    least: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="backfill-bench-") as folder:
        frame = orders(rows).collect()
        frame.write_parquet(Path(folder) / "rows.parquet")
        made = frame.to_dicts()
        for name, write in WRITERS.items():
            write(Path(folder) / f"rows.{name}", made)
        for turn in range(rounds):
            for name in ("parquet", *WRITERS):
                seconds = dry_run(Path(folder), name, turn)
                least[name] = min(seconds, least.get(name, seconds))
    click.echo("| format | CPU s | times Parquet |\n|---|---|---|")
    for name, seconds in least.items():
        click.echo(f"| {name} | {seconds:.2f} | {seconds / least['parquet']:.2f} |")
    ratio = least["json"] / least["ndjson"]
    click.echo(f"\nan array costs {ratio:.2f} times the same lines; at most {ARRAY_BOUND} is asked for")
    sys.exit(0 if ratio <= ARRAY_BOUND else 1)


def dry_run(folder: Path, name: str, turn: int) -> float:
    """The CPU seconds of one."""
    more = ", columns: {ordered_at: timestamp}" if name in TYPELESS else ""
    job = folder / f"{name}.yaml"
    job.write_text(JOB.format(path=folder / f"rows.{name}", format=name, more=more), "utf-8")
    command = [sys.executable, "-m", "backfill", "dry-run", str(job), "--state-dir", str(folder / f"{name}-{turn}")]
    cost = run(command, folder / f"{name}-{turn}-run", {**os.environ, "PYTHONPATH": str(ROOT)})
    if cost.exit_code:
        raise SystemExit(f"the dry run of {name} ended with exit code {cost.exit_code}: see {job}")
    return cost.cpu_seconds


if __name__ == "__main__":
    main()
