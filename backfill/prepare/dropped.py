"""Which calls are not sent because their message id came before: found out before any shard is prepared.

Hashes of all ids tell which may occur more than once; usually none does, and that is all. Else the calls of these ids,
and no others, are evaluated, for only a valid call can be the first of its id; in source order the first one is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from backfill.mapping import CompiledCall
from backfill.mapping.calls import Key
from backfill.mapping.template import Facts
from backfill.memory import DUPLICATES_AT_ONCE
from backfill.prepare.batches import digest16
from backfill.prepare.conflicts import CALLS, explain, places
from backfill.prepare.evaluate import derive, evaluate, message_id, reads_of
from backfill.prepare.faults import library_errors
from backfill.prepare.frames import ROW_COLUMN
from backfill.prepare.in_order import in_order
from backfill.prepare.rejects import REJECT_TYPES, SAMPLES
from backfill.prepare.repeats import (
    CallOrigins,
    Collector,
    DropTable,
    DuplicateResolver,
    Hashes,
    Places,
    Resolution,
    Sixteen,
    among,
)
from backfill.prepare.shard import DroppedCalls, ShardContext
from backfill.records import FILE_COLUMN, RECORD_COLUMN, Severity, Snapshot

#: A file has fewer records than this, and a source fewer than 2^24 files.
_RECORDS = 1 << 40


@dataclass(frozen=True, slots=True)
class Occurrences:
    """The valid calls of some shard whose ids may occur more than once, in source order: one row of each array."""

    hashes: Hashes
    ids: Sixteen
    digests: Sixteen
    origins: CallOrigins  # place, and `_record_number`

    @property
    def places(self) -> Places:
        """Each one's place."""
        return self.origins[:, 0]


class DuplicateRecords:
    """Which records made a duplicate, and which record made the call that it equals. `add` until it is read.

    Each is three numbers: its own record's, the other record's (see `_record_number`), and the call's index.
    """

    def __init__(self, path: Path) -> None:
        """They are kept in the file `path`, which is there once there are any."""
        path.unlink(missing_ok=True)
        self._path = path

    def add(self, found: Occurrences, resolutions: npt.NDArray[np.uint8], firsts: CallOrigins) -> None:
        """Take the duplicates of some calls, whose first ones have those origins."""
        is_duplicate = resolutions == Resolution.DUPLICATE
        if is_duplicate.any():
            own, first = found.origins[is_duplicate], firsts[is_duplicate]
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.write(np.column_stack([own[:, 1], first[:, 1], own[:, 0] % CALLS]).data)

    def pages(self, snapshot: Snapshot, calls: Sequence[CompiledCall]) -> Iterator[pl.DataFrame]:
        """Frames of REJECT_COLUMNS, in source order; none where there are none."""
        if not self._path.exists():
            return
        names = pl.Series([file.name for file in snapshot.files], dtype=pl.String)
        scopes = {call.index: call.scope for call in calls}
        rows = np.memmap(self._path, np.uint64, "r").reshape(-1, 3)
        for start in range(0, len(rows), DUPLICATES_AT_ONCE):
            own, first, call = np.array(rows[start : start + DUPLICATES_AT_ONCE]).T
            page = pl.DataFrame({"own": own, "first": first, "index": call})
            file, first_file = (pl.lit(names).gather(pl.col(name) // _RECORDS) for name in ("own", "first"))
            record = pl.format("record {}", pl.col("first") % _RECORDS)
            where = pl.when(file == first_file).then(record).otherwise(pl.format("{} of {}", record, first_file))
            described = page.with_columns(
                file=file,
                record=pl.col("own") % _RECORDS,
                call=pl.col("index").replace_strict(scopes, return_dtype=pl.String),
                code=pl.lit("duplicate"),
                severity=pl.lit(Severity.WARNING.value),
                message=pl.format("the same call as {} makes, which is sent", where),
            )
            missing = {name: kind for name, kind in REJECT_TYPES.items() if name not in described.columns}
            empty = [pl.lit(0 if kind == pl.UInt64 else None, kind).alias(name) for name, kind in missing.items()]
            yield described.with_columns(empty).select(list(REJECT_TYPES)).cast(REJECT_TYPES)  # type: ignore[arg-type]


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
        return _joined(found)
    for frame in context.frames.walk(shard, list(dict.fromkeys([*context.columns, FILE_COLUMN, RECORD_COLUMN]))):
        context.check_stop()
        for call, hashes in zip(context.calls, candidate_rows, strict=True):
            own = frame.filter(pl.col(ROW_COLUMN).is_in(hashes["row"].implode()))
            if not len(own):
                continue
            calls = evaluate(call, own, context.call_bytes).calls.join(hashes, on="row", maintain_order="left")
            digests, hashed = digest16(calls["json"]), calls["hash"].to_numpy()
            numbers = calls.select("row").join(
                own.select(row=ROW_COLUMN, number=_record_number()), on="row", how="left", maintain_order="left"
            )
            origins = np.column_stack([places(calls, start), numbers["number"].to_numpy()])
            found.append(Occurrences(hashed, context.keys(calls), digests, origins))
    return _joined(found)


def _record_number() -> pl.Expr:
    """The file and record of a row as one number."""
    return pl.col(FILE_COLUMN).cast(pl.UInt64) * _RECORDS + pl.col(RECORD_COLUMN).cast(pl.UInt64)


def _candidate_rows(
    context: ShardContext, call: CompiledCall, candidates: Hashes, start: int, stop: int
) -> pl.DataFrame:
    """The rows, counted from `start`, for which a call has a candidate hash: row and hash."""
    found = [
        frame.filter(pl.Series(among(frame["hash"].to_numpy(), candidates)))
        for frame in _hashes(context, call, start, stop)
    ]
    return pl.concat(found).rename({ROW_COLUMN: "row"})


def _joined(found: list[Occurrences]) -> Occurrences:
    """All of them in source order."""
    nothing = np.empty(0, np.uint64), np.empty((0, 16), np.uint8), np.empty((0, 2), np.uint64)
    order = np.argsort(np.concatenate([nothing[0], *(one.places for one in found)]))
    return Occurrences(
        np.concatenate([nothing[0], *(one.hashes for one in found)])[order],
        np.concatenate([nothing[1], *(one.ids for one in found)])[order],
        np.concatenate([nothing[1], *(one.digests for one in found)])[order],
        np.concatenate([nothing[2], *(one.origins for one in found)])[order],
    )
