"""The calls of a run, and of those beside it, as records to be compared: ids, and time and event where they are known.

Ids and standings are kept for good. Timestamp and event stand in the calls alone: in the prepared bytes, or in those
made again from an unchanged source. Where neither can be had, ids alone are compared, and that is said.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from enum import IntEnum
from itertools import accumulate
from typing import Any, Final
from uuid import UUID

import numpy as np
import numpy.typing as npt
import polars as pl

from backfill.errors import JobError, LedgerError, RefusedError, SourceError
from backfill.pipeline.call_bytes import PlanCalls
from backfill.pipeline.call_fields import EVENTS, read_json
from backfill.pipeline.context import RunContext
from backfill.pipeline.delivered_ids import delivered_calls
from backfill.reconcile.events import Events
from backfill.reconcile.partitions import CALL, NO_PLACE, NO_TIME, Partitions, with_ids


class Standing(IntEnum):
    """What became of a call; from OTHER_RUN on the calls that other runs have delivered, one number a run."""

    DELIVERED = 0
    IN_DOUBT = 1
    PENDING = 2
    REFUSED = 3  # by the target
    OTHER_RUN = 4


_OF_LEDGER: Final = {
    "delivered": Standing.DELIVERED,
    "in_doubt": Standing.IN_DOUBT,
    "pending": Standing.PENDING,
    "rejected": Standing.REFUSED,
}
#: Why calls cannot be made again: then their ids are compared alone.
_GONE = (RefusedError, SourceError, JobError)


class RunCalls:
    """The calls of a run, each at a place of the plan that counts through all shards."""

    def __init__(self, calls: PlanCalls, events: Events, context: RunContext) -> None:
        self._calls = calls
        self._events = events
        self._context = context
        self._scopes = [call.scope for call in calls.status.record.facts.calls]
        self._given = [call.given_id for call in calls.status.record.facts.calls]
        self._shards = [shard for shard, plan in calls.shards.items() if plan.batches]
        sizes = [sum(batch.calls for batch in calls.shards[shard].batches) for shard in self._shards]
        self._begins = list(accumulate(sizes, initial=0))
        self.gone = ""  # why times and events are not known, where they are not
        self.notes: list[str] = []
        self.runs: list[str] = []  # beside this one, by number from OTHER_RUN on

    @property
    def count(self) -> int:
        """How many calls the plan has."""
        return self._begins[-1]

    @property
    def has_given_ids(self) -> bool:
        """Whether ids of calls came from the source: texts of any form, and no UUIDs of our own."""
        return any(self._given)

    def add_to(self, side: Partitions) -> None:
        """Add all calls of the run, and those delivered by runs beside it.

        Raises:
            LedgerError: What was kept of the run is damaged.
            InterruptedRunError: A signal came.
        """
        for begin, shard, records, standing in self.by_shard():
            times, events = self._facts(shard, records)
            places = np.arange(begin, begin + len(records), dtype=np.uint64)
            ids = np.frombuffer(records["id_bytes"].tobytes(), np.uint8).reshape(-1, 16)
            side.add(with_ids(ids, CALL, place=places, time=times, event=events, standing=standing))
        self._add_others(side)
        side.finish()

    def by_shard(self) -> Iterator[tuple[int, int, npt.NDArray[np.void], npt.NDArray[np.uint16]]]:
        """Of each shard its first place in the plan, its number, its CALL_RECORDs and the standing of each."""
        with self._calls.run.read() as reader:
            spans = defaultdict(list)
            for span in reader.call_spans():
                spans[span.shard].append(span)
        for place, shard in enumerate(self._shards):
            self._context.check_stop()
            records = self._calls.records(shard)
            standing = np.full(len(records), Standing.PENDING, np.uint16)
            for span in spans[shard]:
                standing[span.first_call : span.first_call + span.calls] = _OF_LEDGER[span.standing]
            yield self._begins[place], shard, records, standing

    def message_ids(self) -> Iterator[list[str]]:
        """The ids of all calls, a shard at a time; without those of the source's own that are not kept."""
        for begin, _, records, _ in self.by_shard():
            if any(self._given):
                places = np.arange(begin, begin + len(records), dtype=np.uint64)
                told = [one["message_id"] for _, some in self.ids_at(places) for one in some]
                yield [identity for identity in told if identity is not None]
            else:
                yield [str(UUID(bytes=bytes(identity))) for identity in records["id_bytes"].tolist()]

    def delivered(self) -> tuple[Counter[str], Counter[str]]:
        """How many calls were delivered of each type, and of each event of track calls; nothing where they are gone."""
        types: Counter[str] = Counter()
        events: Counter[str] = Counter()
        for _, shard, _, standing in self.by_shard():
            for _, texts in self._texts(shard, np.flatnonzero(standing == Standing.DELIVERED)):
                for call in map(read_json, texts):
                    types[call["type"]] += 1
                    if call["type"] == "track":
                        events[str(call["event"])] += 1
        return types, events

    def _facts(self, shard: int, records: npt.NDArray[np.void]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]]:
        """Of each call of a shard its timestamp and its event, as far as they are known."""
        scopes = self._events.numbers(self._scopes)
        times, events = np.full(len(records), NO_TIME, np.int64), scopes[records["call"]]
        for places, texts in self._texts(shard, np.arange(len(records))):
            found = [read_json(text) for text in texts]
            times[places] = [_milliseconds(call.get("timestamp")) for call in found]
            names = zip(records["call"][places].tolist(), found, strict=True)
            events[places] = self._events.numbers([_event_of(call, self._scopes[number]) for number, call in names])
        return times, events

    def _texts(self, shard: int, places: npt.NDArray[np.int64]) -> Iterator[tuple[npt.NDArray[np.int64], pl.Series]]:
        """The calls at some places of a shard; none, once they are found to be gone."""
        if self.gone:
            return
        try:
            yield from self._calls.texts(shard, places)
        except _GONE as error:
            self.gone = error.message

    def _add_others(self, side: Partitions) -> None:
        """What other runs have delivered to the target, of this job and of others."""
        record = self._calls.status.record
        store = self._context.store
        for folder in [*store.earlier(), *store.runs()]:
            try:
                with folder.read() as reader:
                    other = reader.status().record
                    spans = [span for span in reader.settled_spans() if span.standing == "delivered"]
                    digests = reader.calls_digests()
                is_this = (other.run_id, other.created_at) == (record.run_id, record.created_at)
                if is_this or other.target_identity != record.target_identity or not spans:
                    continue
                standing = Standing.OTHER_RUN + len(self.runs)
                for calls in delivered_calls(spans, folder.spool(), digests):
                    self._context.check_stop()
                    side.add(with_ids(calls.ids, CALL, place=NO_PLACE, time=NO_TIME, standing=standing))
                self.runs.append(other.run_id)
            except LedgerError as error:
                self.notes.append(f"{folder.run_id}: what it delivered is not known: {error.message}")

    def shards_of(
        self, places: Callable[[int, int], npt.NDArray[np.int64]]
    ) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
        """Each shard with those of its calls that `places` gives of its part of the plan; none without any."""
        for number, shard in enumerate(self._shards):
            if len(own := places(self._begins[number], self._begins[number + 1])):
                yield shard, own

    def ids_at(self, places: npt.NDArray[np.uint64]) -> Iterator[tuple[npt.NDArray[np.uint64], list[dict[str, Any]]]]:
        """What tells the calls at some places (ascending) of the plan: `message_id`, `event` and `timestamp`.

        The id is None where it is one of the source's own that is not kept.
        """
        for number, shard in enumerate(self._shards):
            low, high = np.searchsorted(places, [self._begins[number], self._begins[number + 1]])
            if low == high:
                continue
            own = (places[low:high] - np.uint64(self._begins[number])).astype(np.int64)
            records = self._calls.records(shard)[own]
            given = np.array(self._given)[records["call"]]
            told = [
                {
                    "message_id": None if is_given else str(UUID(bytes=record["id_bytes"].tobytes())),
                    "event": self._scopes[record["call"]],
                    "timestamp": None,
                }
                for record, is_given in zip(records, given, strict=True)
            ]
            for found, texts in self._texts(shard, own):
                for place, text in zip(np.searchsorted(own, found).tolist(), texts, strict=True):
                    call = read_json(text)
                    told[place] = {
                        "message_id": call["messageId"],
                        "event": _event_of(call, told[place]["event"]),
                        "timestamp": call.get("timestamp"),
                    }
            yield places[low:high], told


def _event_of(call: dict[str, Any], scope: str) -> str:
    """What happened, else the call's label or type."""
    return next((str(call[name]) for name in EVENTS if call.get(name)), scope)


def _milliseconds(text: object) -> int:
    """A timestamp as calls have it in ms since 1970; NO_TIME where there is none."""
    if not isinstance(text, str):
        return NO_TIME
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def listed(calls: RunCalls, places: Sequence[int]) -> dict[int, dict[str, Any]]:
    """What tells a few calls, by their places."""
    wanted = np.array(sorted(places), np.uint64)
    return {place: one for found, told in calls.ids_at(wanted) for place, one in zip(found.tolist(), told, strict=True)}
