"""What to do about one problem, where its value tells more than its code does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final

from backfill.job.shapes import NO_ENTRY
from backfill.mapping.instants import NO_OFFSET
from backfill.rules import CODES

#: What programs write for null into CSV.
_NULLS: Final = frozenset({"NA", "N/A", "#N/A", "NaN", "nan", "NULL", "Null", "null", "None", "\\N"})
#: Units of one second in each epoch format.
_A_SECOND: Final = {"epoch_s": 1, "epoch_ms": 10**3, "epoch_us": 10**6, "epoch_ns": 10**9}
#: Dates that a history is likely to hold.
_LIKELY: Final = (datetime(1980, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: Spreadsheets count days from here.
_SERIAL_DAY_ZERO: Final = datetime(1899, 12, 30, tzinfo=UTC)
#: Codes of numbers that may be of another unit: in 1970, in the future, or beyond every calendar.
_OTHER_UNIT: Final = ("BF202", "BF204", "BF207")


def hint_of(code: str, column: str, value: str, *, of_source: bool = True, detail: str = "") -> str:
    """The hint of a problem of that code, with this value in that column.

    `of_source`: the column is one of the source's, not the text of an expression; `detail`: what its check said of it.
    """
    if code == "BF202" and detail == NO_OFFSET:
        return (
            "write the offset, or state `timezone` on the timestamp, the column or the source: the zone of such times"
        )
    if code == "BF130" and detail == NO_ENTRY:
        return CODES["BF135"].hint
    if code in ("BF205", "BF206") and of_source:
        return CODES[code].hint.replace("COLUMN", column)
    if code == "BF117" and value in _NULLS:
        setting = f"source.csv.null_values: [\"\", '{value}']"
        return f"where it means null in CSV, and has no quotes, state `{setting}`; else {CODES[code].hint}"
    return (epoch_hint(value) if code in _OTHER_UNIT else "") or CODES[code].hint


def epoch_hint(value: str) -> str:
    """Which unit would make a likely date of a number that made none; nothing where none does."""
    try:
        number = Decimal(value)
        seconds = {unit: float(number / scale) for unit, scale in _A_SECOND.items()}
    except (InvalidOperation, OverflowError):
        return ""
    if not number:
        return "0 stands for no time: leave such rows out with `when`, or let them be with `rules: {BF207: ignore}`"
    for unit, since in seconds.items():
        if date := _likely(_EPOCH, since):
            return f"as {unit} {value} is of {date}: state `format: {unit}`"
    if date := _likely(_SERIAL_DAY_ZERO, float(number) * 86_400):
        return f"as a spreadsheet's serial day {value} is of {date}: state `format: excel`, and a `timezone`"
    return ""


def _likely(start: datetime, seconds: float) -> str:
    """The day that many seconds after the start, if it is a likely one."""
    try:
        moment = start + timedelta(seconds=seconds)
    except (OverflowError, ValueError):
        return ""
    return f"{moment:%Y-%m-%d}" if _LIKELY[0] <= moment < _LIKELY[1] else ""
