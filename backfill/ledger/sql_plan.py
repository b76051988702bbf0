"""What is written of a run until it is planned, and of its states, as functions of the connection that writes.

They run inside the transaction of a group.

Each refuses (raises LedgerError) before it writes anything, or not at all: see `commits`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, astuple

from backfill.errors import LedgerError
from backfill.ledger.connection import Connection
from backfill.ledger.migrations import insert_facts
from backfill.ledger.schema import ALTOGETHER, STAGING
from backfill.records import (
    TRANSITIONS,
    Counts,
    PlannedBatch,
    Problem,
    RunRecord,
    RunState,
    ShardPlan,
    Snapshot,
)
from backfill.records.profile import packed

FAULT = "this is a fault of backfill: please report it"


def insert_run(connection: Connection, record: RunRecord) -> None:
    """The first thing written; the run is `staging`."""
    values = {**asdict(record), "id": 1, "state": RunState.STAGING, "state_at": record.created_at}
    del values["facts"]
    columns, slots = ", ".join(values), ", ".join("?" for _ in values)
    connection.execute(f"INSERT INTO run ({columns}) VALUES ({slots})", tuple(values.values()))  # noqa: S608 - a dataclass's own names
    insert_facts(connection, record.facts)
    _remember(connection, RunState.STAGING, record.created_at, None, "")


def move_run(
    connection: Connection, state: RunState, *, at: float, exit_code: int | None = None, detail: str = ""
) -> None:
    """Give the run another state; the one it has already is allowed.

    Raises:
        LedgerError: That state cannot follow the present one.
    """
    _check_move(connection, state)
    connection.execute(
        "UPDATE run SET state = ?, state_at = ?, exit_code = ?, detail = ?", (state, at, exit_code, detail)
    )
    _remember(connection, state, at, exit_code, detail)


def note(connection: Connection, at: float, detail: str) -> None:
    """Write into the run's history what happened while it stays in its state."""
    _remember(connection, RunState(str(_one(connection, "SELECT state FROM run"))), at, None, detail)


def finish_run(connection: Connection, *, at: float, exit_code: int, detail: str = "") -> None:
    """Finish the run.

    Raises:
        LedgerError: A batch is still to be delivered, or the run is not delivering.
    """
    _check_move(connection, RunState.FINISHED)
    waiting = _one(connection, "SELECT count(*) FROM batches WHERE state IN ('planned', 'sent')")
    if waiting:
        raise LedgerError(f"{waiting} batches are still to be delivered: the run is not finished", hint=FAULT)
    move_run(connection, RunState.FINISHED, at=at, exit_code=exit_code, detail=detail)


def reopen_run(connection: Connection, *, at: float) -> None:
    """Make a finished run `delivering` again, which nothing else may; a run in another state keeps it."""
    if _one(connection, "SELECT state FROM run") == RunState.FINISHED:
        connection.execute(
            "UPDATE run SET state = ?, state_at = ?, exit_code = NULL, detail = ''", (RunState.DELIVERING, at)
        )
        _remember(connection, RunState.DELIVERING, at, None, "what the target refused is tried again")


def staging_fault(snapshot: Snapshot) -> str:
    """What of a snapshot's counts cannot be; empty where nothing is."""
    known = {"filtered": snapshot.filtered, "unreadable": snapshot.unreadable, "staged": snapshot.rows}
    if negative := [f"{name} is {count}" for name, count in known.items() if count < 0]:
        return negative[0]
    whole = sum(known.values())
    return "" if snapshot.read == whole else f"read is {snapshot.read}, filtered + unreadable + staged is {whole}"


def insert_snapshot(  # the counts and both kinds of problems belong to one moment
    connection: Connection,
    snapshot: Snapshot,
    *,
    calls_per_row: int,
    problems: Mapping[tuple[str, str], int],
    samples: Sequence[Problem],
    at: float,
) -> None:
    """Record what staging gave; the run becomes `preparing`.

    Raises:
        LedgerError: It is recorded already, its counts do not add up, or the run is past that.
    """
    if _one(connection, "SELECT count(*) FROM snapshot"):
        raise LedgerError("the snapshot is recorded already", hint=FAULT)
    if fault := staging_fault(snapshot):
        raise LedgerError(f"the rows of the source do not add up: {fault}; nothing was sent", hint=FAULT)
    move_run(connection, RunState.PREPARING, at=at)
    connection.execute(
        "INSERT INTO snapshot (id, read, filtered, unreadable, rows, calls_per_row, in_place, recorded_at)"
        " VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
        (
            snapshot.read,
            snapshot.filtered,
            snapshot.unreadable,
            snapshot.rows,
            calls_per_row,
            int(snapshot.in_place),
            at,
        ),
    )
    connection.executemany(
        "INSERT INTO files (position, path, name, key, bytes, sha256, mtime_ns, ctime_ns, inode)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(position, *astuple(file)[:-2], file.pin or str(file.inode)) for position, file in enumerate(snapshot.files)],
    )
    _insert_problems(connection, STAGING, problems, samples)


def insert_shard(connection: Connection, plan: ShardPlan) -> None:
    """Record a shard whose files are durable, and its batches as planned.

    Raises:
        LedgerError: It is recorded already, or the run is not `preparing`.
    """
    state = _one(connection, "SELECT state FROM run")
    if state != RunState.PREPARING:
        raise LedgerError(f"a run that is {state} takes no more shards", hint=FAULT)
    if _one(connection, "SELECT count(*) FROM shards WHERE shard = ?", plan.shard):
        raise LedgerError(f"shard {plan.shard} is recorded already", hint=FAULT)
    connection.execute(
        "INSERT INTO shards (shard, rows, planned, skipped, rejected, duplicate, already_delivered, days, json_bytes,"
        " segment_bytes, segment_sha256, calls_sha256, profile) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            plan.shard,
            plan.rows,
            plan.planned,
            plan.skipped,
            plan.rejected,
            plan.duplicate,
            plan.already_delivered,
            _days_text(plan.days),
            plan.json_bytes,
            plan.segment_bytes,
            plan.segment_sha256,
            plan.calls_sha256,
            packed(plan.profile),
        ),
    )
    connection.executemany(
        'INSERT INTO batches (shard, ordinal, state, calls, bytes, "offset", length, crc32, first_call)'
        " VALUES (?, ?, 'planned', ?, ?, ?, ?, ?, ?)",
        [_batch_values(plan.shard, batch) for batch in plan.batches],
    )
    _insert_problems(connection, plan.shard, plan.problems, plan.samples)


def _days_text(days: Mapping[tuple[str, str], int]) -> str:
    """{call: {day: calls}} as JSON. One text a shard: a row of each day in each shard would be very many."""
    nested: dict[str, dict[str, int]] = {}
    for (call, day), calls in days.items():
        nested.setdefault(call, {})[day] = calls
    return json.dumps(nested, sort_keys=True)


def _sum_days(connection: Connection) -> None:
    """Sum the days of all shards."""
    total: dict[str, Counter[str]] = {}
    for (text,) in connection.execute("SELECT days FROM shards"):
        for call, days in json.loads(text).items():
            total.setdefault(call, Counter()).update(days)
    connection.execute("DELETE FROM days")
    connection.executemany(
        "INSERT INTO days VALUES (?, ?, ?)",
        [(call, day, calls) for call, days in total.items() for day, calls in days.items()],
    )


def finish_plan(
    connection: Connection, *, digest: str, at: float, findings: Sequence[tuple[Problem, int]] = ()
) -> None:
    """Record that every shard is, and what was found of all calls together; the run becomes `prepared`.

    Raises:
        LedgerError: A shard is missing, the counts do not add up, or the run is not preparing.
    """
    _check_move(connection, RunState.PREPARED)
    shards, last, mapped = connection.execute(
        "SELECT count(*), coalesce(max(shard), -1), coalesce(sum(rows), 0) FROM shards"
    ).fetchone()
    if shards != last + 1:
        raise LedgerError(f"{shards} shards are recorded, but the last is number {last}", hint=FAULT)
    staged = _one(connection, "SELECT rows FROM snapshot")
    if mapped != staged:
        raise LedgerError(f"{staged} rows were staged, {mapped} are in the plan", hint=FAULT)
    cursor = connection.execute("SELECT * FROM v_counts")
    row = cursor.fetchone()
    names = [column[0] for column in cursor.description]
    for fault in Counts(**dict(zip(names, row, strict=True))).faults():
        raise LedgerError(f"the plan does not add up: {fault}; nothing was sent", hint=FAULT)
    move_run(connection, RunState.PREPARED, at=at)
    connection.execute("UPDATE run SET plan_digest = ?", (digest,))
    problems: Counter[tuple[str, str]] = Counter()
    for problem, count in findings:
        problems[problem.code, problem.severity.value] += count
    _insert_problems(connection, ALTOGETHER, problems, [problem for problem, _ in findings])
    _sum_days(connection)


def replace_finding(connection: Connection, *, code: str, count: int, samples: Sequence[Problem]) -> None:
    """Record what was found of that code once the plan is whole, in place of what was; 0: nothing was.

    Raises:
        LedgerError: The plan is not whole.
    """
    if _one(connection, "SELECT plan_digest FROM run") is None:
        raise LedgerError(f"{code} is of a whole plan, and this one is not", hint=FAULT)
    for table in ("problems", "samples"):
        connection.execute(f"DELETE FROM {table} WHERE shard = ? AND code = ?", (ALTOGETHER, code))  # noqa: S608 (ours)
    if count:
        last = _one(connection, "SELECT coalesce(max(position), -1) FROM samples WHERE shard = ?", ALTOGETHER)
        _insert_problems(
            connection, ALTOGETHER, {(code, samples[0].severity): count}, samples, first=int(str(last)) + 1
        )


def _check_move(connection: Connection, state: RunState) -> None:
    present = RunState(str(_one(connection, "SELECT state FROM run")))
    if state is not present and state not in TRANSITIONS[present]:
        raise LedgerError(f"a run that is {present} cannot become {state}", hint=FAULT)


def _batch_values(shard: int, batch: PlannedBatch) -> tuple[int, ...]:
    return (
        shard,
        batch.ordinal,
        batch.calls,
        batch.bytes,
        batch.offset,
        batch.length,
        batch.crc32,
        batch.first_call,
    )


def _insert_problems(
    connection: Connection,
    shard: int,
    problems: Mapping[tuple[str, str], int],
    samples: Iterable[Problem],
    *,
    first: int = 0,
) -> None:
    connection.executemany(
        "INSERT INTO problems (shard, code, severity, count) VALUES (?, ?, ?, ?)",
        [(shard, code, severity, count) for (code, severity), count in problems.items()],
    )
    connection.executemany(
        "INSERT INTO samples (shard, position, code, problem) VALUES (?, ?, ?, ?)",
        [
            (shard, position, sample.code, json.dumps(asdict(sample), ensure_ascii=False))
            for position, sample in enumerate(samples, first)
        ],
    )


def _remember(connection: Connection, state: RunState, at: float, exit_code: int | None, detail: str) -> None:
    connection.execute("INSERT INTO history VALUES (?, ?, ?, ?)", (at, state, exit_code, detail))


def _one(connection: Connection, query: str, *values: object) -> object:
    row = connection.execute(query, values).fetchone()
    return None if row is None else row[0]
