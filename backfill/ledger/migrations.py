"""Ledgers of earlier versions: what they lack is made up for when they are read, and written when they are opened.

Version 1 had no facts of the job but its data as written, with the target's envelope in a field of its own. Version 2
had no profile of its shards: that of an old plan is not known.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from backfill.ledger.connection import Connection
from backfill.ledger.schema import JOB_CALLS, SCHEMA_VERSION
from backfill.records import CallFacts, JobFacts

#: Of the job's data in a ledger of version 1: no field of a job has this name.
ENVELOPE_FIELD = "target.envelope"
#: The version that has profiles of shards.
PROFILES_SINCE = 3


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a ledger of an earlier version to this one, in the transaction that is open."""
    if connection.execute("PRAGMA user_version").fetchone()[0] == 1:
        _give_facts(connection)
    connection.execute("ALTER TABLE shards ADD COLUMN profile BLOB NOT NULL DEFAULT x''")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _give_facts(connection: sqlite3.Connection) -> None:
    """Bring a ledger of version 1 to version 2."""
    connection.execute("ALTER TABLE run ADD COLUMN envelope TEXT NOT NULL DEFAULT ''")
    connection.execute("ALTER TABLE run ADD COLUMN ordered INTEGER NOT NULL DEFAULT 0")
    connection.execute("ALTER TABLE run ADD COLUMN has_query INTEGER NOT NULL DEFAULT 0")
    connection.execute(JOB_CALLS)
    (text,) = connection.execute("SELECT job_data FROM run").fetchone()
    data, envelope, facts = split_job_data(text)
    connection.execute("UPDATE run SET job_data = ?, envelope = ?", (data, envelope))
    insert_facts(connection, facts)


def insert_facts(connection: Connection, facts: JobFacts) -> None:
    """Write the facts of the job of a run that is recorded."""
    connection.execute("UPDATE run SET ordered = ?, has_query = ?", (facts.ordered, facts.has_query))
    connection.executemany(
        "INSERT INTO job_calls (position, scope, key_size, given_id, by_content) VALUES (?, ?, ?, ?, ?)",
        [(place, one.scope, one.key_size, one.given_id, one.by_content) for place, one in enumerate(facts.calls)],
    )


def split_job_data(text: str) -> tuple[str, str, JobFacts]:
    """Of the job's data in a ledger of version 1: the job's own as JSON, the target's envelope, and the facts."""
    data = json.loads(text)
    envelope = str(data.pop(ENVELOPE_FIELD, ""))
    defaults = data.get("defaults") or {}
    facts = JobFacts(
        calls=tuple(_call_facts(call, defaults) for call in data.get("calls", ())),
        ordered=bool(data.get("ordered")),
        has_query=data.get("source", {}).get("query") is not None,
    )
    return json.dumps(data, ensure_ascii=False) if envelope else text, envelope, facts


def _call_facts(call: Mapping[str, Any], defaults: Mapping[str, Any]) -> CallFacts:
    scope = str(call.get("label") or call["type"])
    own = next((one for one in (call, defaults) if "message_key" in one or "message_id" in one), {})
    if "message_id" in own:
        return CallFacts(scope, 1, given_id=True)
    key = own.get("message_key")
    if key == "row":
        return CallFacts(scope, 2)  # the file and the record's number
    return CallFacts(scope, len(key) if isinstance(key, list) else 1, by_content=key == "content")
