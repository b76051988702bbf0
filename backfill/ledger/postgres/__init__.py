"""Ledgers in a PostgreSQL database: of each run one in a schema of its own, and of all runs the schema `backfill`.

What is promised is what the ledger in a file promises (`records.ledgers`); in place of a lock there is a lease.
"""

from backfill.ledger.postgres.database import Database
from backfill.ledger.postgres.leases import Lease, holder_of, take_lease
from backfill.ledger.postgres.ledger import PostgresLedger, PostgresReader
from backfill.ledger.postgres.registry import RegisteredRun, Registry

__all__ = [
    "Database",
    "Lease",
    "PostgresLedger",
    "PostgresReader",
    "RegisteredRun",
    "Registry",
    "holder_of",
    "take_lease",
]
