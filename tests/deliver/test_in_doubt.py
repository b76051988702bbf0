"""In doubt: what is sent again, until when, what is asked about, and what becomes of it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backfill.deliver import EndKind, undecided
from backfill.deliver.in_doubt import DedupWindowGuard, past_window, resolve_doubts, window_open
from backfill.deliver.model import Attempt
from backfill.deliver.run_clock import SET_BACK_SECONDS
from backfill.errors import ExitCode
from backfill.ledger import Ledger, LedgerReader
from backfill.records import AGE_UNKNOWN, Answer, Batch, BatchState, ClockMark, Decision, Outcome
from backfill.verdict import Action, StopReason, Verdict
from backfill.wire import HEAD, halves
from tests.support.delivery_fakes import Endpoint, Seen, Shelf, Step
from tests.support.lives import HOUR, WINDOW, Life, World

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
        assert "1 batch (2 calls) in doubt is never sent again" in ledger.reader.history()[-1][3]
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


# ------------------------------------------------------------------------------------------ the rule, batch by batch

TIMES = st.integers(0, 40).map(float)


class Sent:
    """A sender that keeps what it is given."""

    def __init__(self) -> None:
        self.given: list[tuple[Batch, int]] = []
        self.attempt = Attempt(Verdict(Action.ACCEPTED, Outcome.ACCEPTED), 7)

    def send(self, batch: Batch, counted: int) -> Attempt:
        """Send it."""
        self.given.append((batch, counted))
        return self.attempt


def doubt(since: float | None, number: int = 1) -> Batch:
    """A batch in doubt since then."""
    return Batch(number, 0, 1, 1, 0, 1, 0, first_unknown_at=since)


@given(since=st.none() | TIMES, now=TIMES, window=TIMES, resend=st.none() | st.tuples(TIMES, TIMES))
@example(since=5.0, now=20.0, window=0.0, resend=(5.0, 15.0))
@example(since=5.0, now=20.0, window=0.0, resend=(4.0, 15.0))
@example(since=5.0, now=20.0, window=15.0, resend=None)
def test_the_guard(since: float | None, now: float, window: float, resend: tuple[float, float] | None) -> None:
    """A batch leaves while the window is open, or that of a decision that is about it; else it is a stop."""
    sent = Sent()
    guard = DedupWindowGuard(sent, window, lambda: now, resend)
    by, seconds = resend or (-1.0, 0.0)
    leaves = since is None or now - since <= window or (since <= by and now - since <= seconds)
    assert guard.allows(doubt(since)) is leaves
    attempt = guard.send(doubt(since), 3)
    assert sent.given == ([(doubt(since), 3)] if leaves else [])
    if leaves:
        assert attempt is sent.attempt
    else:
        verdict = Verdict(Action.STOP, Outcome.UNKNOWN, reason=StopReason.WINDOW, exit_code=ExitCode.STOPPED)
        assert attempt == Attempt(verdict)


def test_the_window_ends_after_its_last_second() -> None:
    """A batch that was never in doubt is in every window."""
    assert window_open(doubt(None), 0.0, 1e9)
    assert window_open(doubt(100.0), 24.0, 124.0)
    assert not window_open(doubt(100.0), 24.0, 124.5)


@given(ages=st.lists(st.integers(0, 48), max_size=5), decision=st.none() | st.sampled_from(Decision))
def test_what_is_decided_when_a_delivery_begins(ages: list[int], decision: Decision | None) -> None:
    """The decision is about those past the window and no others; asked about beforehand are the same ones."""
    world, shelf = World(), Shelf(0)
    for number, hours in enumerate(ages):
        shelf.add(number, 1, 0, first_unknown_at=world.truth - hours * HOUR)
    before = list(shelf.batches)
    old = [batch for batch, hours in zip(before, ages, strict=True) if hours > 24]
    assert undecided(before, None, world.clock(), WINDOW) == old
    run_clock = resolve_doubts(shelf, world.clock(), WINDOW, decision)
    assert shelf.clocks == [ClockMark(world.truth, world.boot, world.truth - world.booted, WINDOW)]
    assert not shelf.history
    again = [replace(batch, first_unknown_at=world.truth) if batch in old else batch for batch in before]
    left = {None: before, Decision.SKIP: [batch for batch in before if batch not in old], Decision.RESEND: again}
    assert shelf.batches == left[decision]
    assert past_window(shelf.batches, run_clock, WINDOW) == ([] if decision else old)


@pytest.mark.parametrize("reboot", [False, True])
@pytest.mark.parametrize("behind", [SET_BACK_SECONDS, SET_BACK_SECONDS + 1])
@pytest.mark.usefixtures("far_from_utc")
def test_a_clock_behind_the_last_mark(caplog: pytest.LogCaptureFixture, behind: float, reboot: bool) -> None:
    """Seconds are a correction; more are said, in UTC, and after a reboot cost the doubts their age."""
    world, shelf = World(), Shelf(0)
    shelf.add(1, 1, 0, first_unknown_at=world.truth)
    shelf.clocks = [ClockMark(world.truth, world.boot, world.truth - world.booted, WINDOW)]
    world.wrong = -behind
    if reboot:
        world.reboot()
    told, lost = behind > SET_BACK_SECONDS, behind > SET_BACK_SECONDS and reboot
    assert undecided(shelf.in_doubt(), shelf.clock_mark(), world.clock(), WINDOW) == (shelf.batches if lost else [])
    run_clock = resolve_doubts(shelf, world.clock(), WINDOW, None)
    said = "the clock was set back: it shows 2023-11-14 22:08:19Z, the run was at 2023-11-14 22:13:20Z before"
    said += "; how long batches have been in doubt cannot be known" if lost else ""
    assert [record.message for record in caplog.records] == ([said] if told else [])
    assert shelf.history == ([said] if lost else [])
    assert shelf.batches[0].first_unknown_at == (AGE_UNKNOWN if lost else world.truth)
    assert run_clock.now() == shelf.clocks[-1].at == world.truth
    assert past_window(shelf.batches, run_clock, WINDOW) == (shelf.batches if lost else [])


def test_doubts_of_unknown_age_are_decided_about(caplog: pytest.LogCaptureFixture) -> None:
    """Also where the very process that is told the decision finds that the clock was set back."""
    world, shelf = World(), Shelf(0)
    shelf.add(1, 1, 0, first_unknown_at=world.truth)
    shelf.clocks = [ClockMark(world.truth, world.boot, world.truth - world.booted, WINDOW)]
    world.wrong = -HOUR
    world.reboot()
    resolve_doubts(shelf, world.clock(), WINDOW, Decision.SKIP)
    assert shelf.batches == []
    assert len(caplog.records) == 1
