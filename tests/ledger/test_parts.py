"""The ledger's tree: parts that stand for a batch, in one commit with the answer; refused calls tried again."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from backfill.errors import LedgerError
from backfill.records import Answer, BatchState, Outcome, RunState, StoredRun
from tests.support.ledgers import ACCEPTED, REFUSED, REJECTED, SPLIT, UNKNOWN, answer, parts_of, shard_plan
from tests.support.stores import delivering_run, held_run

PLANNED, DELIVERED = BatchState.PLANNED, BatchState.DELIVERED
PLANS = [shard_plan(0, (6, 2)), shard_plan(1, (4,))]
SPLITTER = """
import os, signal, sys
from pathlib import Path
from backfill.records import BatchState
from tests.support.ledgers import SPLIT, parts_of
from tests.support.stores import held_run

with held_run(sys.argv[1], Path(sys.argv[2])) as run:
    ledger = run.open()
    first, *_ = ledger.next_batches(9)
    parts = parts_of(first, [(1, BatchState.DELIVERED), (5, BatchState.PLANNED)])
    ledger.record_parts(first, ledger.mark_sent(first, 1.0), SPLIT, parts)
    os.kill(os.getpid(), signal.SIGKILL)
"""
OURS = sum(plan.rejected for plan in PLANS)


def test_parts_stand_for_their_batch(run: StoredRun) -> None:
    """Its calls are counted as those of the parts, at once; the planned ones are the caller's, in order."""
    with delivering_run(run, PLANS) as ledger:
        first, *_ = ledger.next_batches(9)
        parts = parts_of(first, [(1, DELIVERED), (2, PLANNED), (1, BatchState.REJECTED), (2, PLANNED)])
        left = ledger.record_parts(first, ledger.mark_sent(first, 10.0), SPLIT, parts)
        assert [(part.calls, part.first_call, part.root, part.shard) for part in left] == [
            (2, 1, first.id, 0),
            (2, 4, first.id, 0),
        ]
        assert [(part.start, part.bytes, part.crc32) for part in left] == [
            (part.start, part.bytes, part.crc32) for part in (parts[1], parts[3])
        ]
        assert {(part.offset, part.length) for part in left} == {(first.offset, first.length)}
        counts = ledger.reader.counts()
        assert (counts.delivered, counts.rejected, counts.refused, counts.pending) == (1, OURS + 1, 1, 10)
        assert (counts.batches, counts.split, counts.requests, counts.faults()) == (3, 1, 1, [])
        (refused,) = ledger.reader.refused()
        assert (refused.status, refused.detail, refused.batch.first_call) == (422, "no 2", 3)
        assert ledger.next_batches(9) == []
        with pytest.raises(LedgerError, match="not to be sent"):
            ledger.mark_sent(first, 11.0)


def test_a_batch_that_was_not_sent_is_cut(run: StoredRun) -> None:
    """Its parts stand for it without an attempt, also for the next process; it is not counted as refused."""
    with delivering_run(run, PLANS) as ledger:
        first, second, _ = ledger.next_batches(9)
        left = ledger.record_cut(first, parts_of(first, [(2, PLANNED), (4, PLANNED)]))
        assert [(part.calls, part.first_call, part.root) for part in left] == [(2, 0, first.id), (4, 2, first.id)]
        ledger.mark_sent(second, 1.0)
        with pytest.raises(LedgerError, match="was sent"):
            ledger.record_cut(second, parts_of(second, [(1, PLANNED), (1, PLANNED)]))
        with pytest.raises(ValueError, match="begins as delivered"):
            ledger.record_cut(left[0], parts_of(left[0], [(1, PLANNED), (1, DELIVERED)]))
    with run.open() as ledger:
        counts = ledger.reader.counts()
        assert (counts.batches, counts.split, counts.requests, counts.faults()) == (3, 0, 1, [])
        assert [batch.id for batch in ledger.next_batches(9)][:2] == [part.id for part in left]
        ledger.record_parts(
            left[0], ledger.mark_sent(left[0], 1.0), SPLIT, parts_of(left[0], [(1, PLANNED), (1, PLANNED)])
        )
        assert ledger.reader.counts().split == 1


def test_parts_are_handed_out_once(run: StoredRun) -> None:
    """The parts of the last batch come behind everything, and yet are not handed out: whoever split it has them."""
    with delivering_run(run, PLANS) as ledger:
        last = ledger.next_batches(9)[-1]
        parts = parts_of(last, [(2, PLANNED), (2, PLANNED)])
        assert len(ledger.record_parts(last, ledger.mark_sent(last, 1.0), SPLIT, parts)) == 2
        assert ledger.next_batches(9) == []


def test_parts_of_parts_outlive_the_process(run: StoredRun) -> None:
    """The next process is given the open leaves, in plan order, with their places in the planned batch's bytes."""
    with delivering_run(run, PLANS) as ledger:
        first, second, third = ledger.next_batches(9)
        one, two = ledger.record_parts(
            first, ledger.mark_sent(first, 1.0), SPLIT, parts_of(first, [(3, PLANNED), (3, PLANNED)])
        )
        three, four = ledger.record_parts(
            one, ledger.mark_sent(one, 2.0), SPLIT, parts_of(one, [(1, PLANNED), (2, PLANNED)])
        )
        ledger.record_answer(three, ledger.mark_sent(three, 3.0), ACCEPTED)
        ledger.record_answer(two, ledger.mark_sent(two, 4.0), REFUSED)
        digest = ledger.reader.status().plan_digest
    with run.open() as ledger:
        found = ledger.next_batches(9)
        assert [batch.id for batch in found] == [four.id, two.id, second.id, third.id]
        assert found[0] == replace(four, fruitful=True)
        assert found[1] == replace(two, attempts=1, fruitful=True)
        assert not found[2].fruitful
        assert four.root == first.id
        assert ledger.prepared_shards() == {plan.shard: plan for plan in PLANS}
        assert ledger.reader.status().plan_digest == digest


def test_a_part_shares_its_parents_doubt(run: StoredRun) -> None:
    """What may have arrived with the whole batch may not be sent again later than the batch might have been."""
    with delivering_run(run, PLANS) as ledger:
        first, *_ = ledger.next_batches(9)
        ledger.record_answer(first, ledger.mark_sent(first, 50.0), UNKNOWN)
        parts = parts_of(first, [(3, PLANNED), (3, DELIVERED)])
        (part,) = ledger.record_parts(first, ledger.mark_sent(first, 60.0), SPLIT, parts)
        assert part.first_unknown_at == 50.0
        counts = ledger.reader.counts()
        assert (counts.in_doubt, counts.delivered, counts.faults()) == (3, 3, [])
        ledger.record_answer(part, ledger.mark_sent(part, 70.0), REJECTED)
        ledger.flush()
        assert ledger.reader.counts().in_doubt == 0


def test_a_refused_part_keeps_the_doubt(run: StoredRun) -> None:
    """It may have arrived with the whole batch as well: tried again, its age counts from that."""
    with delivering_run(run, [shard_plan(0, (6,))]) as ledger:
        (first,) = ledger.next_batches(9)
        ledger.record_answer(first, ledger.mark_sent(first, 50.0), UNKNOWN)
        parts = parts_of(first, [(4, DELIVERED), (2, BatchState.REJECTED)])
        ledger.record_parts(first, ledger.mark_sent(first, 60.0), answer(Outcome.ACCEPTED, BatchState.SPLIT), parts)
        ledger.finish(3)
        assert ledger.reader.doubts() == []
        assert ledger.retry_rejected() == 2
        assert [batch.first_unknown_at for batch in ledger.in_doubt()] == [50.0]
        assert ledger.reader.counts().in_doubt == 2


@pytest.mark.parametrize(
    ("drawn", "end"),
    [
        ([(3, PLANNED), (2, PLANNED)], SPLIT),
        ([(3, PLANNED), (3, BatchState.SENT)], SPLIT),
        ([(0, PLANNED), (6, PLANNED)], SPLIT),
        ([], SPLIT),
        ([(3, PLANNED), (3, PLANNED)], REJECTED),
        ([(3, PLANNED), (3, PLANNED)], answer(Outcome.UNKNOWN, BatchState.SPLIT)),
    ],
)
def test_parts_that_are_not_the_batch(run: StoredRun, drawn: list[tuple[int, BatchState]], end: Answer) -> None:
    """Too few calls, a state that none begins in, an answer that does not split: refused, and nothing is written."""
    with delivering_run(run, PLANS) as ledger:
        first, *_ = ledger.next_batches(9)
        number = ledger.mark_sent(first, 1.0)
        with pytest.raises(ValueError, match="part"):
            ledger.record_parts(first, number, end, parts_of(first, drawn))
        for place in (0, 1):
            moved = parts_of(first, [(3, PLANNED), (3, PLANNED)])
            moved[place] = replace(moved[place], bytes=moved[place].bytes + 1)
            with pytest.raises(ValueError, match="part"):
                ledger.record_parts(first, number, SPLIT, moved)
        with pytest.raises(LedgerError, match="has ended"):
            ledger.record_parts(first, number + 1, SPLIT, parts_of(first, [(3, PLANNED), (3, PLANNED)]))
        assert ledger.reader.counts().split == 0
        ledger.record_answer(first, number, ACCEPTED)


def test_parts_are_durable_when_they_are_returned(kind: str, tmp_path: Path, repository: Path) -> None:
    """Killed right after: the next process finds the parts, and no attempt without an end."""
    with held_run(kind, tmp_path / ".backfill") as run:
        delivering_run(run, PLANS).close()
    process = subprocess.run(
        [sys.executable, "-c", SPLITTER, kind, str(tmp_path / ".backfill")], cwd=repository, check=False
    )
    assert process.returncode == -signal.SIGKILL
    with held_run(kind, tmp_path / ".backfill") as run, run.open() as ledger:
        assert ledger.orphans == 0
        assert [batch.calls for batch in ledger.next_batches(9)] == [5, 2, 4]
        assert ledger.reader.counts().delivered == 1


def test_refused_calls_are_tried_again(run: StoredRun) -> None:
    """Of a finished run those that the target refused are planned again, and it is delivering; attempts count on."""
    with delivering_run(run, PLANS) as ledger:
        first, second, third = ledger.next_batches(9)
        ledger.record_answer(first, ledger.mark_sent(first, 1.0), ACCEPTED)
        ledger.record_answer(second, ledger.mark_sent(second, 2.0), REJECTED)
        parts = parts_of(third, [(3, DELIVERED), (1, BatchState.REJECTED)])
        ledger.record_parts(third, ledger.mark_sent(third, 3.0), answer(Outcome.ACCEPTED, BatchState.SPLIT), parts)
        ledger.finish(3)
        assert ledger.reader.shards_in_use() == {0, 1}
        assert ledger.retry_rejected() == 3
        assert ledger.reader.status().state is RunState.DELIVERING
        assert ledger.reader.refused() == []
        counts = ledger.reader.counts()
        assert (counts.delivered, counts.rejected, counts.pending, counts.faults()) == (9, OURS, 3, [])
    with run.open() as ledger:
        again, part = ledger.next_batches(9)
        assert (again.id, again.attempts, again.fruitful) == (second.id, 1, False)
        assert (part.root, part.attempts, part.fruitful) == (third.id, 0, True)
        assert ledger.mark_sent(again, 4.0) == 2
        ledger.record_answer(again, 2, ACCEPTED)
        ledger.record_answer(part, ledger.mark_sent(part, 5.0), REJECTED)
        ledger.finish(3)
        states = [state for _, state, _, _ in ledger.reader.history()][-4:]
        assert states == [RunState.DELIVERING, RunState.FINISHED, RunState.DELIVERING, RunState.FINISHED]
        assert ledger.reader.shards_in_use() == {1}
        assert [one.detail for one in ledger.reader.refused()] == ["said the target"]


def test_nothing_to_try_again(run: StoredRun) -> None:
    """Where the target refused nothing a finished run stays finished."""
    with delivering_run(run, [shard_plan(0, ())]) as ledger:
        ledger.finish(3)
        history = ledger.reader.history()
        assert ledger.retry_rejected() == 0
        assert ledger.reader.status().state is RunState.FINISHED
        assert ledger.reader.history() == history
