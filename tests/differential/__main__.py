"""Compares two versions of the program on the same jobs: `make differential OLD=../before/.venv/bin/python`.

Both are run, each by its own interpreter, on the jobs of jobs/ and on some hundred made-up ones. Compared are exit
codes, JSON results, the bytes of all bodies that an endpoint on loopback accepted (but for `sentAt`), rejected rows as
they are exported, and what the ledgers' views say. What may differ, and what not, is said in `comparison`. Some runs
are begun by the old version, stopped, and resumed by the new one.

- `cases`, `made_jobs` and `made_rows`: what is run. `worker`: forks a process for each case, in either version.
  `versions`: what it came to.

Nothing of the program is imported here, nor anything but `backfill.cli.main` there: either version may be any.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.differential.cases import Case, shipped_cases
from tests.differential.comparison import differences
from tests.differential.made_jobs import made_case, made_name
from tests.differential.versions import Outcome, Version

SHOWN = 6  # differences of one case


def say(text: str) -> None:
    """Write a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def cases(count: int, first: int, only: str) -> Iterator[Case]:
    """The cases in their order; `only` is the beginning of the names wanted."""
    yield from (case for case in shipped_cases() if case.name.startswith(only))
    yield from (made_case(number) for number in range(first, first + count) if made_name(number).startswith(only))


def parsed() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__.partition("\n")[0])
    parser.add_argument("old", type=Path, help="interpreter of the version before")
    parser.add_argument("new", type=Path, nargs="?", default=Path(sys.executable), help="of the version now")
    parser.add_argument("--cases", type=int, default=300, help="made-up cases")
    parser.add_argument("--first", type=int, default=0, help="the number of the first: others are other cases")
    parser.add_argument("--only", default="", help="cases whose names begin so: made-0012, 01-users")
    parser.add_argument("--keep", type=Path, help="a new folder for what each case came to")
    return parser.parse_args()


def main() -> int:
    """Run and compare; 1 where anything is different."""
    wanted = parsed()
    place = wanted.keep or Path(tempfile.mkdtemp(prefix="differential-"))
    began, codes, different = time.monotonic(), Counter[object](), []
    # Not resolved: the interpreter of a virtual environment is a link.
    with (
        Version(wanted.old.absolute(), place / "old") as old,
        Version(wanted.new.absolute(), place / "new") as new,
        ThreadPoolExecutor(2) as pool,
    ):
        say(f"old: {old.place}\nnew: {new.place}")
        for number, case in enumerate(cases(wanted.cases, wanted.first, wanted.only)):
            if number and number % 20 == 0:
                say(f"{number} cases in {time.monotonic() - began:.0f} s, {len(different)} of them different")
            outcomes: list[Outcome] = list(pool.map(lambda version: version.run(case), (old, new)))  # noqa: B023
            codes.update(result["code"] for result in outcomes[0].results if result["words"][0] == "run")
            found = differences(case, *outcomes)
            if case.resumed_after:
                found += [f"resumed by the other: {one}" for one in differences(case, outcomes[0], new.run(case, old))]
            if found:
                different.append(case.name)
                say("\n    ".join([f"{case.name} is different:", *found[:SHOWN]]))
            if not wanted.keep:
                for folder in (old.folder, new.folder):
                    for path in folder.glob(f"{case.name}*"):
                        shutil.rmtree(path)
    say(f"{codes.total()} runs by exit code: {dict(sorted(codes.items(), key=str))}")
    say(" ".join([f"{time.monotonic() - began:.0f} s; {len(different)} cases are different", *different]))
    if not wanted.keep:
        shutil.rmtree(place)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
