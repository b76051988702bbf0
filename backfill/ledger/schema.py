"""The ledger's tables, and the views that people may build upon (docs/ledger.md describes the views).

The text is SQLite's, in the words that PostgreSQL has as well, but for the types (`postgres.dialect`).

Rule 1: a batch is in exactly one state, and only `sql_plan` and `sql_delivery` move it.
Rule 2: batches form a tree: halving gives a refused batch children that stand for it. Counts are over leaves only.
Rule 3: an attempt without an outcome is one whose process died or whose answer is under way: it may have arrived.
Rule 4: times are POSIX seconds in tables and ISO 8601 in UTC in views.
Rule 5: tables may change with SCHEMA_VERSION, views only grow.
"""

from __future__ import annotations

from collections.abc import Callable

#: SQLite's application_id of every ledger: the bytes of "bkfl".
APPLICATION_ID = 0x626B666C
#: SQLite's user_version. A ledger of a later one is refused, never guessed at; of an earlier one see `migrations`.
SCHEMA_VERSION = 3
#: What to do about a damaged ledger.
DAMAGED = "restore it from a copy if there is one; a new run needs a higher generation, and sends all again"
#: Shard number of the problems found while staging, before there are shards.
STAGING = -1
#: That of what is found of all calls together, after the last shard.
ALTOGETHER = -2

#: What runs need to know of each call of their job.
JOB_CALLS = """CREATE TABLE job_calls (
    position    INTEGER PRIMARY KEY,
    scope       TEXT NOT NULL,
    key_size    INTEGER NOT NULL,
    given_id    INTEGER NOT NULL,
    by_content  INTEGER NOT NULL
) STRICT;"""

TABLES = """
CREATE TABLE run (
    id                INTEGER PRIMARY KEY CHECK (id = 1),
    run_id            TEXT NOT NULL,
    job_name          TEXT NOT NULL,
    job_file          TEXT NOT NULL,
    generation        INTEGER NOT NULL,
    target_name       TEXT NOT NULL,
    target_kind       TEXT NOT NULL,
    target_identity   TEXT NOT NULL,
    live              INTEGER NOT NULL,
    id_scope          TEXT NOT NULL,
    job_fingerprint   TEXT NOT NULL,
    job_data          TEXT NOT NULL,
    backfill_version  TEXT NOT NULL,
    library_version   TEXT NOT NULL,
    created_at        REAL NOT NULL,
    only_new          INTEGER NOT NULL DEFAULT 0,
    state             TEXT NOT NULL,
    state_at          REAL NOT NULL,
    exit_code         INTEGER,
    detail            TEXT NOT NULL DEFAULT '',
    plan_digest       TEXT,
    envelope          TEXT NOT NULL DEFAULT '',
    ordered           INTEGER NOT NULL DEFAULT 0,
    has_query         INTEGER NOT NULL DEFAULT 0
) STRICT;

-- How many transactions were committed: compared with the mark beside the file (`mark`). The CRC-32 of this schema.
CREATE TABLE mark (
    commits  INTEGER NOT NULL,
    schema   INTEGER NOT NULL
) STRICT;
INSERT INTO mark VALUES (0, 0);

CREATE TABLE history (
    at         REAL NOT NULL,
    state      TEXT NOT NULL,
    exit_code  INTEGER,
    detail     TEXT NOT NULL
) STRICT;

CREATE TABLE snapshot (
    id             INTEGER PRIMARY KEY CHECK (id = 1),
    read           INTEGER NOT NULL,
    filtered       INTEGER NOT NULL,
    unreadable     INTEGER NOT NULL,
    rows           INTEGER NOT NULL,
    calls_per_row  INTEGER NOT NULL,
    in_place       INTEGER NOT NULL,
    recorded_at    REAL NOT NULL
) STRICT;

CREATE TABLE files (
    position  INTEGER PRIMARY KEY,
    path      TEXT NOT NULL,
    name      TEXT NOT NULL,
    key       TEXT NOT NULL,
    bytes     INTEGER NOT NULL,
    sha256    TEXT NOT NULL,
    mtime_ns  INTEGER NOT NULL,
    ctime_ns  INTEGER NOT NULL,
    inode     TEXT NOT NULL
) STRICT;

CREATE TABLE shards (
    shard              INTEGER PRIMARY KEY,
    rows               INTEGER NOT NULL,
    planned            INTEGER NOT NULL,
    skipped            INTEGER NOT NULL,
    rejected           INTEGER NOT NULL,
    duplicate          INTEGER NOT NULL,
    already_delivered  INTEGER NOT NULL DEFAULT 0,
    days               TEXT NOT NULL,
    json_bytes         INTEGER NOT NULL,
    segment_bytes      INTEGER NOT NULL,
    segment_sha256     TEXT NOT NULL,
    calls_sha256       TEXT NOT NULL,
    profile            BLOB NOT NULL DEFAULT x''
) STRICT;

CREATE TABLE batches (
    id                INTEGER PRIMARY KEY,
    parent            INTEGER REFERENCES batches (id),
    root              INTEGER REFERENCES batches (id),
    shard             INTEGER NOT NULL REFERENCES shards (shard),
    ordinal           INTEGER NOT NULL,
    state             TEXT NOT NULL CHECK (state IN ('planned', 'sent', 'delivered', 'rejected', 'split', 'left')),
    calls             INTEGER NOT NULL,
    bytes             INTEGER NOT NULL,
    "offset"          INTEGER NOT NULL,
    length            INTEGER NOT NULL,
    crc32             INTEGER NOT NULL,
    first_call        INTEGER NOT NULL,
    start             INTEGER,
    attempts          INTEGER NOT NULL DEFAULT 0,
    first_unknown_at  REAL,
    status            INTEGER,
    detail            TEXT
) STRICT;
CREATE INDEX batches_to_deliver ON batches (shard, first_call, id) WHERE state IN ('planned', 'sent');
CREATE INDEX batches_of_root ON batches (root) WHERE root IS NOT NULL;

CREATE TABLE attempts (
    batch       INTEGER NOT NULL REFERENCES batches (id),
    number      INTEGER NOT NULL,
    sent_at     REAL NOT NULL,
    ended_at    REAL,
    outcome     TEXT CHECK (outcome IN ('accepted', 'refused', 'unknown')),
    status      INTEGER,
    detail      TEXT NOT NULL DEFAULT '',
    seconds     REAL,
    wire_bytes  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (batch, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX attempts_open ON attempts (batch) WHERE outcome IS NULL;

CREATE TABLE decisions (
    batch             INTEGER NOT NULL REFERENCES batches (id),
    at                REAL NOT NULL,
    decision          TEXT NOT NULL CHECK (decision IN ('resend', 'skip')),
    first_unknown_at  REAL
) STRICT;

CREATE TABLE clocks (
    at      REAL NOT NULL,
    boot    TEXT NOT NULL,
    up      REAL NOT NULL,
    "window"  REAL NOT NULL
) STRICT;

CREATE TABLE problems (
    shard     INTEGER NOT NULL,
    code      TEXT NOT NULL,
    severity  TEXT NOT NULL,
    count     INTEGER NOT NULL,
    PRIMARY KEY (shard, code, severity)
) STRICT, WITHOUT ROWID;

CREATE TABLE samples (
    shard     INTEGER NOT NULL,
    position  INTEGER NOT NULL,
    code      TEXT NOT NULL,
    problem   TEXT NOT NULL,
    PRIMARY KEY (shard, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE days (
    call   TEXT NOT NULL,
    day    TEXT NOT NULL,
    calls  INTEGER NOT NULL,
    PRIMARY KEY (call, day)
) STRICT, WITHOUT ROWID;
"""


def first_of(one: str, other: str) -> str:
    """SQL for the earlier of two times; of one that is null the other."""
    return f"CASE WHEN {one} <= {other} THEN {one} ELSE coalesce({other}, {one}) END"


def sqlite_time(column: str) -> str:
    """SQLite's expression for a POSIX time as ISO 8601 text in UTC, to the millisecond; null stays null."""
    return f"strftime('%Y-%m-%dT%H:%M:%fZ', {column}, 'unixepoch')"


#: A leaf with an attempt of unknown outcome and none accepted, or a part of a batch that had one. A refusal for good
#: settles it: they were the same bytes. What is left in doubt stays so.
_IN_DOUBT = """(b.state = 'left' OR b.state IN ('planned', 'sent') AND (b.first_unknown_at IS NOT NULL
    OR EXISTS (SELECT 1 FROM attempts a WHERE a.batch = b.id AND a.outcome IS NULL)))"""


def views(time_text: Callable[[str], str]) -> str:
    """The statements that make the views; `time_text` is how this database writes a time (`sqlite_time`)."""
    since = first_of("b.first_unknown_at", "o.sent_at")
    return f"""
CREATE VIEW v_run AS
SELECT run_id, job_name, job_file, generation, target_name, target_kind, target_identity, live, id_scope, state,
    {time_text("state_at")} AS state_at, exit_code, detail, {time_text("created_at")} AS created_at, backfill_version,
    library_version, plan_digest, only_new
FROM run;

CREATE VIEW v_history AS
SELECT {time_text("at")} AS at, state, exit_code, detail FROM history ORDER BY rowid;

CREATE VIEW v_batches AS
SELECT b.id, b.parent, b.shard, b.first_call, b.calls, b.bytes, b.attempts, b.state,
    CASE WHEN {_IN_DOUBT} THEN 'in_doubt' WHEN b.state IN ('planned', 'sent') THEN 'pending' ELSE b.state END
    AS standing, b.status, b.detail
FROM batches b;

CREATE VIEW v_attempts AS
SELECT a.batch, a.number, {time_text("a.sent_at")} AS sent_at, {time_text("a.ended_at")} AS ended_at, a.outcome,
    a.status, a.detail, a.seconds, a.wire_bytes, b.calls
FROM attempts a JOIN batches b ON b.id = a.batch;

CREATE VIEW v_problems AS
SELECT code, severity, sum(count) AS count FROM problems GROUP BY code, severity ORDER BY code, severity;

CREATE VIEW v_calls_per_day AS
SELECT day, call, calls FROM days ORDER BY day, call;

CREATE VIEW v_in_doubt AS
SELECT b.id AS batch, b.shard, b.first_call, b.calls, b.attempts,
    {time_text(f"nullif({since}, 0)")} AS first_unknown_at, b.state
FROM batches b
LEFT JOIN (SELECT batch, min(sent_at) AS sent_at FROM attempts WHERE outcome IS NULL GROUP BY batch) o
    ON o.batch = b.id
WHERE {_IN_DOUBT};

CREATE VIEW v_decisions AS
SELECT d.batch, {time_text("d.at")} AS at, d.decision, {time_text("nullif(d.first_unknown_at, 0)")} AS first_unknown_at,
    b.calls
FROM decisions d JOIN batches b ON b.id = d.batch ORDER BY d.rowid;

CREATE VIEW v_counts AS
WITH leaves AS (
    SELECT coalesce(sum(calls) FILTER (WHERE standing = 'delivered'), 0) AS delivered,
        coalesce(sum(calls) FILTER (WHERE standing = 'rejected'), 0) AS refused,
        coalesce(sum(calls) FILTER (WHERE standing = 'in_doubt'), 0) AS in_doubt,
        coalesce(sum(calls) FILTER (WHERE standing = 'pending'), 0) AS pending,
        coalesce(sum(calls) FILTER (WHERE state = 'left'), 0) AS left_in_doubt
    FROM v_batches WHERE state <> 'split'
), roots AS (
    SELECT count(*) AS batches, coalesce(sum(bytes), 0) AS json_bytes FROM batches WHERE parent IS NULL
), refused AS (  -- the first batch of a run is cut in two before anything of it is sent
    SELECT count(DISTINCT coalesce(root, id)) AS split FROM batches WHERE state = 'split' AND attempts > 0
), sent AS (
    SELECT count(*) AS requests, count(*) FILTER (WHERE number > 1) AS retries,
        coalesce(sum(wire_bytes), 0) AS wire_bytes, min(sent_at) AS first_sent_at,
        max(coalesce(ended_at, sent_at)) AS last_ended_at
    FROM attempts WHERE NOT (coalesce(outcome, '') = 'refused' AND status IS NULL)  -- those never left
), plan AS (
    SELECT coalesce(sum(rows), 0) AS mapped, coalesce(sum(planned), 0) AS planned,
        coalesce(sum(skipped), 0) AS skipped, coalesce(sum(rejected), 0) AS rejected,
        coalesce(sum(duplicate), 0) AS duplicate, coalesce(sum(already_delivered), 0) AS already_delivered
    FROM shards
)
SELECT coalesce(s.read, 0) AS read, coalesce(s.filtered, 0) AS filtered, coalesce(s.unreadable, 0) AS unreadable,
    plan.mapped, coalesce(s.calls_per_row, 0) AS calls_per_row, plan.planned, plan.skipped, leaves.delivered,
    plan.rejected + leaves.refused AS rejected, plan.duplicate, plan.already_delivered, leaves.in_doubt,
    leaves.pending, roots.batches, sent.requests, sent.retries, roots.json_bytes, sent.wire_bytes,
    sent.first_sent_at, sent.last_ended_at, refused.split, leaves.refused, leaves.left_in_doubt
FROM leaves, roots, refused, sent, plan LEFT JOIN snapshot s ON s.id = 1;

CREATE VIEW v_accounting AS
SELECT 'read = filtered + unreadable + mapped' AS identity, read AS whole, filtered + unreadable + mapped AS parts,
    CASE WHEN read = filtered + unreadable + mapped THEN 1 ELSE 0 END AS holds FROM v_counts
UNION ALL
SELECT 'mapped x calls = planned + skipped', mapped * calls_per_row, planned + skipped,
    CASE WHEN mapped * calls_per_row = planned + skipped THEN 1 ELSE 0 END FROM v_counts
UNION ALL
SELECT 'planned = delivered + rejected + duplicate + already_delivered + in_doubt + pending', planned,
    delivered + rejected + duplicate + already_delivered + in_doubt + pending,
    CASE WHEN planned = delivered + rejected + duplicate + already_delivered + in_doubt + pending
        THEN 1 ELSE 0 END FROM v_counts;
"""  # noqa: S608 - only the constants above are put in
