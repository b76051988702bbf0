"""`python -m bench`: backfill, Segment's SDK and a hand-written script, side by side on loopback."""

import json
import os
import platform
import sys
import tempfile
from pathlib import Path

import click

from bench.contest import Contest
from bench.endpoint import Endpoint
from bench.report import checks, table


def say(text: str) -> None:
    """Progress, on standard error."""
    click.echo(text, err=True)


@click.command()
@click.option("--rounds", default=3, show_default=True, help="How often each runs; the median counts.")
@click.option("--rows", default=1_000_000, show_default=True, help="Rows for all but the SDK, which gets 200,000.")
@click.option("--large", is_flag=True, help="Also 4 M and 8 M rows, once each, for the memory (8 GB of disk).")
@click.option("--only", multiple=True, metavar="NAME", help="Only these entrants; no targets are checked then.")
@click.option("--folder", type=click.Path(path_type=Path), help="For the data and states [default: a temporary one].")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write all figures there.")
def main(
    *, rounds: int, rows: int, large: bool, only: tuple[str, ...], folder: Path | None, json_file: Path | None
) -> None:
    """Measure, print the table, and say which targets are met; exit 1 where one is not."""
    with tempfile.TemporaryDirectory(prefix="backfill-bench-") as temporary:
        place = (folder or Path(temporary)).resolve()
        with Endpoint(Path(temporary) / "nginx") as endpoint:
            contest = Contest(place, endpoint, rows)
            entrants = [entrant for entrant in contest.entrants() if not only or entrant.name in only]
            results = contest.hold(entrants, rounds, say)
            if large:
                results |= contest.hold(contest.large(), 1, say)
    click.echo(
        f"{platform.platform()}, {os.cpu_count()} CPUs, Python {platform.python_version()}; medians of {rounds}\n"
    )
    click.echo(table(results))
    done = [] if only else list(checks(results))
    click.echo("\n" + "\n".join(check.line() for check in done))
    if json_file:
        figures = {
            "results": [result.as_json() for result in results.values()],
            "targets": [{"what": c.what, "reached": c.reached, "bound": c.bound, "met": c.met} for c in done],
        }
        json_file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    sys.exit(0 if all(check.met for check in done) else 1)


if __name__ == "__main__":
    main()
