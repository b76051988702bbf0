"""The frozen types that the stages hand to each other. No behaviour beyond what the data itself says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

# ---------------------------------------------------------------------------------------------------------------
# Problems: bad data as values
# ---------------------------------------------------------------------------------------------------------------


class Severity(StrEnum):
    """An error keeps its call from being sent, a warning does not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Problem:
    """One row (or one call of it) that cannot be sent, or that should be looked at, and why."""

    code: str  # BF101
    severity: Severity
    message: str
    file: str  # as the user named it, relative where it was
    record: int  # from 1, unreadable records counted, the header not; 0 where unknown
    line: int = 0  # from 1; 0 where the format has none or it has not been looked up
    call: str = ""  # the call's label or type; empty where the whole row is meant
    column: str = ""
    value: str = ""  # shortened to 80 characters
    hint: str = ""


# ---------------------------------------------------------------------------------------------------------------
# Stage: the frozen snapshot
# ---------------------------------------------------------------------------------------------------------------


class Kind(StrEnum):
    """What a staged column holds; decides its JSON form (see docs/job-file.md, the value table)."""

    TEXT = "text"  # text, and uuid or enum already cast to text
    INTEGER = "integer"
    NUMBER = "number"
    DECIMAL = "decimal"
    BOOLEAN = "boolean"
    DATE = "date"
    TIME = "time"
    TIMESTAMP = "timestamp"
    JSON = "json"  # valid JSON as text, exactly as the source has it
    NESTED = "nested"  # list, struct, map of Parquet or of SQL
    BINARY = "binary"
    INTERVAL = "interval"
    NULL = "null"  # a column without a type, all null


class Zone(StrEnum):
    """How the wall clock of a TIMESTAMP column is to be read."""

    UTC = "utc"  # instants
    NAIVE = "naive"  # wall clock, needs the job's zone
    MIXED = "mixed"  # wall clock unless the boolean column `Column.utc_flag` is true, then UTC


#: Columns of the snapshot that backfill adds itself all start with this; a source column that does is a job error.
INTERNAL_PREFIX = "__bf_"
#: UInt32 index into Snapshot.files; absent where a part belongs to one file (SnapshotPart.file).
FILE_COLUMN = "__bf_file"
#: UInt64 record number in the file, from 1; absent where it is the row's place in its part, from 1.
RECORD_COLUMN = "__bf_record"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the snapshot.

    `raw` names the column that holds the text as read, where this one was cast from text: a value is bad where the
    raw text is not null and the cast one is. `reads` are the source columns an SQL expression reads: a bad value in
    one of them makes this value bad too.
    """

    name: str
    kind: Kind
    zone: Zone = Zone.UTC
    raw: str | None = None
    utc_flag: str | None = None
    reads: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of the source as it was when staged."""

    path: str  # absolute, or a URL, or "-"
    name: str  # as problems show it
    key: str  # the path below the last folder before the first wildcard: first half of a `row` message key
    bytes: int
    sha256: str
    mtime_ns: int
    ctime_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class SnapshotPart:
    """One Parquet file of the snapshot; rows in source order."""

    path: Path
    rows: int
    file: int = 0  # index into Snapshot.files, where the part has no FILE_COLUMN


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The frozen rows of a source: the parts in order, one after the other, are the staged rows."""

    parts: tuple[SnapshotPart, ...]
    columns: tuple[Column, ...]  # all columns of the parts: the source's own first, internal ones after
    files: tuple[SourceFile, ...]
    read: int  # rows read = filtered + unreadable + staged
    filtered: int  # left out by `where`
    unreadable: int  # could not be read as a row; problems in `unreadable_file`
    in_place: bool  # the parts are the source's own files
    unreadable_file: Path | None = None  # Parquet of rejected rows, see REJECT_COLUMNS

    @property
    def rows(self) -> int:
        """Rows staged, which is rows mapped."""
        return sum(part.rows for part in self.parts)

    def column(self, name: str) -> Column | None:
        """The column of that exact name, or None."""
        return next((column for column in self.columns if column.name == name), None)


#: Columns of every Parquet file of problems (unreadable records, rejected and warned-of calls).
REJECT_COLUMNS = (
    "file",  # text
    "record",  # uint64, 0 where unknown
    "line",  # uint64, 0 where unknown
    "call",  # text: label or type, empty for the whole row
    "code",  # text
    "severity",  # text
    "column",  # text
    "value",  # text, at most 80 characters
    "message",  # text
    "message_id",  # text or null
    "original",  # text: the row's original columns as one JSON object (or the raw line of an unreadable record)
)


# ---------------------------------------------------------------------------------------------------------------
# Prepare: the plan
# ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PlannedBatch:
    """One batch in a shard's segment file. Its plain bytes are `{"batch":[` + calls joined by commas, no more.

    The body sent is these bytes + `],"sentAt":"..."}`. In the segment they stand as a raw deflate stream that ends
    on a byte boundary with a sync flush, so that a gzip body is made without compressing again.
    """

    ordinal: int  # from 0, within the shard
    calls: int
    bytes: int  # plain bytes, without the envelope's tail
    offset: int  # of the deflate stream in the segment file
    length: int  # of the deflate stream
    crc32: int  # of the plain bytes
    first_call: int  # index of its first call in the shard's calls file


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """What preparing one shard gave."""

    shard: int  # from 0
    rows: int
    planned: int  # calls: batched + rejected + duplicate + already_delivered
    skipped: int  # calls left out by `when`
    rejected: int
    duplicate: int
    batches: tuple[PlannedBatch, ...]
    problems: Mapping[tuple[str, str], int]  # (code, severity) -> count
    samples: tuple[Problem, ...]  # at most five of each code
    days: Mapping[tuple[str, str], int]  # (call label, YYYY-MM-DD of the timestamp) -> calls batched
    json_bytes: int  # sum of batch bytes
    segment_bytes: int
    segment_sha256: str  # of the segment file; of no bytes where the shard has no batch
    calls_sha256: str  # of the calls file
    already_delivered: int = 0  # calls planned but left out: earlier runs delivered their ids


#: dtype of one record of a shard's calls file (little endian, packed, 25 bytes), in the order of the batches.
#: message_key: 16 bytes: the UUID's own where the message id is one in lower case, else the first 16 of its SHA-256.
CALL_RECORD = [("message_key", "V16"), ("row", "<u4"), ("bytes", "<u4"), ("call", "u1")]


# ---------------------------------------------------------------------------------------------------------------
# Deliver: what the ledger hands out and takes back
# ---------------------------------------------------------------------------------------------------------------


class BatchState(StrEnum):
    """A batch is in exactly one; only the ledger moves it."""

    PLANNED = "planned"
    SENT = "sent"  # an attempt left, its answer is not known (yet)
    DELIVERED = "delivered"
    REJECTED = "rejected"  # refused by the target
    SPLIT = "split"  # its children stand for it
    LEFT = "left"  # in doubt for good: somebody decided that it is not sent again


class Outcome(StrEnum):
    """What one attempt is known to have done. UNKNOWN: the target may or may not hold the calls."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Decision(StrEnum):
    """What is to become of the batches in doubt for longer than the target remembers ids."""

    RESEND = "resend"  # sent again: their calls may arrive twice
    SKIP = "skip"  # left in doubt for good


#: Stands for the time of a first unknown attempt where the clock was set back since: older than any window.
AGE_UNKNOWN = 0.0


@dataclass(frozen=True, slots=True)
class ClockMark:
    """A reading of the run's clock, by which the next process tells how long ago that was.

    `boot` names one boot of one machine, empty where the system does not tell; `up` are seconds since that boot, which
    nobody can set.
    """

    at: float  # POSIX seconds
    boot: str
    up: float
    window: float  # seconds for which the target remembers ids, as that process took it


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as deliver sees it."""

    id: int  # in the ledger
    shard: int
    calls: int
    bytes: int
    offset: int
    length: int
    crc32: int
    attempts: int = 0  # made so far, in this and earlier processes
    first_unknown_at: float | None = None  # of the first attempt of unknown outcome, POSIX seconds, or AGE_UNKNOWN
    first_call: int = 0
    #: Of a part of a planned batch (halving made it): that batch, the root of the tree, and where in its plain bytes
    #: the part's first call begins. `offset` and `length` are then the root's, `bytes` and `crc32` the part's own.
    root: int | None = None
    start: int | None = None
    fruitful: bool = False  # when it was handed out, calls of its planned batch had been delivered


@dataclass(frozen=True, slots=True)
class BatchPart:
    """Calls of a batch, one after the other, that stand for themselves from now on: a child to be.

    Its plain bytes are a batch's like any other: the envelope's head, its calls, commas between them.
    """

    calls: int
    start: int  # where its first call begins in the plain bytes of the planned batch
    bytes: int  # of its plain bytes
    crc32: int  # of its plain bytes
    state: BatchState  # PLANNED: still to be delivered; DELIVERED; REJECTED: with what the target said of it
    status: int | None = None
    detail: str = ""  # as Answer.detail


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of one attempt."""

    outcome: Outcome
    state: BatchState | None  # the state the batch takes; None: it stays sent and is tried again
    status: int | None  # HTTP status, None where none came
    detail: str  # the answer's body, shortened to 200 characters, or the failure's name; never the payload or the key
    at: float  # POSIX seconds
    seconds: float  # from leaving to the answer
    wire_bytes: int  # of the request's body


class DeliveryLedger(Protocol):
    """What deliver needs of the ledger. Thread-safe."""

    def next_batches(self, limit: int) -> list[Batch]:
        """Up to `limit` batches still to be delivered, in plan order, each handed out once per process."""

    def mark_sent(self, batch: Batch, at: float) -> int:
        """Record that an attempt leaves now; returns its number (from 1) once that is durable (group-committed)."""

    def record_answer(self, batch: Batch, attempt: int, answer: Answer) -> None:
        """Queue the end of an attempt; durable with the next commit, at the latest with `flush`."""

    def record_parts(self, batch: Batch, attempt: int, answer: Answer, parts: Sequence[BatchPart]) -> list[Batch]:
        """Record the end of an attempt and, in the same commit, that these parts stand for the batch from now on.

        They hold all its calls, in their order; the answer's state is SPLIT. Returns those still to be delivered, in
        that order, once it is durable; `next_batches` of this process does not hand them out.
        """

    def clock_mark(self) -> ClockMark | None:
        """The clock as last recorded; None where it never was."""

    def mark_clock(self, mark: ClockMark) -> None:
        """Record the clock, durably."""

    def lose_ages(self, detail: str) -> None:
        """Record, durably and in the run's history, that nobody can tell how old the present doubts are."""

    def in_doubt(self) -> list[Batch]:
        """The batches in doubt that are still to be delivered, in plan order.

        What was in flight when the last process ended is among them.
        """

    def decide(self, batches: Sequence[Batch], decision: Decision, at: float) -> None:
        """Record, durably and in the run's history, what becomes of batches in doubt, before any is handed out.

        Of those sent again the doubt counts from `at`; the others are `left`, and never handed out.
        """

    def flush(self) -> None:
        """Return once everything recorded is durable."""


class BatchBytes(Protocol):
    """What deliver needs of the spool. Thread-safe."""

    def deflated(self, batch: Batch) -> bytes:
        """The raw deflate stream as it stands in the segment (no crc check; cheap)."""

    def plain(self, batch: Batch) -> bytes:
        """The plain bytes, checked against length and crc; raises LedgerError where they differ."""

    def call_sizes(self, batch: Batch) -> Sequence[int]:
        """The bytes of each call of a batch, in their order, without the commas."""


@dataclass(slots=True)
class DeliveryTotals:
    """What one process has delivered so far; for progress and the summary's `requests`, `retries`, `wire`."""

    requests: int = 0
    retries: int = 0
    calls: int = 0
    json_bytes: int = 0
    wire_bytes: int = 0
    waits: dict[str, float] = field(default_factory=dict)  # seconds slept by reason: pace, backoff, retry_after


class ShardSink(Protocol):
    """Where prepare puts a shard's batches: the spool of a run, or the scales of a dry run."""

    def open(self, shard: int) -> ShardWriter:
        """A writer for one shard; used by one thread."""


class ShardWriter(Protocol):
    """Takes one shard's batches in order."""

    def add(self, plain: memoryview, calls: int) -> None:
        """Append one batch: its plain bytes (see PlannedBatch), and how many calls they hold."""

    def finish(self, calls: bytes, rejects: object) -> tuple[tuple[PlannedBatch, ...], int, str, str]:
        """Make segment, calls file (CALL_RECORD records) and rejects (a polars frame or None) durable.

        Returns the batches, the segment's size in bytes, its SHA-256 and that of the calls file.
        """
