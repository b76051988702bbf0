"""The processes that deliver one run at once, as its ledger has them: who they are, and which batches each has in hand.

A batch in hand is a claim: `batches.deliverer` is the token of the process that alone may send it. A process that ended
or died gives its claims up, and what it had in flight is then in doubt. The row of `mark` is the lock under which it is
decided who does what next.
"""

from __future__ import annotations

from backfill.errors import ExitCode
from backfill.frozen import frozen
from backfill.ledger.connection import Connection, Row
from backfill.ledger.postgres.processes import Process, is_dead
from backfill.ledger.reader import BATCH, FRUITFUL, handed_out
from backfill.ledger.sql_delivery import end_orphans
from backfill.ledger.sql_plan import move_run
from backfill.records import Batch, DeliveryStep, RunState

#: What a run's tables have for it besides those of one process. Whoever splits a batch has its parts in hand as well.
TABLES = """
ALTER TABLE batches ADD COLUMN deliverer bigint;
CREATE FUNCTION keep_deliverer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    SELECT deliverer INTO NEW.deliverer FROM batches WHERE id = NEW.parent;
    RETURN NEW;
END $$;
CREATE TRIGGER keep_deliverer BEFORE INSERT ON batches
    FOR EACH ROW WHEN (NEW.parent IS NOT NULL) EXECUTE FUNCTION keep_deliverer();
CREATE TABLE deliverers (
    token     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    holder    text NOT NULL,  -- empty: it was found dead, or late
    commits   bigint NOT NULL DEFAULT 0,
    step      text NOT NULL DEFAULT 'join',  -- then a DeliveryStep
    host      text NOT NULL,
    pid       integer NOT NULL,
    machine   text NOT NULL,
    started   text NOT NULL,
    acquired  timestamptz NOT NULL DEFAULT clock_timestamp(),
    renewed   timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires   timestamptz NOT NULL,
    ended     timestamptz  -- null: it is at work
);
CREATE TABLE pace (state text NOT NULL, changes bigint NOT NULL);
INSERT INTO pace VALUES ('', 0);
"""
_JOIN = """
INSERT INTO deliverers (holder, host, pid, machine, started, expires)
VALUES (?, ?, ?, ?, ?, clock_timestamp() + ? * interval '1 second') RETURNING token"""
_DECIDE = "SELECT 1 FROM mark FOR UPDATE"
_FORGET_PACE = """
UPDATE pace SET state = '', changes = changes + 1
WHERE NOT EXISTS (SELECT 1 FROM deliverers WHERE ended IS NULL AND expires > clock_timestamp())"""
_OTHERS = """
SELECT token, machine, pid, started, step, expires <= clock_timestamp() AS late FROM deliverers
WHERE ended IS NULL AND token <> ? ORDER BY token"""
#: The connection that is writing as a deliverer: what swallowed it may keep it, and the row, for good.
_END_WRITER = """
SELECT pg_terminate_backend(l.pid) FROM deliverers d
JOIN pg_locks l ON l.locktype = 'transactionid' AND l.transactionid = d.xmax AND l.mode = 'ExclusiveLock' AND l.granted
JOIN pg_stat_activity a ON a.pid = l.pid AND a.usename = current_user
WHERE d.token = ? AND l.pid <> pg_backend_pid()"""
_BURY = """
UPDATE deliverers SET holder = '', ended = clock_timestamp()
WHERE token = ? AND ended IS NULL AND (expires <= clock_timestamp() OR ? = 1) RETURNING token"""
_END = "UPDATE deliverers SET ended = clock_timestamp() WHERE token = ? AND ended IS NULL RETURNING token"
_FREE_ONE = "SELECT 1 FROM batches WHERE state IN ('planned', 'sent') AND deliverer IS NULL"
_PROVEN = "SELECT 1 FROM attempts WHERE outcome = 'accepted'"
_FREE = "UPDATE batches SET deliverer = NULL WHERE deliverer = ? AND state IN ('planned', 'sent')"
#: As an array: a subquery might be run more than once, each time locking others.
_CLAIM = f"""
UPDATE batches b SET deliverer = ? WHERE b.id = ANY(ARRAY(
    SELECT id FROM batches WHERE state IN ('planned', 'sent') AND deliverer IS NULL
        AND (SELECT state FROM run) = 'delivering'
    ORDER BY shard, first_call, id LIMIT ? FOR UPDATE SKIP LOCKED
)) RETURNING {BATCH}, {FRUITFUL} AS fruitful"""  # noqa: S608 - constants
_IN_HAND_OF = "(SELECT b.deliverer FROM batches b WHERE b.id = attempts.batch)"
#: Those at work, each with how many batches it has in hand.
LIVE = """
SELECT d.pid, d.host, d.machine, d.started, extract(epoch FROM d.acquired)::float8 AS since, d.step,
    count(b.id) AS batches
FROM {schema}.deliverers d
LEFT JOIN {schema}.batches b ON b.deliverer = d.token AND b.state IN ('planned', 'sent')
WHERE d.ended IS NULL AND d.expires > clock_timestamp() GROUP BY d.token ORDER BY d.token"""


@frozen
class Deliverer:
    """One process of those that deliver a run."""

    schema: str  # of the run
    token: int  # among its deliverers
    holder: str  # no other has it


def join(connection: Connection, schema: str, us: Process, holder: str, seconds: float) -> Deliverer:
    """Become a deliverer, for so many seconds at first; the first one knows nothing of the pace of those before."""
    connection.execute(_FORGET_PACE)
    values = (holder, us.host, us.pid, us.machine, us.started, seconds)
    ((token,),) = connection.execute(_JOIN, values).fetchall()
    return Deliverer(schema, token, holder)


def claim(connection: Connection, token: int, limit: int) -> list[Batch]:
    """Take up to `limit` batches in hand that nobody has, in plan order; none once the run is stopped."""
    batches = handed_out(connection.execute(_CLAIM, (token, limit)).fetchall())
    return sorted(batches, key=lambda batch: (batch.shard, batch.first_call, batch.id))


def next_step(connection: Connection, token: int, us: Process) -> DeliveryStep:
    """Decide what a deliverer does next, and note it."""
    alive = _others_alive(connection, token, us)
    if alive is None:
        return DeliveryStep.WAIT
    others = [one["step"] for one in alive]
    (state,) = connection.execute("SELECT state FROM run").fetchone()
    step = DeliveryStep.OVER
    if state == RunState.DELIVERING:
        step = _step(others, free=_is(connection, _FREE_ONE), proven=_is(connection, _PROVEN))
    connection.execute("UPDATE deliverers SET step = ? WHERE token = ?", (step, token))
    return step


def _step(others: list[str], *, free: bool, proven: bool) -> DeliveryStep:
    if free and proven:
        return DeliveryStep.SEND
    if free:
        return DeliveryStep.WAIT if DeliveryStep.FIRST in others else DeliveryStep.FIRST
    busy = {DeliveryStep.FIRST, DeliveryStep.SEND, DeliveryStep.END} & set(others)
    return DeliveryStep.WAIT if busy else DeliveryStep.END


def begin(connection: Connection, at: float) -> None:
    """Let the run be delivered, unless it is already, or is over by now: others may have been faster."""
    if _state(connection) not in (RunState.DELIVERING, RunState.FINISHED):
        move_run(connection, RunState.DELIVERING, at=at)


def leave(
    connection: Connection, token: int, us: Process, *, at: float, exit_code: int, detail: str, for_all: bool
) -> None:
    """End a deliverer; it stops the run with that exit code and detail where it is `for_all`, or the last of them.

    A run that is not being delivered any more keeps its end.
    """
    others = _others_alive(connection, token, us, waits=True)
    end(connection, token)
    if (for_all or others == []) and _state(connection) == RunState.DELIVERING:
        move_run(connection, RunState.STOPPED, at=at, exit_code=ExitCode(exit_code), detail=detail)


def end(connection: Connection, token: int) -> None:
    """End a deliverer: what it had in flight is in doubt, what it had in hand is free. Again does nothing."""
    if connection.execute(_END, (token,)).fetchall():
        _give_up(connection, token)


def end_all(connection: Connection) -> None:
    """End every deliverer, each with the commit that it is late with: one process has the run alone."""
    for (token,) in connection.execute("SELECT token FROM deliverers WHERE ended IS NULL").fetchall():
        connection.execute(_END_WRITER, (token,))
        connection.execute(_BURY, (token, True))
        _give_up(connection, token)


def alone(connection: Connection, token: int, us: Process) -> bool:
    """Whether there is no other deliverer at work; nobody joins until the transaction that is open has ended."""
    return _others_alive(connection, token, us) == []


def _others_alive(connection: Connection, token: int, us: Process, *, waits: bool = False) -> list[Row] | None:
    """The other deliverers at work, once those that are not were ended; None where another decides something just now.

    Otherwise nobody does until the transaction that is open has ended. `waits` for who does; one that hangs is ended
    by those who ask again and again.
    """
    locked = connection.execute(_DECIDE if waits else f"{_DECIDE} SKIP LOCKED").fetchall()
    alive = []
    for one in connection.execute(_OTHERS, (token,)).fetchall():
        dead = is_dead(one, us)
        if not (one["late"] or dead):
            alive.append(one)
            continue
        connection.execute(_END_WRITER, (one["token"],))  # who may be the one that has it locked, and hangs
        if not locked:
            continue
        if connection.execute(_BURY, (one["token"], dead)).fetchall():
            _give_up(connection, one["token"])
        else:  # it was only slow
            alive.append(one)
    return alive if locked else None


def end_nobodys(connection: Connection) -> int:
    """Give each attempt without an end that belongs to no deliverer at work the outcome unknown; returns how many."""
    return end_orphans(connection, f"{_IN_HAND_OF} IS NULL")


def _state(connection: Connection) -> str:
    """The run's state, which nobody changes until the transaction that is open has ended."""
    return str(connection.execute("SELECT state FROM run FOR UPDATE").fetchone()[0])


def _give_up(connection: Connection, token: int) -> None:
    end_orphans(connection, f"{_IN_HAND_OF} = ?", (token,))
    connection.execute(_FREE, (token,))


def _is(connection: Connection, query: str) -> bool:
    return bool(connection.execute(f"SELECT EXISTS ({query})").fetchone()[0])
