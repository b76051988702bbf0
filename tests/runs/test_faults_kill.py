"""Killed with SIGKILL at chosen operations of stage, prepare and deliver, and gone on with. Long: `make torture`."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.torture.cases import CASES, PARQUET, Case
from tests.torture.kinds import killed
from tests.torture.trial import CONCURRENCY, benches
from tests.torture.zygote import Zygote

#: Operations that every step is made of: what stands in the names of their points.
STEPS = {
    "beginning": ("locks/", "ledger.sqlite3.tmp"),
    "staging": ("/snapshot/part", "/snapshot/snapshot.json.tmp", "duckdb COPY", "/snapshot #"),
    "preparing": (".segment.tmp", ".calls.tmp", "rejects.parquet.tmp"),
    "delivering": ("endpoint",),
    "tidying": ("unlink", "rmdir"),
}


def points_of(points: list[str], step: str) -> list[str]:
    """The points of a step."""
    if step == "tidying":
        last = max(place for place, point in enumerate(points) if point.startswith("recv endpoint"))
        return points[last + 1 :]
    found = [point for point in points if any(part in point for part in STEPS[step])]
    # A body may leave in fewer parts another time, and what was delivered before is not: later points are not met then.
    return found[: len(found) // 3] if step == "delivering" else found


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_killed_in_each_step(zygote: Zygote, tmp_path: Path, case: Case) -> None:
    """One process after the other dies in the same step or a later one; then all has arrived once, as if none had."""
    chance = random.Random(case.name)
    with benches(zygote, tmp_path, case) as (bench,):
        assert all(points_of(bench.points, step) for step in STEPS), bench.points
        met = killed(bench, chance, [chance.choice(points_of(bench.points, step)) for step in STEPS])
        assert len(met) >= 4, met
        met = killed(bench, chance, [chance.choice(points_of(bench.points, "delivering")) for _ in range(2)])
        assert met


def test_killed_around_every_answer(zygote: Zygote, tmp_path: Path) -> None:
    """Between an answer and its record lies what may be sent twice: only that, and with the same bytes."""
    chance = random.Random(1)
    with benches(zygote, tmp_path, PARQUET) as (bench,):
        answers = [point for point in bench.points if point.startswith("recv endpoint") and point.endswith("after")]
        for point in (answers[0], answers[CONCURRENCY]):
            killed(bench, chance, [point])
