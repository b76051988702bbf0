"""`run --only-new` and `--abandon`: what was delivered is left out, all of it and nothing else, whatever happens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.members import ids, people
from tests.support.projects import backfill
from tests.support.reruns import Member, id_of, reruns

pytestmark = pytest.mark.usefixtures("key")

ROWS = st.lists(st.tuples(st.integers(0, 25), st.sampled_from([30, 31, "old"])), max_size=30)


# --------------------------------------------------------------------------------------------------------- what is sent


def expected(rows: Sequence[Member], delivered: set[int]) -> tuple[list[int], dict[str, int]]:
    """Who is to be sent, and the counts: row by row, the first valid row of an id being the one that counts."""
    first: dict[int, object] = {}
    counts = dict.fromkeys(("planned", "delivered", "rejected", "duplicate", "already_delivered"), 0)
    sent = []
    for number, age in rows:
        counts["planned"] += 1
        if age == "old":
            counts["rejected"] += 1
        elif number in first:
            counts["duplicate" if first[number] == age else "rejected"] += 1
        else:
            first[number] = age
            counts["already_delivered" if number in delivered else "delivered"] += 1
            sent += [] if number in delivered else [number]
    return sent, counts


@settings(max_examples=6)
@given(st.lists(st.tuples(ROWS, st.sampled_from(["age", "years"])), min_size=2, max_size=4))
def test_exactly_what_was_not_delivered(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[list[Member], str]]
) -> None:
    """Sources and mappings edited at will, run with --only-new: each id is sent once, the counts are the oracle's."""
    delivered: set[int] = set()
    before = None
    with reruns(tmp_path_factory.mktemp("project")) as bench:
        for rows, trait in steps:
            bench.members([(99, 9), *rows])  # a lone header is no source
            bench.mapping(trait=trait)
            start = bench.requests
            result = bench.run("--only-new")
            sent, counts = expected([(99, 9), *rows], delivered)
            if (rows, trait) == before:  # nothing has changed: the run of before
                assert bench.requests == start
                continue
            before = (rows, trait)
            assert result.code == (3 if counts["rejected"] else 0), result.err
            assert bench.sent(start) == ids(sent)
            assert {name: result.object["calls"][name] for name in counts} == counts
            assert result.object["calls"]["pending"] == result.object["calls"]["in_doubt"] == 0
            delivered.update(sent)


def test_rejects_that_were_mended(tmp_path: Path) -> None:
    """The use of it: the rows that were rejected are mended in the source, and they alone are sent, under their ids."""
    with reruns(tmp_path) as bench:
        bench.members(people(50, bad=[7, 30]))
        assert bench.run().code == 3
        bench.members(people(50))
        start = bench.requests
        assert bench.run().code == 6
        result = bench.run("--only-new")
        assert result.code == 0
        assert bench.sent(start) == ids([7, 30])
        assert result.object["calls"]["already_delivered"] == 48
        assert bench.run().object["requests"] == 0


def test_nothing_new(tmp_path: Path) -> None:
    """Not drifted: 0 requests. Drifted without anything new: 0 requests, finished."""
    with reruns(tmp_path) as bench:
        bench.members(people(30))
        bench.run()
        start = bench.requests
        assert bench.run("--only-new").object["state"] == "finished"
        assert bench.states() == ["finished"]
        bench.members(people(20))
        result = bench.run("--only-new")
        assert (result.code, result.object["requests"], result.object["calls"]["already_delivered"]) == (0, 0, 20)
        assert result.object["state"] == "finished"
        assert bench.requests == start
        assert bench.states() == ["finished", "finished"]


def test_first_of_all(tmp_path: Path) -> None:
    """Where nothing was delivered, all is new."""
    with reruns(tmp_path) as bench:
        bench.members(people(20))
        assert bench.run("--only-new").object["calls"]["delivered"] == 20


def test_over_shards(tmp_path: Path) -> None:
    """Over several shards, some of them delivered whole: the rest is sent, in order, its first batch of ten calls."""
    rows = people(100_000)
    with reruns(tmp_path) as bench:
        bench.members(rows[:70_000:2])
        bench.run()
        start = bench.requests
        bench.members(rows)
        result = bench.run("--only-new")
        left = [*range(1, 70_000, 2), *range(70_000, 100_000)]
        assert sorted(bench.sent(start)) == sorted(ids(left))
        assert [len(heard.ids) for heard in bench.tap.heard[start : start + 1]] == [10]
        assert result.object["calls"]["already_delivered"] == 35_000


def test_repeated_ids(tmp_path: Path) -> None:
    """Repeated ids are judged as if nothing had been delivered: a duplicate is one, a wrong key does not hide."""
    with reruns(tmp_path) as bench:
        bench.members([(1, 10), (2, 20)])
        bench.run()
        bench.members([(1, 10), (2, 20), (1, 10), (2, 99), (3, 30), (3, 30)])
        calls = bench.run("--only-new").object["calls"]
        assert (calls["already_delivered"], calls["duplicate"], calls["rejected"], calls["delivered"]) == (2, 2, 1, 1)


def test_ids_that_exist(tmp_path: Path) -> None:
    """Ids are ids, whatever the generation: one raised keeps ids that come from a column, and they are left out."""
    given = "message_id: {column: id}"
    with reruns(tmp_path) as bench:
        bench.members(people(20))
        bench.mapping(key=given)
        bench.run()
        bench.members(people(25))
        bench.mapping(key=given, generation=2)
        start = bench.requests
        assert bench.run("--only-new").object["calls"]["already_delivered"] == 20
        assert bench.sent(start) == [f"u{number}" for number in range(20, 25)]


def test_another_generation_is_new(tmp_path: Path) -> None:
    """A raised generation makes other ids: --only-new leaves none of them out."""
    with reruns(tmp_path) as bench:
        bench.members(people(20))
        bench.run()
        bench.mapping(generation=2)
        start = bench.requests
        assert bench.run("--only-new").object["calls"]["already_delivered"] == 0
        assert bench.sent(start) == [id_of(number, generation=2) for number in range(20)]


def test_content_keys(tmp_path: Path) -> None:
    """Calls known by their content: left out where they are the same, sent with a warning where the mapping differs."""
    with reruns(tmp_path) as bench:
        bench.members(people(20))
        bench.mapping(key="message_key: content")
        bench.run()
        bench.members(people(25))
        grown = bench.run("--only-new")
        assert (grown.object["calls"]["already_delivered"], grown.object["calls"]["delivered"]) == (20, 5)
        assert "message_key" not in grown.err
        bench.mapping(key="message_key: content", trait="years")
        rehearsed = bench.run("--only-new", verb="dry-run")
        edited = bench.run("--only-new")
        assert edited.object["calls"]["delivered"] == 25
        for said in (rehearsed.err, edited.err):
            assert "`message_key: content`" in said


def test_edited_keys(tmp_path: Path) -> None:
    """A row whose key comes out otherwise may get an id by which another row was delivered: that is warned of."""
    with reruns(tmp_path) as bench:
        bench.members(people(20))
        bench.run()
        bench.mapping(trait="years")
        assert "message keys" not in bench.run("--only-new").err
        bench.mapping(key="message_key: [id, age]", trait="years")
        for verb in ("dry-run", "run"):
            assert "what makes the message keys was edited" in bench.run("--only-new", verb=verb).err


def test_sandbox(tmp_path: Path) -> None:
    """A rehearsal leaves out what was delivered, too, where that is asked for; else it begins afresh, all of it."""
    with reruns(tmp_path) as bench:
        options = ["--target", "sandbox", "--output", "json"]
        counts = []
        for count, more in ((20, []), (30, ["--only-new"]), (25, []), (45, ["--only-new"])):
            bench.members(people(count))
            calls = backfill("run", bench.job, *options, *more).object["calls"]
            counts.append((calls["delivered"], calls["already_delivered"]))
        assert counts == [(20, 0), (10, 20), (25, 0), (20, 25)]


# ------------------------------------------------------------------------------------------------------ told beforehand


def test_confirmation_and_dry_run(tmp_path: Path) -> None:
    """Before it goes live it says how many are new and how many were delivered; a dry run tells the same."""
    with reruns(tmp_path) as bench:
        bench.members(people(1_500, bad=[3]))
        first = bench.run()
        assert "earlier runs" not in first.err
        bench.members(people(2_000, bad=[3]))
        rehearsed = bench.run("--only-new", verb="dry-run").object["calls"]
        result = bench.run("--only-new")
        calls = result.object["calls"]
        assert (
            "1,499 by earlier runs of this job; 1,499 of this plan are among them and left out, 500 are new"
            in result.err
        )
        assert "500 to send" in result.err
        assert (calls["delivered"], calls["already_delivered"], calls["rejected"]) == (500, 1_499, 1)
        assert (rehearsed["pending"], rehearsed["already_delivered"]) == (500, 1_499)
        bench.mapping(generation=2)
        raised = bench.run("--canary")
        assert "1,999 by earlier runs of this job; none of them is left out, 1,999 are sent" in raised.err


def test_dry_run_needs_a_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was delivered differs from target to target."""
    with reruns(tmp_path) as bench:
        bench.members(people(5))
        assert backfill("dry-run", bench.job, "--only-new").code == 2
        monkeypatch.delenv("SEGMENT_WRITE_KEY")
        assert backfill("dry-run", bench.job, "--only-new", "--target", "segment").code == 2
        assert backfill("dry-run", bench.job, "--only-new", "--target", "prod", "--output", "json").code == 0
