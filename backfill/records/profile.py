"""What a plan's calls hold: counted a shard at a time while preparing, stored with the shard, merged on reading.

A `PlanProfile` is of the calls that would be sent (those in batches), and of any part of them: a frame, a shard, all.

- `calls`: of each of the job's calls (by its label or type) how many, their first and last instant, its integrations.
- `events`: how many calls of each event: the `event` of a track, the `name` of a page or screen, "" where there is
  none. A name of a column that the job masks is not told.
- `properties`: of each event and each member of `properties` or `traits` the JSON types it has; of each type how many
  calls, a masked sample, whether all values are one, how many texts are long. `fill` is the share of the event's calls.
  Members of objects that the job builds have dotted paths; what comes from a column whole, its own members alone.
- `unpriced`: of each event the calls that have `revenue` and no `currency` beside it.
- `identified`: the userIds of identify calls, in such a sketch.
- `bad_values`: the values that problems are about, the most frequent ones. Where there are more than are kept, which
  ones are, and how many of each, may depend on how the parts were cut.
- `users`, `anonymous`: the distinct userIds and anonymousIds, `attached` the anonymousIds seen beside a userId. Each is
  a `Sketch`: exact below SKETCH distinct ids, an estimate from there on.

`merged(parts)` of parts in source order is the profile of all of them, however they were cut. What is kept apart is
bounded: EVENTS events, PROPERTIES properties of one event, PAIRS events and properties altogether. Those with the
smallest hashes are kept, which are the same ones whatever the order, and their numbers are exact; the others are only
known to be there: `other_calls`, `more_properties`, and an estimate of how many events, `event_count`.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, field, replace
from functools import lru_cache
from hashlib import blake2b
from heapq import nsmallest
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Final

from backfill.frozen import frozen

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: Distinct hashes that a sketch keeps, the smallest ones: fewer ids are counted exactly.
SKETCH: Final = 65_536
#: What is kept apart.
EVENTS: Final = 500
PROPERTIES: Final = 300
PAIRS: Final = 4_000
#: Values of the problems of one code and column.
BAD_VALUES: Final = 50
#: Texts of more bytes are cut by warehouses.
LONG_TEXT: Final = 512

#: How many hashes there are.
HASHES: Final = 2**64
#: The sketches of a profile, and those that are mostly equal to another one, which then is stored for both.
IDS: Final = ("users", "anonymous", "attached", "identified")
TWINS: Final = {"attached": "anonymous", "identified": "users"}
#: (label or type of the call, event), and with the property's path.
Event = tuple[str, str]
Property = tuple[str, str, str]


@frozen
class Sketch:
    """The k smallest distinct 64-bit hashes (XXH64) of some texts: k-minimum-values.

    Bar-Yossef et al., Counting distinct elements in a data stream (2002). Its standard error is 1/sqrt(k - 2), 0.4%.
    """

    hashes: bytes = b""  # little-endian, ascending

    @property
    def exact(self) -> bool:
        """Whether `count` is exact."""
        return len(self.hashes) < 8 * SKETCH

    @property
    def values(self) -> tuple[int, ...]:
        """The hashes as numbers, ascending."""
        return struct.unpack(f"<{len(self.hashes) // 8}Q", self.hashes)

    @property
    def bound(self) -> int:
        """Below it every hash of a text is among those that are kept."""
        return HASHES if self.exact else int.from_bytes(self.hashes[-8:], "little")

    @property
    def count(self) -> int:
        """How many distinct texts."""
        if self.exact:
            return len(self.hashes) // 8
        return round((SKETCH - 1) * HASHES / (int.from_bytes(self.hashes[-8:], "little") + 1))


def merged_sketch(parts: Iterable[Sketch]) -> Sketch:
    """The sketch of all texts of the parts."""
    some = list(dict.fromkeys(part.hashes for part in parts if part.hashes))
    if len(some) < 2:  # noqa: PLR2004
        return Sketch(some[0]) if some else Sketch()
    import numpy as np  # noqa: PLC0415 (70 ms, and a small plan is one part)

    return sketch_of(np.concatenate([np.frombuffer(hashes, "<u8") for hashes in some]))


def sketch_of(hashes: npt.NDArray[np.uint64]) -> Sketch:
    """The sketch of texts of these hashes, in any order."""
    import numpy as np  # noqa: PLC0415

    if not len(hashes):
        return Sketch()
    found = np.sort(hashes, kind="stable")  # which merges runs that are sorted
    distinct = found[np.append([True], found[1:] != found[:-1])]  # `np.unique` takes ten times as long
    return Sketch(distinct[:SKETCH].astype("<u8").tobytes())


@frozen
class Instants:
    """One of the job's calls, over all its events."""

    type: str
    calls: int
    first: int | None  # milliseconds since 1970 in UTC
    last: int | None
    midnight: int  # calls at 00:00:00 UTC exactly
    integrations: str  # as they go out, as JSON; what comes from the row stands as "(column NAME)"


@frozen
class Values:
    """The values of one JSON type (string, number, boolean, object, array, null) that a property has."""

    calls: int
    sample: str  # the first in source order, masked and cut
    digest: str  # of the value where all are one, "" where they differ
    long: int = 0  # of them texts of more than LONG_TEXT bytes

    @property
    def constant(self) -> bool:
        """Whether all of them are one value."""
        return bool(self.digest)


@frozen
class BadValues:
    """The values that problems of one code are about in one column, the most frequent ones, masked as samples are."""

    counts: Mapping[str, int] = field(default_factory=dict)
    exact: bool = True  # whether these are all of them; else each count is a lower bound


@frozen
class PlanProfile:
    """See above."""

    calls: Mapping[str, Instants] = field(default_factory=dict)
    events: Mapping[Event, int] = field(default_factory=dict)
    properties: Mapping[Property, Mapping[str, Values]] = field(default_factory=dict)
    more_events: bool = False  # than EVENTS
    more_properties: bool = False  # than PROPERTIES of one event, or PAIRS
    users: Sketch = Sketch()
    anonymous: Sketch = Sketch()
    attached: Sketch = Sketch()
    unpriced: Mapping[Event, int] = field(default_factory=dict)  # calls with `revenue` and without `currency`
    bad_values: Mapping[tuple[str, str], BadValues] = field(default_factory=dict)  # by code and column
    identified: Sketch = Sketch()

    @property
    def total(self) -> int:
        """Calls that would be sent."""
        return sum(one.calls for one in self.calls.values())

    @property
    def other_calls(self) -> int:
        """Calls of events that are not kept apart."""
        return self.total - sum(self.events.values())

    @property
    def event_count(self) -> int:
        """How many events; an estimate where there are more than EVENTS."""
        if not self.more_events:
            return len(self.events)
        return round((EVENTS - 1) * HASHES / (max(map(event_hash, self.events)) + 1))

    @property
    def tracked_users(self) -> int:
        """Users as Segment bills them (MTU): userIds, and anonymousIds that came with no userId.

        https://segment.com/docs/guides/usage-and-billing/mtus-and-throughput/
        """
        return self.users.count + max(0, self.anonymous.count - self.attached.count)

    def fill(self, name: Property) -> float:
        """The share of an event's calls that have a property, nulls aside; 0 where the event is not kept apart."""
        filled = sum(values.calls for kind, values in self.properties[name].items() if kind != "null")
        return filled / max(1, self.events.get(name[:2], 0))

    def constant(self, name: Property) -> bool:
        """Whether a property has one value wherever it is."""
        kinds = self.properties[name]
        return len(kinds) == 1 and all(values.constant for values in kinds.values())


@lru_cache(maxsize=2 * PAIRS)
def event_hash(event: Event) -> int:
    """The order in which events are kept."""
    return digest_of(json.dumps(event))


def digest_of(text: str) -> int:
    """64 bits of a hash that is the same in every version."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def bounded(profile: PlanProfile) -> PlanProfile:
    """The profile with no more events and properties than are kept apart."""
    events, properties = dict(profile.events), dict(profile.properties)
    if len(events) > EVENTS:
        events = {event: events[event] for event in nsmallest(EVENTS, events, key=event_hash)}
    kept = [name for name in kept_properties(properties) if name[:2] in events]
    return replace(
        profile,
        events=events,
        unpriced={event: calls for event, calls in profile.unpriced.items() if event in events},
        properties={name: properties[name] for name in kept},
        more_events=profile.more_events or len(events) < len(profile.events),
        more_properties=profile.more_properties or len(kept) < len(properties),
    )


def kept_properties(names: Iterable[Property]) -> list[Property]:
    """Those of some properties that are kept apart, in the order of the hashes of event and path.

    A set's kept ones are among the kept ones of each of its parts.
    """
    by_event: dict[Event, list[tuple[int, Property]]] = {}
    for name in names:
        by_event.setdefault(name[:2], []).append((digest_of(name[2]), name))
    kept: list[Property] = []
    for event in sorted(by_event, key=event_hash):
        kept += [name for _, name in nsmallest(PROPERTIES, by_event[event])]
        if len(kept) >= PAIRS:
            break
    return kept[:PAIRS]


def merged(parts: Iterable[PlanProfile]) -> PlanProfile:
    """The profile of all parts, which are in source order."""
    calls: dict[str, Instants] = {}
    events: Counter[Event] = Counter()
    unpriced: Counter[Event] = Counter()
    properties: dict[Property, dict[str, Values]] = {}
    some = list(parts)
    for part in some:
        for scope, one in part.calls.items():
            calls[scope] = _both_instants(calls[scope], one) if scope in calls else one
        events.update(part.events)
        unpriced.update(part.unpriced)
        for name, kinds in part.properties.items():
            own = properties.setdefault(name, {})
            for kind, values in kinds.items():
                own[kind] = _both_values(own[kind], values) if kind in own else values
    return bounded(
        PlanProfile(
            calls,
            events,
            properties,
            any(part.more_events for part in some),
            any(part.more_properties for part in some),
            unpriced=unpriced,
            bad_values=merged_values(part.bad_values for part in some),
            **_merged_ids(some),
        )
    )


def _merged_ids(parts: Sequence[PlanProfile]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in IDS:
        twin = TWINS.get(name)
        alike = twin and all(getattr(part, name) == getattr(part, twin) for part in parts)
        found[name] = found[twin] if twin and alike else merged_sketch(getattr(part, name) for part in parts)
    return found


def merged_values(parts: Iterable[Mapping[tuple[str, str], BadValues]]) -> dict[tuple[str, str], BadValues]:
    """The values of problems of all parts, by code and column: of each the BAD_VALUES most frequent ones."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    inexact = set()
    for part in parts:
        for key, values in part.items():
            counts.setdefault(key, Counter()).update(values.counts)
            if not values.exact:
                inexact.add(key)
    return {
        key: BadValues(
            dict(sorted(found.items(), key=lambda one: (-one[1], one[0]))[:BAD_VALUES]),
            key not in inexact and len(found) <= BAD_VALUES,
        )
        for key, found in counts.items()
    }


def _both_instants(one: Instants, other: Instants) -> Instants:
    firsts = [at for at in (one.first, other.first) if at is not None]
    lasts = [at for at in (one.last, other.last) if at is not None]
    return replace(
        one,
        calls=one.calls + other.calls,
        first=min(firsts, default=None),
        last=max(lasts, default=None),
        midnight=one.midnight + other.midnight,
    )


def _both_values(one: Values, other: Values) -> Values:
    digest = one.digest if one.digest == other.digest else ""
    return Values(one.calls + other.calls, one.sample, digest, one.long + other.long)


def packed(profile: PlanProfile) -> bytes:
    """The profile in the form in which it is stored: deflated JSON, and behind it the hashes as they are."""
    alike = [name for name, twin in TWINS.items() if getattr(profile, name) == getattr(profile, twin)]
    hashes = [getattr(profile, name).hashes for name in IDS if name not in alike]
    data = {
        "calls": {scope: asdict(one) for scope, one in profile.calls.items()},
        "events": [[*event, calls] for event, calls in profile.events.items()],
        "properties": [
            [*name, {kind: [one.calls, one.sample, one.digest, one.long] for kind, one in kinds.items()}]
            for name, kinds in profile.properties.items()
        ],
        "bad_values": [[*key, dict(values.counts), values.exact] for key, values in profile.bad_values.items()],
        "unpriced": [[*event, calls] for event, calls in profile.unpriced.items()],
        "more_events": profile.more_events,
        "more_properties": profile.more_properties,
        "ids": [len(one) for one in hashes],
        "alike": alike,
    }
    return zlib.compress(json.dumps(data, separators=(",", ":")).encode(), 1) + b"".join(hashes)


#: What `unpacked` raises of bytes that hold no profile.
NO_PROFILE: Final = (ValueError, TypeError, LookupError, AttributeError, zlib.error)


def unpacked(stored: bytes) -> PlanProfile:
    """The profile of `packed`.

    Raises:
        NO_PROFILE: One of these, of other bytes.
    """
    inflated = zlib.decompressobj()
    data: dict[str, Any] = json.loads(inflated.decompress(stored))
    ends = list(accumulate(data["ids"], initial=0))
    sketches = [Sketch(inflated.unused_data[start:end]) for start, end in pairwise(ends)]
    if len(inflated.unused_data) != ends[-1]:
        raise ValueError("hashes are missing")
    # Of earlier versions nobody knows who is identified: they say it of all.
    alike = data.get("alike", ["identified"] if len(sketches) > 2 else list(TWINS))  # noqa: PLR2004
    ids: dict[str, Any] = {}
    for name in IDS:
        ids[name] = ids[TWINS[name]] if name in alike else sketches.pop(0)
    return PlanProfile(
        {scope: Instants(**one) for scope, one in data["calls"].items()},
        {(scope, event): calls for scope, event, calls in data["events"]},
        {
            (scope, event, path): {kind: Values(*one) for kind, one in kinds.items()}
            for scope, event, path, kinds in data["properties"]
        },
        data["more_events"],
        data["more_properties"],
        unpriced={(scope, event): calls for scope, event, calls in data.get("unpriced", ())},
        bad_values={
            (code, column): BadValues(counts, exact) for code, column, counts, exact in data.get("bad_values", ())
        },
        **ids,
    )
