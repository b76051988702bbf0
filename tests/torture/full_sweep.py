"""Every failpoint of every scenario, one kill each: `python -m tests.torture --all`.

A failpoint is a step (what is done to which file, before or after it) at its nth time. A step that is taken often is
killed at its first, its second, its middle and its last time; with `--every` at each. The list is in the same order at
each start, threads and machine aside, and dealt out in turn; chance has no part in it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby, zip_longest
from pathlib import Path

from tests.torture.kinds import killed
from tests.torture.scenarios import SCENARIOS, stage
from tests.torture.trial import Bench
from tests.torture.zygote import Zygote

#: A name that threads in another order did not pass is tried again so often.
TRIES = 3
SAID_EVERY = 50


@dataclass(frozen=True, slots=True)
class Visit:
    """One kill to be made."""

    number: int
    scenario: str
    point: str


@dataclass
class Tally:
    """What became of visits; counted by scenario."""

    kills: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    missed: list[Visit] = field(default_factory=list)
    failed: list[Visit] = field(default_factory=list)
    next: int | None = None  # the first visit that time did not suffice for

    def add(self, other: Tally) -> None:
        """Count another one's, too."""
        self.kills.update(other.kills)
        self.right.update(other.right)
        self.missed += other.missed
        self.failed += other.failed
        left = [number for number in (self.next, other.next) if number is not None]
        self.next = min(left) if left else None


def failpoints(points: Sequence[str], *, every: bool = False) -> list[list[str]]:
    """Of the points of a process those to be killed at: lists, what tells most first; each of them sorted.

    First stands every step before its first time, then before its last, its second and its middle time; then the same
    after it, which in one thread is not far from before the next one.
    """
    times: Counter[tuple[str, str]] = Counter()
    for point in points:
        what, _, rest = point.rpartition(" #")
        times[rest.split()[1], what] += 1
    found: dict[tuple[bool, int], list[str]] = {}
    for (side, what), hits in sorted(times.items()):
        chosen = range(1, hits + 1) if every else dict.fromkeys((1, hits, min(2, hits), (hits + 1) // 2))
        for place, hit in enumerate(chosen):
            found.setdefault((side == "after", place), []).append(f"{what} #{hit} {side}")
    return [found[level] for level in sorted(found)]


def visits(points: dict[str, list[str]], *, every: bool) -> list[Visit]:
    """All there is to be done, numbered: what tells most of every scenario first."""
    chosen = {name: failpoints(found, every=every) for name, found in points.items()}
    levels = zip_longest(*chosen.values(), fillvalue=())
    named = [(name, point) for level in levels for name, some in zip(chosen, level, strict=True) for point in some]
    return [Visit(number, *one) for number, one in enumerate(named)]


@contextmanager
def alone() -> Iterator[Callable[[str], Bench]]:
    """Gives the bench of a scenario by its name, with a zygote and a folder of this process."""
    with tempfile.TemporaryDirectory(prefix="torture-") as name:
        folder = Path(name)
        with Zygote(folder) as zygote, stage(zygote, folder) as bench_of:
            yield bench_of


def survey(wanted: Sequence[str]) -> dict[str, list[str]]:
    """The points that each scenario passes."""
    with alone() as bench:
        return {name: bench(name).points for name in wanted}


def worker(mine: Sequence[Visit], until: float, total: int) -> Tally:
    """Make these kills until the time is over."""
    tally = Tally()
    with alone() as bench_of:
        for scenario, its in groupby(mine, lambda visit: visit.scenario):
            bench = bench_of(scenario)
            for place, visit in enumerate(its):
                if time.monotonic() > until:
                    tally.next = visit.number
                    return tally
                if place % SAID_EVERY == 0:
                    sys.stderr.write(f"{visit.number} of {total}: {scenario}, {visit.point}\n")
                make(visit, bench, tally)
    return tally


def make(visit: Visit, bench: Bench, tally: Tally) -> None:
    """One kill, and what comes after."""
    try:
        for _ in range(TRIES):
            if killed(bench, random.Random(0), [visit.point]):
                tally.kills[visit.scenario] += 1
                tally.right[visit.scenario] += 1
                return
        tally.missed.append(visit)
    except Exception:  # noqa: BLE001 (what is looked for)
        tally.kills[visit.scenario] += 1
        tally.failed.append(visit)
        sys.stderr.write(f"FAILED {visit.number}: {visit.scenario}, {visit.point}\n{traceback.format_exc()}")


def sweep(given: argparse.Namespace) -> int:
    """Visit all; prints the table and returns 1 where something failed."""
    until = time.monotonic() + given.seconds if given.seconds is not None else float("inf")
    wanted = given.scenarios or [one.name for one in SCENARIOS]
    points = survey(wanted)
    listed = visits(points, every=given.every)
    left = listed[given.start : given.stop]
    sys.stdout.write(f"{len(left)} of {len(listed)} failpoints, {given.workers} processes\n")
    sys.stdout.flush()
    hands = [left[number :: given.workers] for number in range(given.workers)]
    tally = Tally()
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(given.workers, mp_context=spawned) as pool:
        for one in [pool.submit(worker, hand, until, len(listed)) for hand in hands]:
            tally.add(one.result())
    sys.stdout.write(table(tally, points, left))
    if tally.next is not None:
        sys.stdout.write(f"the time is over; FROM={tally.next} goes on\n")
    return 1 if tally.failed else 0


def table(tally: Tally, points: dict[str, list[str]], made: Sequence[Visit]) -> str:
    """What was visited and found, as aligned lines."""
    chosen = Counter(one.scenario for one in made)
    missed, failed = (Counter(one.scenario for one in some) for some in (tally.missed, tally.failed))
    lines = [("scenario", "points", "chosen", "kills", "resumed right", "failures", "not met")]
    for name, found in points.items():
        counts = (len(found), *(one[name] for one in (chosen, tally.kills, tally.right, failed, missed)))
        lines.append((name, *(str(count) for count in counts)))  # type: ignore[arg-type]
    sums = (sum(len(found) for found in points.values()), len(made), tally.kills.total(), tally.right.total())
    lines.append(("all", *(str(count) for count in (*sums, len(tally.failed), len(tally.missed)))))  # type: ignore[arg-type]
    text = "".join(f"{line[0]:16}{''.join(f'{cell:>15}' for cell in line[1:])}\n" for line in lines)
    for word, some in (("not met", tally.missed), ("failed", tally.failed)):
        text += "".join(f"{word} {one.number}: {one.scenario}, {one.point}\n" for one in some)
    return text
