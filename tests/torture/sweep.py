"""The long form: random faults until the time is over, or all kills there are. `python -m tests.torture --help`."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from tests.torture import full_sweep, kinds
from tests.torture.scenarios import RUNS, SCENARIOS, SHARDED, WAYS, stage
from tests.torture.zygote import Zygote

KINDS: dict[str, Any] = {
    "kill": kinds.killed,
    "signal": kinds.signalled,
    "full": kinds.refused,
    "readonly": partial(kinds.refused, act="readonly"),
    "fill": kinds.filled,
    "limit": kinds.limited,
    "damage": kinds.damaged,
}
#: What is not done to the other ways through the program: they would say no more than `run` and `run` again.
RUNS_ONLY = {"damage", "limit"}


def words() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of faults: {', '.join(KINDS)}; all where left out")
    parser.add_argument("--seconds", type=float, default=None, help="when to end (600; with --all: when all is done)")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) // 2), help="processes at once")
    parser.add_argument("--seed", type=int, default=None, help="of chance; printed, to do the same again")
    parser.add_argument("--points", action="store_true", help="list every point and how often it was met")
    whole = parser.add_argument_group("instead of chance: a kill at each failpoint of each scenario, and a table")
    whole.add_argument("--all", action="store_true", help="each step at its first, second, middle and last time")
    whole.add_argument("--every", action="store_true", help="with --all: at each of its times")
    whole.add_argument("--from", type=int, default=0, dest="start", metavar="N", help="begin with this number")
    whole.add_argument("--to", type=int, default=None, dest="stop", metavar="N", help="end before this number")
    names = [one.name for one in SCENARIOS]
    whole.add_argument("--scenario", action="append", dest="scenarios", choices=names, help="only this one; repeatable")
    given = parser.parse_args()
    if unknown := set(given.kinds) - KINDS.keys():
        parser.error(f"no such kind: {', '.join(sorted(unknown))}")
    if given.all and given.kinds:
        parser.error("--all is about kills alone")
    return given


def worker(number: int, given: argparse.Namespace, seed: int, until: float) -> tuple[Counter[Any], list[str]]:
    """Torment until the time is over; returns what was met, and what failed."""
    chance = random.Random(f"{seed} {number}")
    met: Counter[Any] = Counter()
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="torture-") as name, ExitStack() as stack:
        folder = Path(name)
        disk = stack.enter_context(kinds.small_disk(folder / "disk"))
        bench_of = stack.enter_context(stage(stack.enter_context(Zygote(folder)), folder))
        runs = (*RUNS, *([] if number else [SHARDED]))
        wanted = [kind for kind in given.kinds or KINDS if kind != "fill" or disk]
        while time.monotonic() < until:
            kind = chance.choice(wanted)
            scenario = chance.choice(runs if kind in RUNS_ONLY else (*runs, *WAYS))
            bench = bench_of(scenario.name)
            torment = partial(KINDS[kind], disk=disk) if kind == "fill" else KINDS[kind]
            met[kind, "trials"] += 1
            met.update({(kind, "points", point): 0 for point in bench.points if kind != "damage"})
            try:
                met.update((kind, "points", point) for point in torment(bench, chance))
            except Exception:  # noqa: BLE001 (what is looked for)
                failures.append(f"{kind} of {scenario.name}:\n{traceback.format_exc()}")
                sys.stderr.write(failures[-1])
                clean(disk)
    return met, failures


def clean(disk: Path | None) -> None:
    """What a failed trial left on the small disk goes."""
    if disk is not None:
        (disk / "filler").unlink(missing_ok=True)
        shutil.rmtree(disk / "state", ignore_errors=True)


def main() -> int:
    """Torment with some processes; returns 1 where something failed."""
    given = words()
    if given.all:
        return full_sweep.sweep(given)
    seconds = 600.0 if given.seconds is None else given.seconds
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    sys.stdout.write(f"seed {seed}, {given.workers} processes, {seconds:.0f} s\n")
    until = time.monotonic() + seconds
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(given.workers, mp_context=spawned) as pool:
        work = [pool.submit(worker, number, given, seed, until) for number in range(given.workers)]
        ended = [one.result() for one in work]
    met: Counter[Any] = Counter()
    for one, _ in ended:
        met.update(one)
    failures = [failure for _, found in ended for failure in found]
    report(met, points=given.points)
    sys.stdout.write(f"{len(failures)} failures\n")
    return 1 if failures else 0


def report(met: Counter[Any], *, points: bool) -> None:
    """What was done, and how much of what there is to meet was met."""
    for kind in KINDS:
        of_kind = {key[2]: count for key, count in met.items() if key[0] == kind and key[1] == "points"}
        hit = sum(count > 0 for count in of_kind.values())
        trials = met[kind, "trials"]
        if trials:
            sys.stdout.write(f"{kind}: {trials} trials, {hit} of {len(of_kind)} points met\n")
        for point, count in of_kind.items() if points else ():
            sys.stdout.write(f"    {count:4} {point}\n")
