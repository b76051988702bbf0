"""The values of one JSON type that a property has: how many of each event, whether they are all one, how long."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import polars as pl

from backfill.arrays import series
from backfill.masking import MASKED, shortened
from backfill.records.profile import Values, digest_of

#: The place of each call's event.
Codes = npt.NDArray[np.uint32]
Places = npt.NDArray[np.intp]
#: Texts of values by their places.
Take = Callable[[Places], pl.Series]


class Tally:
    """Counts values that come frame by frame, by the place of their call's event."""

    def __init__(self, *, masked: bool, plain: bool) -> None:
        """`masked`: no value is ever shown. `plain`: texts stand as they are, else they are JSON."""
        self._plain = plain
        self._masked = masked
        self._calls = np.zeros(0, np.int64)
        self._long = np.zeros(0, np.int64)
        self._varies = np.zeros(0, np.bool_)
        self._slots = np.zeros(0, np.int64)  # of the event's first value; -1: it has none
        self._firsts = pl.Series([], dtype=pl.String)

    def calls(self, place: int) -> int:
        """How many values of that event."""
        return int(self._calls[place]) if place < len(self._calls) else 0

    def values(self, place: int) -> Values:
        """What there is to tell of that event's values; it has some."""
        first = str(self._firsts[int(self._slots[place])])
        digest = "" if self._varies[place] else f"{digest_of(first):x}"
        shown = first if self._plain or not first.startswith('"') else json.loads(first)
        return Values(self.calls(place), MASKED if self._masked else shortened(shown), digest, int(self._long[place]))

    @property
    def settled(self) -> bool:
        """Whether the values of the only event are known to differ."""
        return bool(len(self._varies)) and bool(self._varies[0])

    def add_only(self, calls: int, long: int) -> None:
        """Count values of the only event, and the long texts among them."""
        self._grow(1)
        self._calls += calls
        self._long += long

    def compare_only(self, first: str | None, *, differs: bool) -> None:
        """Look at values of the only event: the first where there is any, and whether others differ from it."""
        if first is not None and self._slots[0] < 0:
            self._slots[0], self._firsts = 0, pl.Series([first])
        self._varies[0] |= differs or (first is not None and first != self._firsts[0])

    def add(self, codes: Codes, events: int, take: Take) -> None:
        """Count values of these events, of which there are `events`; `take` gives texts of some of the values."""
        self._grow(events)
        if not len(codes):
            return
        self._calls += np.bincount(codes, minlength=events)
        places = np.flatnonzero(~self._varies[codes])
        if len(places):
            self._compare(codes[places], take(places))

    def add_long(self, codes: Codes) -> None:
        """Count texts that are long among the values added."""
        self._long += np.bincount(codes, minlength=len(self._long))

    def _grow(self, events: int) -> None:
        more = events - len(self._calls)
        if more > 0:
            none = np.zeros(more, np.int64)
            self._calls, self._long = np.append(self._calls, none), np.append(self._long, none)
            self._varies, self._slots = np.append(self._varies, none > 0), np.append(self._slots, none - 1)

    def _compare(self, codes: Codes, texts: pl.Series) -> None:
        """Keep the first value of each event, and which events have another one."""
        new, firsts = np.unique(codes, return_index=True)
        fresh = self._slots[new] < 0
        if fresh.any():
            self._slots[new[fresh]] = len(self._firsts) + np.arange(int(fresh.sum()))
            self._firsts = pl.concat([self._firsts, texts.gather(series(firsts[fresh]))])
        expected = self._firsts.gather(series(self._slots[codes]))
        self._varies[codes[(texts != expected).to_numpy()]] = True
