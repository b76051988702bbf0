"""Preparing one shard: a slice of the snapshot and what is left out of it in; batches, problems and numbers out.

A shard needs nothing of another one, whoever prepares them and when.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl

from backfill import encode
from backfill.arrays import series
from backfill.errors import BackfillError, InterruptedRunError
from backfill.frozen import frozen
from backfill.limits import Limits
from backfill.mapping import CompiledCall
from backfill.mapping.calls import Key
from backfill.pack import Packer
from backfill.prepare.conflicts import SCHEMA, conflict_problems, places
from backfill.prepare.evaluate import Evaluated, evaluate
from backfill.prepare.frames import Frames
from backfill.prepare.masks import Masks
from backfill.prepare.profile import Profiler
from backfill.prepare.profiled import ProfiledCall
from backfill.prepare.rejects import describe
from backfill.prepare.repeats import DropTable, Resolution, Sixteen
from backfill.prepare.text_bytes import call_hashes, id_keys, text_bytes
from backfill.records import (
    CALL_HASH,
    CALL_RECORD,
    DeliveredIds,
    Kind,
    Severity,
    ShardPlan,
    ShardSink,
    ShardWriter,
    Snapshot,
    frame_name,
)
from backfill.records.profile import BadValues, merged_values
from backfill.wire import COMMA, HEAD, room_for_calls

_RECORD: Final = np.dtype(CALL_RECORD)
GO_ON = "the same command goes on where it stopped"


@frozen
class DroppedCalls:
    """The calls that are not sent because their id came before."""

    table: DropTable
    explanations: Mapping[int, str]  # of the first conflicts, by place: what is said of them beside their keys


@frozen
class ShardContext:
    """What preparing any shard of a job takes; nothing of it changes meanwhile."""

    snapshot: Snapshot
    frames: Frames
    calls: tuple[CompiledCall, ...]
    sink: ShardSink
    limits: Limits
    stopping: Callable[[], bool]
    delivered: DeliveredIds | None = None  # calls of these ids are left out
    profiled: tuple[ProfiledCall, ...] = ()  # what of the calls their profile looks at
    masks: Masks = field(default_factory=Masks)  # of samples

    def check_stop(self) -> None:
        """Raise InterruptedRunError where the work is to stop."""
        if self.stopping():
            raise InterruptedRunError("interrupted while preparing: nothing was sent", hint=GO_ON)

    @property
    def columns(self) -> list[str]:
        """The snapshot's columns that the calls read."""
        return list(dict.fromkeys(name for call in self.calls for name in call.reads))

    @property
    def json_columns(self) -> list[str]:
        """The columns that hold JSON text which others wrote, and not only numbers, as a frame has them."""
        read = set(self.columns)
        return [
            frame_name(column.name)
            for column in self.snapshot.columns
            if (column.kind is Kind.JSON or column.computed) and column.name in read and not column.numbers
        ]

    def doubtful(self, frame: pl.DataFrame) -> bool:
        """Whether the frame holds JSON of others that is more than a number or a word: its bodies are parsed."""
        names = self.json_columns
        if not all(isinstance(frame.schema[name], pl.String) for name in names):
            return True
        plain = [encode.is_plain(pl.col(name)).all() for name in names]
        return bool(names) and not all(frame.select(plain).row(0))

    @property
    def call_bytes(self) -> int:
        """The largest call that may be sent: by its own limit, and so that it fits a body."""
        return min(self.limits.call_bytes, room_for_calls(self.limits))

    @property
    def gives_ids(self) -> bool:
        """Whether some message ids are given by the source, and so of any form."""
        return any(call.key is Key.GIVEN for call in self.calls)

    @property
    def ids_meet(self) -> bool:
        """Whether calls of different kinds may have the same message id."""
        return self.gives_ids and len(self.calls) > 1

    def keys(self, calls: pl.DataFrame) -> Sixteen:
        """The message ids of some calls, sixteen bytes each."""
        return id_keys(calls["id"], given=self.gives_ids)


@dataclass(slots=True)
class Sums:
    """Sums over the frames of a shard."""

    rows: int = 0
    made_calls: int = 0
    rejected: int = 0
    duplicate: int = 0
    already_delivered: int = 0
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    days: Counter[tuple[str, str]] = field(default_factory=Counter)
    problems: list[pl.DataFrame] = field(default_factory=list)
    values: list[Mapping[tuple[str, str], BadValues]] = field(default_factory=list)


def prepare_shard(context: ShardContext, dropped: DroppedCalls, shard: int) -> ShardPlan:
    """The shard's batches, durable in the sink, and its numbers. Raises InterruptedRunError where it is to stop."""
    sums, first_row = Sums(), context.frames.bounds(shard)[0]
    writer = context.sink.open(shard)
    batches = Batches(writer, Packer(context.limits))
    profiler = Profiler(context.profiled)
    for frame in context.frames.walk(shard, context.columns):
        context.check_stop()
        made = []
        for place, call in enumerate(context.calls):
            result = _valid_calls(context, call, frame, sums)
            calls = _without_dropped(context, dropped, frame, result.calls, first_row, sums)
            calls = _without_delivered(context, calls, sums)
            profiler.count(place, result.rows, calls)
            made.append(calls)
            del result, calls  # before those of the next call are made
        sums.rows += len(frame)
        calls = _in_source_order(made)
        _count_days(context, calls, sums)
        batches.push(calls, context.keys(calls), parsed=context.doubtful(frame))
        del frame, calls, made  # before the next ones are read and made
    return _finish(context, shard, sums, batches, writer, profiler)


def _valid_calls(context: ShardContext, call: CompiledCall, frame: pl.DataFrame, sums: Sums) -> Evaluated:
    """What one of the job's calls makes of a frame, counted."""
    result = evaluate(call, frame, context.call_bytes)
    sums.made_calls += result.made_calls
    sums.rejected += result.rejected
    sums.counts.update(result.counts)
    sums.values.append(result.values)
    if len(result.problems):
        sums.problems.append(result.problems.with_columns(message_id=pl.lit(None, pl.String)))
    return result


def _in_source_order(calls: list[pl.DataFrame]) -> pl.DataFrame:
    """The calls of a frame by row, then by the job's order of calls."""
    return calls[0] if len(calls) == 1 else pl.concat(calls).sort("row", "call")


def _without_dropped(
    context: ShardContext, dropped: DroppedCalls, frame: pl.DataFrame, calls: pl.DataFrame, first_row: int, sums: Sums
) -> pl.DataFrame:
    """Calls of a frame without those whose id came before; conflicts become problems, duplicates are counted."""
    if dropped.table.empty:
        return calls
    own = places(calls, first_row)
    resolutions = dropped.table.resolve(own)
    sums.duplicate += int((resolutions == Resolution.DUPLICATE).sum())
    is_conflict = resolutions == Resolution.CONFLICT
    if is_conflict.any():
        explained = [dropped.explanations.get(int(place)) for place in own[is_conflict]]
        conflicts = calls.filter(series(is_conflict)).with_columns(pl.Series("detail", explained, pl.String))
        sums.rejected += len(conflicts)
        sums.counts["BF113", Severity.ERROR.value] += len(conflicts)
        sums.problems.append(conflict_problems(conflicts, frame, context.calls))
    return calls.filter(series(resolutions == Resolution.FIRST))


def _without_delivered(context: ShardContext, calls: pl.DataFrame, sums: Sums) -> pl.DataFrame:
    """The calls but those whose ids were delivered; these are counted.

    After repeated ids were resolved, as if nothing had been delivered, so that a wrong key does not hide.
    """
    if context.delivered is None:
        return calls
    known = context.delivered.delivered(context.keys(calls))
    sums.already_delivered += int(known.sum())
    return calls.filter(series(~known)) if known.any() else calls


def _count_days(context: ShardContext, calls: pl.DataFrame, sums: Sums) -> None:
    for index, call in enumerate(context.calls):
        own = calls["date"] if len(context.calls) == 1 else calls["date"].filter(calls["call"] == index)
        days = own.value_counts(name="calls").select(pl.col("date").cast(pl.String), "calls")
        sums.days.update({(call.scope, day): calls for day, calls in days.iter_rows()})


def _finish(
    context: ShardContext, shard: int, sums: Sums, batches: Batches, writer: ShardWriter, profiler: Profiler
) -> ShardPlan:
    problems = pl.concat(sums.problems) if sums.problems else pl.DataFrame(schema=SCHEMA)
    rejects, samples = describe(problems, shard, context.snapshot, context.frames, context.calls)
    samples = tuple(map(context.masks.problem, samples))
    planned, segment_bytes, segment_sha256, calls_sha256 = writer.finish(batches.finish(), rejects, batches.hashes)
    return ShardPlan(
        shard=shard,
        rows=sums.rows,
        planned=sums.made_calls,
        skipped=sums.rows * len(context.calls) - sums.made_calls,
        rejected=sums.rejected,
        duplicate=sums.duplicate,
        batches=planned,
        problems=dict(sums.counts),
        samples=samples,
        days=dict(sums.days),
        json_bytes=batches.json_bytes,
        segment_bytes=segment_bytes,
        segment_sha256=segment_sha256,
        calls_sha256=calls_sha256,
        already_delivered=sums.already_delivered,
        profile=replace(profiler.profile(), bad_values=context.masks.values(merged_values(sums.values))),
    )


class Batches:
    """Packs the calls of one shard, slices of the memory polars wrote them into, and hands batches to its writer."""

    def __init__(self, writer: ShardWriter, packer: Packer) -> None:
        self._writer = writer
        self._packer = packer
        self._parsed = False  # the open batch is to be
        self._open: list[bytes] = []  # of the open batch, from earlier frames
        self._open_calls = 0
        self._records: list[npt.NDArray[np.void]] = []
        self._hashes: list[npt.NDArray[np.uint64]] = []
        self.json_bytes = 0

    def push(self, calls: pl.DataFrame, ids: npt.NDArray[np.uint8], *, parsed: bool = False) -> None:
        """Take encoded calls in order (`json` with a comma behind each) and their sixteen-byte ids.

        `parsed` has every body with some of them parsed first, for calls that hold JSON which others wrote.
        """
        if not len(calls):
            return
        self._parsed = self._parsed or parsed
        content, edges = text_bytes(calls["json"])
        sizes = np.diff(edges)
        self._record(calls, ids, sizes)
        self._hashes.append(call_hashes(calls["json"]).astype(CALL_HASH))
        start = 0
        for cut in self._packer.push(sizes):
            self._close(content[edges[start] : edges[cut]], cut - start)
            self._parsed = parsed
            start = cut
        self._open.append(content[edges[start] : edges[-1]].tobytes())
        self._open_calls += len(calls) - start

    def finish(self) -> bytes:
        """Close the open batch; returns the shard's CALL_RECORD records."""
        if self._open_calls:
            self._close(memoryview(b""), 0)
        return b"".join(records.tobytes() for records in self._records)

    @property
    def hashes(self) -> bytes:
        """The CALL_HASH of each call so far."""
        return b"".join(hashes.tobytes() for hashes in self._hashes)

    def _close(self, content: memoryview, calls: int) -> None:
        plain = memoryview(b"".join((HEAD, *self._open, content)))[:-COMMA]
        if self._parsed:
            _refuse_no_json(plain)
        self._writer.add(plain, self._open_calls + calls)
        self.json_bytes += plain.nbytes
        self._open, self._open_calls = [], 0

    def _record(self, calls: pl.DataFrame, ids: npt.NDArray[np.uint8], sizes: npt.NDArray[np.int64]) -> None:
        records = np.empty(len(calls), _RECORD)
        records["id_bytes"] = np.ascontiguousarray(ids).view("V16").ravel()
        records["row"] = calls["row"].to_numpy()
        records["bytes"] = sizes - COMMA
        records["call"] = calls["call"].to_numpy()
        self._records.append(records)


def _refuse_no_json(body: memoryview) -> None:
    """Raise BackfillError where a body is no JSON; every value was checked, so this finds a mistake in the checks."""
    try:
        orjson.loads(b"".join((body, b"]}")))
    except orjson.JSONDecodeError as error:
        message = f"a body that is no JSON would have been sent ({error.msg} at byte {error.pos}); nothing was sent"
        raise BackfillError(
            message, hint="please report it: a column of JSON holds what the checks let through"
        ) from None
