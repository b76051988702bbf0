"""MySQL and MariaDB through pymysql: one query in a transaction that is read only and shows one state of the database.

session (the transaction, the query's columns, its rows as the server's own text) -> failures (whose fault an error is).
Before the query is run as it stands, the server is asked for its columns with the query in brackets, which reads no
row: so nothing but one SELECT can be a query. What the server prints is read by the grammars of the columns' types, as
in a dump; nothing is decoded on the way, since decoders lose digits and zero dates.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from backfill.job.models import Job
from backfill.sources.databases.address import Address
from backfill.sources.databases.live import LiveDatabase, Session


class Mysql(LiveDatabase):
    """One query or table of one server's databases."""

    def connect(self, job: Job, address: Address, most: int | None) -> AbstractContextManager[Session]:
        """A session in a transaction of its own."""
        from backfill.sources.databases.mysql.session import connected

        return connected(job, address, most)


MYSQL = Mysql("mysql")
