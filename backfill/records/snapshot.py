"""What stage hands to prepare: the frozen rows of a source, and what their columns hold."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from backfill.frozen import frozen


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
#: The one member, its digits as text, of a struct that stands for an integer of 128 bits inside a nested value.
LONG_INTEGER_MEMBER = "__bf_integer"
#: The one member, its text, of a struct that stands for JSON inside a nested value.
JSON_MEMBER = "__bf_json"


def frame_name(name: str) -> str:
    """What a column is called in a polars frame, where `*` and `^...$` are patterns of names; else its own name."""
    is_pattern = name == "*" or (name.startswith("^") and name.endswith("$"))
    return f"{INTERNAL_PREFIX}as:{name}" if is_pattern else name


@frozen
class Column:
    """One column of the snapshot.

    `raw` names the column that holds the text as read, where this one was cast from text: a value is bad where the
    raw text is not null and the cast one is. Where the value prints as its text, the raw one may be null. `reads` are
    the source columns an SQL expression reads: a bad value in one of them makes this value bad too. `failed` names
    the boolean column that is true where the expression failed; None: it failed on no row; `reason` is why, in
    DuckDB's words, on the first. `computed` says of JSON, or of what has JSON in it, that SQL made its text, so that
    its numbers and times are SQL's.
    `takes_json` says of an SQL expression that it takes JSON apart, where numbers can lose digits.
    `json_text` says of text that it is JSON objects or arrays throughout, `numbers` of JSON that it is numbers that any
    reader takes (RFC 8259, section 6): without an exponent, and of so few digits that they fit a double.
    `refused` says what the source holds there, where no snapshot can hold it: the column is all null, and a job must
    not read it.
    """

    name: str
    kind: Kind
    zone: Zone = Zone.UTC
    raw: str | None = None
    utc_flag: str | None = None
    reads: tuple[str, ...] = ()
    failed: str | None = None
    reason: str = ""
    computed: bool = False
    takes_json: bool = False
    json_text: bool = False
    numbers: bool = False
    refused: str = ""


@frozen
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
    pin: str = ""  # of an object: what tells this state of it from every other, such as `ETag "..."`


@frozen
class SnapshotPart:
    """One Parquet file of the snapshot; rows in source order."""

    path: Path
    rows: int
    file: int = 0  # index into Snapshot.files, where the part has no FILE_COLUMN
    most_bytes: int | None = None  # what all its values weigh at most; None: only its footer tells


@frozen
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
