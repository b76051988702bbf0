"""Preparing one shard: walk its frames, evaluate each call, settle repeated ids, pack, write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat

import numpy as np
import numpy.typing as npt
import polars as pl

from backfill.limits import Limits
from backfill.mapping import CompiledCall
from backfill.mapping.calls import Key, grouped
from backfill.pack import Packer
from backfill.prepare.batches import Batches, digest16, sixteen
from backfill.prepare.conflicts import SCHEMA, conflict_problems, detail, places
from backfill.prepare.evaluate import Evaluated, derive, evaluate, repeat_hash
from backfill.prepare.faults import failing
from backfill.prepare.frames import ROW_COLUMN, Frames
from backfill.prepare.rejects import SAMPLES, describe
from backfill.records import Kind, Severity, ShardPlan, ShardSink, Snapshot
from backfill.repeats import Arbiter, DeliveredIds, Fate, Hashes, Places, Turns, among
from backfill.wire import room_for_calls


@dataclass(frozen=True, slots=True)
class Line:
    """All that preparing a shard needs; shared by the threads."""

    snapshot: Snapshot
    frames: Frames
    calls: tuple[CompiledCall, ...]
    sink: ShardSink
    limits: Limits
    by_id: bool
    turns: Turns
    arbiter: Arbiter | None
    cancelled: Callable[[], bool]
    delivered: DeliveredIds | None = None  # calls of these ids are left out

    @property
    def columns(self) -> list[str]:
        """The snapshot's columns that the calls read."""
        return list(dict.fromkeys(name for call in self.calls for name in call.reads))

    @property
    def reads_json(self) -> bool:
        """Whether the calls hold JSON text that others wrote."""
        read = set(self.columns)
        return any(
            (column.kind is Kind.JSON or column.computed) and column.name in read for column in self.snapshot.columns
        )

    @property
    def call_bytes(self) -> int:
        """The largest call that may be sent: by its own limit, and so that it fits a body."""
        return min(self.limits.call_bytes, room_for_calls(self.limits))


@dataclass(slots=True)
class Tally:
    """Sums over the frames of a shard."""

    rows: int = 0
    made: int = 0
    rejected: int = 0
    duplicate: int = 0
    already_delivered: int = 0
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    days: Counter[tuple[str, str]] = field(default_factory=Counter)
    problems: list[pl.DataFrame] = field(default_factory=list)


def key_hashes(line: Line, start: int, stop: int) -> Hashes:
    """The hash of every message id of some rows, valid calls or not: the cheap first pass. Null keys have none."""
    found: list[Hashes] = []
    for call in line.calls:
        expression = repeat_hash(call, by_id=line.by_id)
        columns, derived = needed(call, expression)
        for frame in line.frames.walk_rows(start, stop, columns):
            with failing(f"making the message ids of the {call.scope} calls"):
                hashed = derive(frame, derived).select(expression.alias("hash"))
            found.append(hashed["hash"].drop_nulls().to_numpy())
    return np.concatenate(found) if found else np.empty(0, np.uint64)


def id_texts(line: Line, start: int, stop: int) -> Iterator[tuple[str, pl.Series]]:
    """Every id of some rows, frame by frame, with the name of its field; the same expression is read once."""
    read: list[tuple[str, pl.Expr]] = []
    for call in line.calls:
        for each in call.ids:
            if any(name == each.name and text.meta.eq(each.text) for name, text in read):
                continue
            read.append((each.name, each.text))
            columns, derived = needed(call, each.text)
            for frame in line.frames.walk_rows(start, stop, columns):
                with failing(f"reading the ids of the {call.scope} calls"):
                    texts = derive(frame, derived).select(each.text.alias("id")).to_series()
                yield each.name, texts


def needed(call: CompiledCall, expression: pl.Expr) -> tuple[list[str], tuple[tuple[pl.Expr, ...], ...]]:
    """The snapshot's columns and the derived ones (in groups, see `CompiledCall`) that an expression reads somehow."""
    names = dict.fromkeys(expression.meta.root_names())
    derived: list[pl.Expr] = []
    for column in reversed([column for group in call.derived for column in group]):
        if column.meta.output_name() in names:
            del names[column.meta.output_name()]
            names.update(dict.fromkeys(column.meta.root_names()))
            derived.insert(0, column)
    return [name for name in names if name != ROW_COLUMN], grouped(derived)


def prepare_shard(line: Line, shard: int) -> ShardPlan:
    """The shard's batches, durable in the sink, and its numbers. Raises InterruptedError where it was cancelled."""
    tally = Tally()
    writer = line.sink.open(shard)
    batches: Batches | None = None
    asks = line.arbiter is not None and _asks(line, shard)
    if not asks:
        line.turns.done(shard)
    for frame in line.frames.walk(shard, line.columns):
        if line.cancelled():
            raise InterruptedError
        calls = _frame_calls(line, frame, tally)
        if asks:
            line.turns.wait(shard)
            calls = settle(line, shard, frame, calls, tally)
        if line.delivered is not None:
            calls = without(line.delivered, line, calls, tally)
        if len(calls) and batches is None:
            batches = Batches(writer, Packer(line.limits), parsed=line.reads_json)
        if batches is not None:
            _count_days(line, calls, tally)
            batches.push(calls, _ids(line, calls))
        del frame, calls  # before the next ones are read and made
    line.turns.done(shard)
    return _finish(line, shard, tally, batches, writer)


def replay_shard(line: Line, shard: int) -> None:
    """Tell the arbiter of a shard that an earlier process prepared; nothing is written."""
    if line.arbiter is not None and _asks(line, shard):
        for frame in line.frames.walk(shard, line.columns):
            settle(line, shard, frame, _frame_calls(line, frame, Tally()), Tally())
    line.turns.done(shard)


def _asks(line: Line, shard: int) -> bool:
    """Whether some id of the shard may be repeated. Content keys are hashed only once encoded: they always ask."""
    assert line.arbiter is not None
    if any(call.key is Key.CONTENT for call in line.calls):
        return True
    return bool(among(key_hashes(line, *line.frames.bounds(shard)), line.arbiter.candidates).any())


def _frame_calls(line: Line, frame: pl.DataFrame, tally: Tally) -> pl.DataFrame:
    """The valid calls of a frame in source order: by row, then by the job's order of calls."""
    asks = line.arbiter is not None
    results: Sequence[Evaluated] = [
        evaluate(call, frame, line.call_bytes, repeat_hash(call, by_id=line.by_id) if asks else None)
        for call in line.calls
    ]
    tally.rows += len(frame)
    for result in results:
        tally.made += result.made
        tally.rejected += result.rejected
        tally.counts.update(result.counts)
        if len(result.problems):
            tally.problems.append(result.problems.with_columns(message_id=pl.lit(None, pl.String)))
    if len(results) == 1:
        return results[0].calls
    return pl.concat([result.calls for result in results]).sort("row", "call")


def _details(line: Line, shard: int, conflicts: pl.DataFrame, firsts: Places) -> list[str]:
    """What is to be said of the first conflicts of the job, more than their keys."""
    assert line.arbiter is not None
    start, told = line.frames.bounds(shard)[0], conflicts.head(SAMPLES - line.arbiter.explained)
    line.arbiter.explained += len(told)
    return [
        detail(int(first), text, start + row, line.frames, line.snapshot, line.calls)
        for first, text, row in zip(firsts, told["json"], told["row"], strict=False)
    ]


def settle(line: Line, shard: int, frame: pl.DataFrame, calls: pl.DataFrame, tally: Tally) -> pl.DataFrame:
    """The calls of a frame without those whose id came before; conflicts become problems, duplicates are counted."""
    assert line.arbiter is not None
    asked = pl.Series(among(calls["repeat"].to_numpy(), line.arbiter.candidates))
    if not asked.any():
        return calls
    candidates = calls.filter(asked)
    fates, firsts = line.arbiter.decide(
        candidates["repeat"].to_numpy(),
        _ids(line, candidates),
        digest16(candidates["json"]),
        places(candidates, line.frames.bounds(shard)[0]),
    )
    tally.duplicate += int((fates == Fate.DUPLICATE).sum())
    conflicts = candidates.filter(pl.Series(fates == Fate.CONFLICT))
    if len(conflicts):
        tally.rejected += len(conflicts)
        tally.counts["BF113", Severity.ERROR.value] += len(conflicts)
        details = _details(line, shard, conflicts, firsts[fates == Fate.CONFLICT])
        tally.problems.append(conflict_problems(conflicts, frame, line.calls, details))
    keep = np.ones(len(calls), np.bool_)
    keep[np.flatnonzero(asked.to_numpy())[fates != Fate.FIRST]] = False
    return calls.filter(pl.Series(keep))


def without(delivered: DeliveredIds, line: Line, calls: pl.DataFrame, tally: Tally) -> pl.DataFrame:
    """The calls but those whose ids were delivered; these are counted.

    After `settle`: a repeated id is settled as if nothing had been delivered, so that a wrong key does not hide.
    """
    known = delivered.delivered(_ids(line, calls))
    tally.already_delivered += int(known.sum())
    return calls.filter(pl.Series(~known)) if known.any() else calls


def _ids(line: Line, calls: pl.DataFrame) -> npt.NDArray[np.uint8]:
    return sixteen(calls["id"], given=any(call.key is Key.GIVEN for call in line.calls))


def _count_days(line: Line, calls: pl.DataFrame, tally: Tally) -> None:
    for index, call in enumerate(line.calls):
        own = calls["date"] if len(line.calls) == 1 else calls["date"].filter(calls["call"] == index)
        days, counts = np.unique(own.to_physical().to_numpy(), return_counts=True)
        texts = pl.Series(days.tolist(), dtype=pl.Int32).cast(pl.Date).cast(pl.String).to_list()
        tally.days.update(dict(zip(zip(repeat(call.scope), texts), counts.tolist(), strict=False)))


def _finish(line: Line, shard: int, tally: Tally, batches: Batches | None, writer: object) -> ShardPlan:
    problems = pl.concat(tally.problems) if tally.problems else pl.DataFrame(schema=SCHEMA)
    rejects, samples = describe(problems, shard, line.snapshot, line.frames, line.calls)
    records = batches.finish() if batches is not None else b""
    planned, segment_bytes, segment_sha256, calls_sha256 = writer.finish(records, rejects)  # type: ignore[attr-defined]
    return ShardPlan(
        shard=shard,
        rows=tally.rows,
        planned=tally.made,
        skipped=tally.rows * len(line.calls) - tally.made,
        rejected=tally.rejected,
        duplicate=tally.duplicate,
        batches=planned,
        problems=dict(tally.counts),
        samples=samples,
        days=dict(tally.days),
        json_bytes=batches.json_bytes if batches is not None else 0,
        segment_bytes=segment_bytes,
        segment_sha256=segment_sha256,
        calls_sha256=calls_sha256,
        already_delivered=tally.already_delivered,
    )
