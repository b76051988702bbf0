"""A transaction over one query: its columns, its rows as Arrow batches, and the settings that make both steady."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pyarrow as pa  # type: ignore[import-untyped]

from backfill.extras import required
from backfill.job.models import Job
from backfill.memory import BATCH_BYTES
from backfill.sources.databases.address import Address
from backfill.sources.databases.live import ResultColumn, Session
from backfill.sources.databases.postgres.failures import Failures
from backfill.sources.databases.postgres.types import PostgresType, asked, mended
from backfill.sources.sql_tokens import NAME, TEXT, tokens, without_end

#: What every connection has, unless the URL says otherwise: a server that is gone is noticed within a minute.
_USUAL = {
    "application_name": "backfill",
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}
#: Settings that make a value's text the same everywhere, and a table's rows come in the same order.
_SETTINGS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "extra_float_digits": "3",
    "synchronize_seqscans": "off",
}
#: Sessions whose server does not even end a query that is cancelled: they end with the process.
_LEFT: list[PostgresSession] = []
#: https://www.postgresql.org/docs/current/sql-syntax-lexical.html
_TOKENS = tokens(r"[eE]'(?:[^'\\]|\\.|'')*'", TEXT, NAME, r"\$(?P<tag>\w*)\$.*?\$(?P=tag)\$", end=r"\*/")
#: A part of the name of a table: in double quotes, or all up to the next dot.
_NAME_PART = re.compile(r'"((?:[^"]|"")+)"|([^".]+)')
#: The query in brackets, and where it begins in that.
_DESCRIBED = "SELECT * FROM (\n"


@contextmanager
def connected(job: Job, address: Address, most: int | None) -> Iterator[Session]:
    """A session in a transaction of its own; raises as LiveDatabase.connect says."""
    dbapi = required("adbc_driver_postgresql.dbapi", "postgres", "PostgreSQL databases")
    failures = Failures(job, address)

    def connect() -> Any:  # noqa: ANN401 (a connection of dbapi)
        with failures.while_connecting():
            return dbapi.connect(uri_of(address.uri))

    session = PostgresSession(connect(), failures, query_of(job), most)
    try:
        session.begin()
        if job.source.partition_on is None:
            yield session
            return
        from backfill.sources.databases.postgres.parts import PartedSession  # which imports this

        parted = PartedSession(session, connect, job.source.partition_on, job.source.partitions)
        yield parted if most is None else session
    finally:
        session.close()


class PostgresSession:
    """A transaction over one query. Statements run in the thread that asks, rows in the one that takes them."""

    def __init__(self, connection: Any, failures: Failures, query: str, most: int | None) -> None:  # noqa: ANN401
        self._connection, self.failures, self._query, self._most = connection, failures, query, most
        self._cursor = connection.cursor()
        self._busy = False  # some thread waits for the server
        self._expressions: list[str] = []
        self.columns: tuple[ResultColumn, ...] = ()

    def part(self, connection: Any, snapshot: str) -> PostgresSession:  # noqa: ANN401
        """Another session over the same query, in the same state of the database, which this one has exported."""
        part = PostgresSession(connection, self.failures, self._query, self._most)
        part.columns, part._expressions = self.columns, self._expressions
        part._begin_transaction(snapshot)
        return part

    def begin(self) -> None:
        """Make sure that nothing is written, and find out the columns."""
        self._begin_transaction()
        with self.failures.while_asking(before=len(_DESCRIBED)):
            schema = self._cursor.adbc_execute_schema(f"{_DESCRIBED}{self._query}\n) AS q LIMIT 0")
        if not schema.names:
            return
        with self.failures.while_asking():
            types = self._types(len(schema.names))
        pairs = [asked(kind, f"c{at}", name) for at, (kind, name) in enumerate(zip(types, schema.names, strict=True))]
        self._expressions = [f"{expression} AS c{at}" for at, (expression, _) in enumerate(pairs)]
        self.columns = tuple(column for _, column in pairs)

    def _begin_transaction(self, snapshot: str = "") -> None:
        with self.failures.while_asking():
            self.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            if snapshot:
                self.run(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
            settings = (f"set_config('{name}', '{value}', true)" for name, value in _SETTINGS.items())
            encoding = self.run(f"SELECT current_setting('server_encoding'), {', '.join(settings)}")[0][0]
            if encoding == "SQL_ASCII":  # the server would fail at the first byte that is no UTF-8
                self.run("SELECT set_config('client_encoding', 'SQL_ASCII', true)")

    def _types(self, count: int) -> list[PostgresType]:
        """The types of the columns, domains undone, by a query that reads none of its rows."""
        names = ", ".join(f"c{at}" for at in range(count))
        kinds = ", ".join(f"({at}, pg_typeof(q.c{at})::oid)" for at in range(count))
        rows = self.run(
            "SELECT t.typname, format_type(t.oid, NULL), t.typtype, t.typcategory, n.nspname = 'pg_catalog', "
            "coalesce(e.typname, ''), coalesce(e.typtype, ' ') "
            f"FROM (SELECT 1) AS one LEFT JOIN (SELECT * FROM (\n{self._query}\n) AS q({names}) LIMIT 0) AS q ON true "
            f"CROSS JOIN LATERAL (VALUES {kinds}) AS v(place, type) CROSS JOIN LATERAL ("
            "WITH RECURSIVE base(oid) AS (SELECT v.type UNION ALL "
            "SELECT typbasetype FROM base JOIN pg_catalog.pg_type USING (oid) WHERE typtype = 'd') "
            "SELECT p.* FROM base JOIN pg_catalog.pg_type AS p USING (oid) WHERE typtype <> 'd') AS t "
            "JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace "
            "LEFT JOIN pg_catalog.pg_type AS e ON e.oid = t.typelem AND t.typcategory = 'A' AND t.typlen = -1 "
            "ORDER BY v.place"
        )
        texts = [[_text(value) for value in row] for row in rows]
        return [
            PostgresType(name, shown, kind, category, own == "True", element, element_kind)
            for name, shown, kind, category, own, element, element_kind in texts
        ]

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows; raises as Session.batches says."""
        yield from self.batches_of("" if self._most is None else f" LIMIT {self._most}", BATCH_BYTES)

    @property
    def relation(self) -> str:
        """SQL: the query as a table q of columns c0, c1 ..."""
        names = ", ".join(f"c{at}" for at in range(len(self.columns)))
        return f"(\n{self._query}\n) AS q({names})"

    def batches_of(self, clauses: str, batch_bytes: int) -> Iterator[pa.RecordBatch]:
        """The rows that clauses behind FROM leave, in batches of about that size; raises as Session.batches says."""
        select = f"SELECT {', '.join(self._expressions)} FROM {self.relation}{clauses}"
        types = [column.type for column in self.columns]
        with self._waiting(), self.failures.while_reading():
            self._cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(batch_bytes)})
            self._cursor.execute(select)
            with self._cursor.fetch_record_batch() as reader:
                for batch in reader:
                    arrays = [mended(values.cast(kind)) for values, kind in zip(batch.columns, types, strict=True)]
                    yield pa.RecordBatch.from_arrays(arrays, [column.name for column in self.columns])

    def cancel(self) -> None:
        """End the query at the server."""
        with suppress(Exception):  # it has ended by itself, or its server is gone
            self._cursor.adbc_cancel()

    def close(self) -> None:
        """End the transaction; not while another thread waits for a server that says nothing, and is at its memory."""
        if self._busy:
            _LEFT.append(self)
        else:
            with suppress(Exception):  # the connection is gone already
                self._cursor.close()
            with suppress(Exception):
                self._connection.close()

    def run(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows that a statement gives; raises the driver's errors."""
        with self._waiting():
            self._cursor.execute(statement)
            found: list[tuple[Any, ...]] = self._cursor.fetchall()
            return found

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """A block in which the driver is at work: what it works with is not to be closed by another thread."""
        before, self._busy = self._busy, True
        try:
            yield
        finally:
            self._busy = before


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def query_of(job: Job) -> str:
    """The job's query, or that for all rows of its table, without what it ends with and means nothing."""
    if job.source.query is not None:
        return without_end(job.source.query, _TOKENS)
    parts = [quoted or plain for quoted, plain in _NAME_PART.findall(job.source.table or "")]
    return "SELECT * FROM " + ".".join('"' + part.replace('""', '"').replace('"', '""') + '"' for part in parts)


def uri_of(url: str) -> str:
    """The URL with what every connection has; text comes as UTF-8, whatever the database is kept in."""
    parts = urlsplit(url)
    query = _USUAL | dict(parse_qsl(parts.query, keep_blank_values=True)) | {"client_encoding": "UTF8"}
    # libpq's URLs have no `+` for a blank.
    return f"{parts.scheme}://{parts.netloc}{parts.path}?{urlencode(query).replace('+', '%20')}"
