"""The simulation of many machines: it keeps to what can be computed, and the docs say what it says."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.machines import BRING, DELIVER, PREPARE, SHARD_ROWS, STAGE, Costs, Machine, simulate, table
from tests.support.examples import examples

STEADY = Machine(lost_after=math.inf, network=1e9, store=1e12)


def test_the_docs_say_what_it_says(repository: Path) -> None:
    """The table of docs/scale.md is the one that it makes."""
    assert table() in (repository / "docs" / "scale.md").read_text("utf-8")


@settings(max_examples=examples(20))
@given(st.integers(1, 400), st.integers(1, 12))
def test_machines_that_are_never_lost(shards: int, machines: int) -> None:
    """All threads are busy until the last shard: within the tenth that shards differ by, and one shard, of the sum."""
    run = simulate(shards * SHARD_ROWS, machines, 1e9, machine=STEADY)
    one = Costs().prepare * SHARD_ROWS / 1e6
    alone = shards * one / (machines * STEADY.threads)
    assert 0.9 * max(alone, one) <= run.steps[PREPARE] <= 1.1 * (alone + one)
    assert (run.shards, run.again) == (shards, 0)


def test_machines_that_are_lost() -> None:
    """Every shard is made in the end, some again, and it takes longer; on one machine as on ten."""
    for machines in (1, 10):
        steady = simulate(10**9, machines, 1e9, machine=replace(Machine(), lost_after=math.inf))
        lost = simulate(10**9, machines, 1e9, machine=replace(Machine(), lost_after=600.0))
        assert lost.again > 0
        assert lost.steps[PREPARE] > steady.steps[PREPARE]


@pytest.mark.parametrize("machines", [1, 10, 100])
def test_a_limit_is_kept(machines: int) -> None:
    """No number of machines delivers faster than the target takes calls: 100 M at 1,000 a second are 28 hours."""
    run = simulate(10**8, machines, 1_000)
    assert run.steps[DELIVER] == 10**8 / 1_000
    assert run.seconds / 3600 == pytest.approx(28, abs=0.5)


def test_what_one_machine_does_is_not_shared() -> None:
    """Ten times the machines prepare shards about ten times as fast, and stage no faster; each brings the snapshot."""
    few, many = (simulate(10**9, machines, 1e9, machine=STEADY) for machines in (10, 100))
    assert few.steps[STAGE] == many.steps[STAGE]
    assert few.steps[BRING] == many.steps[BRING]
    assert 9 < few.steps[PREPARE] / many.steps[PREPARE] < 11
