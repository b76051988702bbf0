"""`python -m bench.tracking`: what a tracking plan costs a dry run.

The same rows of 20 events, whose names come from a column, are dry-run without a plan, with one whose every keyword is
judged column by column, and with one of which a part goes to the compiled validator (a format of a property that
differs in each row, and a `oneOf`). All take turns; the least CPU and wall time of the rounds count, whole processes.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from bench.process import run

ROOT = Path(__file__).resolve().parents[1]
EVENTS = 20
_WRITE = """
import sys
import polars as pl

rows = int(sys.argv[1])
number = pl.int_range(rows)
pl.select(
    id=pl.format("o{}", number),
    event=pl.format("Event {}", number % 20),
    user=pl.format("user-{}", number % 50_000),
    at=pl.from_epoch(1_600_000_000 + number),
    total=(number % 90_000) / 100,
    currency=pl.when(number % 3 == 0).then(pl.lit("USD")).otherwise(pl.lit("EUR")),
    quantity=number % 7 + 1,
    coupon=pl.when(number % 5 == 0).then(pl.format("WELCOME{}", number % 100)),
    gift=number % 11 == 0,
    email=pl.format("user{}@example.org", number),
    country=pl.when(number % 2 == 0).then(pl.lit("Germany")).otherwise(pl.lit("Japan")),
    plan=pl.format("plan {}", number % 4),
).write_parquet(sys.argv[2])
"""
_PROPERTIES: dict[str, Any] = {
    "id": {"type": "string", "pattern": "^o[0-9]+$"},
    "total": {"type": "number", "minimum": 0},
    "currency": {"type": "string", "enum": ["USD", "EUR"]},
    "quantity": {"type": "integer", "minimum": 1, "maximum": 100},
    "coupon": {"type": "string", "minLength": 3, "maxLength": 12},
    "gift": {"type": "boolean"},
    "email": {"type": "string", "maxLength": 60},
    "country": {"type": "string"},
    "plan": {"type": ["string", "null"], "enum": ["plan 0", "plan 1", "plan 2", "plan 3", None]},
}
_JOB = """\
version: 1
name: {name}
source: {{path: rows.parquet, timezone: UTC}}
{plan}
calls:
  - type: track
    message_key: [id]
    userId: user
    timestamp: at
    event: event
    properties: {{{properties}}}
    integrations: {{All: false}}
"""


def plan_of(changes: dict[str, Any]) -> dict[str, Any]:
    """A plan of all events, some of whose properties have other schemas."""
    inner = {"type": "object", "properties": _PROPERTIES | changes, "required": ["id", "total", "currency"]}
    schema = {"type": "object", "properties": {"properties": {**inner, "additionalProperties": False}}}
    rules = [
        {"type": "TRACK", "key": f"Event {number}", "version": 1, "jsonSchema": schema} for number in range(EVENTS)
    ]
    common = {"type": "COMMON", "key": None, "version": 1, "jsonSchema": {"required": ["userId"]}}
    return {"rules": [*rules, common]}


PLANS: dict[str, dict[str, Any] | None] = {
    "without a plan": None,
    "column by column": plan_of({}),
    "in part by the validator": plan_of({
        "email": {"type": "string", "format": "email"},
        "plan": {"oneOf": [{"type": "null"}, {"pattern": "^plan"}]},
    }),
}  # fmt: skip


@click.command()
@click.option("--rows", default=500_000, show_default=True, help="How many rows.")
@click.option("--rounds", default=5, show_default=True, help="How often each runs, in turn; the least counts.")
def main(rows: int, rounds: int) -> None:
    """Measure, and print the table; exit 1 where the target is not met, or a call is judged wrongly."""
    least: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory(prefix="backfill-bench-") as name:
        folder = Path(name)
        made = run([sys.executable, "-c", _WRITE, str(rows), str(folder / "rows.parquet")], folder, dict(os.environ))
        assert made.exit_code == 0
        for place, plan in enumerate(PLANS.values()):
            (folder / f"plan{place}.json").write_text(json.dumps(plan), "utf-8")
            stated = "" if plan is None else f"tracking_plan: plan{place}.json"
            text = _JOB.format(name=f"job-{place}", plan=stated, properties=", ".join(f"{n}: {n}" for n in _PROPERTIES))
            (folder / f"job{place}.yaml").write_text(text, "utf-8")
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        for _ in range(rounds):
            for place, title in enumerate(PLANS):
                job = str(folder / f"job{place}.yaml")
                command = [sys.executable, "-m", "backfill", "dry-run", job, "--output", "json"]
                cost = run(command, folder / "run", environment)
                found = json.loads(cost.output)
                assert cost.exit_code == 0
                assert found["calls"]["pending"] == rows
                assert not {code for code in found["problems"] if code.startswith("BF14")}, found["problems"]
                wall, cpu = least.get(title, (cost.seconds, cost.cpu_seconds))
                least[title] = (min(wall, cost.seconds), min(cpu, cost.cpu_seconds))
    plain = least["without a plan"]
    click.echo(f"A dry run of {rows:,} rows of {EVENTS} events:\n\n| | s | CPU s | speed |\n|---|---|---|---|")
    for title, (wall, cpu) in least.items():
        click.echo(f"| {title} | {wall:.2f} | {cpu:.2f} | {plain[0] / wall:.2f} |")
    met = plain[0] / least["column by column"][0] >= 0.5
    click.echo(f"\nat least half the speed, column by column: {'met' if met else 'NOT met'}")
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
