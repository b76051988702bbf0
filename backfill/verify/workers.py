"""Calls made in processes of their own, as plain Python keeps one processor busy: in order, few pieces at a time.

Processes are spawned, not forked: polars and pyarrow have threads, whose locks a fork would copy held.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from backfill.errors import BackfillError
from backfill.frozen import frozen
from backfill.job.models import Job
from backfill.records import Column
from backfill.verify.calls import Made, Recipe, is_rewritten, make
from backfill.verify.columns import Columns

#: Fewer rows are done by the time that processes have started.
LEAST_ROWS: Final = 50_000
#: More processes than this would wait for the one that compares.
MOST_WORKERS: Final = 8
#: Pieces at work or done and not yet compared, for each process: what bounds the memory.
AHEAD: Final = 2
#: Seconds between two looks at whether a signal came.
_LOOK: Final = 0.1


@frozen
class Piece:
    """Some rows of a shard."""

    count: int  # of the rows passed; of a sample, `frame` has fewer
    rows: npt.NDArray[np.int64]  # the number in the shard of each row in `frame`
    frame: pl.DataFrame


@frozen
class MadeCalls:
    """What each call of the job is for some rows."""

    made: Sequence[Made]
    rewritten: Sequence[bool]  # see `is_rewritten`


@frozen
class Maker:
    """Makes calls of rows; all that it needs for that goes to a process once."""

    job: Job
    described: Mapping[str, Column]
    recipe: Recipe
    file_keys: Sequence[str]

    def make(self, frame: pl.DataFrame) -> MadeCalls:
        """The calls of these rows."""
        columns = Columns(self.job, self.described, frame)
        made = [make(call, columns, self.recipe, self.file_keys) for call in self.job.calls]
        return MadeCalls(made, [is_rewritten(call, columns) for call in self.job.calls])


def make_in_order(
    maker: Maker, pieces: Iterator[Piece], rows: float, check_stop: Callable[[], None]
) -> Iterator[tuple[Piece, MadeCalls | None]]:
    """Each piece with its calls, None for one without rows; in processes, where that is worth it for so many rows.

    Raises:
        BackfillError: A process has died.
    """
    workers = min(MOST_WORKERS, processors())
    if rows < LEAST_ROWS or workers == 1:
        for piece in pieces:
            yield piece, maker.make(piece.frame) if len(piece.frame) else None
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(maker,))
    try:
        yield from _made_by(pool, pieces, AHEAD * workers, check_stop)
    except (BrokenProcessPool, BrokenPipeError) as error:  # the latter while one is started
        check_stop()  # a signal to all processes of a group ends these first
        message = "a process that made calls a second time has died; nothing is said of the run"
        hint = "where it was for want of memory, `--sample 5%` needs less; `verify` changes nothing and can be repeated"
        raise BackfillError(message, hint=hint) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _made_by(
    pool: ProcessPoolExecutor, pieces: Iterator[Piece], most: int, check_stop: Callable[[], None]
) -> Iterator[tuple[Piece, MadeCalls | None]]:
    ahead: deque[tuple[Piece, Future[MadeCalls] | None]] = deque()
    while True:
        while len(ahead) < most and (piece := next(pieces, None)) is not None:
            ahead.append((piece, _submit(pool, piece.frame) if len(piece.frame) else None))
        if not ahead:
            return
        piece, future = ahead.popleft()
        while future is not None and not wait([future], _LOOK).done:
            check_stop()
        yield piece, None if future is None else future.result()


def _submit(pool: ProcessPoolExecutor, frame: pl.DataFrame) -> Future[MadeCalls]:
    """Hand rows over; a process that is started for them takes no Ctrl-C, which the terminal sends to all."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(_make, frame)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


#: Texts and lists are no garbage; by default Python would look for some among them again and again.
GARBAGE_OBJECTS: Final = 150_000
#: Of a process that makes calls.
_MAKERS: list[Maker] = []


def _begin(maker: Maker) -> None:
    """Prepare a process that makes calls; it ends with the one that started it, however that ends."""
    gc.set_threshold(GARBAGE_OBJECTS)
    _MAKERS[:] = [maker]
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait_for([sentinel])
    os._exit(1)


def _make(frame: pl.DataFrame) -> MadeCalls:
    return _MAKERS[0].make(frame)
