"""The table of all runs in a database. The schema of a run has a name that no other run ever had."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence

from backfill.errors import LedgerError, barred
from backfill.frozen import frozen
from backfill.ledger.connection import Connection
from backfill.ledger.postgres.database import Database, PostgresConnection
from backfill.ledger.postgres.leases import Lease
from backfill.ledger.postgres.schema import BARRED, make_ledger, make_registry, registry_is_there

_PREFIX = "backfill_"


@frozen
class RegisteredRun:
    """A run in the table."""

    run_id: str
    schema: str
    state: str | None  # None: its ledger is not made yet
    bytes_at: str = ""  # the machine and the folder where it was begun, for people
    place: str = ""  # where its bytes are shared; empty: there alone


class Registry:
    """The runs of a database. Every method raises StoppedError where that cannot be reached."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def make(self) -> bool:
        """Make the table where it is not there; returns whether it is new. As `make_registry`."""
        return make_registry(self.database)

    def is_there(self) -> bool:
        """Whether the table is there. Raises LedgerError where it is of a version this program does not know."""
        return registry_is_there(self.database)

    def find(self, run_id: str) -> RegisteredRun | None:
        """The run of that id; None where there is none."""
        return next(iter(self._runs("WHERE run_id = ?", run_id)), None)

    def begun(self, mark: str) -> list[RegisteredRun]:
        """Every run with a ledger, the latest to change its state first; none whose id has `mark` in it."""
        return self._runs("WHERE state IS NOT NULL AND strpos(run_id, ?) = 0 ORDER BY state_at DESC, run_id", mark)

    def put_away(self, mark: str, run_id: str | None = None) -> list[RegisteredRun]:
        """The runs whose id has `mark` in it, behind that id where it is given."""
        found = self._runs("WHERE state IS NOT NULL AND strpos(run_id, ?) > 0", mark)
        return [run for run in found if run_id is None or run.run_id.rpartition(mark)[0] == run_id]

    def discarded(self, schemas: Sequence[str]) -> list[str]:
        """Those of these schemas that are of runs that were discarded."""
        query = "SELECT schema FROM backfill.discarded WHERE schema = ANY(?)"
        return [schema for (schema,) in self.database.rows(query, list(schemas))] if schemas else []

    def known(self, schemas: Sequence[str]) -> set[str]:
        """Those of these schemas that are of a run, or were of one that was discarded."""
        if not schemas or not registry_is_there(self.database):
            return set()
        query = (
            "SELECT schema FROM backfill.runs WHERE schema = ANY(?)"
            " UNION ALL SELECT schema FROM backfill.discarded WHERE schema = ANY(?)"
        )
        return {schema for (schema,) in self.database.rows(query, list(schemas), list(schemas))}

    def reserve(self, run_id: str, bytes_at: str) -> RegisteredRun:
        """The run of that id, in the table from now on; its ledger need not be made yet.

        `bytes_at` says where its bytes are.
        """
        make_registry(self.database)
        schema = _PREFIX + uuid.uuid4().hex[:12]
        insert = "INSERT INTO backfill.runs (run_id, schema, bytes_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
        self.database.transaction(lambda connection: connection.execute(insert, (run_id, schema, bytes_at)))
        run = self.find(run_id)
        assert run is not None
        return run

    def share(self, run: RegisteredRun, place: str) -> None:
        """Remember where the bytes of a run that is to begin are shared."""
        update = "UPDATE backfill.runs SET place = ? WHERE schema = ?"
        self.database.transaction(lambda connection: connection.execute(update, (place, run.schema)))

    def create(self, run: RegisteredRun, fill: Callable[[Connection], None], lease: Lease, name: str) -> None:
        """Make the ledger of a run, whole or not at all; `fill` gives it its first rows.

        Raises:
            LedgerError: There is one already.
            LockedError: The run is another process's.
        """

        def make(connection: PostgresConnection) -> None:
            lease.check(connection)
            if connection.execute("SELECT to_regnamespace(?)", (run.schema,)).fetchall()[0][0] is not None:
                raise LedgerError(f"{name} exists already", hint="resume its run, or abandon it")
            make_ledger(connection, run.schema, fill)

        self.database.transaction(make)

    def rename(self, run: RegisteredRun, run_id: str, lease: Lease) -> None:
        """Give a run another id, for good. Raises LockedError where it is another process's."""

        def perform(connection: PostgresConnection) -> None:
            lease.check(connection)
            connection.execute("UPDATE backfill.runs SET run_id = ? WHERE schema = ?", (run_id, run.schema))

        self.database.transaction(perform)

    def discard(self, run: RegisteredRun, lease: Lease) -> None:
        """Remove a run with its ledger: it has never been. Raises LockedError where it is another process's."""

        def perform(connection: PostgresConnection) -> None:
            lease.check(connection)
            connection.script(f'DROP SCHEMA IF EXISTS "{run.schema}" CASCADE')
            connection.execute("DELETE FROM backfill.runs WHERE schema = ?", (run.schema,))
            connection.execute(
                "INSERT INTO backfill.discarded (schema, run_id) VALUES (?, ?)", (run.schema, run.run_id)
            )

        self.database.transaction(perform)

    def moving_to(self, run: RegisteredRun) -> str:
        """The place to which a run is being moved; empty where it is not."""
        query = f'SELECT holder FROM "{run.schema}".mark WHERE token = ?'  # noqa: S608 (a name of our own)
        return next((holder for (holder,) in self.database.rows(query, BARRED)), "")

    def bar(self, run: RegisteredRun, lease: Lease, to: str) -> None:
        """Let no process write the ledger of a run any more, as it is moved there.

        Raises:
            LockedError: It is another process's.
            UsageError: It is being moved to another place.
        """
        if (before := self.moving_to(run)) not in ("", to):
            raise barred(run.run_id, before)

        def perform(connection: PostgresConnection) -> None:
            lease.check(connection)
            connection.execute("UPDATE mark SET token = ?, holder = ?", (BARRED, to))

        self.database.transaction(perform, run.schema)

    def retire(self, run: RegisteredRun, lease: Lease) -> None:
        """Take a run off the table, and leave its schema. Raises LockedError where it is another process's."""

        def perform(connection: PostgresConnection) -> None:
            lease.check(connection)
            connection.execute("DELETE FROM backfill.runs WHERE schema = ?", (run.schema,))
            connection.execute(
                "INSERT INTO backfill.discarded (schema, run_id) VALUES (?, ?)", (run.schema, run.run_id)
            )

        self.database.transaction(perform)

    def _runs(self, condition: str, *values: object) -> list[RegisteredRun]:
        if not registry_is_there(self.database):
            return []
        query = f"SELECT run_id, schema, state, bytes_at, place FROM backfill.runs {condition}"  # noqa: S608 - constants
        return [RegisteredRun(*row) for row in self.database.rows(query, *values)]
