"""What the sandbox holds: which calls are new, which are duplicates, and the rows of all; for the store's thread."""

from __future__ import annotations

from collections import Counter
from dataclasses import field
from typing import Any

from backfill.frozen import frozen
from backfill.sandbox.facets import ACCEPTED, Facets
from backfill.sandbox.ingest import MOST_EVENT_CHARACTERS, Drop, HeldCall, ReceivedRequest
from backfill.sandbox.seen import SeenIds
from backfill.sandbox.tables import Tables


@frozen
class RequestRecord:
    """One request to write down: its calls, if it was understood, and what else is counted of it."""

    received: ReceivedRequest | None
    counts: dict[str, int] = field(default_factory=dict)
    run: str = ""  # what its sender calls the run, or else the sender
    answer: str = "200"  # or what it ends with instead
    received_ms: int = 0
    first_id: str | None = None  # of a request that is not stored, but was read
    calls: int = 0  # likewise
    body_bytes: int = 0  # likewise


class Holdings:
    """What is held, as tables and in memory. A failed commit leaves memory wrong: then they are to be made again."""

    def __init__(self, tables: Tables, *, keep_calls: int | None, window_ms: int) -> None:
        self._tables = tables
        self._keep_calls = keep_calls
        self._window_ms = window_ms
        self._seen = SeenIds()
        for first, ids in tables.all_ids():
            self._seen.add(ids, first)
        self._last_id = tables.last_number("ids")
        self._last_request = tables.last_number("requests")
        self._last_number = max(tables.last_number("calls"), tables.last_number("drops"))
        self.kept, self._kept_drops = tables.mark("kept"), tables.mark("kept_drops")
        self._facets = Facets(tables)

    @property
    def room(self) -> int:
        """How many more calls are kept with their JSON."""
        return self._room(self.kept)

    @property
    def room_for_drops(self) -> int:
        """How many more dropped calls are kept with their JSON."""
        return self._room(self._kept_drops)

    def _room(self, kept: int) -> int:
        return 1 << 62 if self._keep_calls is None else max(0, self._keep_calls - kept)

    def hold(self, record: RequestRecord, counts: Counter[str]) -> None:
        """Write one request down, its calls where they belong, and add to the counts."""
        counts.update(record.counts)
        received = record.received
        received_ms = record.received_ms if received is None else received.received_ms
        run = self._facets.run(record.run, received_ms)
        self._last_request += 1
        if received is None:
            told = (record.first_id, record.calls, 0, 0, record.body_bytes, record.answer)
        else:
            accepted, duplicate = self._hold_calls(run, received, counts)
            told = (received.first_id, received.calls, accepted, duplicate, received.body_bytes, record.answer)
        self._tables.insert("requests", [(self._last_request, run, received_ms, *told)])

    def flush(self) -> None:
        """Write down what is counted, before a commit."""
        self._facets.flush()
        self._tables.set_marks(kept=self.kept, kept_drops=self._kept_drops)

    def _hold_calls(self, run: int, received: ReceivedRequest, counts: Counter[str]) -> tuple[int, int]:
        """How many of the calls are accepted, and how many are duplicates."""
        repeated, returning = self._known(received)
        fresh = [place for place, message_id in enumerate(received.ids) if message_id not in repeated]
        new = [received.ids[place] for place in fresh if received.ids[place] not in returning]
        received_ms = received.received_ms
        self._tables.insert("ids", [(self._last_id + n, new_id, received_ms) for n, new_id in enumerate(new, 1)])
        if new:
            self._seen.add(new, self._last_id + 1)
            self._last_id += len(new)
        if returning:
            self._tables.receive_again(list(returning.values()), received_ms)
        self._keep(run, received, fresh)
        drops = [*received.drops, *_duplicates(received, repeated)] if repeated else received.drops
        self._keep_drops(run, received_ms, drops)
        found = _counts_of(received, fresh, drops, new_ids=len(new))
        counts.update(found)
        return len(fresh), found["duplicate"]

    def _known(self, received: ReceivedRequest) -> tuple[set[str], dict[str, int]]:
        """The ids that came before: those within the window, and those whose window is over with their rows.

        The window runs from the receipt of the call that was accepted; a duplicate does not prolong it (unconfirmed).
        """
        candidates = self._seen.find(received.ids)
        rows = {received.ids[place]: int(candidates[place]) for place in candidates.nonzero()[0].tolist()}
        if not rows:
            return set(), {}
        found = {number: (an_id, ms) for number, an_id, ms in self._tables.ids_at(list(rows.values()))}
        strangers = {}
        for an_id, number in list(rows.items()):
            if found[number][0] != an_id:  # another id of the same hash
                del rows[an_id]
                if an_id in self._seen.strangers:
                    strangers[an_id] = self._seen.strangers[an_id]
        if strangers:
            found |= {number: (an_id, ms) for number, an_id, ms in self._tables.ids_at(list(strangers.values()))}
            rows |= strangers
        closed = received.received_ms - self._window_ms
        repeated = {an_id for an_id, number in rows.items() if found[number][1] > closed}
        return repeated, {an_id: number for an_id, number in rows.items() if an_id not in repeated}

    def _keep(self, run: int, received: ReceivedRequest, fresh: list[int]) -> None:
        kinds, events = received.kinds, received.events
        if len(fresh) < len(kinds):
            kinds, events = [kinds[place] for place in fresh], [events[place] for place in fresh]
        facets = self._facets.count(run, ACCEPTED, kinds, events)
        kept = (
            [
                (place, facets[kind, event], received.held[place])
                for place, kind, event in zip(fresh, kinds, events, strict=True)
                if place < len(received.held)
            ][: self.room]
            if received.held
            else []
        )
        rows = [
            (
                self._last_number + n,
                received.ids[place],
                received.kinds[place],
                received.received_ms,
                held.timestamp,
                held.original_timestamp,
                held.sent_at,
                held.json,
                self._last_request,
                facet,
                held.user,
            )
            for n, (place, facet, held) in enumerate(kept, 1)
        ]
        self._tables.insert("calls", rows)
        self._facets.count_days(run, kinds[: len(kept)], [held.timestamp[:10] for _, _, held in kept])
        self.kept += len(rows)
        self._last_number += len(rows)

    def _keep_drops(self, run: int, received_ms: int, drops: list[Drop]) -> None:
        by_reason: dict[str, list[Drop]] = {}
        for drop in drops:
            by_reason.setdefault(drop.reason, []).append(drop)
        rows: list[tuple[Any, ...]] = []
        for reason, some in by_reason.items():
            kinds = [(one.kind or "")[:MOST_EVENT_CHARACTERS] for one in some]
            facets = self._facets.count(run, reason, kinds, [one.event for one in some])
            for drop, kind in zip(some, kinds, strict=True):
                facet = facets[kind, drop.event]
                held = drop.held if self.room_for_drops else None
                self._kept_drops += held is not None
                told = (reason, drop.message_id, drop.kind, received_ms, self._last_request, facet, *_whole(held))
                rows.append((self._last_number + len(rows) + 1, *told))
        self._tables.insert("drops", rows)
        self._last_number += len(rows)


def _whole(held: HeldCall | None) -> tuple[str | None, ...]:
    if held is None or not held.json:
        return (None,) * 5
    return held.user, held.timestamp, held.original_timestamp, held.sent_at, held.json


def _duplicates(received: ReceivedRequest, repeated: set[str]) -> list[Drop]:
    held = received.held
    return [
        Drop(
            "duplicate",
            an_id,
            received.kinds[place],
            received.events[place],
            held[place] if place < len(held) else None,
        )
        for place, an_id in enumerate(received.ids)
        if an_id in repeated
    ]


def _counts_of(received: ReceivedRequest, fresh: list[int], drops: list[Drop], *, new_ids: int) -> Counter[str]:
    counts: Counter[str] = Counter()
    counts["received"] = received.calls
    counts["accepted"] = len(fresh)
    counts["distinct_ids"] = new_ids
    if len(fresh) == len(received.kinds):
        kinds = Counter(received.kinds)
    else:
        kinds = Counter(received.kinds[place] for place in fresh)
    counts.update({f"by_type/{kind}": n for kind, n in kinds.items()})
    reasons = Counter(drop.reason for drop in drops)
    counts["duplicate"] = reasons.pop("duplicate", 0)
    counts.update({f"dropped/{reason}": n for reason, n in reasons.items()})
    return counts
