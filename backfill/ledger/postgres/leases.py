"""The lock of a run among machines: a lease, by the server's clock, with a number that only grows.

A lease that is not renewed for LEASE_SECONDS may be taken by another process. The one that had it may be alive still,
paused or cut off: so each transaction of a ledger proves by the number that the run is still its own (`transactions`).
A process of this machine that is seen to be dead is not waited for.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path

from backfill.clock import system_boot
from backfill.errors import BackfillError, LockedError
from backfill.frozen import frozen
from backfill.ledger.connection import Row
from backfill.ledger.postgres.database import Database, PostgresConnection, until_connected
from backfill.ledger.postgres.errors import postgres_errors
from backfill.ledger.postgres.patience import no_answer, out_of_reach
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
_HELD = f"SELECT {_LEASE} FROM backfill.leases WHERE run_id = ? AND expires > clock_timestamp()"  # noqa: S608
_OURS = "SELECT 1 FROM backfill.leases WHERE run_id = ? AND token = ? AND holder = ? FOR SHARE"


@frozen
class Process:
    """What tells this process from every other one that has the database."""

    host: str
    pid: int
    machine: str  # which boot of which machine, and whose process ids; empty where the system does not say
    started: str  # a process id is used again


def this_process() -> Process:
    """The one that asks."""
    return Process(socket.gethostname(), os.getpid(), _machine(), _started(os.getpid()))


class Lease:
    """The lease of a run, renewed by a thread until it is released or lost. Thread-safe."""

    def __init__(self, database: Database, run_id: str, token: int, holder: str, asked: float) -> None:
        """`asked` is when it was asked for, by `time.monotonic`."""
        self.run_id, self.token, self.holder = run_id, token, holder
        self._lasts_until = asked + LEASE_SECONDS
        self._database = database
        self._ended = threading.Event()
        self._lost = threading.Event()
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
            self._database.transaction(
                lambda connection: connection.execute(_RELEASE, (self.run_id, self.token, self.holder))
            )

    def _renew(self) -> None:
        connection: PostgresConnection | None = None
        try:
            while not self._ended.wait(LEASE_SECONDS / 3) and not self.lost:
                with suppress(BackfillError):  # tried again in a while; what is written proves itself
                    connection = self._renewed(connection)
        finally:
            if connection is not None:
                connection.close()

    def _renewed(self, connection: PostgresConnection | None) -> PostgresConnection:
        if connection is None or not connection.usable:
            connection = until_connected(self._connect, self._ended.is_set)
        asked = time.monotonic()
        with postgres_errors(self._database.name):
            if not connection.execute(_RENEW, (LEASE_SECONDS, self.run_id, self.token, self.holder)).fetchall():
                self._lost.set()
        self._lasts_until = asked + LEASE_SECONDS
        return connection

    def _connect(self) -> PostgresConnection:
        return self._database.connect(
            writes=True, gives_up=lambda seconds: out_of_reach(seconds) or self._ended.is_set()
        )


def take_lease(database: Database, run_id: str) -> Lease:
    """Take the lease of a run.

    Raises:
        LockedError: Another process has it, or another lock of this one.
        StoppedError: The database cannot be reached.
    """
    us, holder = this_process(), uuid.uuid4().hex
    held = _held(database, run_id)
    gone = held["holder"] if held is not None and _is_dead(held, us) else ""
    values = (run_id, holder, us.host, us.pid, us.machine, us.started, LEASE_SECONDS, gone)
    asked = time.monotonic()
    taken = database.transaction(lambda connection: connection.execute(_TAKE, values).fetchall())
    if not taken:
        raise _locked(run_id, holder_of(database, run_id))
    return Lease(database, run_id, taken[0][0], holder, asked)


def holder_of(database: Database, run_id: str) -> RunHolder | None:
    """The process that has the lease of a run; None where it has ended, or is of this machine and dead."""
    held, us = _held(database, run_id), this_process()
    if held is None or _is_dead(held, us):
        return None
    here = bool(us.machine) and held["machine"] == us.machine
    return RunHolder(held["pid"], "" if here else held["host"], float(held["since"]))


def _held(database: Database, run_id: str) -> Row | None:
    return next(iter(database.rows(_HELD, run_id)), None)


def _locked(run_id: str, holder: RunHolder | None) -> LockedError:
    return LockedError(
        f"another process{f' ({holder})' if holder else ''} is at work on the run {run_id}",
        hint="wait until it is done, or interrupt it; where it is gone without a trace, its lease ends"
        f" {LEASE_SECONDS:g} s after it was last heard of",
    )


def _is_dead(held: Row, us: Process) -> bool:
    """Whether the holder was a process of this machine, in reach of our eyes, and is there no more."""
    if not us.machine or held["machine"] != us.machine or not held["started"]:
        return False
    return _started(held["pid"]) != str(held["started"])


def _machine() -> str:
    """The boot, and the namespace in which process ids are told apart (pid_namespaces(7)); containers share a boot."""
    boot = system_boot()[0]
    try:
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}" if boot else ""
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process was started, in clock ticks since the boot (proc_pid_stat(5), field 22); empty where it is not."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace")
        fields = text.rpartition(") ")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]  # counted from the third; a zombie works no more
