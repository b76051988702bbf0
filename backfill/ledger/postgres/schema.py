"""The tables of a run and of all runs, their versions, and making them."""

from __future__ import annotations

from collections.abc import Callable

from backfill.errors import LedgerError, UsageError, barred
from backfill.ledger.connection import Connection
from backfill.ledger.postgres import deliverers
from backfill.ledger.postgres.database import Database, PostgresConnection
from backfill.ledger.postgres.dialect import tables

#: The version of the tables below, of which there is one set in a database.
REGISTRY_VERSION = 1
#: The version of the tables of a run, which are those of a file and some of their own. What brings a ledger from each
#: earlier one to the next: it is done when that is opened to be written, and is no matter to whoever reads it.
RUN_VERSION = 4
_MIGRATIONS = {3: deliverers.TABLES}
#: Of the processes that make them at once one does, and the others wait: any number that nothing else locks.
_ONE_AT_A_TIME = 0x626B666C
#: The number, above that of every lease, of a run that is moved; the holder is where to.
BARRED = 2**63 - 1
_ALL_RUNS = f"""
CREATE SCHEMA backfill;
CREATE TABLE backfill.version (version integer NOT NULL);
INSERT INTO backfill.version VALUES ({REGISTRY_VERSION});
CREATE TABLE backfill.runs (
    run_id    text COLLATE "C" PRIMARY KEY,
    schema    text COLLATE "C" NOT NULL UNIQUE,
    state     text,  -- null: its ledger is not made yet
    state_at  double precision,
    bytes_at  text NOT NULL,  -- the machine and the folder where it was begun, for people
    place     text NOT NULL DEFAULT '',  -- where its bytes are shared: what shared.json says in that folder
    made_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE backfill.discarded (
    schema        text COLLATE "C" PRIMARY KEY,
    run_id        text NOT NULL,
    discarded_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE backfill.leases (
    run_id    text COLLATE "C" PRIMARY KEY,
    token     bigint NOT NULL,
    holder    text NOT NULL,
    host      text NOT NULL,
    pid       integer NOT NULL,
    machine   text NOT NULL,
    started   text NOT NULL,
    acquired  timestamptz NOT NULL,
    renewed   timestamptz NOT NULL,
    expires   timestamptz NOT NULL
);
CREATE FUNCTION backfill.note_state() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE backfill.runs SET state = NEW.state, state_at = NEW.state_at WHERE schema = TG_TABLE_SCHEMA;
    RETURN NULL;
END $$;
"""  # noqa: S608 - a constant
_TAKE = (
    "UPDATE mark SET token = ?, holder = ?, commits = commits + 1 WHERE token < ? OR token = ? AND holder = ?"
    " RETURNING commits"
)
_NOTE = (
    "CREATE TRIGGER note_state AFTER INSERT OR UPDATE OF state, state_at ON run"
    " FOR EACH ROW EXECUTE FUNCTION backfill.note_state()"
)


def make_registry(database: Database) -> bool:
    """Make the tables of all runs where they are not; returns whether they are new.

    Raises:
        UsageError: The schema `backfill` is somebody else's.
        LedgerError: They are of a version this program does not know.
        StoppedError: The database cannot be used.
    """
    if registry_is_there(database):
        return False

    def make(connection: PostgresConnection) -> bool:
        connection.execute("SELECT pg_advisory_xact_lock(?)", (_ONE_AT_A_TIME,))
        if connection.execute("SELECT to_regnamespace('backfill')").fetchall()[0][0] is not None:
            if connection.execute("SELECT to_regclass('backfill.version')").fetchall()[0][0] is None:
                raise UsageError(
                    f"{database.name} has a schema `backfill` that is not of this program",
                    hint="give a database of its own with --state",
                )
            return False
        connection.script(_ALL_RUNS)
        return True

    return database.transaction(make)


def registry_is_there(database: Database) -> bool:
    """Whether the tables of all runs are there.

    Raises:
        LedgerError: They are of a version this program does not know.
    """
    if database.rows("SELECT to_regclass('backfill.version')")[0][0] is None:
        return False
    ((version,),) = database.rows("SELECT version FROM backfill.version")
    if version != REGISTRY_VERSION:
        raise _unknown(database.name, version, REGISTRY_VERSION)
    return True


def make_ledger(connection: PostgresConnection, schema: str, fill: Callable[[Connection], None]) -> None:
    """Make the schema of a run with its tables, in the transaction that is open; `fill` gives them their first rows."""
    connection.script(f'CREATE SCHEMA "{schema}"; SET LOCAL search_path TO "{schema}"; {tables()} {_NOTE}')
    connection.script(deliverers.TABLES)
    connection.execute("UPDATE mark SET version = ?", (RUN_VERSION,))
    fill(connection)
    connection.execute("SELECT setval(pg_get_serial_sequence('batches', 'id'), max(id)) FROM batches")


def check_version(connection: Connection, name: str) -> None:
    """Raise LedgerError where the tables of a run are of a version this program does not know."""
    ((version,),) = connection.execute("SELECT version FROM mark").fetchall()
    if not min(_MIGRATIONS) <= version <= RUN_VERSION:
        raise _unknown(name, version, RUN_VERSION)


def migrate(connection: PostgresConnection, name: str) -> None:
    """Bring the tables of a run to this version, in the transaction that is open. Raises as `check_version`."""
    check_version(connection, name)
    ((version,),) = connection.execute("SELECT version FROM mark").fetchall()
    for step in range(version, RUN_VERSION):
        connection.script(_MIGRATIONS[step])
    connection.execute("UPDATE mark SET version = ? WHERE version <> ?", (RUN_VERSION, RUN_VERSION))


def take_ledger(
    connection: PostgresConnection, token: int, holder: str, name: str, end_writers: Callable[[], None]
) -> int:
    """Put a lease on a ledger, in the transaction that is open: whoever had one before writes no more.

    Returns how many commits it has, 0 where a later lease is on it. `end_writers` ends who is writing still.

    Raises:
        LedgerError: It is of a version this program does not know.
        UsageError: It is being moved.
    """
    end_writers()
    taken = connection.execute(_TAKE, (token, holder, token, token, holder)).fetchall()
    if not taken:
        ((has, who),) = connection.execute("SELECT token, holder FROM mark").fetchall()
        if has == BARRED:
            raise barred(name, who)
        return 0
    migrate(connection, name)
    deliverers.end_all(connection)
    return int(taken[0][0])


def _unknown(name: str, version: int, known: int) -> LedgerError:
    return LedgerError(
        f"{name} has version {version}; this backfill knows version {known}",
        hint="use the version of backfill that made it, or a later one",
    )
