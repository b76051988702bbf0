"""Connections to the database in which ledgers are."""

from __future__ import annotations

import atexit
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from backfill.errors import LedgerError, StoppedError, UsageError
from backfill.extras import required
from backfill.ledger.connection import Row
from backfill.ledger.postgres.dialect import statement
from backfill.ledger.postgres.errors import postgres_errors
from backfill.ledger.postgres.patience import GivesUp, no_answer, patient_connection

if TYPE_CHECKING:
    import psycopg

T = TypeVar("T")

#: How long a lost connection is tried to be made again, and how far apart, in seconds.
RECONNECT_SECONDS = 60.0
#: The setting of a server that forces its log to the disk.
FSYNC = "on"
_PAUSE_SECONDS = 0.5
_END_WRITERS = """
SELECT pg_terminate_backend(pid) FROM pg_locks WHERE relation IN (to_regclass(?), to_regclass(?))
AND mode IN ('RowShareLock', 'RowExclusiveLock')
AND granted AND pid <> pg_backend_pid() AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
#: What a connection asks for where the URL says nothing else: to give up, and to miss a peer that is gone.
_DEFAULTS = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",  # milliseconds
}
#: A lock is waited for no longer than that, and longer than a transaction of which the client is gone has one. How
#: long a statement may take is ours to say (`patience`). Times are told to the last digit, whatever the defaults.
_SETTINGS = (
    "SET lock_timeout = '20s'; SET statement_timeout = 0; SET idle_in_transaction_session_timeout = '10s';"
    " SET timezone = 'UTC'; SET extra_float_digits = 1; SET standard_conforming_strings = on;"
    " SET search_path TO {schema}"
)
#: Encodings of a database that take every character: SQL_ASCII keeps bytes as they are.
_ENCODINGS = ("UTF8", "SQL_ASCII")
_DURABLE = ("on", "remote_apply")


class NamedRow(tuple[Any, ...]):  # noqa: SLOT001 (a tuple has no room for others)
    """A row told by place and by name, as sqlite3.Row is."""

    places: dict[str, int]

    def keys(self) -> Iterable[str]:
        """The names of its columns."""
        return self.places.keys()

    def __getitem__(self, key: Any) -> Any:  # noqa: ANN401 (a place, a slice or a name)
        return super().__getitem__(self.places[key] if isinstance(key, str) else key)


def named_rows(cursor: psycopg.Cursor[Any]) -> Callable[[Sequence[Any]], NamedRow]:
    """Psycopg's row factory of NamedRow."""
    places = {column.name: place for place, column in enumerate(cursor.description or ())}

    def make(values: Sequence[Any]) -> NamedRow:
        row = NamedRow(values)
        row.places = places
        return row

    return make


class PostgresConnection:
    """A `Connection`: psycopg's, with the ledger's way of writing statements. Thread-safe, one statement at a time."""

    def __init__(self, raw: psycopg.Connection[Any], tag: str) -> None:
        self.raw = raw
        #: The name by which the server knows this connection, and no other.
        self.tag = tag

    @property
    def usable(self) -> bool:
        """Whether it is still there, as far as is known."""
        return not self.raw.closed and not self.raw.broken

    @property
    def given_up(self) -> bool:
        """Whether it was closed as no answer came: a server that is down would have said so, or TCP."""
        return bool(getattr(self.raw, "given_up", False))  # `patience`

    def execute(self, query: str, values: Sequence[Any] = ()) -> psycopg.Cursor[Any]:
        """Run a statement."""
        return self.raw.execute(statement(query).encode(), values)

    def executemany(self, query: str, values: Iterable[Sequence[Any]]) -> None:
        """Run a statement for each of these, in as few turns as the network allows."""
        with self.raw.cursor() as cursor:
            cursor.executemany(statement(query).encode(), values)

    def script(self, text: str) -> None:
        """Run statements that have no values."""
        self.raw.execute(text.encode())

    def close(self) -> None:
        """Close it; again does nothing."""
        self.raw.close()


class Database:
    """The database that a URL names. Making the object connects to nothing. Thread-safe."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.name = shown(url)

    def connect(self, schema: str = "backfill", *, writes: bool, gives_up: GivesUp = no_answer) -> PostgresConnection:
        """A new connection, each statement a transaction of its own until BEGIN; tables are looked for in `schema`.

        One that writes goes to the primary, and a commit is durable there when it returns (`synchronous_commit`).
        `gives_up` says how long answers to it are waited for (`patience`).

        Raises:
            StoppedError: It cannot be reached, or only reads.
            UsageError: psycopg is not installed, the URL is none, or the database's encoding lacks characters.
        """
        psycopg = _psycopg()
        tag = f"backfill {socket.gethostname()[:20]} {uuid.uuid4().hex[:16]}"
        with postgres_errors(self.name):
            try:
                given = psycopg.conninfo.conninfo_to_dict(self.url)
            except psycopg.ProgrammingError as error:
                raise UsageError(f"{self.name} is not a valid URL of PostgreSQL: {error}") from error
            told = {**_DEFAULTS, **({"target_session_attrs": "read-write"} if writes else {}), **given}
            raw: Any = patient_connection().connect(
                **{**told, "application_name": tag, "client_encoding": "UTF8"}, autocommit=True, row_factory=named_rows
            )
            connection = PostgresConnection(raw, tag)
            try:
                _check_encoding(raw, self.name)
                _adapt(raw)
                connection.script(_SETTINGS.format(schema=f'"{schema}"'))
                if writes:
                    _commit_durably(connection)
                raw.gives_up = gives_up
            except BaseException:
                connection.close()
                raise
        return connection

    def settle(self, tag: str, connection: PostgresConnection) -> None:
        """Have the server end a connection that is lost to us, with whatever transaction it is in."""
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = ?", (tag,))

    def end_writers(self, schema: str) -> None:
        """Have the server end every other connection that is writing a ledger: of a process that lost its lease.

        What swallowed that connection may keep it, and the row that it has locked, for good: a server that waits for
        the rest of a pipeline does not count it as idle.
        """
        with suppress(_psycopg().errors.InsufficientPrivilege):  # another user's: it is waited for
            self.rows(_END_WRITERS, f'"{schema}".mark', f'"{schema}".deliverers')

    def look(self) -> tuple[str, float]:
        """What the server calls itself, and the seconds it takes to answer; made sure that it can be written.

        Raises:
            StoppedError: It cannot be reached, this user may make no schema in it, or it loses commits in a crash.
        """
        with postgres_errors(self.name):
            connection = self.connect(writes=True)
            try:
                began = time.monotonic()
                (version, fsync, may), *_ = connection.execute(
                    "SELECT current_setting('server_version'), current_setting('fsync'),"
                    " has_database_privilege(current_database(), 'CREATE')"
                ).fetchall()
                seconds = time.monotonic() - began
            finally:
                connection.close()
        if not may:
            raise StoppedError(
                f"{self.name}: its user may not make schemas there", hint="GRANT CREATE ON DATABASE ... TO that user"
            )
        if fsync != FSYNC:
            raise StoppedError(
                f"{self.name} loses commits in a crash: fsync is {fsync}", hint="turn fsync on in postgresql.conf"
            )
        return f"PostgreSQL {version}", seconds

    def rows(self, query: str, *values: object) -> list[Row]:
        """What a query of the tables of all runs gives; asked again where the connection turns out to be lost."""
        with postgres_errors(self.name):
            return _LOOKING.rows(self, query, values)

    def transaction(self, perform: Callable[[PostgresConnection], T], schema: str = "backfill") -> T:
        """Do this in one transaction on a connection of its own; durable on return, and nothing of it on an error."""
        with postgres_errors(self.name):
            connection = self.connect(schema, writes=True)
            try:
                connection.script("BEGIN")
                done = perform(connection)
                connection.script("COMMIT")
            finally:
                connection.close()
            return done


class _Looking:
    """The connection by which this process looks into the database that it looked into last. Thread-safe.

    Nobody says when a store is used no more: so it is the process's, and one, not the store's.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._url = ""
        self._connection: PostgresConnection | None = None

    def rows(self, database: Database, query: str, values: Sequence[object]) -> list[Row]:
        with self._lock:
            for last in (False, True):
                connection = self._connected(database)
                try:
                    return connection.execute(query, values).fetchall()
                except Exception:
                    if last or connection.usable:
                        raise
            raise AssertionError

    def _connected(self, database: Database) -> PostgresConnection:
        if self._connection is not None and (self._url != database.url or not self._connection.usable):
            self.close()
        if self._connection is None:
            self._url, self._connection = database.url, database.connect(writes=False)
        return self._connection

    def close(self) -> None:
        """Close it; it is made again where it is needed."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


_LOOKING = _Looking()
atexit.register(_LOOKING.close)


def until_connected(connect: Callable[[], PostgresConnection], stopping: Callable[[], bool]) -> PostgresConnection:
    """A connection in the place of one that was lost: tried for a minute, a server that starts needs some seconds.

    Raises:
        BackfillError: As of the last try; the first where `stopping` says that it is no use.
    """
    until = time.monotonic() + RECONNECT_SECONDS
    while True:
        try:
            return connect()
        except StoppedError:
            if stopping() or time.monotonic() > until:
                raise
            time.sleep(_PAUSE_SECONDS)


def _psycopg() -> Any:  # noqa: ANN401 (a module)
    return required("psycopg", "postgres", "Runs in PostgreSQL", made="kept")


def shown(url: str) -> str:
    """The URL as it may be shown: without password and options."""
    scheme, _, rest = url.partition("://")
    place = rest.partition("?")[0]
    user, at, host = place.rpartition("@")
    return f"{scheme}://{user.partition(':')[0]}{at}{host}"


def _adapt(raw: psycopg.Connection[Any]) -> None:
    """Give and take values as SQLite does: truth as 0 and 1, sums as whole numbers, no text that a table refuses."""
    from psycopg.types.numeric import Int2Dumper, IntLoader  # noqa: PLC0415 (as psycopg itself)
    from psycopg.types.string import StrDumperUnknown  # noqa: PLC0415

    class Truth(Int2Dumper):
        def dump(self, obj: Any) -> bytes:  # noqa: ANN401
            return b"1" if obj else b"0"

    class Text(StrDumperUnknown):  # PostgreSQL has no NUL in a text (docs, 8.3)
        def dump(self, obj: str) -> Any:  # noqa: ANN401
            return super().dump(obj.replace("\0", "\ufffd") if "\0" in obj else obj)

    raw.adapters.register_dumper(bool, Truth)
    raw.adapters.register_dumper(str, Text)
    raw.adapters.register_loader("numeric", IntLoader)


def _check_encoding(raw: psycopg.Connection[Any], name: str) -> None:
    """Raise UsageError where the database has no place for every character: a run would stop at the first one."""
    encoding = raw.info.parameter_status("server_encoding")
    if encoding not in _ENCODINGS:
        raise UsageError(
            f"{name} is encoded in {encoding}, which does not have every character",
            hint="CREATE DATABASE ... TEMPLATE template0 ENCODING 'UTF8', and name that one",
        )


def _commit_durably(connection: PostgresConnection) -> None:
    """Have commits of this connection survive a crash of the server, whatever its default is.

    Raises:
        LedgerError: The server does not let it.
    """
    asked = "SELECT current_setting('synchronous_commit')"
    if connection.execute(asked).fetchall()[0][0] not in _DURABLE:
        connection.script("SET synchronous_commit = on")
    (setting,) = connection.execute(asked).fetchall()[0]
    if setting not in _DURABLE:
        raise LedgerError(
            f"commits are not durable in this database: synchronous_commit is {setting}",
            hint="connect to the server itself, or to a pooler that keeps a session's settings",
        )
