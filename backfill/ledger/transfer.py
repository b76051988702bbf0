"""Everything that a ledger holds, table by table, to be written into another one."""

from __future__ import annotations

from typing import Any

from backfill.ledger.connection import Connection
from backfill.ledger.reader import SqlReader

#: Every table of a run and the order of its rows; a table comes behind those that it refers to.
_TABLES = {
    "run": "id",
    "job_calls": "position",
    "history": "rowid",
    "snapshot": "id",
    "files": "position",
    "shards": "shard",
    "batches": "id",
    "attempts": "batch, number",
    "decisions": "rowid",
    "clocks": "rowid",
    "problems": "shard, code, severity",
    "samples": "shard, position",
    "days": "call, day",
}
#: Of PostgreSQL alone: the number of a row in a table without a key; who has a batch in hand, which is nobody now.
_UNTOLD = ("rowid", "deliverer")

Contents = dict[str, list[dict[str, Any]]]


def contents(reader: SqlReader) -> Contents:
    """All rows of all tables, each by the names of its columns. Nobody may write meanwhile."""
    return {
        table: [{name: row[name] for name in row.keys() if name not in _UNTOLD} for row in reader.table(table, order)]  # noqa: SIM118
        for table, order in _TABLES.items()
    }


def fill(connection: Connection, held: Contents) -> None:
    """Write them into tables without rows, in the transaction that is open."""
    for table, rows in held.items():
        if rows:
            columns = ", ".join(f'"{name}"' for name in rows[0])
            slots = ", ".join("?" for _ in rows[0])
            insert = f"INSERT INTO {table} ({columns}) VALUES ({slots})"  # noqa: S608 - names of our own
            connection.executemany(insert, [tuple(row.values()) for row in rows])
