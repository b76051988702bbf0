"""The ways through the program that are tormented, each with a job that goes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from tests.torture.cases import CSV, DATABASE, PARQUET, SHARDS, TWO, Case
from tests.torture.later_runs import Abandoned, Grown, InDoubt, LeftInDoubt, Refusing, RetryRejected
from tests.torture.receiver import Receiver
from tests.torture.trial import Bench
from tests.torture.ways import DryRun, DryRunAgain, Embedded, Rehearsed, Resume, ResumedRun
from tests.torture.zygote import Zygote


@dataclass(frozen=True)
class Scenario:
    """A way through the program, and the job that goes it."""

    name: str
    kind: type[Bench]
    case: Case


#: The ways of a job as it is run and run again.
RUNS = tuple(Scenario(f"run-{case.name}", Bench, case) for case in (CSV, PARQUET, TWO, DATABASE))
WAYS = (
    Scenario("run-resume", ResumedRun, PARQUET),
    Scenario("resume", Resume, CSV),
    Scenario("dry-run", DryRun, CSV),
    Scenario("dry-run-again", DryRunAgain, DATABASE),
    Scenario("rehearsed", Rehearsed, CSV),
    Scenario("sandbox", Embedded, PARQUET),
    Scenario("only-new", Grown, replace(CSV, rows=3_900)),
    Scenario("abandon", Abandoned, PARQUET),
    Scenario("refusing", Refusing, PARQUET),
    Scenario("retry-rejected", RetryRejected, PARQUET),
    Scenario("resend", InDoubt, PARQUET),
    Scenario("skip", LeftInDoubt, DATABASE),
)
SHARDED = Scenario("run-shards", Bench, SHARDS)
SCENARIOS = (*RUNS, *WAYS, SHARDED)


@contextmanager
def stage(zygote: Zygote, folder: Path) -> Iterator[Callable[[str], Bench]]:
    """Gives the bench of a scenario by its name, one for each; an endpoint for all."""
    scenarios = {one.name: one for one in SCENARIOS}
    with Receiver() as receiver:

        @cache
        def bench(name: str) -> Bench:
            one = scenarios[name]
            return one.kind(zygote, receiver, one.case, folder / name)

        yield bench
