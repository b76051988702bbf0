"""What the calls of a shard hold: a `PlanProfile`, counted column-wise, frame by frame.

    profiler = Profiler(calls, masks)          # of one shard
    profiler.count(call, rows, made)           # of each call and frame: the rows that make it, the calls that are sent
    profiler.profile()                         # of all frames so far

`records.profile` says what is in a profile and how those of shards are merged. The result depends neither on frames nor
on threads: counts are sums, samples the first in source order, and what is kept apart is chosen by hash.

Most of it is free: how many values a column of a frame has is known without looking at them, and of whether all are one
the first few rows decide. Ids are hashed (XXH64, which never changes), texts are measured. JSON objects that come from
a column whole are taken apart by DuckDB, as `mapping.merge` does: their keys, the types of those, and the values only
of keys that have been one value so far.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from heapq import nsmallest
from itertools import chain
from typing import Any, Final

import numpy as np
import polars as pl
import polars_hash  # noqa: F401  registers the expression namespace `nchash`

from backfill import encode
from backfill.arrays import distinct, series
from backfill.prepare.frames import ROW_COLUMN
from backfill.prepare.json_objects import ABSENT, TYPES, JsonObjects, json_objects
from backfill.prepare.profiled import Leaf, ProfiledCall, WholeObject
from backfill.prepare.tally import Codes, Places, Take, Tally
from backfill.records.profile import (
    EVENTS,
    LONG_TEXT,
    Event,
    Instants,
    PlanProfile,
    Sketch,
    Values,
    bounded,
    event_hash,
    kept_properties,
    sketch_of,
)

_FIRST_ROWS: Final = 256
_DAY_MICROSECONDS: Final = 86_400_000_000
#: By the first character of a JSON text; a number begins with any other.
_BLANKS: Final = " \t\n\r"
_NOTHING: Final = (ABSENT, TYPES.index("null"))
_TYPES: Final = {'"': "string", "{": "object", "[": "array", "t": "boolean", "f": "boolean", "n": "null"}


class Profiler:
    """Counts what the calls of one shard hold."""

    def __init__(self, calls: Sequence[ProfiledCall]) -> None:
        self._counts = [_CallCount(one) for one in calls]

    def count(self, index: int, rows: pl.DataFrame, calls: pl.DataFrame) -> None:
        """Count what one of the job's calls makes of a frame.

        `rows` are rows of the frame with the derived columns, as `evaluate` gives them; `calls` those that are sent.
        """
        if len(rows) != len(calls):
            rows = rows.filter(pl.col(ROW_COLUMN).is_in(calls["row"].implode()))
        if len(rows):
            self._counts[index].count(rows)

    def profile(self) -> PlanProfile:
        """The profile of the calls counted so far."""
        events = {event: calls for one in self._counts for event, calls in one.events().items()}
        more_events = any(one.more_events for one in self._counts) or len(events) > EVENTS
        kept = set(nsmallest(EVENTS, events, key=event_hash))
        found = {
            (*event, path): (one, place, path)
            for one in self._counts
            for event, place in one.places()
            if event in kept
            for path in one.paths(place)
        }
        names = kept_properties(found)
        more_properties = len(names) < len(found) or any(one.more_properties for one in self._counts)
        profile = PlanProfile(
            {one.profiled.call.scope: one.instants for one in self._counts},
            events,
            {name: _CallCount.values(*found[name]) for name in names},
            more_events,
            more_properties,
            unpriced={event: calls for one in self._counts for event, calls in one.unpriced().items()},
            **self._sketches(),
        )
        return bounded(profile)

    def _sketches(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            name: _sketch(one.ids[name] for one in self._counts) for name in ("users", "anonymous")
        }
        attached = all(one.all_attached for one in self._counts)
        found["attached"] = found["anonymous"] if attached else _sketch(one.ids["attached"] for one in self._counts)
        kinds = [one.profiled.call.type == "identify" for one in self._counts]
        own = (one.ids["users"] for one, identifies in zip(self._counts, kinds, strict=True) if identifies)
        return found | {"identified": found["users"] if all(kinds) else _sketch(own)}


def _sketch(ids: Iterable[list[pl.Series]]) -> Sketch:
    parts = list(chain.from_iterable(ids))
    if not parts:
        return Sketch()
    found = pl.concat(parts).drop_nulls()
    return sketch_of(found.sort(multithreaded=False).to_numpy())  # numpy takes three times as long


class _CallCount:
    """The counts of one of the job's calls."""

    def __init__(self, profiled: ProfiledCall) -> None:
        self.profiled = profiled
        self.instants = Instants(profiled.call.type, 0, None, None, 0, profiled.integrations)
        self.ids: dict[str, list[pl.Series]] = {name: [] for name in ("users", "anonymous", "attached")}
        self.more_events = self.more_properties = False
        self.all_attached = True  # each anonymousId came beside a userId
        self._tallies: dict[str, dict[str, Tally]] = {}  # path -> type
        self._names: dict[str, int] = {}  # event -> its place in the counts
        self._calls = np.zeros(0, np.int64)
        self._unpriced = np.zeros(0, np.int64)  # calls with revenue and without currency
        self._named = {leaf.path: leaf for leaf in profiled.leaves}

    # ------------------------------------------------------------------------------------------------- what was found

    def events(self) -> dict[Event, int]:
        """How many calls of each event that may be kept apart."""
        return {event: int(self._calls[place]) for event, place in self.places()}

    def unpriced(self) -> dict[Event, int]:
        """How many calls of each event have revenue and no currency, where there are such."""
        counts = zip(self.places(), self._unpriced, strict=False)  # events come after the others
        return {event: int(calls) for (event, _), calls in counts if calls}

    def places(self) -> list[tuple[Event, int]]:
        """Those events with their places."""
        return [((self.profiled.call.scope, name), place) for name, place in self._names.items()]

    def paths(self, place: int) -> list[str]:
        """The properties that an event has."""
        return [path for path, kinds in self._tallies.items() if any(tally.calls(place) for tally in kinds.values())]

    def values(self, place: int, path: str) -> dict[str, Values]:
        """What values a property of an event has, by JSON type."""
        kinds = sorted(self._tallies[path].items())
        return {kind: tally.values(place) for kind, tally in kinds if tally.calls(place)}

    # ---------------------------------------------------------------------------------------------------- counting

    def count(self, rows: pl.DataFrame) -> None:
        """Count these rows, each of which makes a call."""
        one = self.profiled
        ids = {"user": one.user, "anonymous": one.anonymous}
        asked = {name: text.nchash.xxhash64() for name, text in ids.items() if text is not None}  # type: ignore[attr-defined]
        asked |= {} if one.event is None else {"event": one.event.fill_null("")}
        facts = rows.select(pl.col(ROW_COLUMN), at=one.call.timestamp, **asked)
        self._count_instants(facts["at"])
        self._count_ids(facts)
        codes = self._codes(facts["event"] if one.event is not None else None, len(rows))
        known = codes < len(self._names)
        if not known.all():
            rows, codes = rows.filter(series(known)), codes[known]
        self._calls = self._calls + np.bincount(codes, minlength=len(self._names))
        alone = one.event is None
        leaves = [leaf for leaf in one.leaves if not (alone and leaf.type is not None)]
        # So few rows decide of most properties that their values differ, so that the others need not be made.
        for some, theirs in (
            (rows.head(_FIRST_ROWS), codes[:_FIRST_ROWS]),
            (rows.slice(_FIRST_ROWS), codes[_FIRST_ROWS:]),
        ):
            for leaf in leaves:
                if len(some):
                    self._count_leaf(leaf, some, theirs)
        if alone:
            self._count_only_event(rows)
        self._count_unpriced(rows, codes)
        if one.whole is not None:
            self._count_whole(one.whole, rows, codes)

    def _count_instants(self, at: pl.Series) -> None:
        found = at.to_frame("at").select(
            first=pl.col("at").min().dt.timestamp("ms"),
            last=pl.col("at").max().dt.timestamp("ms"),
            midnight=(pl.col("at").dt.timestamp("us") % _DAY_MICROSECONDS == 0).sum(),
        )
        first, last, midnight = found.row(0)
        before = self.instants
        self.instants = replace(
            before,
            calls=before.calls + len(at),
            first=first if before.first is None else min(before.first, first),
            last=last if before.last is None else max(before.last, last),
            midnight=before.midnight + midnight,
        )

    def _count_ids(self, facts: pl.DataFrame) -> None:
        if "user" in facts:
            self.ids["users"].append(facts["user"])
        if "anonymous" in facts:
            self.ids["anonymous"].append(facts["anonymous"])
            if "user" in facts:
                alone = facts["user"].null_count()
                attached = facts.filter(pl.col("user").is_not_null()) if alone else facts
                self.ids["attached"].append(attached["anonymous"])
                self.all_attached = self.all_attached and not alone
            else:
                self.all_attached = False

    def _codes(self, events: pl.Series | None, calls: int) -> Codes:
        """The place of each call's event; one behind all where the event will not be kept apart."""
        if events is None:
            self._place([self.profiled.fixed_event])
            return np.zeros(calls, np.uint32)
        distinct = events.unique(maintain_order=True)
        self._place([name for name in distinct if name not in self._names])
        places = [self._names.get(name, len(self._names)) for name in distinct]
        return events.replace_strict(distinct, pl.Series(places, dtype=pl.UInt32), return_dtype=pl.UInt32).to_numpy()

    def _place(self, new: list[str]) -> None:
        """Give new events a place, but for those that cannot be among the ones kept apart, whatever is to come."""
        scope = self.profiled.call.scope
        if len(self._names) + len(new) > EVENTS:
            kept = set(nsmallest(EVENTS, {*self._names, *new}, key=lambda name: event_hash((scope, name))))
            self.more_events = True
            new = [name for name in new if name in kept]
        for name in new:
            self._names.setdefault(name, len(self._names))
        self._calls = np.append(self._calls, np.zeros(len(self._names) - len(self._calls), np.int64))

    # ------------------------------------------------------------------------------------------------- the properties

    def _tally(self, path: str, kind: str, *, masked: bool, plain: bool = False) -> Tally:
        kinds = self._tallies.setdefault(path, {})
        if kind not in kinds:
            kinds[kind] = Tally(masked=masked, plain=plain)
        return kinds[kind]

    def _count_only_event(self, rows: pl.DataFrame) -> None:
        """Count properties of one type where there is one event: what is asked of all of them is asked at once."""
        leaves = [leaf for leaf in self.profiled.leaves if leaf.type is not None]
        tallies = [self._tally(leaf.path, str(leaf.type), masked=leaf.masked, plain=leaf.plain) for leaf in leaves]
        asked = {f"calls {place}": leaf.text.count() for place, leaf in enumerate(leaves) if not leaf.source}
        asked |= {
            f"long {place}": (leaf.text.str.len_bytes() > LONG_TEXT).sum()
            for place, leaf in enumerate(leaves)
            if leaf.plain
        }
        found = rows.select(**asked).row(0, named=True) if asked else {}
        for place, (leaf, tally) in enumerate(zip(leaves, tallies, strict=True)):
            calls = rows[leaf.source].count() if leaf.source else found[f"calls {place}"]
            tally.add_only(calls, found.get(f"long {place}") or 0)
        for some in (rows.head(_FIRST_ROWS), rows.slice(_FIRST_ROWS)):
            left = [(leaf.text, tally) for leaf, tally in zip(leaves, tallies, strict=True) if not tally.settled]
            if not left or not len(some):
                break
            firsts = {f"first {place}": text.drop_nulls().first() for place, (text, _) in enumerate(left)}
            differs = {
                f"differs {place}": (text != text.drop_nulls().first()).any() for place, (text, _) in enumerate(left)
            }
            found = some.select(**firsts, **differs).row(0, named=True)
            for place, (_, tally) in enumerate(left):
                tally.compare_only(found[f"first {place}"], differs=bool(found[f"differs {place}"]))

    def _count_unpriced(self, rows: pl.DataFrame, codes: Codes) -> None:
        revenue, currency = (self._named.get(name) for name in ("revenue", "currency"))
        if revenue is None or (currency is not None and currency.fixed not in (None, "null")):
            return
        unpriced = _is_there(revenue) if currency is None else _is_there(revenue) & ~_is_there(currency)
        self._add_unpriced(codes[_texts(rows, unpriced).arg_true().to_numpy()])

    def _add_unpriced(self, codes: Codes) -> None:
        """Note calls of these events that have revenue and no currency."""
        more = np.bincount(codes, minlength=len(self._names))
        self._unpriced = more + np.append(self._unpriced, np.zeros(len(more) - len(self._unpriced), np.int64))

    def _count_leaf(self, leaf: Leaf, rows: pl.DataFrame, codes: Codes) -> None:
        if leaf.fixed is not None:
            fixed, kind = pl.Series([leaf.fixed]), _TYPES.get(leaf.fixed[0], "number")
            tally = self._tally(leaf.path, kind, masked=leaf.masked)
            tally.add(codes, len(self._names), lambda some: fixed.new_from_index(0, len(some)))
            if kind == "string" and len(_long_texts(fixed, plain=False)):
                tally.add_long(codes)
            return
        texts = None if leaf.source else _texts(rows, leaf.text if leaf.plain else leaf.text.str.strip_chars(_BLANKS))
        column = rows[leaf.source] if texts is None else texts
        there = {leaf.type: column.is_not_null().arg_true().to_numpy()} if leaf.type is not None else _by_type(column)
        for kind, places in there.items():
            tally = self._tally(leaf.path, kind, masked=leaf.masked, plain=leaf.plain)
            tally.add(codes[places], len(self._names), _taker(rows, leaf, texts, places))
            if kind == "string":
                self._add_long(tally, column.gather(series(places)), codes[places], leaf)

    @staticmethod
    def _add_long(tally: Tally, column: pl.Series, codes: Codes, leaf: Leaf) -> None:
        if leaf.type in (None, "string") and isinstance(column.dtype, pl.String):
            long = _long_texts(column, plain=leaf.plain)
            if len(long):
                tally.add_long(codes[long])

    def _count_whole(self, whole: WholeObject, rows: pl.DataFrame, codes: Codes) -> None:
        """The members of objects that come whole: those of them that are kept apart in the frame."""
        scope, names = self.profiled.call.scope, list(self._names)
        with json_objects(_texts(rows, whole.text.fill_null("{}")), codes) as objects:
            found = [(scope, names[group], key) for group, key in objects.members()]
            kept = kept_properties(found)
            self.more_properties = self.more_properties or len(kept) < len(found)
            keys = list(dict.fromkeys(key for _, _, key in kept))
            if not keys:
                return
            types = objects.types(keys)
            if "revenue" in keys and ("currency" in keys or all(key != "currency" for _, _, key in found)):
                there = {key: ~np.isin(types[:, at], _NOTHING) for at, key in enumerate(keys)}
                self._add_unpriced(codes[there["revenue"] & ~there.get("currency", np.zeros(len(codes), bool))])
            for at, key in enumerate(keys):
                for place in distinct(np.sort(types[:, at])):
                    if place == ABSENT:
                        continue
                    places = np.flatnonzero(types[:, at] == place)
                    tally = self._tally(key, TYPES[place], masked=whole.masked)
                    tally.add(codes[places], len(names), _member_taker(objects, key, places))
                    if TYPES[place] == "string":
                        self._add_long_members(tally, objects, key, places, codes)

    @staticmethod
    def _add_long_members(tally: Tally, objects: JsonObjects, key: str, places: Places, codes: Codes) -> None:
        large = places[objects.sizes[places] > LONG_TEXT]
        if len(large):
            long = _long_texts(objects.values(key, large), plain=False)
            tally.add_long(codes[large[long]])


def _is_there(leaf: Leaf) -> pl.Expr:
    """Whether a property has a value; a null that is sent is none."""
    if leaf.fixed is not None:
        return pl.lit(leaf.fixed != "null")
    if leaf.source:
        return pl.col(leaf.source).is_not_null()
    return (leaf.text.is_not_null() & (leaf.plain | (leaf.text != "null"))).fill_null(value=False)


def _texts(rows: pl.DataFrame, text: pl.Expr) -> pl.Series:
    """What an expression is of each row, also where it is one of constants."""
    found = rows.select(text).to_series()
    return found if len(found) == len(rows) else found.new_from_index(0, len(rows))


def _by_type(texts: pl.Series) -> dict[str, Places]:
    """Which values are there, by JSON type, as their texts begin."""
    first = pl.col("v").str.slice(0, 1)
    kind = first.replace_strict(_TYPES, default="number", return_dtype=pl.String)
    kinds = texts.to_frame("v").select(pl.when(pl.col("v").is_not_null()).then(kind)).to_series()
    return {name: (kinds == name).arg_true().to_numpy() for name in kinds.unique().drop_nulls()}


def _taker(rows: pl.DataFrame, leaf: Leaf, texts: pl.Series | None, places: Places) -> Take:
    """The texts of some of a property's values, of which `places` are the rows."""
    if texts is not None:
        return lambda some: texts.gather(series(places[some]))
    return lambda some: rows.select(leaf.reads)[series(places[some])].select(leaf.text).to_series()


def _member_taker(objects: JsonObjects, key: str, places: Places) -> Take:
    return lambda some: objects.values(key, places[some])


def _long_texts(texts: pl.Series, *, plain: bool) -> Places:
    """Which texts have more than LONG_TEXT bytes."""
    sizes = texts.str.len_bytes()
    if int(sizes.max() or 0) <= LONG_TEXT:  # type: ignore[arg-type]
        return np.zeros(0, np.intp)
    found = (sizes > LONG_TEXT).arg_true()
    if plain:
        return found.to_numpy()
    values = texts.gather(found).to_frame("v").select(encode.scalar_text(pl.col("v"))).to_series()
    return found.filter(values.str.len_bytes() > LONG_TEXT).to_numpy()
