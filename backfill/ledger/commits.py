"""Group commit: one thread owns the connection that writes; what is queued meanwhile goes into one transaction.

A commit costs a disk flush, whatever it holds. So the operations that arrive while one is under way wait together and
share the next. `submit` returns when its operation is durable; `post` returns at once, and its operation is durable
with the next commit, at the latest after POSTED_WAIT_SECONDS or with `flush`.

An operation may refuse (raise a BackfillError) only before it has written anything: then it alone fails. Whatever else
goes wrong rolls the whole group back and ends the use of this ledger: later calls raise the same error.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from backfill.errors import BackfillError, LedgerError
from backfill.ledger.connection import Connection, Transactions

T = TypeVar("T")
Operation = Callable[[Connection], T]

#: How long a posted operation may wait for others to share its commit with: much less than a request takes.
POSTED_WAIT_SECONDS = 0.02
_GROUP_LIMIT = 1_000


class _Entry:
    """One queued operation; `done` is None where it was posted: no caller waits for it."""

    __slots__ = ("done", "operation")

    def __init__(self, operation: Operation[Any], done: Future[Any] | None) -> None:
        self.operation = operation
        self.done = done


class GroupCommits:
    """Owns the transactions of a ledger and their thread; closes both. Thread-safe."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._queue: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._failure: BackfillError | None = None
        self._closed = False
        self._gate = threading.Lock()  # nothing is queued behind the end
        # A daemon: an interrupt that must end the process at once does not wait for a disk. Nothing is lost by that:
        # what was not committed was not acknowledged either.
        self._thread = threading.Thread(target=self._run, name="backfill-ledger", daemon=True)
        self._thread.start()

    def submit(self, operation: Operation[T]) -> T:
        """Run the operation on the connection; return its result once it is durable.

        Raises:
            BackfillError: What the operation raised, or what broke the ledger; then it is not durable.
        """
        done: Future[T] = Future()
        self._put(_Entry(operation, done))
        return done.result()

    def post(self, operation: Operation[object]) -> None:
        """Queue the operation. Where it fails, every later call raises that.

        Raises:
            BackfillError: The ledger is broken already.
        """
        self._put(_Entry(operation, None))

    def flush(self) -> None:
        """Return once everything queued before is durable."""
        self.submit(lambda _: None)

    def close(self) -> None:
        """Commit what is queued, end the thread, close the connection.

        Raises:
            BackfillError: Something posted could not be recorded.
        """
        with self._gate:
            already = self._closed
            if not already:
                self._closed = True
                self._queue.put(None)
        self._thread.join()
        if self._failure is not None and not already:
            raise self._failure

    def _put(self, entry: _Entry) -> None:
        with self._gate:
            if self._failure is not None:
                raise self._failure
            if self._closed:
                raise LedgerError(
                    f"the ledger {self._transactions.name} was closed", hint="this is a fault of backfill"
                )
            self._queue.put(entry)

    def _run(self) -> None:
        ended = False
        while not ended:
            group, ended = self._next_group()
            if self._failure is None:
                self._commit(group)
            else:
                _fail(group, self._failure)
        self._transactions.close()

    def _next_group(self) -> tuple[list[_Entry], bool]:
        """What is to be committed next, and whether it is the last."""
        group: list[_Entry] = []
        awaited = False
        until = 0.0
        while len(group) < _GROUP_LIMIT:
            try:
                if not group:
                    entry = self._queue.get()
                    until = time.monotonic() + POSTED_WAIT_SECONDS
                elif awaited:
                    entry = self._queue.get_nowait()
                else:
                    entry = self._queue.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            if entry is None:
                return group, True
            group.append(entry)
            awaited = awaited or entry.done is not None
        return group, False

    def _commit(self, group: list[_Entry]) -> None:
        results: list[tuple[Future[Any], Any]] = []
        try:
            with self._transactions.errors():
                self._transactions.commit(partial(self._perform_all, group, results))
        except BaseException as error:  # noqa: BLE001 - each caller that waits gets it, whatever it was
            self._break(error, group)
            return
        for done, result in results:
            done.set_result(result)

    def _perform_all(self, group: list[_Entry], results: list[tuple[Future[Any], Any]], connection: Connection) -> None:
        results.clear()  # a group may be done again, as a whole
        for entry in group:
            if entry.done is None or not entry.done.done():  # else it has refused
                self._perform(entry, results, connection)

    def _perform(self, entry: _Entry, results: list[tuple[Future[Any], Any]], connection: Connection) -> None:
        try:
            result = entry.operation(connection)
        except BackfillError as refusal:
            if entry.done is None:
                raise
            entry.done.set_exception(refusal)
        else:
            if entry.done is not None:
                results.append((entry.done, result))

    def _break(self, error: BaseException, group: list[_Entry]) -> None:
        if not isinstance(error, BackfillError):
            error = LedgerError(
                f"{self._transactions.name}: {type(error).__name__}: {error}", hint="this is a fault of backfill"
            )
        self._failure = error
        _fail(group, error)


def _fail(group: list[_Entry], failure: BackfillError) -> None:
    for entry in group:
        if entry.done is not None and not entry.done.done():
            entry.done.set_exception(failure)
