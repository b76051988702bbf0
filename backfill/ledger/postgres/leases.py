"""The lock of a run among machines: a lease, by the server's clock, with a number that only grows.

A lease that is not renewed for LEASE_SECONDS may be taken by another process. The one that had it may be alive still,
paused or cut off: so each transaction of a ledger proves by the number that the run is still its own (`transactions`).
A process of this machine that is seen to be dead is not waited for.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress

from backfill.errors import BackfillError, LockedError
from backfill.ledger.connection import Row
from backfill.ledger.postgres import deliverers
from backfill.ledger.postgres.database import Database, PostgresConnection, until_connected
from backfill.ledger.postgres.deliverers import Deliverer
from backfill.ledger.postgres.errors import postgres_errors
from backfill.ledger.postgres.patience import no_answer, out_of_reach
from backfill.ledger.postgres.processes import Process, is_dead, this_process
from backfill.ledger.postgres.schema import take_ledger
from backfill.records import RunHolder

#: How long a lease lasts that is not renewed, in seconds by the server's clock; it is renewed three times as often.
LEASE_SECONDS = 30.0
_LEASE = "run_id, token, holder, host, pid, machine, started, extract(epoch FROM acquired)::float8 AS since"
_TAKE = """
INSERT INTO backfill.leases AS l (run_id, token, holder, host, pid, machine, started, acquired, renewed, expires)
VALUES (?, 1, ?, ?, ?, ?, ?, clock_timestamp(), clock_timestamp(), clock_timestamp() + ? * interval '1 second')
ON CONFLICT (run_id) DO UPDATE SET token = l.token + 1, holder = excluded.holder, host = excluded.host,
    pid = excluded.pid, machine = excluded.machine, started = excluded.started, acquired = excluded.acquired,
    renewed = excluded.renewed, expires = excluded.expires
WHERE l.expires <= clock_timestamp() OR l.holder = ? RETURNING token"""
_RENEW = """
UPDATE backfill.leases SET renewed = clock_timestamp(), expires = clock_timestamp() + ? * interval '1 second'
WHERE run_id = ? AND token = ? AND holder = ? RETURNING token"""
_RELEASE = "UPDATE backfill.leases SET expires = '-infinity' WHERE run_id = ? AND token = ? AND holder = ?"
_RENEW_DELIVERER = """
UPDATE "{schema}".deliverers SET renewed = clock_timestamp(), expires = clock_timestamp() + ? * interval '1 second'
WHERE token = ? AND holder = ? RETURNING token"""
#: The lease of all that deliver a run at once, which each of them renews: whoever joins them takes no other's place.
_SHARE = """
INSERT INTO backfill.leases AS l (run_id, token, holder, host, pid, machine, started, acquired, renewed, expires)
VALUES (?, 1, ?, '', 0, '', '', clock_timestamp(), clock_timestamp(), clock_timestamp() + ? * interval '1 second')
ON CONFLICT (run_id) DO UPDATE SET token = l.token + CASE WHEN l.holder = excluded.holder THEN 0 ELSE 1 END,
    holder = excluded.holder, host = '', pid = 0, machine = '', started = '', acquired = CASE
    WHEN l.holder = excluded.holder THEN l.acquired ELSE excluded.acquired END, renewed = excluded.renewed,
    expires = excluded.expires
WHERE l.expires <= clock_timestamp() OR l.holder IN (excluded.holder, ?) RETURNING token"""
_IS_SHARED = "SELECT 1 FROM mark WHERE token = ? AND holder = ?"
_HOLD = "SELECT 1 FROM backfill.leases WHERE run_id = ? FOR UPDATE"
#: So many of those that share a lease are named in a message.
NAMED = 3
#: The holder of that lease.
TOGETHER = "deliverers"
_HELD = f"SELECT {_LEASE} FROM backfill.leases WHERE run_id = ? AND expires > clock_timestamp()"  # noqa: S608
_OURS = "SELECT 1 FROM backfill.leases WHERE run_id = ? AND token = ? AND holder = ? FOR SHARE"


class Lease:
    """The lease of a run, renewed by a thread until it is released or lost. Thread-safe."""

    def __init__(
        self,
        database: Database,
        run_id: str,
        token: int,
        holder: str,
        asked: float,
        deliverer: Deliverer | None = None,
    ) -> None:
        """`asked` is when it was asked for, by `time.monotonic`; `deliverer` is who has it among several.

        Raises:
            StoppedError: The database gives no connection to renew it by: later, the lease would end by that.
        """
        self.run_id, self.token, self.holder, self.deliverer = run_id, token, holder, deliverer
        self._lasts_until = asked + LEASE_SECONDS
        self._database = database
        self._ended = threading.Event()
        self._lost = threading.Event()
        self._renewing = self._connect()
        self._thread = threading.Thread(target=self._renew, name="backfill-lease", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> bool:
        """Whether it is known that another process has taken the run."""
        return self._lost.is_set()

    @property
    def silent(self) -> bool:
        """Whether it was not renewed for as long as it lasts, by a clock of ours: another may have taken the run."""
        return time.monotonic() > self._lasts_until

    def gives_up(self, seconds: float) -> bool:
        """Whether to wait no more for the server to answer the ledger: it may be another's, or the server is gone."""
        return no_answer(seconds) or (self.silent and out_of_reach(seconds))

    def check(self, connection: PostgresConnection) -> None:
        """Make sure, until the transaction that is open ends, that the run is ours.

        Raises:
            LockedError: It is not.
        """
        if not connection.execute(_OURS, (self.run_id, self.token, self.holder)).fetchall():
            raise self.loss()

    def loss(self) -> LockedError:
        """The error that the run is another process's; from now on it counts as lost."""
        self._lost.set()
        return LockedError(
            f"the run {self.run_id} was taken over by another process, as this one had not been heard of for"
            f" {LEASE_SECONDS:g} s; nothing more was sent or recorded",
            hint="let the other one go on; `backfill status` shows who is at work and how far",
        )

    def release(self) -> None:
        """Let go; again does nothing. Where the database cannot be reached, the lease ends by itself."""
        if self._ended.is_set():
            return
        self._ended.set()
        if self.silent:  # it has ended, and whoever renews it may be waiting for a server that does not answer
            return
        self._thread.join()
        with suppress(BackfillError):
            self._database.transaction(self._let_go)

    def _let_go(self, connection: PostgresConnection) -> None:
        connection.execute(_HOLD, (self.run_id,)).fetchall()  # whoever joins waits, and is not overlooked
        if self.deliverer is not None:
            us = this_process()
            connection.script(f'SET LOCAL search_path TO "{self.deliverer.schema}"')
            is_last = deliverers.alone(connection, self.deliverer.token, us)
            deliverers.end(connection, self.deliverer.token)
            if not is_last:
                return
        connection.execute(_RELEASE, (self.run_id, self.token, self.holder))

    def _renew(self) -> None:
        try:
            while not self._ended.wait(LEASE_SECONDS / 3) and not self.lost:
                with suppress(BackfillError):  # tried again in a while; what is written proves itself
                    self._renew_once()
        finally:
            self._renewing.close()

    def _renew_once(self) -> None:
        if not self._renewing.usable:
            self._renewing.close()
            self._renewing = until_connected(self._connect, self._ended.is_set)
        asked = time.monotonic()
        with postgres_errors(self._database.name):
            if not self._renewed_by(self._renewing):
                self._lost.set()
        self._lasts_until = asked + LEASE_SECONDS

    def _renewed_by(self, connection: PostgresConnection) -> bool:
        one = self.deliverer
        if one is not None:
            renew = _RENEW_DELIVERER.format(schema=one.schema)
            if not connection.execute(renew, (LEASE_SECONDS, one.token, one.holder)).fetchall():
                return False
        return bool(connection.execute(_RENEW, (LEASE_SECONDS, self.run_id, self.token, self.holder)).fetchall())

    def _connect(self) -> PostgresConnection:
        return self._database.connect(
            writes=True, gives_up=lambda seconds: out_of_reach(seconds) or self._ended.is_set()
        )


def share_lease(database: Database, run_id: str, schema: str, name: str) -> Lease:
    """Join those that deliver a run, whose ledger is in that schema, or be the first of them; `name` is for messages.

    Raises:
        LockedError: A process has the run alone.
        LedgerError: Its ledger is of a version this program does not know.
        UsageError: It is being moved.
        StoppedError: The database cannot be reached.
    """
    us, holder, asked = this_process(), uuid.uuid4().hex, time.monotonic()

    def perform(connection: PostgresConnection) -> tuple[int, Deliverer] | None:
        connection.execute(_HOLD, (run_id,)).fetchall()
        taken = connection.execute(_SHARE, (run_id, TOGETHER, LEASE_SECONDS, _gone(connection, run_id, us))).fetchall()
        if not taken:
            return None
        token: int = taken[0][0]
        connection.script(f'SET LOCAL search_path TO "{schema}"')
        if not connection.execute(_IS_SHARED, (token, TOGETHER)).fetchall():
            take_ledger(connection, token, TOGETHER, name, lambda: database.end_writers(schema))
        return token, deliverers.join(connection, schema, us, holder, LEASE_SECONDS)

    joined = database.transaction(perform)
    if joined is None:
        raise _locked(run_id, holders_of(database, run_id))
    return Lease(database, run_id, joined[0], TOGETHER, asked, joined[1])


def take_lease(database: Database, run_id: str) -> Lease:
    """Take the lease of a run.

    Raises:
        LockedError: Another process has it, or another lock of this one.
        StoppedError: The database cannot be reached.
    """
    us, holder, asked = this_process(), uuid.uuid4().hex, time.monotonic()

    def perform(connection: PostgresConnection) -> list[Row]:
        connection.execute(_HOLD, (run_id,)).fetchall()
        gone = _gone(connection, run_id, us)
        values = (run_id, holder, us.host, us.pid, us.machine, us.started, LEASE_SECONDS, gone)
        return connection.execute(_TAKE, values).fetchall()

    taken = database.transaction(perform)
    if not taken:
        raise _locked(run_id, holders_of(database, run_id))
    return Lease(database, run_id, taken[0][0], holder, asked)


def holders_of(database: Database, run_id: str) -> list[RunHolder]:
    """The process that has the lease of a run, or those that share it; none that is known to be dead."""
    us = this_process()
    return [_as_holder(one, us) for one in _holders(database.rows, run_id, us)]


def _as_holder(row: Row, us: Process) -> RunHolder:
    here = bool(us.machine) and row["machine"] == us.machine
    batches = row["batches"] if "batches" in row.keys() else None  # noqa: SIM118 (as of sqlite3.Row)
    return RunHolder(row["pid"], "" if here else row["host"], float(row["since"]), batches)


def _gone(connection: PostgresConnection, run_id: str, us: Process) -> str:
    """The holder of a lease of which every process is dead, as we can see; empty where there is none."""
    rows = connection.execute(_HELD, (run_id,)).fetchall()

    def ask(query: str, *values: object) -> list[Row]:
        return connection.execute(query, values).fetchall()

    return rows[0]["holder"] if rows and not _holders(ask, run_id, us) else ""


def _holders(ask: Callable[..., list[Row]], run_id: str, us: Process) -> list[Row]:
    """The rows of those that have the lease of a run now, and are not known to be dead."""
    held = ask(_HELD, run_id)
    if held and held[0]["holder"] == TOGETHER:
        found = ask("SELECT schema FROM backfill.runs WHERE run_id = ?", run_id)
        held = [row for (schema,) in found for row in ask(deliverers.LIVE.format(schema=f'"{schema}"'))]
    return [row for row in held if not is_dead(row, us)]


def _locked(run_id: str, holders: Sequence[RunHolder]) -> LockedError:
    shown = [str(holder) for holder in holders[:NAMED]] + (["..."] if len(holders) > NAMED else [])
    named = f" ({'; '.join(shown)})" if holders else ""
    who = f"{len(holders)} other processes{named} are" if len(holders) > 1 else f"another process{named} is"
    return LockedError(
        f"{who} at work on the run {run_id}",
        hint="wait until it is done, or interrupt it; where it is gone without a trace, its lease ends"
        f" {LEASE_SECONDS:g} s after it was last heard of",
    )
