"""Bad data as values."""

from __future__ import annotations

from enum import StrEnum

from backfill.frozen import frozen


class Severity(StrEnum):
    """An error keeps its call from being sent, a warning does not."""

    ERROR = "error"
    WARNING = "warning"


@frozen
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
#: Before the name of such a column in an export, where the row has a column of that name itself.
REJECT_PREFIX = "reject_"
