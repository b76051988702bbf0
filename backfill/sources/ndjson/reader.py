"""NDJSON as batches of columns: the keys of the objects become columns, every value keeps the text it is written with.

Rules
1) A record is an object of RFC 8259 without repeated keys, or unreadable.
2) The columns are all keys of all files: those of the first object that has any, in its order, then the others in byte
   order.
3) A column of strings (and nulls) is text, one of booleans is boolean, anything else is JSON text as it stands. A
   declared column is cast from the scalar's text.
4) So the columns are known once all is read. They are guessed by the beginnings of some files, nearly always right;
   where the reading finds more, it goes on to the end for the columns alone, and then all is read once more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]

from backfill.arrays import arrow_array
from backfill.errors import JobError, SourceError
from backfill.job.models import ColumnSpec, Job
from backfill.records import FILE_COLUMN, RECORD_COLUMN, SourceFile
from backfill.sources.columns import SourceColumn, check_names, declared
from backfill.sources.files import nothing_in
from backfill.sources.ndjson.key_columns import KeyColumns
from backfill.sources.ndjson.members import Cells, Form
from backfill.sources.ndjson.records import TOO_DEEP, Records, records
from backfill.sources.ndjson.texts import Head, Texts
from backfill.sources.ndjson.types import AnyForm
from backfill.sources.origins.content import Watch
from backfill.sources.partitions import with_partition_columns
from backfill.sources.reader import MoreColumnsError, Unreadable, UnreadableSink

MAX_KEYS = 5_000
#: Cells of a batch, filled or not: many columns cost memory even where they hold nothing.
BATCH_CELLS = 2**21


@dataclass(slots=True)
class Found:
    """What is known of a source's records so far: the keys of the objects and the kinds of their values."""

    first: tuple[str, ...] = ()  # the keys of the first object that has any
    kinds: dict[str, int] = field(default_factory=dict)
    records: int = 0
    empty: int = 0  # records without any key
    fault: Unreadable | None = None  # the first one

    def add(self, more: Records) -> None:
        """Note what more records hold.

        Raises:
            JobError: there are more than MAX_KEYS keys, so they must be data.
        """
        members = more.members
        self.records += members.objects + len(more.faults)
        self.empty += members.objects if members.is_empty else 0
        if self.fault is None and more.faults:
            self.fault = more.faults[0]
        if members.is_empty:
            return
        if not self.first:
            self.first = members.first_names()
        for name, held in members.kinds().items():
            self.kinds[name] = self.kinds.get(name, 0) | held
        if len(self.kinds) > MAX_KEYS:
            raise JobError(
                f"the objects have more than {MAX_KEYS} different keys",
                hint="keys that are data, such as ids, do not make columns: put them below one key",
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The keys in the order of the columns."""
        return (*self.first, *sorted(self.kinds.keys() - set(self.first), key=str.encode))


def all_found(files: Sequence[SourceFile], watch: Watch, texts: Texts, head: Head | None = None) -> Found:
    """What all records of the files hold, or those within `head`; raises what `records` and Found.add do."""
    found = Found()
    for more in records(files, watch, texts, head):
        found.add(more)
    return found


class NdjsonReader:
    """The records of NDJSON files; see backfill.sources.reader.Reader.

    The columns are those of `found`, which is what all records hold, or a guess by the beginnings of some files. With
    `sampled` nothing is read but those beginnings.

    Raises:
        JobError: keys that cannot be columns, or declared columns that are none.
        SourceError: no record has any key, or a file is corrupt, truncated or gone.
    """

    def __init__(
        self,
        job: Job,
        files: Sequence[SourceFile],
        watch: Watch,
        texts: Texts,
        *,
        found: Found | None = None,
        sampled: bool = False,
    ) -> None:
        self.job, self.files, self.watch, self.texts = job, files, watch, texts
        self.sampled = sampled
        self.complete = True
        if found is None:
            head = Head.of(files)
            found = all_found(files, watch, texts, head)
            self.complete = not head.cut
            if not (found.kinds or self.complete or sampled):
                found, self.complete = all_found(files, watch, texts), True
        self.seen = found.records
        self.assumed = self._assumed(found)
        self.columns, self.forms = self._columns(found)

    def completed(self) -> NdjsonReader:
        """A reader with the columns of all records, which are read for that."""
        return self if self.complete else self._knowing(all_found(self.files, self.watch, self.texts))

    def _knowing(self, found: Found) -> NdjsonReader:
        return NdjsonReader(self.job, self.files, self.watch, self.texts, found=found)

    def batches(self, unreadable: UnreadableSink) -> Iterator[pa.RecordBatch]:
        """The records; raises as the protocol says."""
        found, fits = Found(), True
        places = {one.name: place for place, one in enumerate(self.columns)}
        for more in records(self.files, self.watch, self.texts, Head.of(self.files) if self.sampled else None):
            for fault in more.faults:
                unreadable.add(fault)
            found.add(more)
            fits = fits and self._fit(found.kinds, places)
            if fits:
                yield from self._batches(more, places)
        if not self.complete and not self.sampled and (not fits or self._columns(found)[0] != self.columns):
            raise MoreColumnsError(self._knowing(found))

    def _fit(self, kinds: Mapping[str, int], places: Mapping[str, int]) -> bool:
        """Whether the columns hold all that was found."""
        return all(name in places and not held & ~self.forms[places[name]].holds for name, held in kinds.items())

    def _batches(self, some: Records, places: Mapping[str, int]) -> Iterator[pa.RecordBatch]:
        """Batches of some records, of as many rows each as make BATCH_CELLS."""
        names = [*(one.name for one in self.columns), FILE_COLUMN, RECORD_COLUMN]
        step = max(BATCH_CELLS // len(names), 1)
        for start in range(0, some.members.objects, step):
            stop = min(start + step, some.members.objects)
            arrays = self._arrays(some.members, start, stop, places)
            arrays += [arrow_array(some.files[start:stop]), arrow_array(some.numbers[start:stop])]
            yield pa.RecordBatch.from_arrays(arrays, names)

    def _arrays(self, some: Cells | KeyColumns, start: int, stop: int, places: Mapping[str, int]) -> list[pa.Array]:
        """The columns of the objects from `start` to `stop`."""
        if isinstance(some, KeyColumns):
            return some.arrays(list(places), [form for form in self.forms if isinstance(form, Form)], start, stop)
        first, last = np.searchsorted(some.row, (start, stop))
        members = first + np.flatnonzero(some.kind[first:last])
        column = np.array([places.get(name, -1) for name in some.names], np.int64)[some.name[members]]
        known = column >= 0
        return self.texts.types.columns(some, members[known], column[known], start, stop - start, self.forms)

    def _columns(self, found: Found) -> tuple[tuple[SourceColumn, ...], tuple[AnyForm, ...]]:
        """The columns with their types, and the form of each."""
        if not found.kinds and (not found.empty or self.job.source.query is not None or not self.job.calls):
            raise nothing_read(self.files, self.job, found)
        names = (*found.names, *sorted(self.assumed, key=list(self.job.source.columns).index))
        check_names(names)
        specs = declared(self.job, names)
        made = [self._column(name, found.kinds.get(name, 0), specs.get(name)) for name in names]
        return tuple(one for one, _ in made), tuple(form for _, form in made)

    def _assumed(self, found: Found) -> frozenset[str]:
        """Declared columns that the beginnings do not have, where no more is read: they may come later."""
        if self.complete or not self.sampled:
            return frozenset()
        folders = {one.name for one in with_partition_columns((), self.job, self.files)}
        return frozenset(self.job.source.columns.keys() - found.kinds.keys() - folders)

    def _column(self, name: str, held: int, spec: ColumnSpec | None) -> tuple[SourceColumn, AnyForm]:
        """One column, by the kinds of values it holds and its declared type (None for text)."""
        kind, form, refused = self.texts.types.choose(held, self.job.source.columns.get(name))
        return SourceColumn(name, kind, spec if kind == pa.string() else None, refused), form


def nothing_read(files: Sequence[SourceFile], job: Job, found: Found) -> SourceError:
    """The error for a source without any column: empty, of nothing readable, or of objects without keys."""
    hint = "one JSON object a line is wanted"
    if found.fault is not None:
        one = found.fault
        name, place = files[one.file].name, f"in line {one.line}" if one.line else f"record {one.record}"
        return SourceError(
            f"no record can be read; the first, {place} of {name}: {one.message}",
            hint=hint if one.line and one.message != TOO_DEEP else "",
        )
    if found.records:
        return SourceError("no record has any key: a query has no column to read", hint=hint)
    return nothing_in(files, job)


def open_ndjson(job: Job, files: Sequence[SourceFile], watch: Watch, texts: Texts, sample: int | None) -> NdjsonReader:
    """A reader whose columns are guessed; of a sample that the beginnings hold, one of those beginnings alone."""
    if sample is not None:
        reader = NdjsonReader(job, files, watch, texts, sampled=True)
        if reader.complete or reader.seen >= sample:
            return reader
    return NdjsonReader(job, files, watch, texts)
