"""The ledger against a model of it: whatever the order of events, states, counts and doubts agree."""

import shutil
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from backfill.errors import LedgerError
from backfill.records import TRANSITIONS, Batch, BatchState, Decision, Outcome, RunState, RunWriter, StoredRun
from tests.support.examples import examples
from tests.support.ledgers import (
    ACCEPTED,
    RECORD,
    REFUSED,
    REJECTED,
    SPLIT,
    UNKNOWN,
    parts_of,
    shard_plan,
    snapshot_of,
)
from tests.support.postgres import Postgres
from tests.support.stores import FOLDER, delivering_run, held_run

PLANS = [shard_plan(0, (3, 2, 1)), shard_plan(1, (2, 2))]
ANSWERS = st.sampled_from([ACCEPTED, REJECTED, REFUSED, UNKNOWN])


def test_every_state_is_reached_and_two_are_ends() -> None:
    """The table names every state, and from the first each can be reached."""
    assert set(TRANSITIONS) == set(RunState)
    reached, frontier = set(), {RunState.STAGING}
    while frontier:
        reached |= frontier
        frontier = {state for before in frontier for state in TRANSITIONS[before]} - reached
    assert reached == set(RunState)
    assert {state for state in RunState if not TRANSITIONS[state]} == {RunState.FINISHED, RunState.ABANDONED}


class LedgerMachine(RuleBasedStateMachine):
    """One run delivered, interrupted and resumed in any order of events."""

    def __init__(self, kind: str = FOLDER) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="ledger-"))
        self.held = held_run(kind, self.folder / ".backfill")
        self.run = self.held.__enter__()
        self.now = 1_000.0

    @initialize()
    def begin(self) -> None:
        """A run about to send."""
        self.ledger = delivering_run(self.run, PLANS)
        self.states = {place + 1: BatchState.PLANNED for place in range(5)}
        self.calls = dict(zip(self.states, (3, 2, 1, 2, 2), strict=True))
        places = ((0, 0), (0, 3), (0, 5), (1, 0), (1, 2))
        self.places = {key: (*place, key) for key, place in zip(self.states, places, strict=True)}  # in plan order
        self.handed_to = (-1, -1, -1)
        self.newest: int | None = None
        self.attempts = dict.fromkeys(self.states, 0)
        self.unknown_since: dict[int, float] = {}
        self.handed_out: dict[int, Batch] = {}
        self.in_flight: dict[int, tuple[int, float]] = {}

    @rule(limit=st.integers(1, 3))
    def hand_out(self, limit: int) -> None:
        """The next batches are those still to be delivered, in order, none twice."""
        if self.newest is None:
            self.newest = max(self.states)
        due = [
            key
            for key in sorted(self.states, key=self.places.__getitem__)
            if self.states[key] in OPEN and self.places[key] > self.handed_to and key <= self.newest
        ]
        given = self.ledger.next_batches(limit)
        assert [batch.id for batch in given] == due[:limit]
        for batch in given:
            self.handed_to = self.places[batch.id]
            assert (batch.shard, batch.first_call, batch.calls) == (*self.places[batch.id][:2], self.calls[batch.id])
            assert batch.attempts == self.attempts[batch.id]
            assert batch.first_unknown_at == self.unknown_since.get(batch.id)
            self.handed_out[batch.id] = batch

    @precondition(lambda self: self.idle())
    @rule(data=st.data(), pause=st.floats(0, 100))
    def send(self, data: st.DataObject, pause: float) -> None:
        """An attempt leaves."""
        key = data.draw(st.sampled_from(self.idle()))
        self.now += pause
        self.attempts[key] += 1
        assert self.ledger.mark_sent(self.handed_out[key], self.now) == self.attempts[key]
        self.states[key] = BatchState.SENT
        self.in_flight[key] = (self.attempts[key], self.now)

    @precondition(lambda self: self.settled())
    @rule(data=st.data())
    def send_settled(self, data: st.DataObject) -> None:
        """A delivered or rejected batch is not sent again."""
        key = data.draw(st.sampled_from(self.settled()))
        with pytest.raises(LedgerError, match="not to be sent"):
            self.ledger.mark_sent(self.handed_out[key], self.now)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), answered=ANSWERS)
    def answer(self, data: st.DataObject, answered: object) -> None:
        """An attempt ends."""
        key = data.draw(st.sampled_from(sorted(self.in_flight)))
        number, sent_at = self.in_flight.pop(key)
        given = next(answer for answer in (ACCEPTED, REJECTED, REFUSED, UNKNOWN) if answer is answered)
        self.ledger.record_answer(self.handed_out[key], number, given)
        self.states[key] = given.state or BatchState.SENT
        if given.outcome is Outcome.UNKNOWN:
            self.unknown_since.setdefault(key, sent_at)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def split(self, data: st.DataObject) -> None:
        """A batch is refused, and parts in any state stand for it."""
        key = data.draw(st.sampled_from(sorted(self.in_flight)))
        number, _ = self.in_flight.pop(key)
        cuts = sorted(data.draw(st.sets(st.integers(1, self.calls[key]), max_size=3)) | {0, self.calls[key]})
        states = [BatchState.PLANNED, BatchState.DELIVERED, BatchState.REJECTED]
        drawn = [(end - start, data.draw(st.sampled_from(states))) for start, end in pairwise(cuts)]
        batch = self.handed_out[key]
        planned = self.ledger.record_parts(batch, number, SPLIT, parts_of(batch, drawn))
        self.states[key] = BatchState.SPLIT
        shard, first, _ = self.places[key]
        for calls, state in drawn:
            part = max(self.states) + 1
            self.states[part], self.calls[part], self.places[part] = state, calls, (shard, first, part)
            self.attempts[part] = 0
            if key in self.unknown_since:  # also of one refused: it is in doubt again where it is tried again
                self.unknown_since[part] = self.unknown_since[key]
            if state is BatchState.PLANNED:
                self.handed_out[part] = planned.pop(0)
                assert self.handed_out[part].id == part
            first += calls
        assert planned == []

    @precondition(lambda self: not self.in_flight)
    @rule()
    def retry_rejected(self) -> None:
        """What the target refused is planned again; the next process is given it."""
        self.ledger.flush()
        assert self.ledger.retry_rejected() == self.sum_of(BatchState.REJECTED)
        for key, state in self.states.items():
            if state is BatchState.REJECTED:
                self.states[key] = BatchState.PLANNED
        self.restart()

    @precondition(lambda self: not self.in_flight)
    @rule(decision=st.sampled_from(Decision), most=st.integers(1, 3))
    def decide(self, decision: Decision, most: int) -> None:
        """At the start of a process somebody decides about doubts: they begin anew, or are over."""
        self.restart()
        decided = self.ledger.in_doubt()[:most]
        self.now += 1
        self.ledger.decide(decided, decision, self.now)
        for batch in decided:
            if decision is Decision.SKIP:
                self.states[batch.id] = BatchState.LEFT
            else:
                self.unknown_since[batch.id] = self.now

    @rule()
    def restart(self) -> None:
        """The process ends, with requests in flight or without; another takes over."""
        self.ledger.close()
        self.ledger = self.run.open()
        assert self.ledger.orphans == len(self.in_flight)
        for key, (_, sent_at) in self.in_flight.items():
            self.unknown_since.setdefault(key, sent_at)
        self.in_flight.clear()
        self.handed_out.clear()
        self.handed_to, self.newest = (-1, -1, -1), None

    @rule(state=st.sampled_from(RunState))
    def try_to_move(self, state: RunState) -> None:
        """A state that may not follow is refused; finishing needs every batch settled."""
        if state is RunState.FINISHED:
            open_batches = len(self.states) - len([s for s in self.states.values() if s in SETTLED])
            if open_batches:
                with pytest.raises(LedgerError, match=f"{open_batches} batches"):
                    self.ledger.finish(0)
        elif state is RunState.STOPPED:
            self.ledger.set_state(state, exit_code=5, detail="outage")
            self.ledger.set_state(RunState.DELIVERING)
        elif state not in (RunState.DELIVERING, RunState.ABANDONED):
            with pytest.raises(LedgerError):
                move(self.ledger, state)

    @invariant()
    def counts_agree(self) -> None:
        """The counts are the model's and add up."""
        if not hasattr(self, "ledger"):
            return
        self.ledger.flush()
        counts = self.ledger.reader.counts()
        assert counts.faults() == []
        doubted = {
            key
            for key, state in self.states.items()
            if state in OPEN and (key in self.in_flight or key in self.unknown_since)
        }
        assert counts.delivered == self.sum_of(BatchState.DELIVERED)
        assert counts.rejected == self.sum_of(BatchState.REJECTED) + sum(plan.rejected for plan in PLANS)
        assert counts.left_in_doubt == self.sum_of(BatchState.LEFT)
        assert counts.in_doubt == sum(self.calls[key] for key in doubted) + counts.left_in_doubt
        assert counts.requests == sum(self.attempts.values())
        assert {batch.id: batch.first_unknown_at for batch in self.ledger.reader.in_doubt()} == {
            key: min(time for time in (self.unknown_since.get(key), self.in_flight.get(key, (0, None))[1]) if time)
            for key in doubted
        }

    def teardown(self) -> None:
        """Close and remove."""
        if hasattr(self, "ledger"):
            self.ledger.close()
        self.held.__exit__(None, None, None)
        shutil.rmtree(self.folder)

    def idle(self) -> list[int]:
        """Batches that a sender holds and may send."""
        return [key for key in self.handed_out if key not in self.in_flight and self.states[key] not in SETTLED]

    def settled(self) -> list[int]:
        """Batches that a sender held and that are done."""
        return [key for key in self.handed_out if self.states[key] in SETTLED]

    def sum_of(self, state: BatchState) -> int:
        """Calls of the batches in a state."""
        return sum(self.calls[key] for key, found in self.states.items() if found is state)


SETTLED = (BatchState.DELIVERED, BatchState.REJECTED, BatchState.SPLIT, BatchState.LEFT)
OPEN = (BatchState.PLANNED, BatchState.SENT)
TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


def test_the_model_holds_in_postgresql(postgres: Postgres) -> None:
    """The same events, each time in a database of its own."""
    few = settings(max_examples=examples(4), stateful_step_count=25, deadline=None)
    run_state_machine_as_test(lambda: LedgerMachine(postgres.url(postgres.new_database())), settings=few)


def move(ledger: RunWriter, state: RunState) -> None:
    """Take a run without a batch to send to that state, by the method that does."""
    empty = shard_plan(0, ())
    match state:
        case RunState.STAGING:
            raise LedgerError("a run begins so, and no method leads there")
        case RunState.PREPARING:
            ledger.record_snapshot(snapshot_of([empty]), calls_per_row=1)
        case RunState.PREPARED:
            if not ledger.prepared_shards():
                ledger.record_shard(empty)
            ledger.record_plan()
        case RunState.FINISHED:
            ledger.finish(1)
        case _:
            ledger.set_state(state, exit_code=1, detail="because")


ROUTES = {
    RunState.STAGING: (),
    RunState.PREPARING: (RunState.PREPARING,),
    RunState.PREPARED: (RunState.PREPARING, RunState.PREPARED),
    RunState.DELIVERING: (RunState.PREPARING, RunState.PREPARED, RunState.DELIVERING),
    RunState.STOPPED: (RunState.PREPARING, RunState.PREPARED, RunState.DELIVERING, RunState.STOPPED),
    RunState.FINISHED: (RunState.PREPARING, RunState.PREPARED, RunState.DELIVERING, RunState.FINISHED),
    RunState.ABANDONED: (RunState.ABANDONED,),
}
# A killed process is resumed in the state it left; the snapshot alone is never recorded twice.
REPEATABLE = frozenset(RunState) - {RunState.STAGING, RunState.PREPARING}


@pytest.mark.parametrize("before", RunState)
@pytest.mark.parametrize("after", RunState)
def test_transitions_are_the_table(run: StoredRun, before: RunState, after: RunState) -> None:
    """From each state exactly those of the table follow, and itself; a refused one changes nothing."""
    with run.create(RECORD) as ledger:
        for state in ROUTES[before]:
            move(ledger, state)
        assert ledger.reader.status().state is before
        if after in TRANSITIONS[before] or (after is before and after in REPEATABLE):
            move(ledger, after)
            assert ledger.reader.status().state is after
            assert ledger.reader.history()[-1][1] is after
        else:
            history = ledger.reader.history()
            with pytest.raises(LedgerError):
                move(ledger, after)
            assert ledger.reader.history() == history
            assert ledger.reader.status().state is before


@pytest.mark.parametrize("state", [RunState.STAGING, RunState.PREPARING, RunState.PREPARED, RunState.FINISHED])
def test_states_that_facts_bring_about(run: StoredRun, state: RunState) -> None:
    """Prepared and finished are not said but shown: there is a method that checks."""
    with run.create(RECORD) as ledger, pytest.raises(ValueError, match=f"{state} is"):
        ledger.set_state(state)
