"""In doubt: what is sent again, until when, what is asked about, and what becomes of it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from backfill.deliver import EndKind
from backfill.ledger import Ledger, LedgerReader
from backfill.records import Answer, BatchState, Decision, Outcome
from backfill.verdict import StopReason
from backfill.wire import HEAD, halves
from tests.support.delivery_fakes import Endpoint, Seen, Step
from tests.support.lives import HOUR, WINDOW, Life

# ------------------------------------------------------------------------------------------------------ the window


def test_within_the_window_it_is_sent_again(life: Life) -> None:
    """The next process sends it first, with the same bytes; nothing is asked."""
    life.lose(2)
    life.world.wait(23.9 * HOUR)
    assert life.process().kind is EndKind.FINISHED
    assert life.again == [2, 3, 4]
    bodies = [seen.calls for seen in life.endpoint.seen if b"secret-call-2-" in seen.plain]
    assert bodies == [life.shelf.contents[2]] * 2


def test_past_the_window_the_rest_is_delivered_then_it_stops(life: Life) -> None:
    """Exit 5 with the batch named; all others are delivered; the next process sends nothing."""
    life.lose(2)
    life.world.wait(WINDOW + 60)
    end = life.process()
    assert (end.kind, end.reason, int(end.exit_code)) == (EndKind.STOPPED, StopReason.WINDOW, 5)
    assert end.batches == (2,)
    assert life.again == [3, 4]
    assert life.states() == {1: "delivered", 2: "in_doubt", 3: "delivered", 4: "delivered"}
    assert life.process().batches == (2,)
    assert life.again == [3, 4]


def test_ordered_runs_stop_at_it(life: Life) -> None:
    """Nothing overtakes it."""
    life.lose(2)
    life.world.wait(WINDOW + 60)
    end = life.process(ordered=True)
    assert (end.reason, end.batches) == (StopReason.WINDOW, (2,))
    assert life.again == []


def test_many_are_named_in_part(tmp_path: Path) -> None:
    """A message names ten; the end has them all."""
    with Endpoint() as endpoint:
        life = Life(tmp_path / "ledger.sqlite3", endpoint, batches=13)
        with closing(sqlite3.connect(life.path)) as connection, connection:
            connection.execute("UPDATE batches SET state = 'sent', first_unknown_at = 5")
        end = life.process()
        assert end.batches == tuple(range(1, 14))
        assert "10, ..." in end.message
        assert "11" not in end.message
        assert life.again == []


def test_the_window_closes_between_two_attempts(life: Life) -> None:
    """The age is looked at before each attempt of a process, too: its retries end, the rest is delivered."""
    life.losing, life.fault = {2}, Step(503, (("Retry-After", "300"),))
    end = life.process(window=1_000)
    assert (end.reason, end.batches) == (StopReason.WINDOW, (2,))
    attempts = [at for batch, at in life.sent if batch == 2]
    assert [at - attempts[0] for at in attempts] == pytest.approx([0, 300, 600, 900])
    assert life.states() == {1: "delivered", 2: "in_doubt", 3: "delivered", 4: "delivered"}


def test_parts_inherit_the_doubt_of_their_batch(life: Life) -> None:
    """A refusal splits a batch that may have arrived before: its parts are not sent again past the window, unasked."""
    life.lose(2)
    with Ledger.open(life.path) as ledger:
        batch = ledger.next_batches(1)[0]
        plain = life.shelf.contents[2]
        first, second = (len(call) for call in plain.removeprefix(HEAD).split(b",{"))
        refused = Answer(Outcome.NOT_TAKEN, BatchState.SPLIT, 413, "too large", life.world.truth, 0.1, 100)
        parts = halves(batch, plain, [first, second + 1])
        planned = ledger.record_parts(batch, ledger.mark_sent(batch, life.world.truth), refused, parts)
    assert [part.first_unknown_at for part in planned] == [batch.first_unknown_at] * 2
    life.world.wait(30 * HOUR)
    end = life.process()
    assert (end.reason, end.batches) == (StopReason.WINDOW, tuple(part.id for part in planned))
    assert life.again == [3, 4]


# --------------------------------------------------------------------------------------------------- the decision


def test_resend(life: Life) -> None:
    """Sent again with the same bytes; recorded for each batch and in the history."""
    life.lose(2)
    life.world.wait(30 * HOUR)
    assert life.process(Decision.RESEND).kind is EndKind.FINISHED
    assert life.again == [2, 3, 4]
    with LedgerReader(life.path) as reader:
        assert reader.counts().delivered == 8
        assert "1 batch (2 calls) in doubt is to be sent again" in reader.history()[-1][3]
    with closing(sqlite3.connect(life.path)) as connection:
        assert connection.execute("SELECT batch, decision, calls FROM v_decisions").fetchall() == [(2, "resend", 2)]


def test_a_resend_is_about_the_doubts_there_were(life: Life) -> None:
    """What comes into doubt while that process delivers is no part of it: a target without a window gets it once."""
    life.lose(2)
    life.losing = {3}
    answer = life.answer

    def answer_late(seen: Seen) -> Step | None:
        life.world.wait(1)
        return answer(seen)

    life.endpoint.decides = answer_late
    assert life.process(Decision.RESEND, attempts=5, window=0).reason is StopReason.WINDOW
    assert life.again == [2, 3, 4]
    assert life.states() == {1: "delivered", 2: "delivered", 3: "in_doubt", 4: "delivered"}


def test_a_resend_that_is_lost_begins_a_new_window(life: Life) -> None:
    """It is sent again for 24 hours from the decision, without being asked; then it is asked about again."""
    life.lose(2)
    life.world.wait(30 * HOUR)
    life.losing = {2}
    assert life.process(Decision.RESEND).reason is StopReason.ATTEMPTS_SPENT
    life.world.wait(23 * HOUR)
    assert life.process().reason is StopReason.ATTEMPTS_SPENT
    life.world.wait(2 * HOUR)
    assert life.process().reason is StopReason.WINDOW
    assert life.again == [2, 2, 3, 4]


def test_a_decision_outlives_a_process_that_sent_nothing(life: Life) -> None:
    """Killed between decision and request, say: the next process carries it out."""
    life.lose(2)
    life.world.wait(30 * HOUR)
    with Ledger.open(life.path) as ledger:
        ledger.decide(ledger.in_doubt(), Decision.RESEND, life.world.truth)
    life.world.wait(HOUR)
    assert life.process().kind is EndKind.FINISHED
    assert life.again == [2, 3, 4]


def test_skip(life: Life) -> None:
    """Left in doubt for good: counted so, never handed out again; the run can finish."""
    life.lose(2)
    life.world.wait(30 * HOUR)
    assert life.process(Decision.SKIP).kind is EndKind.FINISHED
    assert life.again == [3, 4]
    assert life.process(Decision.RESEND).kind is EndKind.FINISHED
    assert life.again == [3, 4]
    with Ledger.open(life.path) as ledger:
        counts = ledger.reader.counts()
        assert (counts.delivered, counts.in_doubt, counts.left_in_doubt, counts.pending) == (6, 2, 2, 0)
        assert counts.faults() == []
        assert ledger.in_doubt() == []
        (left,) = ledger.reader.doubts()
        assert (left.batch, left.left, left.since) == (2, True, 1_700_000_000.0)
        assert "1 batch (2 calls) in doubt is left so for good" in ledger.reader.history()[-1][3]
        ledger.finish(5, "some are left in doubt")
    with closing(sqlite3.connect(life.path)) as connection:
        assert connection.execute("SELECT state, standing FROM v_batches WHERE id = 2").fetchone() == (
            "left",
            "in_doubt",
        )
        assert connection.execute("SELECT batch, state FROM v_in_doubt").fetchall() == [(2, "left")]


@pytest.mark.parametrize("decision", Decision)
def test_nothing_is_decided_within_the_window(life: Life, decision: Decision) -> None:
    """There it is sent again as always."""
    life.lose(2)
    life.world.wait(HOUR)
    assert life.process(decision).kind is EndKind.FINISHED
    assert life.again == [2, 3, 4]
    with closing(sqlite3.connect(life.path)) as connection:
        assert connection.execute("SELECT count(*) FROM v_decisions").fetchone() == (0,)
