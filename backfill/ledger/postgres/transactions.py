"""Commits to the ledger of a run in PostgreSQL: each proves that the run is still ours, and none is done twice.

The first statement of each transaction counts it, in the one row of `mark`, where number and name of the lease are
those of this process and the count is the one that it knows. So:

- A process that lost its lease changes nothing more: the row has another's number.
- A server that took over without the last commits is noticed: the row has a lower count.
- Where the connection was lost in a COMMIT, the count tells whether it was done. The server is asked to end the lost
  connection first; its transaction has the row locked until it has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from backfill.errors import LedgerError, StoppedError, barred
from backfill.ledger.connection import Connection
from backfill.ledger.mark import Loss, Mark, check_newest, lost_commits
from backfill.ledger.postgres.database import Database, PostgresConnection, until_connected
from backfill.ledger.postgres.errors import postgres_errors, to_be_repeated
from backfill.ledger.postgres.schema import BARRED, check_version

if TYPE_CHECKING:
    from backfill.ledger.postgres.leases import Lease

_COUNT = "UPDATE mark SET commits = commits + 1 WHERE token = ? AND holder = ? AND commits = ? RETURNING commits"
_LOOK = "SELECT commits, token, holder FROM mark FOR UPDATE"
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
        self._found: tuple[int, int, str] = (0, 0, "")
        with self.errors():
            self._connection = self._connect()
            try:
                self._commits = self._take(marks / schema)
            except BaseException:
                self._connection.close()
                raise
        self._mark = Mark(marks / schema)

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

    def _take(self, mark: Path) -> int:
        """Put our lease on the ledger; returns how many commits it has."""
        connection = self._connection
        self._database.end_writers(self._schema, connection)
        connection.script("BEGIN")
        check_version(connection, self.name)
        check_newest(connection, mark, self._lost)
        found = connection.execute(
            "UPDATE mark SET token = ?, holder = ?, commits = commits + 1"
            " WHERE token < ? OR token = ? AND holder = ? RETURNING commits",
            (self._lease.token, self._lease.holder, self._lease.token, self._lease.token, self._lease.holder),
        ).fetchall()
        if not found:
            ((token, holder),) = connection.execute("SELECT token, holder FROM mark").fetchall()
            raise barred(self.name, holder) if token == BARRED else self._lease.loss()
        connection.script("COMMIT")
        return int(found[0][0])

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
        ours = (self._lease.token, self._lease.holder, self._commits)
        if not connection.execute(_COUNT, ours).fetchall():
            self._check(*connection.execute(_LOOK).fetchall()[0])
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
                    found = connection.execute(_LOOK).fetchall()
                    connection.script("COMMIT")
            except BaseException:
                connection.close()
                raise
            self._found = tuple(found[0])
            return connection

        self._connection = until_connected(again, lambda: self._lease.lost or (lost.given_up and self._lease.silent))
        return self._check(*self._found)

    def _check(self, commits: int, token: int, holder: str) -> bool:
        """Whether the ledger has one commit more than is known of."""
        if (token, holder) != (self._lease.token, self._lease.holder):
            raise self._lease.loss()
        if commits < self._commits:
            raise lost_commits(self._marks / self._schema, self._lost, self._commits - commits)
        if commits > self._commits + 1:
            raise LedgerError(f"{self.name} was written by somebody else", hint="this is a fault of backfill")
        return commits == self._commits + 1


def _check_done(answer: str | None, name: str) -> None:
    """Raise LedgerError where a COMMIT did not commit: of a transaction that had failed it answers ROLLBACK."""
    if answer != "COMMIT":
        raise LedgerError(f"{name}: the server undid what was to be recorded ({answer})", hint="resume the run")
