"""Ids that are equal but for case or blanks at their ends: two users for Segment, and one person more often than not.

Two passes over the ids, both of bounded memory. The first collects hashes of the lower-case, trimmed form of ids that
are not written so: of most sources none. The second looks which of these forms are spelt in more than one way. Where
more than MAX_ID_FORMS forms are to be looked at, those of the lowest hashes are, a fair sample; what is found of them
is exact.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

import numpy as np
import polars as pl

from backfill.arrays import distinct, series
from backfill.job.fields import IDS
from backfill.mapping import Check, CompiledCall
from backfill.mapping.calls import IdText
from backfill.memory import MAX_ID_FORMS
from backfill.prepare.evaluate import derive, reads_of
from backfill.prepare.faults import library_errors
from backfill.prepare.repeats import Hashes, among
from backfill.prepare.shard import ShardContext
from backfill.prepare.text_bytes import text_bytes

#: One space of ids for each field, whichever call has it.
_SPACES: Final = {name: number for number, name in enumerate(IDS, 1)}
_CODE: Final = "BF122"


class Spellings:
    """What is known of the ids of a job. `note` and `compare` are thread-safe; `end_first_pass` comes between them."""

    def __init__(self, *, most: int = MAX_ID_FORMS) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._forms: Hashes = np.empty(0, np.uint64)
        self._held: list[Hashes] = []
        self._low: Hashes = self._forms
        self._high: Hashes = self._forms

    def note(self, name: str, texts: pl.Series) -> None:
        """The first pass: take the forms of those ids that are not written in their form."""
        if not _may_vary(texts):
            return
        ids = texts.drop_nulls().unique().to_frame("id").filter(pl.col("id") != form(pl.col("id")))
        found = ids.select(form_hash(name, pl.col("id"))).to_series().to_numpy()
        with self._lock:
            self._held.append(found)
            if sum(map(len, self._held)) > self._most:
                self._merge()

    def end_first_pass(self) -> bool:
        """End the first pass; whether there is anything to look at."""
        self._merge()
        self._low = np.full(len(self._forms), np.iinfo(np.uint64).max, np.uint64)
        self._high = np.zeros(len(self._forms), np.uint64)
        return bool(len(self._forms))

    def compare(self, name: str, texts: pl.Series) -> None:
        """The second pass: note how the forms looked at are spelt."""
        frame = texts.drop_nulls().unique().to_frame("id")
        forms = frame.select(form_hash(name, pl.col("id"))).to_series().to_numpy()
        known = among(forms, self._forms)
        if not known.any():
            return
        spelt = frame.filter(series(known)).select(pl.col("id").hash(seed=0)).to_series().to_numpy()
        places = np.searchsorted(self._forms, forms[known])
        with self._lock:
            np.minimum.at(self._low, places, spelt)
            np.maximum.at(self._high, places, spelt)

    def several(self) -> Hashes:
        """The forms that are spelt in more than one way, sorted."""
        found: Hashes = self._forms[self._low < self._high]
        return found

    def _merge(self) -> None:
        self._forms = distinct(np.sort(np.concatenate([self._forms, *self._held])))[: self._most]
        self._held.clear()


def find_spelt(context: ShardContext, pool: ThreadPoolExecutor) -> Hashes:
    """The forms of ids that are spelt in several ways, sorted; none where the job does not ask."""
    found = Spellings()
    if all(call.alike is None for call in context.calls):
        return found.several()
    _take_ids(context, pool, found.note)
    if found.end_first_pass():
        _take_ids(context, pool, found.compare)
    return found.several()


def _take_ids(context: ShardContext, pool: ThreadPoolExecutor, take: Callable[[str, pl.Series], None]) -> None:
    """Hand over every id of the job, frame by frame, each with the name of its field."""

    def walk(bounds: tuple[int, int]) -> None:
        for name, texts in _id_texts(context, *bounds):
            take(name, texts)

    for _ in pool.map(walk, context.frames.key_ranges):
        pass  # what went wrong is raised here


def _id_texts(context: ShardContext, start: int, stop: int) -> Iterator[tuple[str, pl.Series]]:
    """Every id of some rows, frame by frame, with the name of its field; the same expression is read once."""
    read: list[tuple[str, pl.Expr]] = []
    for call in context.calls:
        for each in call.ids:
            if any(name == each.name and text.meta.eq(each.text) for name, text in read):
                continue
            read.append((each.name, each.text))
            columns, derived = reads_of(call, each.text)
            for frame in context.frames.walk_rows(start, stop, columns):
                context.check_stop()
                with library_errors(f"reading the ids of the {call.scope} calls"):
                    texts = derive(frame, derived).select(each.text.alias("id")).to_series()
                yield each.name, texts


def form(text: pl.Expr) -> pl.Expr:
    """The text in lower case, without blanks at its ends."""
    return text.str.strip_chars().str.to_lowercase()


def form_hash(name: str, text: pl.Expr) -> pl.Expr:
    """A 64-bit hash of the form of an id in that field; compared within one process only."""
    return form(text).hash(seed=_SPACES[name])


def _may_vary(texts: pl.Series) -> bool:
    """Whether a text may differ from its form: looked up in the bytes of all texts, since few ids of machines do."""
    content, edges = text_bytes(texts.drop_nulls())
    characters = np.frombuffer(content[edges[0] : edges[-1]], np.uint8)
    if not len(characters):
        return False
    upper = (characters - np.uint8(ord("A"))) < np.uint8(26)
    return bool(upper.any() or characters.max() > ord("~") or characters.min() <= ord(" "))


def checked_spellings(calls: Sequence[CompiledCall], several: Hashes) -> tuple[CompiledCall, ...]:
    """The calls, each with a check of its ids where some forms are spelt in several ways."""
    return tuple(with_spellings(call, several) for call in calls)


def with_spellings(call: CompiledCall, several: Hashes) -> CompiledCall:
    """The call with a check of each id: whether its form is spelt in several ways."""
    severity = call.alike
    if severity is None or not len(several):
        return call

    def check(each: IdText) -> Check:
        mask = form_hash(each.name, each.text).map_batches(is_among, return_dtype=pl.Boolean, is_elementwise=True)
        mask = (mask & each.text.is_not_null()).fill_null(value=False)
        return Check(_CODE, severity, each.column, mask if call.condition is None else mask & call.condition, each.text)

    def is_among(hashes: pl.Series) -> pl.Series:
        return series(among(hashes.fill_null(0).to_numpy(), several)).alias(hashes.name)

    return replace(call, checks=(*call.checks, *map(check, call.ids)))
