"""Ids that differ only in case or in blanks: found over the whole job, counted exactly, in bounded memory."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.job.models import ColumnValue, ConstantValue
from backfill.prepare.frames import SHARD_ROWS
from backfill.prepare.spellings import Spellings, form_hash
from tests.prepare.test_prepare import job_of, rows, run, track, write

IDS = ["bob", "Bob", " bob", "bob\u00a0", "é", "É", "x1", "X1", "y", "1", "ÀB", "àb", "", " "]


def in_several_ways(ids: list[str | None]) -> set[str]:
    """The ids whose lower-case, trimmed form occurs in more than one spelling."""
    spelt = defaultdict(set)
    for one in ids:
        if one is not None:
            spelt[one.strip().lower()].add(one)
    return {one for spellings in spelt.values() if len(spellings) > 1 for one in spellings}


def found(ids: list[str | None], step: int, most: int) -> set[str]:
    """What two passes over the ids, in pieces, find of them."""
    spellings = Spellings(most=most)
    pieces = [pl.Series("id", ids[start : start + step], pl.String) for start in range(0, len(ids), step)]
    for piece in pieces:
        spellings.note("userId", piece)
    if not spellings.end_first_pass():
        return set()
    for piece in pieces:
        spellings.compare("userId", piece)
    frame = pl.DataFrame({"id": ids}, schema={"id": pl.String}).drop_nulls()
    several = pl.Series(spellings.several(), dtype=pl.UInt64)
    return set(frame.filter(form_hash("userId", pl.col("id")).is_in(several.implode()))["id"])


@given(st.lists(st.none() | st.sampled_from(IDS) | st.text("aAbB ", max_size=3), max_size=40), st.integers(1, 40))
def test_all_spellings_are_found(ids: list[str | None], step: int) -> None:
    """However the ids are cut into pieces, exactly those are found that have another spelling somewhere."""
    assert found(ids, step, 1_000) == in_several_ways(ids)


@given(st.lists(st.sampled_from(IDS), max_size=40), st.integers(1, 40), st.integers(1, 4))
def test_a_sample_is_never_wrong(ids: list[str | None], step: int, most: int) -> None:
    """Where memory allows some forms only, what is told of those is the whole truth, and of others nothing."""
    made, wanted = found(ids, step, most), in_several_ways(ids)
    assert made <= wanted
    forms = {one.strip().lower() for one in made}
    assert made == {one for one in wanted if one.strip().lower() in forms}
    assert len(forms) <= most


def test_ids_of_machines_cost_nothing() -> None:
    """Lower-case ids are never taken up, so that there is no second pass."""
    spellings = Spellings()
    spellings.note("userId", pl.Series(["0a1b-2c", "u_17", "~", None]))
    assert not spellings.end_first_pass()


def spelt_rows(count: int) -> pl.DataFrame:
    """Rows of plain ids, but for the first and the last, which are one in two spellings."""
    users = pl.Series("user", [f"u{number}" for number in range(count)])
    users[0], users[count - 1] = "Ann.Example", "ann.example "
    return rows(count).with_columns(users)


@pytest.mark.parametrize("options", [{}, {"workers": 1}, {"frame_rows": 7_000}])
def test_spellings_are_told_over_shards(tmp_path: Path, options: dict[str, Any]) -> None:
    """Both rows are warned of, though they lie in different shards, and sent; the count depends on nothing else."""
    snapshot = write(spelt_rows(SHARD_ROWS + 100), tmp_path / "a.parquet")
    prepared = run(job_of(track()), snapshot, tmp_path, **options)
    assert prepared.plan.problems == {("BF121", "warning"): 1, ("BF122", "warning"): 2}
    assert len(prepared.calls) == SHARD_ROWS + 100
    shown = [(one.column, one.value) for shard in prepared.shards for one in shard.samples if one.code == "BF122"]
    assert shown == [("user", "Ann.Example"), ("user", "ann.example ")]


def test_a_job_decides(tmp_path: Path) -> None:
    """As an error the calls are rejected; ignored, nothing is looked for."""
    snapshot = write(spelt_rows(100), tmp_path / "a.parquet")
    strict = run(job_of(track(), rules={"BF122": "error"}), snapshot, tmp_path / "strict")
    assert strict.plan.problems == {("BF121", "warning"): 1, ("BF122", "error"): 2}
    assert len(strict.calls) == 98
    ignored = run(job_of(track(), rules={"BF122": "ignore"}), snapshot, tmp_path / "ignored")
    assert ignored.plan.problems == {("BF121", "warning"): 1}


def test_fields_are_spaces_of_their_own(tmp_path: Path) -> None:
    """A user and an anonymous user may have one name; the same field of two calls is one space; a constant is no id."""
    frame = rows(2).with_columns(user=pl.Series(["ann", "bob"]), other=pl.Series(["Ann", "Cid"]))
    snapshot = write(frame, tmp_path / "a.parquet")
    apart = track(anonymousId=ColumnValue(column="other"))
    assert run(job_of(apart), snapshot, tmp_path / "apart").plan.problems == {}
    second = track(label="b").model_copy(update={"userId": ColumnValue(column="other")})
    together = run(job_of(track(label="a"), second), snapshot, tmp_path / "together")
    assert together.plan.problems == {("BF122", "warning"): 2}
    constant = track(label="b").model_copy(update={"userId": ConstantValue(value="ANN")})
    assert run(job_of(track(label="a"), constant), snapshot, tmp_path / "constant").plan.problems == {}


def test_repeated_calls_are_those_that_spellings_leave(tmp_path: Path) -> None:
    """Where another spelling is an error, only the calls without it can be the first of their id, or its duplicates."""
    frame = rows(3).with_columns(user=pl.Series(["Bob", "bob", "ann"]))
    snapshot = write(pl.concat([frame, frame]), tmp_path / "a.parquet")
    plan = run(job_of(track(), rules={"BF122": "error"}), snapshot, tmp_path).plan
    assert (plan.problems, plan.duplicate, plan.to_send) == ({("BF122", "error"): 4}, 1, 1)
