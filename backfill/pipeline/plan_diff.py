"""Two plans compared, call by call: which were added, are gone or have changed, and in which fields.

Calls are the same call where their message ids are equal, and have changed where their hashes are not. Both plans are
joined by DuckDB, which spills what memory does not hold. Only of calls that have changed the bytes are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import duckdb
import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]

from backfill.disk import TEMPORARY_FOLDERS
from backfill.errors import RefusedError
from backfill.memory import DIFF_CALLS, DIFF_MEMORY_BYTES, DIFF_TEXT_BYTES
from backfill.pipeline.call_bytes import PlanCalls
from backfill.pipeline.call_fields import read_json
from backfill.pipeline.context import RunContext
from backfill.records import RunReader

#: Samples of each kind, and of each field that has changed.
SAMPLES: Final = 5
FIELD_SAMPLES: Final = 3
_SCHEMA: Final = pa.schema(
    [
        *((name, pa.uint64()) for name in ("high", "low", "hash")),
        ("call", pa.string()),
        *((name, pa.uint32()) for name in ("bytes", "shard", "place")),
    ]
)
_COMPARED: Final = """
CREATE TEMP TABLE compared AS
SELECT coalesce(a.call, b.call) AS call, coalesce(a.high, b.high) AS high, coalesce(a.low, b.low) AS low,
    b.shard AS shard_before, b.place AS place_before, a.shard AS shard_after, a.place AS place_after,
    coalesce(a.bytes, 0) + coalesce(b.bytes, 0) AS bytes,
    CASE WHEN b.shard IS NULL THEN 'added' WHEN a.shard IS NULL THEN 'gone' ELSE 'changed' END AS kind
FROM before b FULL OUTER JOIN after a ON b.high = a.high AND b.low = a.low
WHERE b.shard IS NULL OR a.shard IS NULL OR b.bytes <> a.bytes OR b.hash <> a.hash"""
#: What is not there, of a field that only one of two calls has.
ABSENT: Final = object()


@dataclass(slots=True)
class FieldChange:
    """A field of calls that have changed."""

    calls: int = 0
    samples: list[tuple[str, object, object]] = field(default_factory=list)  # message id, before, after; maybe ABSENT


@dataclass(slots=True)
class PlanDiff:
    """What two plans have not in common."""

    before: int = 0  # calls
    after: int = 0
    counts: dict[str, dict[str, int]] = field(default_factory=dict)  # label or type -> added, gone, changed -> calls
    fields: dict[tuple[str, str], FieldChange] = field(default_factory=dict)  # of label or type, and path
    compared: int = 0  # calls that have changed and were looked at for their fields
    samples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # added, gone -> calls
    notes: list[str] = field(default_factory=list)  # what could not be compared, and why

    def total(self, kind: str) -> int:
        """How many calls were added, are gone or have changed."""
        return sum(counts.get(kind, 0) for counts in self.counts.values())

    @property
    def same(self) -> int:
        """How many calls are the same."""
        return self.after - self.total("added") - self.total("changed")


def compare_plans(
    before: PlanCalls, after: PlanCalls, context: RunContext, *, delivered: bool = False, most: int | None = None
) -> PlanDiff:
    """What `after` has not in common with `before`; `delivered`: with what of `after` was delivered.

    Of calls that have changed the fields of at most `most` are compared, those that come first.

    Raises:
        LedgerError: What was kept of a plan is damaged, or was made by a version that kept less.
        InterruptedRunError: A signal came.
    """
    diff = PlanDiff()
    spans = delivered_places(after) if delivered else None
    with TEMPORARY_FOLDERS.opened() as folder, closing(_engine(folder)) as engine:
        sizes = {"before": 0, "after": 0}
        for name, calls, only in (("before", before, None), ("after", after, spans)):
            engine.register(
                name, pa.RecordBatchReader.from_batches(_SCHEMA, _batches(calls, only, name, sizes, diff, context))
            )
        engine.execute(_COMPARED)
        diff.before, diff.after = sizes["before"], sizes["after"]
        for call, kind, count in engine.execute("SELECT call, kind, count(*) FROM compared GROUP BY ALL").fetchall():
            diff.counts.setdefault(call, {})[kind] = count
        _look_closer(diff, engine, before, after, most)
    return diff


def delivered_places(calls: PlanCalls) -> dict[int, list[tuple[int, int]]]:
    """Of each shard of a run, from which place to before which its calls were delivered."""
    with calls.run.read() as reader:
        return _delivered(reader)


def _delivered(reader: RunReader) -> dict[int, list[tuple[int, int]]]:
    found: dict[int, list[tuple[int, int]]] = {}
    for span in reader.settled_spans():
        if span.standing == "delivered":
            found.setdefault(span.shard, []).append((span.first_call, span.first_call + span.calls))
    return found


def _engine(folder: Path) -> duckdb.DuckDBPyConnection:
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": f"{DIFF_MEMORY_BYTES // 10**6}MB",
        "temp_directory": str(folder),
        "threads": 2,
    }
    return duckdb.connect(":memory:", config=settings)


def _batches(
    calls: PlanCalls,
    only: Mapping[int, list[tuple[int, int]]] | None,
    name: str,
    sizes: dict[str, int],
    diff: PlanDiff,
    context: RunContext,
) -> Iterator[Any]:
    """What is kept of each call of a plan, shard by shard; `only` at those places."""
    scopes = pa.array([call.scope for call in calls.status.record.facts.calls])
    for shard, plan in calls.shards.items():
        context.check_stop()
        if not plan.batches:
            continue
        records, hashes = calls.records(shard), calls.hashes(shard)
        if hashes is None and not any(calls.run.run_id in note for note in diff.notes):
            diff.notes.append(f"of {calls.run.run_id} no hashes are kept: calls of one size are taken for the same")
        places = np.arange(len(records))
        if only is not None:
            places = np.concatenate([places[low:high] for low, high in only.get(shard, [])] or [places[:0]])
        sizes[name] += len(places)
        own = records[places]
        ids = np.frombuffer(own["id_bytes"].tobytes(), ">u8").astype("<u8").reshape(-1, 2)
        columns = [
            *(pa.array(np.ascontiguousarray(ids[:, half])) for half in (0, 1)),
            pa.nulls(len(own), pa.uint64()) if hashes is None else pa.array(hashes[places].astype(np.uint64)),
            scopes.take(pa.array(np.ascontiguousarray(own["call"]))),
            pa.array(np.ascontiguousarray(own["bytes"])),
            pa.array(np.full(len(own), shard, np.uint32)),
            pa.array(places.astype(np.uint32)),
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=_SCHEMA)


def _look_closer(
    diff: PlanDiff, engine: duckdb.DuckDBPyConnection, before: PlanCalls, after: PlanCalls, most: int | None
) -> None:
    """Look at the bytes of calls that have changed, and of some that were added or are gone, where they are there."""
    for kind, side, calls in (("added", "after", after), ("gone", "before", before)):
        rows = engine.execute(
            f"SELECT high, low, call, shard_{side}, place_{side} FROM compared WHERE kind = ?"  # noqa: S608 - constants
            f" ORDER BY shard_{side}, place_{side} LIMIT {SAMPLES}",
            [kind],
        ).fetchall()
        texts: list[str | None] = [None] * len(rows)
        with suppress(RefusedError):  # noted below, where it matters
            texts = list(_texts(calls, [(shard, place) for *_, shard, place in rows]))
        given = {call.scope for call in calls.status.record.facts.calls if call.given_id}
        diff.samples[kind] = [
            _sample(None if call in given else UUID(int=(high << 64) | low), call, text)
            for (high, low, call, *_), text in zip(rows, texts, strict=True)
        ]
    if not diff.total("changed"):
        return
    found = engine.execute(
        "SELECT call, shard_before, place_before, shard_after, place_after, bytes FROM compared WHERE kind = 'changed'"
        " ORDER BY shard_before, place_before LIMIT ?",
        [most if most is not None else diff.total("changed")],
    )
    try:
        for chunk in _chunks(found):
            old = _texts(before, [(row[1], row[2]) for row in chunk])
            new = _texts(after, [(row[3], row[4]) for row in chunk])
            for (call, *_), one, other in zip(chunk, old, new, strict=True):
                _compare_calls(diff, call, read_json(one), read_json(other))
    except RefusedError as error:
        diff.notes.append(f"the fields that have changed cannot be told: {error.message}")


def _chunks(found: duckdb.DuckDBPyConnection) -> Iterator[list[tuple[Any, ...]]]:
    """Rows of calls, as many at a time as memory holds of their bytes."""
    chunk: list[tuple[Any, ...]] = []
    size = 0
    while rows := found.fetchmany(1_000):
        for row in rows:
            if chunk and (size + row[-1] > DIFF_TEXT_BYTES or len(chunk) == DIFF_CALLS):
                yield chunk
                chunk, size = [], 0
            chunk.append(row)
            size += row[-1]
    if chunk:
        yield chunk


def _texts(calls: PlanCalls, places: list[tuple[int, int]]) -> list[str]:
    """The JSON of the calls at these places (shard, place), in their order."""
    found: dict[tuple[int, int], str] = {}
    by_shard: dict[int, list[int]] = {}
    for shard, place in places:
        by_shard.setdefault(shard, []).append(place)
    for shard, wanted in by_shard.items():
        for own, texts in calls.texts(shard, np.sort(np.array(wanted, np.int64))):
            found |= zip(((shard, place) for place in own.tolist()), texts.to_list(), strict=True)
    return [found[place] for place in places]


def _compare_calls(diff: PlanDiff, call: str, old: dict[str, Any], new: dict[str, Any]) -> None:
    diff.compared += 1
    found = list(changes(old, new, "")) or [("(written in another way)", ABSENT, ABSENT)]
    for path, before, after in found:
        change = diff.fields.setdefault((call, path), FieldChange())
        change.calls += 1
        if len(change.samples) < FIELD_SAMPLES:
            change.samples.append((str(new.get("messageId", "")), before, after))


def changes(one: Any, other: Any, path: str) -> Iterator[tuple[str, object, object]]:  # noqa: ANN401
    """The members that two JSON values do not share, each with its path and both its values, or ABSENT."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in {**one, **other}:
            inside = f"{path}.{name}" if path else name
            yield from changes(one.get(name, ABSENT), other.get(name, ABSENT), inside)
    elif type(one) is not type(other) or one != other:
        yield path, one, other


def _sample(identity: UUID | None, call: str, text: str | None) -> dict[str, Any]:
    """What tells one call: its id, and of its fields those by which people know it."""
    known = {"call": call, "message_id": str(identity) if identity else None}
    if text is None:
        return known
    content = read_json(text)
    names = ("userId", "anonymousId", "event", "timestamp")
    return known | {"message_id": content["messageId"]} | {name: content[name] for name in names if name in content}
