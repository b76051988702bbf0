"""`python -m bench.start`: CPU seconds of verbs on small inputs, nearly all of them starting, and what that loads."""

import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from backfill.guess.starter import FIRST_JOB, make
from bench.process import run

ROOT = Path(__file__).resolve().parents[1]
#: What importing its four libraries costs alone: no `check` can take less.
LIBRARIES = "import duckdb, polars, pyarrow, pydantic"
ALONE = "its libraries alone"
VERB = (sys.executable, "-m", "backfill")
#: Of `check`, with the time of each import on standard error.
IMPORTS = "import sys; from backfill.cli import main; main(['check', sys.argv[1]])"
_IMPORT = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")
#: Packages that are listed.
SHOWN = 8


@click.command()
@click.option("--rounds", default=5, show_default=True, help="How often each runs, in turn; the least counts.")
def main(rounds: int) -> None:
    """Measure, and print the tables."""
    least: dict[str, float] = {}
    modules: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="backfill-bench-") as name:
        folder = Path(name)
        make(folder / "starter")
        kept = {"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": name}  # as an installed program, it is compiled once
        environment = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | kept
        job = folder / "starter" / FIRST_JOB
        timed = [sys.executable, "-X", "importtime", "-c", IMPORTS, str(job)]
        for turn in range(-1, rounds):
            for command, words in commands(job).items():
                seconds = run(words, folder / "run", environment).cpu_seconds
                if turn >= 0:
                    least[command] = min(seconds, least.get(command, seconds))
            run(timed, folder / "run", environment)
            for module, micros in imports((folder / "run" / "stderr.txt").read_text(encoding="utf-8")):
                modules[module] = min(micros, modules.get(module, micros))
    click.echo("| | CPU s | to the libraries alone |\n|---|---|---|")
    for command, seconds in least.items():
        click.echo(f"| {command} | {seconds:.2f} | {seconds / least[ALONE]:.2f} |")
    packages: Counter[str] = Counter()
    for module, micros in modules.items():
        packages[module.partition(".")[0].strip("_")] += micros
    click.echo("\n| imports of the first | ms |\n|---|---|")
    for package, micros in packages.most_common(SHOWN):
        click.echo(f"| {package} | {micros / 1000:.0f} |")


def commands(job: Path) -> dict[str, Sequence[str]]:
    """What runs, by what it is called."""
    data = [ROOT / "sample_data" / name for name in ("users.csv", "accounts.ndjson", "orders.parquet", "signups.tsv")]
    samples = sorted((ROOT / "jobs").glob("0*.yaml"))
    return {
        ALONE: [sys.executable, "-c", LIBRARIES],
        "check the first job of init, 8 records": [*VERB, "check", str(job)],
        "guess its file": [*VERB, "guess", str(job.parents[1] / "data" / "orders.csv")],
        "doctor --target sandbox": [*VERB, "doctor", "--target", "sandbox"],
        "status": [*VERB, "status"],
        "explain BF105": [*VERB, "explain", "BF105"],
        "--help": [*VERB, "--help"],
        **{f"check {sample.name}": [*VERB, "check", str(sample)] for sample in samples},
        **{f"guess {file.name}": [*VERB, "guess", str(file)] for file in data},
    }


def imports(text: str) -> Iterator[tuple[str, int]]:
    """Each module that `-X importtime` tells, and its microseconds without those that it loads itself."""
    for line in text.splitlines():
        if found := _IMPORT.match(line):
            yield found[2], int(found[1])


if __name__ == "__main__":
    main()
