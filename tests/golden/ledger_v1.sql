PRAGMA application_id = 1651205740;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
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
INSERT INTO "attempts" VALUES(1,1,1700000101.0,1000.0,'accepted',200,'said the target',0.25,321);
INSERT INTO "attempts" VALUES(2,1,1700000102.0,1000.0,'unknown',503,'said the target',0.25,321);
CREATE TABLE batches (
    id                INTEGER PRIMARY KEY,
    parent            INTEGER REFERENCES batches (id),
    root              INTEGER REFERENCES batches (id),
    shard             INTEGER NOT NULL REFERENCES shards (shard),
    ordinal           INTEGER NOT NULL,
    state             TEXT NOT NULL CHECK (state IN ('planned', 'sent', 'delivered', 'rejected', 'split', 'left')),
    calls             INTEGER NOT NULL,
    bytes             INTEGER NOT NULL,
    offset            INTEGER NOT NULL,
    length            INTEGER NOT NULL,
    crc32             INTEGER NOT NULL,
    first_call        INTEGER NOT NULL,
    start             INTEGER,
    attempts          INTEGER NOT NULL DEFAULT 0,
    first_unknown_at  REAL,
    status            INTEGER,
    detail            TEXT
) STRICT;
INSERT INTO "batches" VALUES(1,NULL,NULL,0,0,'delivered',3,1200,0,100,7,0,NULL,1,NULL,NULL,NULL);
INSERT INTO "batches" VALUES(2,NULL,NULL,0,1,'sent',2,800,100,100,7,3,NULL,1,1700000102.0,NULL,NULL);
INSERT INTO "batches" VALUES(3,NULL,NULL,0,2,'planned',4,1600,200,100,7,5,NULL,0,NULL,NULL,NULL);
CREATE TABLE clocks (
    at      REAL NOT NULL,
    boot    TEXT NOT NULL,
    up      REAL NOT NULL,
    window  REAL NOT NULL
) STRICT;
CREATE TABLE days (
    call   TEXT NOT NULL,
    day    TEXT NOT NULL,
    calls  INTEGER NOT NULL,
    PRIMARY KEY (call, day)
) STRICT, WITHOUT ROWID;
INSERT INTO "days" VALUES('order','2024-01-31',9);
CREATE TABLE decisions (
    batch             INTEGER NOT NULL REFERENCES batches (id),
    at                REAL NOT NULL,
    decision          TEXT NOT NULL CHECK (decision IN ('resend', 'skip')),
    first_unknown_at  REAL
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
INSERT INTO "files" VALUES(0,'/data/orders.csv','orders.csv','orders.csv',512,'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',17,18,'18446744073709551615');
CREATE TABLE history (
    at         REAL NOT NULL,
    state      TEXT NOT NULL,
    exit_code  INTEGER,
    detail     TEXT NOT NULL
) STRICT;
INSERT INTO "history" VALUES(1700000000.0,'staging',NULL,'');
INSERT INTO "history" VALUES(1700000100.0,'preparing',NULL,'');
INSERT INTO "history" VALUES(1700000100.0,'prepared',NULL,'');
INSERT INTO "history" VALUES(1700000100.0,'delivering',NULL,'');
INSERT INTO "history" VALUES(1700000100.0,'stopped',5,'stopped by the test');
CREATE TABLE mark (
    commits  INTEGER NOT NULL,
    schema   INTEGER NOT NULL
) STRICT;
INSERT INTO "mark" VALUES(9,445961725);
CREATE TABLE problems (
    shard     INTEGER NOT NULL,
    code      TEXT NOT NULL,
    severity  TEXT NOT NULL,
    count     INTEGER NOT NULL,
    PRIMARY KEY (shard, code, severity)
) STRICT, WITHOUT ROWID;
INSERT INTO "problems" VALUES(-1,'BF001','error',2);
INSERT INTO "problems" VALUES(0,'BF101','error',1);
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
    plan_digest       TEXT
) STRICT;
INSERT INTO "run" VALUES(1,'orders-sandbox-g1-0a1b2c3d','orders','/jobs/orders.yaml',1,'sandbox','sandbox','sandbox http://127.0.0.1',0,'sandbox','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','{"version": 1, "name": "orders", "ordered": true, "source": {"path": "orders.csv", "query": "SELECT * FROM source"}, "defaults": {"message_key": ["id", "at"], "timestamp": "at"}, "calls": [{"type": "track", "label": "order", "event": {"value": "Ordered"}}, {"type": "identify", "userId": "user", "message_key": "content"}, {"type": "group", "groupId": "g", "message_key": "row"}, {"type": "page", "message_id": {"column": "given"}}, {"type": "alias", "message_key": "id"}], "target.envelope": "\"historical_migration\":true"}','0.1.0','0.1.0',1700000000.0,0,'stopped',1700000100.0,5,'stopped by the test','d2ba3b9b18d3fe334efe1c7a29adde1a36d1533f2dc1f8f21b6c21160cd8ddb7');
CREATE TABLE samples (
    shard     INTEGER NOT NULL,
    position  INTEGER NOT NULL,
    code      TEXT NOT NULL,
    problem   TEXT NOT NULL,
    PRIMARY KEY (shard, position)
) STRICT, WITHOUT ROWID;
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
    calls_sha256       TEXT NOT NULL
) STRICT;
INSERT INTO "shards" VALUES(0,12,11,1,1,1,0,'{"order": {"2024-01-31": 9}}',3600,300,'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc');
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
INSERT INTO "snapshot" VALUES(1,18,4,2,12,1,0,1700000100.0);
CREATE INDEX batches_to_deliver ON batches (shard, first_call, id) WHERE state IN ('planned', 'sent');
CREATE INDEX batches_of_root ON batches (root) WHERE root IS NOT NULL;
CREATE INDEX attempts_open ON attempts (batch) WHERE outcome IS NULL;
CREATE VIEW v_run AS
SELECT run_id, job_name, job_file, generation, target_name, target_kind, target_identity, live, id_scope, state,
    strftime('%Y-%m-%dT%H:%M:%fZ', state_at, 'unixepoch') AS state_at, exit_code, detail, strftime('%Y-%m-%dT%H:%M:%fZ', created_at, 'unixepoch') AS created_at, backfill_version,
    library_version, plan_digest, only_new
FROM run;
CREATE VIEW v_history AS
SELECT strftime('%Y-%m-%dT%H:%M:%fZ', at, 'unixepoch') AS at, state, exit_code, detail FROM history ORDER BY rowid;
CREATE VIEW v_batches AS
SELECT b.id, b.parent, b.shard, b.first_call, b.calls, b.bytes, b.attempts, b.state,
    CASE WHEN (b.state = 'left' OR b.state IN ('planned', 'sent') AND (b.first_unknown_at IS NOT NULL
    OR EXISTS (SELECT 1 FROM attempts a WHERE a.batch = b.id AND a.outcome IS NULL))) THEN 'in_doubt' WHEN b.state IN ('planned', 'sent') THEN 'pending' ELSE b.state END
    AS standing, b.status, b.detail
FROM batches b;
CREATE VIEW v_attempts AS
SELECT a.batch, a.number, strftime('%Y-%m-%dT%H:%M:%fZ', a.sent_at, 'unixepoch') AS sent_at, strftime('%Y-%m-%dT%H:%M:%fZ', a.ended_at, 'unixepoch') AS ended_at, a.outcome, a.status,
    a.detail, a.seconds, a.wire_bytes, b.calls
FROM attempts a JOIN batches b ON b.id = a.batch;
CREATE VIEW v_problems AS
SELECT code, severity, sum(count) AS count FROM problems GROUP BY code, severity ORDER BY code, severity;
CREATE VIEW v_calls_per_day AS
SELECT day, call, calls FROM days ORDER BY day, call;
CREATE VIEW v_in_doubt AS
SELECT b.id AS batch, b.shard, b.first_call, b.calls, b.attempts,
    strftime('%Y-%m-%dT%H:%M:%fZ', nullif(coalesce(min(b.first_unknown_at, o.sent_at), b.first_unknown_at, o.sent_at), 0), 'unixepoch')
    AS first_unknown_at, b.state
FROM batches b
LEFT JOIN (SELECT batch, min(sent_at) AS sent_at FROM attempts WHERE outcome IS NULL GROUP BY batch) o
    ON o.batch = b.id
WHERE (b.state = 'left' OR b.state IN ('planned', 'sent') AND (b.first_unknown_at IS NOT NULL
    OR EXISTS (SELECT 1 FROM attempts a WHERE a.batch = b.id AND a.outcome IS NULL)));
CREATE VIEW v_decisions AS
SELECT d.batch, strftime('%Y-%m-%dT%H:%M:%fZ', d.at, 'unixepoch') AS at, d.decision, strftime('%Y-%m-%dT%H:%M:%fZ', nullif(d.first_unknown_at, 0), 'unixepoch') AS first_unknown_at, b.calls
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
    SELECT count(*) AS batches, coalesce(sum(bytes), 0) AS json_bytes, coalesce(sum(state = 'split'), 0) AS split
    FROM batches WHERE parent IS NULL
), sent AS (
    SELECT count(*) AS requests, coalesce(sum(number > 1), 0) AS retries, coalesce(sum(wire_bytes), 0) AS wire_bytes,
        min(sent_at) AS first_sent_at, max(coalesce(ended_at, sent_at)) AS last_ended_at
    FROM attempts WHERE NOT (outcome IS 'refused' AND status IS NULL)  -- those never left
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
    sent.first_sent_at, sent.last_ended_at, roots.split, leaves.refused, leaves.left_in_doubt
FROM leaves, roots, sent, plan LEFT JOIN snapshot s ON s.id = 1;
CREATE VIEW v_accounting AS
SELECT 'read = filtered + unreadable + mapped' AS identity, read AS whole, filtered + unreadable + mapped AS parts,
    read = filtered + unreadable + mapped AS holds FROM v_counts
UNION ALL
SELECT 'mapped x calls = planned + skipped', mapped * calls_per_row, planned + skipped,
    mapped * calls_per_row = planned + skipped FROM v_counts
UNION ALL
SELECT 'planned = delivered + rejected + duplicate + already_delivered + in_doubt + pending', planned,
    delivered + rejected + duplicate + already_delivered + in_doubt + pending,
    planned = delivered + rejected + duplicate + already_delivered + in_doubt + pending FROM v_counts;
COMMIT;
