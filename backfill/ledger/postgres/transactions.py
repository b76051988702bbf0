"""Commits to the ledger of a run in PostgreSQL: each proves that the run is still ours, and none is done twice.

The first statement of each transaction counts it, in the one row of `mark`, where number and name of the lease are
those of this process and the count is the one that it knows. So:

- A process that lost its lease changes nothing more: the row has another's number.
- A server that took over without the last commits is noticed: the row has a lower count.
- Of several processes that deliver a run at once each has a row of its own for that, in `deliverers`.
- Where the connection was lost in a COMMIT, the count tells whether it was done. The server is asked to end the lost
  connection first; its transaction has the row locked until it has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from backfill.errors import LedgerError, StoppedError
from backfill.ledger.connection import Connection
from backfill.ledger.mark import Loss, Mark, check_newest, lost_commits
from backfill.ledger.postgres.database import Database, PostgresConnection, until_connected
from backfill.ledger.postgres.errors import postgres_errors, to_be_repeated
from backfill.ledger.postgres.schema import check_version, take_ledger

if TYPE_CHECKING:
    from backfill.ledger.postgres.leases import Lease

_COUNT = "UPDATE {table} SET commits = commits + 1 WHERE token = ? AND holder = ? AND commits = ? RETURNING commits"
_LOOK = "SELECT commits, token, holder FROM {table} {which} FOR UPDATE"
_OF_DELIVERER = "SELECT commits FROM deliverers WHERE token = ? AND holder = ? AND ended IS NULL"
_COMMITS_OF = "SELECT coalesce(max(commits), 0) FROM deliverers WHERE token = {token}"
#: How commits can be lost.
_REASON = "another server has taken its server's place without them, or it was restored from a copy"
#: How often a transaction is done again that the server undid for the sake of another.
_REPEATS = 20


class PostgresTransactions:
    """The `Transactions` of a run's schema, for the process that has the run's lease."""

    def __init__(self, database: Database, schema: str, name: str, lease: Lease, marks: Path) -> None:
        """Make the ledger this process's alone: from now on no other commits.

        `marks` is the folder on this machine for the number of the newest commit.

        Raises:
            LedgerError: There is none, it lost commits, or it is of a version this program does not know.
            LockedError: The run is another's by now.
            UsageError: It is being moved.
        """
        self.name = name
        self._database, self._schema, self._lease, self._marks = database, schema, lease, marks
        self._lost = Loss(name, _REASON, "have the server with all commits back")
        ours, table, which, mark = (lease.token, lease.holder), "mark", "", schema
        if lease.deliverer is not None:
            ours = (lease.deliverer.token, lease.deliverer.holder)
            table, which, mark = "deliverers", f"WHERE token = {ours[0]}", f"{schema}.{ours[0]}"
        self._ours, self._newest = ours, marks / mark
        self._count_ours, self._look = _COUNT.format(table=table), _LOOK.format(table=table, which=which)
        self._found: tuple[int, int, str] = (0, 0, "")
        with self.errors():
            self._connection = self._connect()
            try:
                self._commits = self._take()
            except BaseException:
                self._connection.close()
                raise
        self._mark = Mark(self._newest)

    def errors(self) -> AbstractContextManager[None]:
        """As `postgres_errors`."""
        return postgres_errors(self.name)

    def commit(self, perform: Callable[[Connection], None]) -> None:
        """Do it in one transaction, again where the server undid it, and where it was lost with the connection."""
        for _ in range(_REPEATS):
            if self._try(perform):
                self._commits += 1
                self._mark.put(self._commits)
                return
        raise StoppedError(f"{self.name}: the server undid the same changes {_REPEATS} times", hint="resume")

    def close(self) -> None:
        """Close the connection and the mark, which stays: another server may take this one's place."""
        self._connection.close()
        self._mark.close()

    def _connect(self) -> PostgresConnection:
        return self._database.connect(self._schema, writes=True, gives_up=self._lease.gives_up)

    def _take(self) -> int:
        """Put our lease on the ledger, where it is not ours already; returns how many commits it has."""
        connection, lease = self._connection, self._lease
        connection.script("BEGIN")
        check_version(connection, self.name)
        check_newest(connection, self._marks / self._schema, self._lost)
        self._check_deliverers()
        if lease.deliverer is None:
            end_writers = partial(self._database.end_writers, self._schema)
            commits = take_ledger(connection, lease.token, lease.holder, self.name, end_writers)
            found = [(commits,)] if commits else []
        else:
            found = connection.execute(_OF_DELIVERER, self._ours).fetchall()
        if not found:
            raise lease.loss()
        connection.script("COMMIT")
        return int(found[0][0])

    def _check_deliverers(self) -> None:
        """Raise LedgerError where commits are lost of processes of this machine that delivered the run with others."""
        for mark in self._marks.glob(f"{self._schema}.*-mark"):
            token = mark.name.removeprefix(f"{self._schema}.").removesuffix("-mark")
            if token.isdecimal():
                path = self._marks / f"{self._schema}.{token}"
                check_newest(self._connection, path, self._lost, _COMMITS_OF.format(token=token))

    def _try(self, perform: Callable[[Connection], None]) -> bool:
        """Whether the transaction is done; False where it was undone, and is to be done again."""
        if self._lease.lost:
            raise self._lease.loss()
        connection = self._connection
        try:
            with connection.raw.pipeline():  # what nobody waits for goes with the next statement: half the turns
                connection.script("BEGIN")
                self._count(connection)
                perform(connection)
                done = connection.execute("COMMIT")
            _check_done(done.statusmessage, self.name)
        except BaseException as error:
            if not connection.usable:
                return self._find_out()
            with suppress(Exception):  # the server undoes what is not committed in any case
                connection.script("ROLLBACK")
            if to_be_repeated(error):
                return False
            raise
        return True

    def _count(self, connection: PostgresConnection) -> None:
        if not connection.execute(self._count_ours, (*self._ours, self._commits)).fetchall():
            self._check(*self._looked(connection))
            raise LedgerError(f"{self.name} cannot be written", hint="this is a fault of backfill")

    def _find_out(self) -> bool:
        """Whether the transaction in which the connection was lost is committed, on a connection made anew.

        Raises:
            StoppedError: The database cannot be reached.
            LedgerError: It has lost commits.
            LockedError: The run is another's by now.
        """
        lost = self._connection
        lost.close()

        def again() -> PostgresConnection:
            connection = self._connect()
            try:
                with self.errors():
                    self._database.settle(lost.tag, connection)
                    connection.script("BEGIN")
                    found = self._looked(connection)
                    connection.script("COMMIT")
            except BaseException:
                connection.close()
                raise
            self._found = found
            return connection

        self._connection = until_connected(again, lambda: self._lease.lost or (lost.given_up and self._lease.silent))
        return self._check(*self._found)

    def _looked(self, connection: PostgresConnection) -> tuple[int, int, str]:
        """What our row has now; raises LedgerError where not even that is there, which is one commit more."""
        found = connection.execute(self._look).fetchall()
        if not found:
            raise lost_commits(self._newest, self._lost, self._commits + 1)
        commits, token, holder = found[0]
        return commits, token, holder

    def _check(self, commits: int, token: int, holder: str) -> bool:
        """Whether the ledger has one commit more than is known of."""
        if (token, holder) != self._ours:
            raise self._lease.loss()
        if commits < self._commits:
            raise lost_commits(self._newest, self._lost, self._commits - commits)
        if commits > self._commits + 1:
            raise LedgerError(f"{self.name} was written by somebody else", hint="this is a fault of backfill")
        return commits == self._commits + 1


def _check_done(answer: str | None, name: str) -> None:
    """Raise LedgerError where a COMMIT did not commit: of a transaction that had failed it answers ROLLBACK."""
    if answer != "COMMIT":
        raise LedgerError(f"{name}: the server undid what was to be recorded ({answer})", hint="resume the run")
