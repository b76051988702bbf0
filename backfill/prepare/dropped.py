"""Which calls are not sent because their message id came before: found out before any shard is prepared.

Hashes of all ids tell which may occur more than once; usually none does, and that is all. Else the calls of these ids,
and no others, are evaluated, for only a valid call can be the first of its id; in source order the first one is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from backfill.arrays import series
from backfill.mapping import CompiledCall
from backfill.mapping.calls import Key
from backfill.mapping.template import Facts
from backfill.prepare.conflicts import explain, places
from backfill.prepare.duplicates import DuplicateRecords, Occurrences, joined, record_number
from backfill.prepare.evaluate import derive, evaluate, message_id, reads_of
from backfill.prepare.faults import library_errors
from backfill.prepare.frames import ROW_COLUMN
from backfill.prepare.in_order import in_order
from backfill.prepare.rejects import SAMPLES
from backfill.prepare.repeats import (
    Collector,
    DropTable,
    DuplicateResolver,
    Hashes,
    Resolution,
    among,
)
from backfill.prepare.shard import DroppedCalls, ShardContext
from backfill.prepare.text_bytes import digest16
from backfill.records import FILE_COLUMN, RECORD_COLUMN


def find_dropped(
    context: ShardContext, pool: ThreadPoolExecutor, folder: Path, *, ahead: int
) -> tuple[DroppedCalls, DuplicateRecords]:
    """The calls that are left out of the job, and whose duplicates they are; nothing depends on threads or frames.

    `folder` takes temporary files, which the result may read. Raises InterruptedRunError where it is to stop.
    """
    candidates = _candidates(context, pool, folder)
    table, explanations = DropTable(folder / "dropped"), dict[int, str]()
    duplicates = DuplicateRecords(folder / "duplicate-records")
    if not len(candidates):
        return DroppedCalls(table, explanations), duplicates
    resolver = DuplicateResolver(candidates, folder / "duplicates")
    find = partial(_occurrences, context, candidates)
    for found in in_order(pool, find, range(context.frames.shards), ahead=ahead):
        resolutions, firsts = resolver.resolve(found.hashes, found.ids, found.digests, found.origins)
        table.add(found.places, resolutions)
        duplicates.add(found, resolutions, firsts)
        for index in np.flatnonzero(resolutions == Resolution.CONFLICT)[: SAMPLES - len(explanations)]:
            place = int(found.places[index])
            explanations[place] = explain(int(firsts[index, 0]), place, context.frames, context.snapshot, context.calls)
    return DroppedCalls(table, explanations), duplicates


def _candidates(context: ShardContext, pool: ThreadPoolExecutor, folder: Path) -> Hashes:
    """The hashes of ids that occur more than once, whether in valid calls or not."""
    collector = Collector(folder)

    def collect(bounds: tuple[int, int]) -> None:
        found = [frame["hash"].to_numpy() for call in context.calls for frame in _hashes(context, call, *bounds)]
        collector.add(np.concatenate(found))

    for _ in pool.map(collect, context.frames.key_ranges):
        pass  # what went wrong is raised here
    return collector.candidates()


def _hashes(context: ShardContext, call: CompiledCall, start: int, stop: int) -> Iterator[pl.DataFrame]:
    """The hash of each message id of a call, of some rows, frame by frame: ROW_COLUMN and hash. Null keys have none."""
    expression = _id_hash(call, among_calls=context.ids_meet)
    columns, derived = reads_of(call, expression)
    for frame in context.frames.walk_rows(start, stop, columns):
        context.check_stop()
        with library_errors(f"making the message ids of the {call.scope} calls"):
            hashed = derive(frame, derived).select(ROW_COLUMN, hash=expression)
        yield hashed.drop_nulls("hash")


def _id_hash(call: CompiledCall, *, among_calls: bool) -> pl.Expr:
    """64-bit hash that is equal where message ids are, also those of different calls where `among_calls`.

    Hashes are compared within one process only: polars may change its hash between versions.
    """
    if among_calls and call.key is Key.COLUMNS:
        return message_id(call, Facts()).hash(seed=0)
    plain = [bound.plain for bound in call.key_values]
    text = call.content.text(Facts()) if call.content is not None else pl.concat_str(plain, separator="\n")
    return text.hash(seed=0 if among_calls else call.index)


def _occurrences(context: ShardContext, candidates: Hashes, shard: int) -> Occurrences:
    """The valid calls of a shard whose hashes are among the candidates."""
    start, stop = context.frames.bounds(shard)
    candidate_rows = [_candidate_rows(context, call, candidates, start, stop) for call in context.calls]
    found: list[Occurrences] = []
    if not any(map(len, candidate_rows)):
        return joined(found)
    for frame in context.frames.walk(shard, list(dict.fromkeys([*context.columns, FILE_COLUMN, RECORD_COLUMN]))):
        context.check_stop()
        for call, hashes in zip(context.calls, candidate_rows, strict=True):
            own = frame.filter(pl.col(ROW_COLUMN).is_in(hashes["row"].implode()))
            if not len(own):
                continue
            calls = evaluate(call, own, context.call_bytes).calls.join(hashes, on="row", maintain_order="left")
            digests, hashed = digest16(calls["json"]), calls["hash"].to_numpy()
            numbers = calls.select("row").join(
                own.select(row=ROW_COLUMN, number=record_number()), on="row", how="left", maintain_order="left"
            )
            origins = np.column_stack([places(calls, start), numbers["number"].to_numpy()])
            found.append(Occurrences(hashed, context.keys(calls), digests, origins))
    return joined(found)


def _candidate_rows(
    context: ShardContext, call: CompiledCall, candidates: Hashes, start: int, stop: int
) -> pl.DataFrame:
    """The rows, counted from `start`, for which a call has a candidate hash: row and hash."""
    found = [
        frame.filter(series(among(frame["hash"].to_numpy(), candidates)))
        for frame in _hashes(context, call, start, stop)
    ]
    return pl.concat(found).rename({ROW_COLUMN: "row"})
