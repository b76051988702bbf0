"""What the sandbox holds, durably: a thread that takes requests, finds the duplicates and commits them in groups."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from backfill.disk import NO_ROOM, NO_WRITING, PRIVATE_FILE, FileLock, disk_stop, make_folder, sync_folder
from backfill.errors import BackfillError, LockedError, UsageError
from backfill.frozen import frozen
from backfill.sandbox.ingest import Drop, ReceivedRequest
from backfill.sandbox.seen import SeenIds
from backfill.sandbox.tables import Tables, opening_failure

FILE_NAME = "sandbox.sqlite3"
LOCK_NAME = "lock"
_MOST_IN_GROUP = 64  # requests of one commit; as many as wait are taken, up to this

_Answer = TypeVar("_Answer")


class StoreError(Exception):
    """The store cannot be written (the disk is full, say); the requests of this group are not stored."""


@frozen
class RequestRecord:
    """One request to write down: its calls, if it was understood, and what else is counted of it."""

    received: ReceivedRequest | None
    counts: dict[str, int] = field(default_factory=dict)


@frozen
class _Write:
    record: RequestRecord
    future: Future[None]


@frozen
class _Read:
    read: Callable[[Tables], Any]
    future: Future[Any]


class Store:
    """What the sandbox holds, in a folder (continued where it exists) or, without one, for as long as it is open.

    Methods may be called from any thread. Raises on opening: LockedError where another process holds the folder,
    LedgerError where the file in it is not ours, UsageError where the folder cannot be used, StoppedError where nothing
    can be written to the disk.
    """

    def __init__(self, folder: Path | None, *, keep_calls: int | None, window_seconds: float) -> None:
        """Keep the JSON of the first `keep_calls` calls (None: of all); an id counts as repeated for so long."""
        self._lock = _locked(folder) if folder else None
        self._file = str(folder / FILE_NAME) if folder else ":memory:"
        self._keep_calls = keep_calls
        self._window_ms = round(window_seconds * 1000)
        self._queue: SimpleQueue[_Write | _Read | None] = SimpleQueue()
        self._kept = 0
        self._stale = False  # memory knows more than the disk, after a failed commit
        self._over = False
        opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._work, args=(opened,), name="sandbox-store", daemon=True)
        self._thread.start()
        try:
            opened.result()
        except BackfillError:
            self._unlock()
            raise

    @property
    def room(self) -> int:
        """How many more calls would be kept with their JSON, as of the last commit."""
        return 1 << 62 if self._keep_calls is None else max(0, self._keep_calls - self._kept)

    def submit(self, record: RequestRecord) -> Future[None]:
        """Write this request down. The future is done once it is durable; StoreError where it could not be."""
        future: Future[None] = Future()
        self._put(_Write(record, future))
        return future

    def ask(self, read: Callable[[Tables], _Answer]) -> Future[_Answer]:
        """What `read` finds in the tables, after everything submitted so far."""
        future: Future[_Answer] = Future()
        self._put(_Read(read, future))
        return future

    def close(self) -> None:
        """Finish what was submitted and close."""
        self._queue.put(None)
        self._thread.join()
        self._unlock()

    def _put(self, item: _Write | _Read) -> None:
        self._queue.put(item)
        if self._over:
            self._fail_waiting()

    def _fail_waiting(self) -> None:
        with suppress(Empty):
            while True:
                _fail([self._queue.get_nowait()], "the store is closed")

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()

    # ---------------------------------------------------------------------------- all below runs in the store's thread
    def _work(self, opened: Future[None]) -> None:
        try:
            tables = Tables(self._file)
        except BackfillError as error:
            opened.set_exception(error)
            return
        try:
            self._recall(tables)
            opened.set_result(None)
            while self._take_group(tables):
                pass
        except sqlite3.Error as error:  # while recalling: later ones are their group's
            opened.set_exception(opening_failure(self._file, error))
        finally:
            tables.close()
            self._over = True
            self._fail_waiting()

    def _recall(self, tables: Tables) -> None:
        self._seen = SeenIds()
        for first, ids in tables.all_ids():
            self._seen.add(ids, first)
        self._last_id = tables.last_number("ids")
        self._last_drop = tables.last_number("drops")
        self._kept = tables.last_number("calls")

    def _take_group(self, tables: Tables) -> bool:
        """Do what waits; False once the end was asked for."""
        group = [self._queue.get()]
        with suppress(Empty):
            while len(group) < _MOST_IN_GROUP:
                group.append(self._queue.get_nowait())
        try:
            if writes := [item for item in group if isinstance(item, _Write)]:
                self._write(tables, writes)
            for item in group:
                if isinstance(item, _Read):
                    item.future.set_result(item.read(tables))
        except sqlite3.Error as error:
            tables.roll_back()
            self._stale = True
            _fail(group, str(error))
        finally:
            _fail(group, "the store stopped")  # nobody waits for ever, whatever happened
        return None not in group

    def _write(self, tables: Tables, writes: list[_Write]) -> None:
        if self._stale:
            self._recall(tables)
            self._stale = False
        tables.begin()
        counts: Counter[str] = Counter()
        for write in writes:
            counts.update(write.record.counts)
            if write.record.received is not None:
                self._hold(tables, write.record.received, counts)
        tables.add_counts(counts.items())
        tables.commit()
        for write in writes:
            write.future.set_result(None)

    def _hold(self, tables: Tables, received: ReceivedRequest, counts: Counter[str]) -> None:
        """Put one request's calls where they belong."""
        repeated, returning = self._known(tables, received)
        fresh = [place for place, message_id in enumerate(received.ids) if message_id not in repeated]
        new = [received.ids[place] for place in fresh if received.ids[place] not in returning]
        received_ms = received.received_ms
        tables.insert("ids", [(self._last_id + n, new_id, received_ms) for n, new_id in enumerate(new, 1)])
        if new:
            self._seen.add(new, self._last_id + 1)
            self._last_id += len(new)
        if returning:
            tables.receive_again(list(returning.values()), received_ms)
        self._keep(tables, received, fresh)
        drops = received.drops
        if repeated:
            again = zip(received.ids, received.kinds, strict=True)
            drops = [*drops, *(Drop("duplicate", an_id, kind) for an_id, kind in again if an_id in repeated)]
        rows = [(self._last_drop + n, d.reason, d.message_id, d.kind, received_ms) for n, d in enumerate(drops, 1)]
        tables.insert("drops", rows)
        self._last_drop += len(rows)
        counts.update(_counts_of(received, fresh, drops, new_ids=len(new)))

    def _known(self, tables: Tables, received: ReceivedRequest) -> tuple[set[str], dict[str, int]]:
        """The ids that came before: those within the window, and those whose window is over with their rows.

        The window runs from the receipt of the call that was accepted; a duplicate does not prolong it (unconfirmed).
        """
        candidates = self._seen.find(received.ids)
        rows = {received.ids[place]: int(candidates[place]) for place in candidates.nonzero()[0].tolist()}
        if not rows:
            return set(), {}
        found = {number: (an_id, ms) for number, an_id, ms in tables.ids_at(list(rows.values()))}
        strangers = {}
        for an_id, number in list(rows.items()):
            if found[number][0] != an_id:  # another id of the same hash
                del rows[an_id]
                if an_id in self._seen.strangers:
                    strangers[an_id] = self._seen.strangers[an_id]
        if strangers:
            found |= {number: (an_id, ms) for number, an_id, ms in tables.ids_at(list(strangers.values()))}
            rows |= strangers
        closed = received.received_ms - self._window_ms
        repeated = {an_id for an_id, number in rows.items() if found[number][1] > closed}
        return repeated, {an_id: number for an_id, number in rows.items() if an_id not in repeated}

    def _keep(self, tables: Tables, received: ReceivedRequest, fresh: list[int]) -> None:
        kept = [(place, received.held[place]) for place in fresh if place < len(received.held)][: self.room]
        rows = [
            (
                self._kept + n,
                received.ids[place],
                received.kinds[place],
                received.received_ms,
                held.timestamp,
                held.original_timestamp,
                held.sent_at,
                held.json,
            )
            for n, (place, held) in enumerate(kept, 1)
        ]
        tables.insert("calls", rows)
        self._kept += len(rows)


def _fail(items: list[_Write | _Read | None], why: str) -> None:
    for item in items:
        if item is not None and not item.future.done():
            item.future.set_exception(StoreError(why))


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


def _locked(folder: Path) -> FileLock:
    """The folder made, held against others, and the database's file in it: all of it durable."""
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if there - {LOCK_NAME} and FILE_NAME not in there:  # a project or home folder, given by mistake
        raise UsageError(f"{folder} holds other things and is not a sandbox's store", hint="name another --store")
    lock = FileLock(folder / LOCK_NAME)
    try:
        make_folder(folder)
        if lock.take():
            # Only under the lock: to close a file drops every POSIX lock that this process has on it, SQLite's too.
            os.close(os.open(folder / FILE_NAME, os.O_RDWR | os.O_CREAT, PRIVATE_FILE))
            sync_folder(folder)
            return lock
    except OSError as error:
        lock.release()
        raise _unusable(folder, error) from error
    raise LockedError(
        f"the sandbox's store {folder} is in use by another sandbox",
        hint="send to that one with `--endpoint http://127.0.0.1:PORT`, wait until its run is done, or stop it;"
        " a sandbox of its own keeps another store (`backfill sandbox --store DIR`)",
    )


def _unusable(folder: Path, error: OSError) -> BackfillError:
    stopped = disk_stop(error, folder) if error.errno in NO_ROOM | NO_WRITING else None
    why = f"the sandbox's store {folder} cannot be used: {error}"
    return stopped or UsageError(why, hint="name another --store")
