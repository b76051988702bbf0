"""One query read in parts, at the same time, in one state of the database.

A transaction exports the state that it sees, and each part's connection takes it over
(https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-SNAPSHOT-SYNCHRONIZATION). The parts are ranges
of an integer column, each in its order; their batches are taken in turn, so that the same rows come in the same order
each time, and no part has to be kept while another one is read.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]

from backfill.errors import InterruptedRunError, JobError
from backfill.memory import BATCH_BYTES
from backfill.sources.databases.live import ResultColumn, read_ahead
from backfill.sources.databases.postgres.session import PostgresSession


class PartedSession:
    """A session over another one's query, which reads it in parts."""

    def __init__(self, whole: PostgresSession, connect: Callable[[], Any], column: str, parts: int) -> None:
        self._whole, self._connect, self._parts = whole, connect, parts
        self._stopped = threading.Event()
        self._column = _place(whole.columns, column)

    @property
    def columns(self) -> tuple[ResultColumn, ...]:
        """The query's columns."""
        return self._whole.columns

    def cancel(self) -> None:
        """End all parts at the server, and what is asked before them."""
        self._stopped.set()
        self._whole.cancel()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows, a batch of each part in turn; raises as Session.batches says."""
        with self._whole.failures.while_asking():
            snapshot = self._whole.run("SELECT pg_export_snapshot()")[0][0]
            ends = f"SELECT min({self._column}), max({self._column}) FROM {self._whole.relation}"
            least, most = self._whole.run(ends)[0]
        with ExitStack() as stack:
            ahead = []
            for condition in ranges(self._column, least, most, self._parts):
                part = self._whole.part(self._connect(), snapshot)
                stack.callback(part.close)
                clauses = f" WHERE {condition} ORDER BY {self._column}"
                ahead.append(stack.enter_context(read_ahead(_Part(part, clauses, self._parts), self._watch)))
            yield from in_turn(ahead)

    def _watch(self, _size: int) -> None:
        if self._stopped.is_set():
            raise InterruptedRunError("stopped while the source was read")


class _Part:
    """One part's session."""

    def __init__(self, session: PostgresSession, clauses: str, parts: int) -> None:
        self._session, self._clauses, self._bytes = session, clauses, BATCH_BYTES // parts
        self.columns, self.cancel = session.columns, session.cancel

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The part's rows; raises as Session.batches says."""
        return self._session.batches_of(self._clauses, self._bytes)


def _place(columns: Sequence[ResultColumn], name: str) -> str:
    """The column's name in the relation; raises JobError where there is none, or it holds no integers."""
    place = next((at for at, column in enumerate(columns) if column.name == name), None)
    if place is None:
        there = ", ".join(column.name for column in columns)
        raise JobError(f"source.partition_on: the query gives no column {name!r}", hint=f"it gives {there}")
    if not pa.types.is_integer(columns[place].type):
        hint = "name one of integers, best the primary key"
        raise JobError(f"source.partition_on: {name} is {columns[place].said}", hint=hint)
    return f"c{place}"


def ranges(column: str, least: int | None, most: int | None, parts: int) -> list[str]:
    """Conditions that cut the numbers from least to most in ranges of one width; the first has the nulls as well."""
    if least is None or most is None:
        return ["true"]
    edges = [least + (most - least + 1) * at // parts for at in range(1, parts)]
    edges = sorted({edge for edge in edges if least < edge <= most})
    if not edges:
        return ["true"]
    between = [f"{column} >= {low} AND {column} < {high}" for low, high in pairwise(edges)]
    return [f"({column} < {edges[0]} OR {column} IS NULL)", *between, f"{column} >= {edges[-1]}"]


def in_turn(parts: Sequence[Iterator[pa.RecordBatch]]) -> Iterator[pa.RecordBatch]:
    """A batch of each part, then the next of each, until all have ended."""
    left = list(parts)
    while left:
        for part in list(left):
            batch = next(part, None)
            if batch is None:
                left.remove(part)
            else:
                yield batch
