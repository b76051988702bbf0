"""Reading a ledger: never writes, may run beside the process that does."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import fields, replace
from itertools import accumulate
from types import TracebackType
from typing import Any, Self

from backfill.errors import LedgerError
from backfill.ledger.connection import Row
from backfill.ledger.migrations import PROFILES_SINCE, split_job_data
from backfill.ledger.schema import ALTOGETHER, DAMAGED, first_of
from backfill.records import (
    AGE_UNKNOWN,
    Batch,
    CallFacts,
    CallSpan,
    ClockMark,
    Counts,
    Doubt,
    DoubtSpan,
    JobFacts,
    LedgerAttempt,
    PlannedBatch,
    Problem,
    RefusedBatch,
    RunRecord,
    RunState,
    RunStatus,
    SentAttempt,
    Severity,
    ShardPlan,
    SnapshotRecord,
    SourceFile,
    plan_digest,
)
from backfill.records.profile import NO_PROFILE, PlanProfile, merged, unpacked

SAMPLES_PER_CODE = 5
_ALL = 2**62  # of a LIMIT
_SHARD = (
    "shard, rows, planned, skipped, rejected, duplicate, already_delivered, json_bytes, segment_bytes, segment_sha256,"
    " calls_sha256"
)
BATCH = (
    'b.id, b.shard, b.calls, b.bytes, b."offset", b.length, b.crc32, b.attempts, b.first_unknown_at, b.first_call,'
    " b.root, b.start"
)

#: Whether calls of the planned batch of b, a part, were delivered.
FRUITFUL = "EXISTS (SELECT 1 FROM batches d WHERE d.root = b.root AND d.state = 'delivered')"

_SETTLED = "b.state IN ('delivered', 'left')"
_LEAVES = (
    f"SELECT b.id, b.shard, b.first_call, b.calls, v.standing, {_SETTLED} FROM batches b"  # noqa: S608 - a constant
    " JOIN v_batches v ON v.id = b.id WHERE b.state <> 'split'"
)
#: Of a batch b in doubt: its first unknown attempt, what is in flight included.
_SINCE = first_of("b.first_unknown_at", "o.sent_at")
_DOUBTS = f"""
SELECT b.id, b.shard, b.first_call, b.calls, b.attempts, {_SINCE} AS since, b.state = 'left' AS is_left
FROM batches b LEFT JOIN (SELECT batch, min(sent_at) AS sent_at FROM attempts WHERE outcome IS NULL GROUP BY batch) o
    ON o.batch = b.id
WHERE b.id IN (SELECT batch FROM v_in_doubt)"""  # noqa: S608 - constants
#: One page of them, in plan order, with the last attempt of each; a part may have had none of its own.
_DOUBT_PAGE = f"""
SELECT d.id, d.shard, d.first_call, d.calls, d.attempts, d.since, d.is_left, a.status, coalesce(a.detail, '')
FROM ({_DOUBTS}) d LEFT JOIN attempts a ON a.batch = d.id AND a.number = d.attempts
ORDER BY d.shard, d.first_call, d.id LIMIT ?"""  # noqa: S608 - constants
_DOUBT_SPAN = f"""
SELECT count(*) FILTER (WHERE NOT is_left), coalesce(sum(calls) FILTER (WHERE NOT is_left), 0),
    min(since) FILTER (WHERE NOT is_left AND since > {AGE_UNKNOWN}), max(since) FILTER (WHERE NOT is_left
    AND since > {AGE_UNKNOWN}), count(*) FILTER (WHERE NOT is_left AND since <= {AGE_UNKNOWN}),
    count(*) FILTER (WHERE is_left), coalesce(sum(calls) FILTER (WHERE is_left), 0)
FROM ({_DOUBTS}) d"""  # noqa: S608 - constants


class SqlReader(AbstractContextManager["SqlReader"]):
    """A read-only view of a ledger; each method reads what is committed at that moment. Thread-safe.

    Every method raises LedgerError where the ledger turns out to be damaged.
    """

    #: The ledger, for messages.
    name: str

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Let go of it; again does nothing."""

    def status(self) -> RunStatus:
        """The run and where it stands."""
        (row,) = self._rows("SELECT * FROM run")
        if row["state"] not in set(RunState):
            raise LedgerError(f"{self.name} is damaged: there is no state {row['state']!r}", hint=DAMAGED)
        return RunStatus(
            self._record(row),
            RunState(row["state"]),
            row["state_at"],
            row["exit_code"],
            row["detail"],
            row["plan_digest"],
        )

    def _record(self, row: Row) -> RunRecord:
        names = [field.name for field in fields(RunRecord) if field.name not in ("facts", "envelope")]
        values: dict[str, Any] = {name: row[name] for name in names}
        values |= {name: bool(values[name]) for name in ("live", "only_new")}
        if "envelope" not in row.keys():  # noqa: SIM118 - of version 1, not opened to be written since
            data, envelope, facts = split_job_data(values["job_data"])
            return RunRecord(**{**values, "job_data": data}, facts=facts, envelope=envelope)
        calls = self._rows("SELECT scope, key_size, given_id, by_content FROM job_calls ORDER BY position")
        facts = JobFacts(
            tuple(CallFacts(scope, size, bool(given), bool(content)) for scope, size, given, content in calls),
            ordered=bool(row["ordered"]),
            has_query=bool(row["has_query"]),
        )
        return RunRecord(**values, facts=facts, envelope=row["envelope"])

    def snapshot(self) -> SnapshotRecord | None:
        """What staging gave; None before it is recorded."""
        rows = self._rows("SELECT read, filtered, unreadable, rows, calls_per_row, in_place FROM snapshot")
        if not rows:
            return None
        files = self._rows(
            "SELECT path, name, key, bytes, sha256, mtime_ns, ctime_ns, inode FROM files ORDER BY position"
        )
        read, filtered, unreadable, staged, calls_per_row, in_place = rows[0]
        sources = tuple(SourceFile(**{**dict(file), **_inode_or_pin(file["inode"])}) for file in files)
        return SnapshotRecord(read, filtered, unreadable, staged, calls_per_row, bool(in_place), sources)

    def counts(self) -> Counts:
        """Everything counted, in one consistent reading."""
        (row,) = self._rows("SELECT * FROM v_counts")
        return Counts(**{name: row[name] for name in row.keys()})  # noqa: SIM118 - iterating a Row gives values

    def problems(self) -> dict[tuple[str, str], int]:
        """How many problems of each (code, severity), those of staging included."""
        return {(code, severity): count for code, severity, count in self._rows("SELECT * FROM v_problems")}

    def samples(self) -> list[Problem]:
        """Up to five problems of each code, by code, then in source order; of all calls together, all that is odd."""
        rows = self._rows(
            "SELECT problem FROM (SELECT *, row_number() OVER (PARTITION BY code ORDER BY shard, position) AS place"
            " FROM samples) s WHERE place <= ? OR shard = ? ORDER BY code, place",
            SAMPLES_PER_CODE,
            ALTOGETHER,
        )
        return [_problem(text) for (text,) in rows]

    def days(self) -> dict[tuple[str, str], int]:
        """How many planned calls of each (call label, day of its timestamp, YYYY-MM-DD)."""
        return {(call, day): calls for day, call, calls in self._rows("SELECT * FROM v_calls_per_day")}

    def dates(self) -> dict[str, tuple[str, str]]:
        """First and last day of the planned calls' timestamps (YYYY-MM-DD), by call label; none before the plan."""
        rows = self._rows("SELECT call, min(day), max(day) FROM v_calls_per_day GROUP BY call ORDER BY call")
        return {call: (first, last) for call, first, last in rows}

    def history(self) -> list[tuple[float, RunState, int | None, str]]:
        """Each state the run took: when (POSIX seconds), which, the exit code, the reason."""
        rows = self._rows("SELECT at, state, exit_code, detail FROM history ORDER BY rowid")
        return [(at, RunState(state), exit_code, detail) for at, state, exit_code, detail in rows]

    def clock_mark(self) -> ClockMark | None:
        """The clock as last recorded; None where it never was."""
        rows = self._rows('SELECT at, boot, up, "window" FROM clocks ORDER BY rowid DESC LIMIT 1')
        return ClockMark(*rows[0]) if rows else None

    def doubts(self, limit: int = -1) -> list[Doubt]:
        """Up to `limit` batches in doubt or left for good, all where it is negative, in plan order."""
        return [_doubt(row) for row in self._rows(_DOUBT_PAGE, limit if limit >= 0 else _ALL)]

    def doubt_span(self) -> DoubtSpan:
        """All of them summed up."""
        return DoubtSpan(*self._rows(_DOUBT_SPAN)[0])

    def in_doubt(self) -> list[Batch]:
        """Batches still to be delivered that may have arrived, in plan order; `first_unknown_at` is set.

        While a process delivers, what it has in flight is among them.
        """
        rows = self._rows(
            'SELECT b.id, b.shard, b.calls, b.bytes, b."offset", b.length, b.crc32, b.attempts,'  # noqa: S608 - a constant
            f" {_SINCE} AS first_unknown_at,"
            " b.first_call, b.root, b.start FROM batches b"
            " LEFT JOIN (SELECT batch, min(sent_at) AS sent_at FROM attempts WHERE outcome IS NULL GROUP BY batch) o"
            " ON o.batch = b.id WHERE b.state <> 'left' AND b.id IN (SELECT batch FROM v_in_doubt)"
            " ORDER BY b.shard, b.first_call, b.id"
        )
        return [Batch(*row) for row in rows]

    def refused(self) -> list[RefusedBatch]:
        """Every batch that the target refused for good, in plan order, with the answer that did it."""
        rows = self._rows(
            f"SELECT {BATCH}, b.status, b.detail"  # noqa: S608 - a constant
            " FROM batches b WHERE b.state = 'rejected' ORDER BY b.shard, b.first_call, b.id"
        )
        return [RefusedBatch(Batch(*batch), status, detail) for *batch, status, detail in rows]

    def shards_in_use(self) -> set[int]:
        """The shards whose prepared bytes are still needed: to be delivered, or refused, to be tried again perhaps."""
        rows = self._rows("SELECT DISTINCT shard FROM batches WHERE state IN ('planned', 'sent', 'rejected')")
        return {shard for (shard,) in rows}

    def open_batches(
        self, limit: int, after: tuple[int, int, int] | None = None, newest: int | None = None
    ) -> list[Batch]:
        """Up to `limit` batches still to be delivered, in plan order, behind (shard, first_call, id).

        Of those with an id above `newest` there is none among them.
        """
        rows = self._rows(
            f"SELECT {BATCH}, {FRUITFUL} AS fruitful FROM batches b WHERE b.state IN ('planned', 'sent')"  # noqa: S608
            " AND (b.shard, b.first_call, b.id) > (?, ?, ?) AND b.id <= coalesce(?, b.id)"
            " ORDER BY b.shard, b.first_call, b.id LIMIT ?",
            *(after or (-1, -1, -1)),
            newest,
            limit,
        )
        return handed_out(rows)

    def newest_batch(self) -> int:
        """The highest id of a batch; 0 where there is none."""
        return int(self._rows("SELECT coalesce(max(id), 0) FROM batches")[0][0])

    def days_by_shard(self) -> dict[int, dict[tuple[str, str], int]]:
        """Of every shard recorded: (call, day) -> calls. A history in no order has all its days in each shard."""
        return {
            shard: {(call, day): calls for call, days in json.loads(text).items() for day, calls in days.items()}
            for shard, text in self._rows("SELECT shard, days FROM shards")
        }

    def batch_sizes(self) -> list[tuple[int, int]]:
        """The bytes, without the envelope's tail, and calls of each batch as it was planned, in plan order."""
        return [
            (row["bytes"], row["calls"])
            for row in self._rows("SELECT bytes, calls FROM batches WHERE parent IS NULL ORDER BY shard, ordinal")
        ]

    def profile(self) -> PlanProfile | None:
        """What the calls of all shards recorded hold; None where a version before this one prepared some."""
        if self._version() < PROFILES_SINCE:  # not opened to be written since
            return None
        try:
            parts = [unpacked(row["profile"]) for row in self._rows("SELECT profile FROM shards ORDER BY shard")]
        except NO_PROFILE as error:
            if any(not row["profile"] for row in self._rows("SELECT profile FROM shards")):
                return None
            raise LedgerError(f"{self.name} is damaged: a profile of a shard is none", hint=DAMAGED) from error
        return merged(parts)

    def shards(self) -> dict[int, ShardPlan]:
        """Every shard recorded, as prepare gave it, days (`days_by_shard`) and profile aside."""
        batches: dict[int, list[PlannedBatch]] = defaultdict(list)
        for shard, *values in self._rows(
            'SELECT shard, ordinal, calls, bytes, "offset", length, crc32, first_call FROM batches'
            " WHERE parent IS NULL ORDER BY shard, ordinal"
        ):
            batches[shard].append(PlannedBatch(*values))
        problems: dict[int, dict[tuple[str, str], int]] = defaultdict(dict)
        for shard, code, severity, count in self._rows("SELECT shard, code, severity, count FROM problems"):
            problems[shard][code, severity] = count
        samples: dict[int, list[Problem]] = defaultdict(list)
        for shard, text in self._rows("SELECT shard, problem FROM samples ORDER BY shard, position"):
            samples[shard].append(_problem(text))
        return {
            row["shard"]: ShardPlan(
                shard=row["shard"],
                rows=row["rows"],
                planned=row["planned"],
                skipped=row["skipped"],
                rejected=row["rejected"],
                duplicate=row["duplicate"],
                batches=tuple(batches[row["shard"]]),
                problems=problems[row["shard"]],
                samples=tuple(samples[row["shard"]]),
                days={},
                json_bytes=row["json_bytes"],
                segment_bytes=row["segment_bytes"],
                segment_sha256=row["segment_sha256"],
                calls_sha256=row["calls_sha256"],
                already_delivered=row["already_delivered"],
            )
            for row in self._rows(f"SELECT {_SHARD} FROM shards ORDER BY shard")  # noqa: S608 - a constant
        }

    def call_spans(self) -> list[CallSpan]:
        """All calls that were planned, by the batches that stand for them now, in plan order."""
        return [CallSpan(*row) for row in self._rows(f"{_LEAVES} ORDER BY b.shard, b.first_call")]

    def settled_spans(self) -> list[CallSpan]:
        """The calls that no later run is to send: delivered, or left in doubt by decision; in plan order."""
        return [CallSpan(*row) for row in self._rows(f"{_LEAVES} AND {_SETTLED} ORDER BY b.shard, b.first_call")]

    def calls_digests(self) -> dict[int, str]:
        """SHA-256 of the calls file of each shard that has calls."""
        rows = self._rows(
            "SELECT shard, calls_sha256 FROM shards WHERE shard IN (SELECT shard FROM batches) ORDER BY shard"
        )
        return {row["shard"]: row["calls_sha256"] for row in rows}

    def span_of(self, shard: int, call: int) -> CallSpan | None:
        """The leaf that stands for a call, by its index in the shard's calls file; None where there is no such call."""
        rows = self._rows(
            f"{_LEAVES} AND b.shard = ? AND b.first_call <= ? AND b.first_call + b.calls > ?", shard, call, call
        )
        return CallSpan(*rows[0]) if rows else None

    def sent_attempts(self) -> list[SentAttempt]:
        """Every request that left, in the order in which they left."""
        rows = self._rows(
            "SELECT a.sent_at, a.ended_at, a.outcome, a.status, b.calls"
            " FROM attempts a JOIN batches b ON b.id = a.batch"
            " WHERE NOT (coalesce(a.outcome, '') = 'refused' AND a.status IS NULL) ORDER BY a.sent_at"
        )
        return [SentAttempt(*row) for row in rows]

    def attempts(self, batch: int) -> list[LedgerAttempt]:
        """Every attempt at a batch and at those it was a part of, the first one first."""
        rows = self._rows(
            "WITH RECURSIVE line (id, parent) AS (SELECT id, parent FROM batches WHERE id = ?"
            " UNION ALL SELECT b.id, b.parent FROM batches b JOIN line ON b.id = line.parent)"
            " SELECT a.batch, a.number, a.sent_at, a.ended_at, a.outcome, a.status, a.detail"
            " FROM attempts a JOIN line ON line.id = a.batch ORDER BY a.sent_at, a.batch, a.number",
            batch,
        )
        return [LedgerAttempt(*row) for row in rows]

    def table(self, name: str, order: str) -> list[Row]:
        """All rows of a table, in that order."""
        return self._rows(f"SELECT * FROM {name} ORDER BY {order}")  # noqa: S608 - names of our own

    @abstractmethod
    def _rows(self, query: str, *values: object) -> list[Any]:
        """What the query gives, each row told by place and by name."""

    @abstractmethod
    def _version(self) -> int:
        """The version of the tables."""


def handed_out(rows: Iterable[Row]) -> list[Batch]:
    """The batches of rows that hold BATCH and FRUITFUL."""
    return [replace(Batch(*row[:-1]), fruitful=bool(row[-1])) for row in rows]


def _problem(text: str) -> Problem:
    values = json.loads(text)
    return Problem(**{**values, "severity": Severity(values["severity"])})


def _inode_or_pin(text: str) -> dict[str, Any]:
    """What of a file's row is one or the other: an object in a bucket has no inode, and its pin is no number."""
    return {"inode": int(text)} if text.isdecimal() else {"inode": 0, "pin": text}


def check_plan(reader: SqlReader) -> None:
    """Raise LedgerError where the plan is recorded, and batches or counts are not those that it was made of.

    SQLite has no checksum of a page: a flipped digit is a number, too.

    It takes some 10 ms for a million calls.
    """
    try:
        fault = _plan_fault(reader)
    except (ValueError, TypeError, LookupError) as error:  # of values that nobody has written
        fault = f"{type(error).__name__}: {error}"
    if fault:
        raise LedgerError(f"{reader.name} is damaged: {fault}", hint=DAMAGED)


def _plan_fault(reader: SqlReader) -> str:
    recorded = reader.status().plan_digest
    if recorded is None:
        return ""
    shards = reader.shards().values()
    if plan_digest(shards) != recorded:
        return "the batches are not those that were planned"
    for plan in shards:
        begins = [0, *accumulate(batch.calls for batch in plan.batches)][:-1]
        if begins != [batch.first_call for batch in plan.batches]:
            return f"the batches of shard {plan.shard} do not follow each other"
    return next(iter(reader.counts().faults()), "")


def _doubt(row: Row) -> Doubt:
    """A row of _DOUBT_PAGE."""
    batch, shard, first_call, calls, attempts, since, left, status, detail = row
    known = since if since > AGE_UNKNOWN else None
    return Doubt(batch, shard, first_call, calls, attempts, known, bool(left), status, detail)
