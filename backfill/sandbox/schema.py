"""The schema of the sandbox's SQLite file, and how a file of an earlier version is brought to it.

`calls` and `drops` share their numbers, which tell the order of arrival. A facet is a combination of run, outcome, type
and event: calls are counted and found by it. `by_user` and `by_id` are filled later than the calls (`lookups`).
"""

from __future__ import annotations

from typing import Final

SCHEMA_VERSION: Final = 2

#: Tables of version 1, as they stand in version 2.
_CALLS = """
CREATE TABLE ids (number INTEGER PRIMARY KEY, message_id TEXT NOT NULL, received_ms INTEGER NOT NULL) STRICT;
CREATE TABLE calls (
    number INTEGER PRIMARY KEY, message_id TEXT NOT NULL, type TEXT NOT NULL, received_ms INTEGER NOT NULL,
    timestamp TEXT NOT NULL, original_timestamp TEXT, sent_at TEXT, json TEXT NOT NULL,
    request INTEGER, facet INTEGER, user TEXT) STRICT;
CREATE TABLE drops (
    number INTEGER PRIMARY KEY, reason TEXT NOT NULL, message_id TEXT, type TEXT, received_ms INTEGER NOT NULL,
    request INTEGER, facet INTEGER, user TEXT, timestamp TEXT, original_timestamp TEXT, sent_at TEXT, json TEXT) STRICT;
CREATE TABLE counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""
_BROWSED = """
CREATE TABLE runs (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL,
    requests INTEGER NOT NULL) STRICT;
CREATE TABLE requests (
    number INTEGER PRIMARY KEY, run INTEGER NOT NULL, received_ms INTEGER NOT NULL, first_id TEXT,
    calls INTEGER NOT NULL, accepted INTEGER NOT NULL, duplicate INTEGER NOT NULL, body_bytes INTEGER NOT NULL,
    answer TEXT NOT NULL) STRICT;
CREATE INDEX requests_of_run ON requests (run);
CREATE INDEX attempts ON requests (run, first_id, calls);
CREATE TABLE facets (
    number INTEGER PRIMARY KEY, run INTEGER NOT NULL, outcome TEXT NOT NULL, type TEXT NOT NULL, event TEXT NOT NULL,
    calls INTEGER NOT NULL, UNIQUE (run, outcome, type, event)) STRICT;
CREATE TABLE days (
    run INTEGER NOT NULL, type TEXT NOT NULL, day TEXT NOT NULL, calls INTEGER NOT NULL,
    PRIMARY KEY (run, type, day)) STRICT, WITHOUT ROWID;
CREATE INDEX calls_by_facet ON calls (facet);
CREATE INDEX drops_by_facet ON drops (facet);
CREATE TABLE marks (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE by_user (
    part INTEGER NOT NULL, user TEXT NOT NULL, timestamp TEXT NOT NULL, number INTEGER NOT NULL, facet INTEGER NOT NULL,
    PRIMARY KEY (part, user, timestamp, number)) STRICT, WITHOUT ROWID;
CREATE TABLE by_id (
    part INTEGER NOT NULL, run INTEGER NOT NULL, message_id TEXT NOT NULL, number INTEGER NOT NULL,
    digest INTEGER NOT NULL, PRIMARY KEY (part, run, message_id, number)) STRICT, WITHOUT ROWID;
"""

NEW: Final = f"BEGIN; {_CALLS} {_BROWSED} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"

#: How version 1 is read: what a call is counted by stands in its JSON alone.
_EVENT = """substr(coalesce(CASE WHEN json_valid(json) THEN json_extract(json, CASE type
    WHEN 'track' THEN '$.event' WHEN 'page' THEN '$.name' WHEN 'screen' THEN '$.name' END) END, ''), 1, 200)"""
_USER = (
    "CASE WHEN json_valid(json) THEN coalesce(json_extract(json, '$.userId'), json_extract(json, '$.anonymousId')) END"
)

#: The numbers of drops are moved behind those of calls: nothing tells in which order they had come.
FROM_VERSION_1: Final = f"""
BEGIN;
ALTER TABLE calls RENAME TO old_calls; ALTER TABLE drops RENAME TO old_drops;
{_CALLS.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS")} {_BROWSED}
INSERT INTO runs SELECT 1, '', coalesce(min(received_ms), 0), coalesce(max(received_ms), 0), 0 FROM ids;
INSERT INTO facets SELECT row_number() OVER (), 1, * FROM (
    SELECT 'accepted' AS outcome, type, {_EVENT} AS event, count(*) FROM old_calls GROUP BY 1, 2, 3
    UNION ALL SELECT reason, coalesce(type, ''), '', count(*) FROM old_drops GROUP BY 1, 2);
INSERT INTO calls SELECT o.number, message_id, o.type, received_ms, timestamp, original_timestamp, sent_at, json,
    NULL, f.number, {_USER} FROM (SELECT *, {_EVENT} AS event FROM old_calls) AS o
    JOIN facets AS f ON f.outcome = 'accepted' AND f.type = o.type AND f.event = o.event;
INSERT INTO drops (number, reason, message_id, type, received_ms, facet)
    SELECT o.number + (SELECT coalesce(max(number), 0) FROM calls), reason, message_id, o.type, received_ms, f.number
    FROM old_drops AS o JOIN facets AS f ON f.outcome = o.reason AND f.type = coalesce(o.type, '');
INSERT INTO days SELECT 1, type, substr(timestamp, 1, 10), count(*) FROM calls GROUP BY 2, 3;
INSERT INTO marks SELECT 'kept', count(*) FROM calls;
DROP TABLE old_calls; DROP TABLE old_drops;
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""  # noqa: S608 (no value of anybody's is in it)

COLUMNS: Final = {
    "ids": ("number", "message_id", "received_ms"),
    "calls": (
        *("number", "message_id", "type", "received_ms", "timestamp", "original_timestamp", "sent_at", "json"),
        *("request", "facet", "user"),
    ),
    "drops": (
        *("number", "reason", "message_id", "type", "received_ms", "request", "facet", "user"),
        *("timestamp", "original_timestamp", "sent_at", "json"),
    ),
    "requests": (
        *("number", "run", "received_ms", "first_id", "calls", "accepted", "duplicate", "body_bytes", "answer"),
    ),
}
