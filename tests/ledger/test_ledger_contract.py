"""What every ledger keeps, whatever it is made of: it reads back, adds up, and refuses what cannot be."""

import re
import threading
from dataclasses import replace

import pytest

from backfill.errors import ExitCode, LedgerError
from backfill.records import (
    Answer,
    BatchState,
    ClockMark,
    Counts,
    Decision,
    Problem,
    RunState,
    Severity,
    ShardPlan,
    StoredRun,
    plan_digest,
)
from tests.support.ledgers import (
    ACCEPTED,
    FILE,
    RECORD,
    REFUSED,
    REJECTED,
    UNKNOWN,
    shard_plan,
    snapshot_of,
)
from tests.support.stores import delivering_run

PLANS = [shard_plan(0), shard_plan(1, (4, 1, 1), rejected=0, duplicate=0), shard_plan(2, (), rejected=0, duplicate=0)]
CALLS = 11  # in the batches of PLANS


def sample(code: str, record: int) -> Problem:
    """A problem with something in every field."""
    return Problem(code, Severity.ERROR, "no good", "a.csv", record, 7, "order", "zip", "ü\n", "mend it")


def test_what_a_run_was_started_with_reads_back(run: StoredRun) -> None:
    """Every fact of the record."""
    with run.create(RECORD) as ledger:
        status = ledger.reader.status()
        assert status.record == RECORD
        assert (status.state, status.state_at, status.exit_code) == (RunState.STAGING, RECORD.created_at, None)
        assert not status.over
        assert ledger.reader.snapshot() is None
        assert ledger.reader.counts().planned == 0


def test_snapshot_and_shards_read_back(run: StoredRun) -> None:
    """What prepare has recorded is what an interrupted prepare is told, problems, samples and days included."""
    samples = tuple(sample("BF101", record) for record in range(5))
    plans = [replace(PLANS[0], samples=samples), *PLANS[1:]]
    with run.create(RECORD) as ledger:
        ledger.record_snapshot(
            snapshot_of(plans),
            calls_per_row=1,
            problems={("BF001", "error"): 2},
            samples=[sample("BF001", 1)],
        )
        ledger.record_shard(plans[0])
    with run.open() as ledger:
        assert ledger.prepared_shards() == {0: plans[0]}
        ledger.record_shard(plans[1])
        ledger.record_shard(plans[2])
        digest = ledger.record_plan()
        reader = ledger.reader
        assert reader.shards() == {plan.shard: replace(plan, days={}) for plan in plans}
        assert ledger.prepared_shards() == dict(enumerate(plans))
        assert reader.status().plan_digest == digest == plan_digest(reversed(plans))
        snapshot = reader.snapshot()
        assert snapshot is not None
        assert snapshot.files == (FILE,)
        assert (snapshot.rows, snapshot.read, snapshot.in_place) == (16, 22, False)
        assert reader.problems() == {("BF001", "error"): 2, ("BF101", "error"): 1}
        assert reader.samples() == [sample("BF001", 1), *samples]
        assert reader.days() == {("order", "2024-01-31"): CALLS}


def test_what_several_plans_tell_is_noted_later(run: StoredRun) -> None:
    """Of a whole plan only; again in place of what was noted before, beside what the plan was found to be."""
    plans = [replace(PLANS[0], samples=(sample("BF101", 1),)), *PLANS[1:]]
    odd, first, second = (replace(sample(code, 0), severity=Severity.WARNING) for code in ("BF302", "BF314", "BF314"))
    with run.create(RECORD) as ledger:
        ledger.record_snapshot(snapshot_of(plans), calls_per_row=1)
        with pytest.raises(LedgerError, match="whole plan"):
            ledger.note_finding("BF314", 1, [first])
        for plan in plans:
            ledger.record_shard(plan)
        digest = ledger.record_plan([(odd, 3)])
        ledger.note_finding("BF314", 7, [first, second])
        ledger.note_finding("BF314", 2, [second])
        reader = ledger.reader
        assert reader.problems() == {("BF101", "error"): 1, ("BF302", "warning"): 3, ("BF314", "warning"): 2}
        assert reader.samples() == [sample("BF101", 1), odd, second]
        assert reader.status().plan_digest == digest
        ledger.note_finding("BF314", 0, ())
        assert "BF314" not in {code for code, _ in reader.problems()}


def test_at_most_five_samples_of_a_code(run: StoredRun) -> None:
    """Each shard keeps five; of the run the first five are shown."""
    plans = [
        replace(shard_plan(shard), samples=tuple(sample("BF101", 10 * shard + n) for n in range(3)))
        for shard in range(3)
    ]
    with delivering_run(run, plans) as ledger:
        assert [problem.record for problem in ledger.reader.samples()] == [0, 1, 2, 10, 11]


def test_digest_does_not_depend_on_compression(run: StoredRun) -> None:
    """A dry run, which keeps no bytes, has the digest of a run; another content has another."""
    weighed = [
        replace(
            plan,
            segment_bytes=0,
            segment_sha256="0",
            batches=tuple(replace(b, offset=0, length=0) for b in plan.batches),
        )
        for plan in PLANS
    ]
    assert plan_digest(weighed) == plan_digest(PLANS)
    other = replace(PLANS[0], batches=(replace(PLANS[0].batches[0], crc32=8), *PLANS[0].batches[1:]))
    assert plan_digest([other, *PLANS[1:]]) != plan_digest(PLANS)


def test_delivering_everything(run: StoredRun) -> None:
    """Batches in plan order, each handed out once, and all counted."""
    with delivering_run(run, PLANS) as ledger:
        first, rest = ledger.next_batches(2), ledger.next_batches(10)
        assert [(batch.shard, batch.first_call, batch.calls) for batch in first + rest] == [
            (0, 0, 3),
            (0, 3, 2),
            (1, 0, 4),
            (1, 4, 1),
            (1, 5, 1),
        ]
        assert ledger.next_batches(1) == []
        for batch in first + rest:
            ledger.record_answer(batch, ledger.mark_sent(batch, 999.0), ACCEPTED)
        ledger.finish(3)
        assert ledger.reader.status().over
    with run.read() as reader:
        assert reader.counts() == Counts(
            read=22,
            filtered=4,
            unreadable=2,
            mapped=16,
            calls_per_row=1,
            planned=13,
            skipped=3,
            delivered=CALLS,
            rejected=1,
            duplicate=1,
            already_delivered=0,
            in_doubt=0,
            pending=0,
            batches=5,
            requests=5,
            retries=0,
            json_bytes=4_400,
            wire_bytes=5 * 321,
            first_sent_at=999.0,
            last_ended_at=1_000.0,
        )
        assert reader.counts().faults() == []
        assert (reader.status().state, reader.status().exit_code) == (RunState.FINISHED, 3)
        assert [state for _, state, _, _ in reader.history()] == [
            RunState.STAGING,
            RunState.PREPARING,
            RunState.PREPARED,
            RunState.DELIVERING,
            RunState.FINISHED,
        ]


def test_a_refused_batch_is_rejected_and_an_unknown_one_in_doubt(run: StoredRun) -> None:
    """Each kind of end counts where it belongs; a refusal leaves no doubt, an acceptance ends it."""
    with delivering_run(run, PLANS) as ledger:
        accepted, rejected, throttled, unknown, healed = ledger.next_batches(9)
        ledger.record_answer(accepted, ledger.mark_sent(accepted, 10.0), ACCEPTED)
        ledger.record_answer(rejected, ledger.mark_sent(rejected, 11.0), REJECTED)
        ledger.record_answer(throttled, ledger.mark_sent(throttled, 12.0), REFUSED)
        for at in (14.0, 13.0):  # a clock may jump back: the earliest counts
            ledger.record_answer(unknown, ledger.mark_sent(unknown, at), UNKNOWN)
        ledger.record_answer(healed, ledger.mark_sent(healed, 15.0), UNKNOWN)
        assert ledger.mark_sent(healed, 16.0) == 2
        ledger.record_answer(healed, 2, ACCEPTED)
        ledger.flush()
        counts = ledger.reader.counts()
        assert (counts.delivered, counts.rejected, counts.in_doubt, counts.pending) == (4, 2 + 1, 1, 4)
        assert (counts.requests, counts.retries, counts.faults()) == (7, 2, [])
        assert ledger.reader.in_doubt() == [replace(unknown, attempts=2, first_unknown_at=13.0)]


def test_a_restart_hands_out_what_has_no_final_answer(run: StoredRun) -> None:
    """Planned, refused for now, in doubt and in flight: the next process is given them with what is known of them."""
    with delivering_run(run, PLANS) as ledger:
        accepted, rejected, throttled, unknown, flying = ledger.next_batches(9)
        ledger.record_answer(accepted, ledger.mark_sent(accepted, 10.0), ACCEPTED)
        ledger.record_answer(rejected, ledger.mark_sent(rejected, 11.0), REJECTED)
        ledger.record_answer(throttled, ledger.mark_sent(throttled, 12.0), REFUSED)
        ledger.record_answer(unknown, ledger.mark_sent(unknown, 13.0), UNKNOWN)
        ledger.mark_sent(flying, 14.0)
    with run.read() as reader:
        assert [batch.id for batch in reader.in_doubt()] == [unknown.id, flying.id]
        assert reader.in_doubt()[1].first_unknown_at == 14.0
    with run.open() as ledger:
        assert ledger.orphans == 1
        assert ledger.next_batches(9) == [
            replace(throttled, attempts=1),
            replace(unknown, attempts=1, first_unknown_at=13.0),
            replace(flying, attempts=1, first_unknown_at=14.0),
        ]
        assert ledger.mark_sent(flying, 20.0) == 2
        assert ledger.reader.in_doubt()[1].first_unknown_at == 14.0


def test_a_settled_batch_is_never_sent_again(run: StoredRun) -> None:
    """The ledger itself refuses a second delivery, and goes on."""
    with delivering_run(run, PLANS) as ledger:
        delivered, rejected = ledger.next_batches(2)
        ledger.record_answer(delivered, ledger.mark_sent(delivered, 1.0), ACCEPTED)
        ledger.record_answer(rejected, ledger.mark_sent(rejected, 1.0), REJECTED)
        for batch in (delivered, rejected, replace(delivered, id=99)):
            with pytest.raises(LedgerError, match="not to be sent"):
                ledger.mark_sent(batch, 2.0)
        assert ledger.reader.counts().requests == 2


@pytest.mark.parametrize(
    "impossible",
    [
        replace(ACCEPTED, state=None),
        replace(ACCEPTED, state=BatchState.REJECTED),
        replace(REJECTED, state=BatchState.DELIVERED),
        replace(UNKNOWN, state=BatchState.DELIVERED),
        replace(REFUSED, state=BatchState.SPLIT),
    ],
)
def test_an_answer_that_contradicts_itself_is_refused(run: StoredRun, impossible: Answer) -> None:
    """Delivered means accepted, rejected means refused, and unknown decides nothing."""
    with delivering_run(run, PLANS) as ledger:
        (batch,) = ledger.next_batches(1)
        attempt = ledger.mark_sent(batch, 1.0)
        with pytest.raises(ValueError, match="does not make its batch"):
            ledger.record_answer(batch, attempt, impossible)
        assert ledger.reader.counts().in_doubt == batch.calls


def test_an_answer_to_nothing_breaks_the_ledger(run: StoredRun) -> None:
    """An answer that cannot be recorded is not forgotten: every later call, and the end, says so."""
    ledger = delivering_run(run, PLANS)
    (batch,) = ledger.next_batches(1)
    ledger.record_answer(batch, 1, ACCEPTED)
    with pytest.raises(LedgerError, match="attempt 1 of batch 1"):
        ledger.flush()
    with pytest.raises(LedgerError, match="attempt 1 of batch 1"):
        ledger.mark_sent(batch, 1.0)
    with pytest.raises(LedgerError, match="attempt 1 of batch 1"):
        ledger.close()
    ledger.close()
    with run.open() as again:
        assert again.reader.counts().faults() == []


def test_a_closed_ledger_says_so(run: StoredRun) -> None:
    """Nothing is queued behind the end."""
    ledger = delivering_run(run, PLANS)
    ledger.close()
    with pytest.raises(LedgerError, match="was closed"):
        ledger.flush()


def test_unfinished_business_keeps_a_run_from_finishing(run: StoredRun) -> None:
    """A finished run has no batch left to deliver."""
    with delivering_run(run, PLANS) as ledger:
        for batch in ledger.next_batches(4):
            ledger.record_answer(batch, ledger.mark_sent(batch, 1.0), ACCEPTED)
        with pytest.raises(LedgerError, match="1 batches are still to be delivered"):
            ledger.finish(0)
        assert ledger.reader.status().state is RunState.DELIVERING


def test_a_shard_is_recorded_once_and_in_time(run: StoredRun) -> None:
    """Neither twice, nor before the snapshot, nor after the plan."""
    with run.create(RECORD) as ledger:
        with pytest.raises(LedgerError, match="takes no more shards"):
            ledger.record_shard(PLANS[0])
        ledger.record_snapshot(snapshot_of(PLANS), calls_per_row=1)
        with pytest.raises(LedgerError, match="snapshot is recorded already"):
            ledger.record_snapshot(snapshot_of(PLANS), calls_per_row=1)
        ledger.record_shard(PLANS[0])
        with pytest.raises(LedgerError, match="shard 0 is recorded already"):
            ledger.record_shard(PLANS[0])
        assert ledger.prepared_shards() == {0: PLANS[0]}


@pytest.mark.parametrize(
    ("plans", "calls_per_row", "complaint"),
    [
        ([PLANS[0], PLANS[2]], 1, "the last is number 2"),
        ([PLANS[0]], 1, "were staged"),
        ([*PLANS[:2], replace(PLANS[2], skipped=2)], 1, "does not add up"),
        (PLANS, 2, "does not add up"),
        ([*PLANS[:2], replace(PLANS[2], planned=1, skipped=0)], 1, "does not add up"),
    ],
)
def test_a_plan_that_does_not_add_up_is_refused(
    run: StoredRun, plans: list[ShardPlan], calls_per_row: int, complaint: str
) -> None:
    """A missing shard, missing rows and counts out of step end the run before anything is sent."""
    with run.create(RECORD) as ledger:
        ledger.record_snapshot(snapshot_of(PLANS), calls_per_row=calls_per_row)
        for plan in plans:
            ledger.record_shard(plan)
        with pytest.raises(LedgerError, match=complaint):
            ledger.record_plan()
        assert ledger.reader.status().state is RunState.PREPARING


@pytest.mark.parametrize(
    ("counts", "complaint"),
    [
        # A footer that says 0 rows over row groups of six: only a negative count makes the sum come out.
        ({"read": 0, "filtered": -22, "unreadable": 0}, "filtered is -22"),
        ({"read": 22, "filtered": 1, "unreadable": -1}, "unreadable is -1"),
        ({"read": 21, "filtered": 0, "unreadable": 0}, "read is 21, filtered + unreadable + staged is 22"),
    ],
)
def test_rows_that_do_not_add_up_are_refused(run: StoredRun, counts: dict[str, int], complaint: str) -> None:
    """A source that gave more or fewer rows than it has ends the run before anything is prepared."""
    with run.create(RECORD) as ledger:
        with pytest.raises(LedgerError, match=re.escape(complaint)) as refused:
            ledger.record_snapshot(replace(snapshot_of([shard_plan(0, (10, 9))]), **counts), calls_per_row=1)  # type: ignore[arg-type]
        assert refused.value.exit_code is ExitCode.UNEXPECTED
        assert ledger.reader.status().state is RunState.STAGING


def test_a_plan_with_a_count_below_nothing_is_refused(run: StoredRun) -> None:
    """Two wrong counts that make up for each other are none the better."""
    wrong = replace(PLANS[0], rejected=-1, duplicate=3)
    with run.create(RECORD) as ledger:
        ledger.record_snapshot(snapshot_of(PLANS), calls_per_row=1)
        for plan in [wrong, *PLANS[1:]]:
            ledger.record_shard(plan)
        with pytest.raises(LedgerError, match="rejected is -1"):
            ledger.record_plan()


def test_faults_name_the_identity_and_its_numbers(run: StoredRun) -> None:
    """What --output json must not print is found out here."""
    with delivering_run(run, PLANS) as ledger:
        counts = replace(ledger.reader.counts(), read=21, planned=14)
    assert counts.faults() == [
        "read = filtered + unreadable + mapped: 21 is not 22",
        "mapped x calls = planned + skipped: 16 is not 17",
        "planned = delivered + rejected + duplicate + already_delivered + in_doubt + pending: 14 is not 13",
    ]


def test_eight_senders_share_commits(run: StoredRun) -> None:
    """Nothing is lost or doubled among threads; all is there for a reader once flushed."""
    plans = [shard_plan(shard, (1,) * 50) for shard in range(8)]
    seen: list[int] = []
    with delivering_run(run, plans) as ledger:

        def send() -> None:
            while batches := ledger.next_batches(3):
                for batch in batches:
                    seen.append(batch.id)
                    ledger.record_answer(batch, ledger.mark_sent(batch, 1.0), ACCEPTED)

        threads = [threading.Thread(target=send) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ledger.flush()
        assert len(seen) == len(set(seen)) == ledger.reader.counts().delivered == 400


def test_readers_read_while_it_is_written(run: StoredRun) -> None:
    """A reader sees committed states only, always adding up."""
    with delivering_run(run, [shard_plan(0, (1,) * 60)]) as ledger, run.read() as reader:
        delivered = [0]
        for batch in ledger.next_batches(60):
            ledger.record_answer(batch, ledger.mark_sent(batch, 1.0), ACCEPTED)
            counts = reader.counts()
            assert counts.faults() == []
            delivered.append(counts.delivered)
        assert delivered == sorted(delivered)


def test_what_is_said_of_a_doubt_and_of_the_clock_reads_back(run: StoredRun) -> None:
    """Decisions, lost ages and the clock; whole pages of doubts and their sum, with what the last answer said."""
    mark = ClockMark(1_000.5, "a boot", 12.25, 86_400.0)
    with delivering_run(run, PLANS) as ledger:
        assert ledger.clock_mark() is None
        ledger.mark_clock(replace(mark, at=1.0))
        ledger.mark_clock(mark)
        assert ledger.clock_mark() == mark
        first, second, third, *_ = ledger.next_batches(9)
        for at, batch in ((10.5, first), (11.5, second), (12.5, third)):
            ledger.record_answer(batch, ledger.mark_sent(batch, at), UNKNOWN)
        ledger.flush()
    with run.open() as ledger, run.read() as reader:
        assert [(one.batch, one.status, one.detail) for one in reader.doubts(2)] == [
            (first.id, 503, "said the target"),
            (second.id, 503, "said the target"),
        ]
        ledger.decide([replace(first, first_unknown_at=10.5)], Decision.SKIP, 20.0)
        ledger.decide([replace(second, first_unknown_at=11.5)], Decision.RESEND, 20.0)
        span = reader.doubt_span()
        assert (span.batches, span.calls, span.left_batches) == (2, second.calls + third.calls, 1)
        assert [one.first_unknown_at for one in reader.in_doubt()] == [20.0, 12.5]
        ledger.lose_ages("the clock\0was set back")
        assert [one.since for one in reader.doubts()] == [10.5, None, None]
        assert "never sent again" in reader.history()[-3][3]
        assert reader.attempts(first.id)[0].sent_at == 10.5
        assert reader.span_of(0, 1) == reader.call_spans()[0]
        assert [one.batch for one in reader.settled_spans()] == [first.id]
