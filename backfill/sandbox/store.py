"""What the sandbox holds, durably: a thread that takes requests, finds the duplicates and commits them in groups."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from backfill.disk import NO_ROOM, NO_WRITING, PRIVATE_FILE, FileLock, disk_stop, make_folder, sync_folder
from backfill.errors import BackfillError, LockedError, UsageError
from backfill.frozen import frozen
from backfill.sandbox.holdings import Holdings, RequestRecord
from backfill.sandbox.lookups import look_at_next
from backfill.sandbox.tables import Tables, opening_failure

FILE_NAME = "sandbox.sqlite3"
LOCK_NAME = "lock"
_QUIET_SECONDS = 0.5
_MOST_IN_GROUP = 64  # requests of one commit; as many as wait are taken, up to this

_Answer = TypeVar("_Answer")


class StoreError(Exception):
    """The store cannot be written (the disk is full, say); the requests of this group are not stored."""


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
        #: How many accepted calls are kept whole; how many more would be, and dropped ones, as of the last commit.
        self.kept = self.room = self.room_for_drops = 0
        self._unentered = True  # calls are kept that pages do not look up yet
        self._quiet_at = 0.0  # when that may be mended
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

    def submit(self, record: RequestRecord) -> Future[None]:
        """Write this request down. The future is done once it is durable; StoreError where it could not be."""
        future = _uncancelled(Future[None]())
        self._put(_Write(record, future))
        return future

    def ask(self, read: Callable[[Tables], _Answer]) -> Future[_Answer]:
        """What `read` finds in the tables, after everything submitted so far; or the LookupError that it raises."""
        future = _uncancelled(Future[_Answer]())
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
        self._inode = self._inode_now()
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

    def _inode_now(self) -> int | None:
        """That of the file by its name; none where it is not there, or in memory."""
        try:
            return Path(self._file).stat().st_ino
        except OSError:
            return None

    def _refuse_removed(self) -> None:
        """What is written to a file that was removed is gone with the process, and must not be answered 200."""
        if self._inode_now() != self._inode:
            raise sqlite3.OperationalError(f"{self._file} was removed or replaced: start the sandbox again")

    def _recall(self, tables: Tables) -> None:
        self._holdings = Holdings(tables, keep_calls=self._keep_calls, window_ms=self._window_ms)
        self._take_stock()

    def _take_stock(self) -> None:
        holdings = self._holdings
        self.kept, self.room, self.room_for_drops = holdings.kept, holdings.room, holdings.room_for_drops

    def _next(self, tables: Tables) -> _Write | _Read | None:
        """What comes next; once nobody has sent for a while, calls are entered where pages look them up."""
        while self._unentered:
            try:
                return self._queue.get(timeout=max(0.001, self._quiet_at - time.monotonic()))
            except Empty:
                self._enter(tables)
        return self._queue.get()

    def _enter(self, tables: Tables) -> None:
        try:
            self._unentered = look_at_next(tables) > 0
        except sqlite3.Error:  # the disk is full, say: pages find less until something is written again
            tables.roll_back()
            self._unentered = False

    def _take_group(self, tables: Tables) -> bool:
        """Do what waits; False once the end was asked for."""
        group = [self._next(tables)]
        with suppress(Empty):
            while len(group) < _MOST_IN_GROUP:
                group.append(self._queue.get_nowait())
        try:
            if writes := [item for item in group if isinstance(item, _Write)]:
                self._write(tables, writes)
            for item in group:
                if isinstance(item, _Read):
                    _answer(item, tables)
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
        self._refuse_removed()
        tables.begin()
        counts: Counter[str] = Counter()
        for write in writes:
            self._holdings.hold(write.record, counts)
        self._holdings.flush()
        tables.add_counts(counts.items())
        tables.commit()
        self._take_stock()
        self._unentered, self._quiet_at = True, time.monotonic() + _QUIET_SECONDS
        for write in writes:
            write.future.set_result(None)


def _uncancelled(future: Future[_Answer]) -> Future[_Answer]:
    """A future that whoever waits for it cannot cancel by leaving: a connection that ends must not end the store."""
    future.set_running_or_notify_cancel()
    return future


def _answer(item: _Read, tables: Tables) -> None:
    """Read; what was not found, or cannot be looked for, is told to who asked."""
    try:
        item.future.set_result(item.read(tables))
    except (ArithmeticError, LookupError, ValueError) as error:
        item.future.set_exception(error)


def _fail(items: list[_Write | _Read | None], why: str) -> None:
    for item in items:
        if item is not None and not item.future.done():
            item.future.set_exception(StoreError(why))


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
        hint="wait until its run is done, or stop it; send what is not prepared yet to that one with `--endpoint"
        " http://127.0.0.1:PORT`; a sandbox of its own keeps another store (`backfill sandbox --store DIR`)",
    )


def _unusable(folder: Path, error: OSError) -> BackfillError:
    stopped = disk_stop(error, folder) if error.errno in NO_ROOM | NO_WRITING else None
    why = f"the sandbox's store {folder} cannot be used: {error}"
    return stopped or UsageError(why, hint="name another --store")
