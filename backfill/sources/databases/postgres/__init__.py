"""PostgreSQL through its ADBC driver: one query, as one COPY in a transaction that is read only and repeatable.

session (the transaction, the query's columns and rows) -> types (the SQL that gives each type exactly) and failures
(whose fault an error is). The query is run once; before that the server is asked for the types of its columns, which
reads no row. It stands in brackets there and later, so that nothing but one SELECT can be a query. Credentials beside
the URL are libpq's business: PGPASSWORD, ~/.pgpass, service files
(https://www.postgresql.org/docs/current/libpq-envars.html).
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from backfill.job.models import Job
from backfill.sources.databases.address import Address
from backfill.sources.databases.live import LiveDatabase, Session


class Postgres(LiveDatabase):
    """One query or table of one PostgreSQL database."""

    def connect(self, job: Job, address: Address, most: int | None) -> AbstractContextManager[Session]:
        """A session in a transaction of its own."""
        from backfill.sources.databases.postgres.session import connected

        return connected(job, address, most)


POSTGRESQL = Postgres("postgresql")
