"""Ledgers in a PostgreSQL database: of each run one in a schema of its own, and of all runs the schema `backfill`.

What is promised is what the ledger in a file promises (`records.ledgers`); in place of a lock there is a lease.
"""

from backfill.ledger.postgres.database import Database
from backfill.ledger.postgres.leases import Lease, holders_of, share_lease, take_lease
from backfill.ledger.postgres.ledger import DeliveringLedger, PostgresLedger, PostgresReader
from backfill.ledger.postgres.registry import RegisteredRun, Registry

__all__ = [
    "Database",
    "DeliveringLedger",
    "Lease",
    "PostgresLedger",
    "PostgresReader",
    "RegisteredRun",
    "Registry",
    "holders_of",
    "share_lease",
    "take_lease",
]
