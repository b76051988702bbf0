"""What a destination holds: any source, its columns found by name, staged so that each row is exact or told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import ValidationError

from backfill.document import read_document
from backfill.errors import JobError, UsageError
from backfill.frozen import frozen
from backfill.guess.measure import Facts, measure
from backfill.guess.propose import look_at_source
from backfill.guess.source import Asked, Described, describe
from backfill.guess.write import declared_value
from backfill.job.database_checks import holds_password
from backfill.job.file import SourceForm
from backfill.job.formats import live_format
from backfill.memory import STAGING_MEMORY_BYTES
from backfill.pipeline.context import RunContext
from backfill.prepare.frames import ROW_COLUMN, Frames
from backfill.prepare.text_bytes import id_keys
from backfill.reconcile.events import Events
from backfill.reconcile.partitions import AS_RECEIVED, LATE, NO_TIME, ROW, Partitions, with_ids
from backfill.records import Column, Kind, Snapshot, Zone, frame_name
from backfill.sources import stage
from backfill.sources.sql.kept import kept_engine
from backfill.timestamps import EPOCH_MICROSECONDS, from_epoch, in_calendar, to_utc

#: What a column may be called, by what it is; the first that is there.
NAMES: Final = {
    "message_id": ("message_id", "messageId", "id"),
    "timestamp": ("original_timestamp", "originalTimestamp", "timestamp"),
    "received_at": ("received_at", "receivedAt"),
    "sent_at": ("sent_at", "sentAt"),
    "event": ("event_text", "event", "name"),
}
TIMES: Final = ("timestamp", "received_at", "sent_at")
#: Columns that hold the very timestamp that was sent; others hold it moved by the clocks' difference.
AS_SENT: Final = ("original_timestamp", "originalTimestamp")
#: A time this near to that of receiving is that one.
_AT_ONCE_MS: Final = 60_000
#: A UUID however databases write it: in capitals as SQL Server does, in braces, or as hexadecimal digits alone.
_ANY_UUID: Final = (
    r"^\s*\{?([0-9A-Fa-f]{8})-?([0-9A-Fa-f]{4})-?([0-9A-Fa-f]{4})-?([0-9A-Fa-f]{4})-?([0-9A-Fa-f]{12})\}?\s*$"
)
_YAML = (".yaml", ".yml")
_SAY_IT = "write a YAML file with a `source:` that says it, as a job file has one, and name that"


@frozen
class Against:
    """What is asked to be compared with a run."""

    data: tuple[str, ...]
    table: str | None = None
    query: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)  # what it is -> its column, where that is said
    timezone: str = "UTC"  # of times without one
    late_ms: int = 3_600_000


@dataclass(slots=True)
class Rows:
    """The other side, staged."""

    snapshot: Snapshot
    columns: dict[str, str]  # what it is -> its column
    epochs: dict[str, str]  # of columns that hold numbers, the unit since 1970
    timezone: str
    late_ms: int
    notes: list[str]
    without_id: int = 0
    bad_times: dict[str, int] = field(default_factory=dict)  # by column
    newest: int | None = None  # when the latest row was received, in ms since 1970, where that is known
    letter_by_letter: bool = False  # ids may be anything, not UUIDs alone
    rewritten: int = 0  # ids that are UUIDs otherwise written than in calls

    def add_to(self, side: Partitions, events: Events, context: RunContext) -> None:
        """Add all rows that have an id.

        Raises:
            SourceError: What was staged cannot be read.
            InterruptedRunError: A signal came.
        """
        kept = {column.name: column for column in self.snapshot.columns}
        reads = list(self.columns.values())
        reads += [extra for name in reads for extra in (kept[name].raw, kept[name].utc_flag) if extra]
        for frame in Frames(self.snapshot).walk_rows(0, self.snapshot.rows, list(dict.fromkeys(reads))):
            context.check_stop()
            side.add(self._records(frame, kept, events))
        side.finish()

    def _records(self, frame: pl.DataFrame, kept: Mapping[str, Column], events: Events) -> npt.NDArray[np.void]:
        ids = frame[frame_name(self.columns["message_id"])].cast(pl.String)
        has_id = (ids.is_not_null() & (ids != "")).fill_null(value=False)
        self.without_id += len(frame) - int(has_id.sum())
        frame, ids = frame.filter(has_id), ids.filter(has_id)
        if not self.letter_by_letter:
            ids, rewritten = as_uuids(ids)
            self.rewritten += rewritten
        times = {what: self._times(frame, kept[self.columns[what]], what) for what in TIMES if what in self.columns}
        nothing = np.full(len(frame), NO_TIME, np.int64)
        time, received, sent = (times.get(what, nothing) for what in TIMES)
        known = received != NO_TIME
        if known.any():
            self.newest = max(int(received.max()), NO_TIME if self.newest is None else self.newest)
        flags = np.where(known & (sent != NO_TIME) & (received - sent > self.late_ms), LATE, 0)
        flags |= np.where(known & (time != NO_TIME) & (np.abs(received - time) < _AT_ONCE_MS), AS_RECEIVED, 0)
        numbers = np.full(len(frame), events.number(""), np.uint32)
        if "event" in self.columns and len(frame):
            names = frame[frame_name(self.columns["event"])].cast(pl.String).fill_null("")
            different = names.unique(maintain_order=True)
            of_name = pl.Series(events.numbers(different.to_list()))
            numbers = names.replace_strict(different, of_name, return_dtype=pl.UInt32).to_numpy()
        rows = frame[ROW_COLUMN].to_numpy().astype(np.uint64)
        return with_ids(id_keys(ids, given=True), ROW, row=rows, time=time, event=numbers, flags=flags)

    def _times(self, frame: pl.DataFrame, column: Column, what: str) -> npt.NDArray[np.int64]:
        """A column in ms since 1970; counts what is no instant."""
        value = pl.col(frame_name(column.name))
        instant = in_utc(column, value, frame.schema[frame_name(column.name)], self.timezone, self.epochs.get(what))
        found = frame.select(instant.dt.timestamp("ms").alias("ms"))["ms"]
        there = frame[frame_name(column.raw or column.name)].is_not_null()
        bad = int((found.is_null() & there).sum())
        if bad:
            self.bad_times[column.name] = self.bad_times.get(column.name, 0) + bad
        return found.fill_null(NO_TIME).to_numpy()

    def ids_at(self, rows: list[int]) -> list[str]:
        """The message ids of a few rows, as they are there."""
        name, frames = self.columns["message_id"], Frames(self.snapshot)
        return [str(frames.read(row, row + 1, [name])[frame_name(name)][0]) for row in rows]


def as_uuids(ids: pl.Series) -> tuple[pl.Series, int]:
    """The ids, those that are UUIDs as calls have them: in lower case, with hyphens alone; and how many were not."""
    written = ids.str.replace(_ANY_UUID, "${1}-${2}-${3}-${4}-${5}")
    changed = ids.str.contains(_ANY_UUID) & (written.str.to_lowercase() != ids)
    return written.str.to_lowercase().zip_with(changed, ids), int(changed.sum())


def in_utc(column: Column, value: pl.Expr, dtype: pl.DataType, timezone: str, epoch: str | None) -> pl.Expr:
    """The UTC instants (no zone attached) of a column of times or epochs; null where it holds none."""
    if epoch is not None:
        return from_epoch(value.cast(pl.Int64, strict=False), epoch)
    if column.zone is Zone.UTC:
        zoned = getattr(dtype, "time_zone", None) is not None
        return in_calendar(value.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if zoned else value)
    local = to_utc(value, timezone, "error", "error")
    if column.utc_flag is None:
        return local
    return pl.when(pl.col(column.utc_flag).fill_null(value=False)).then(in_calendar(value)).otherwise(local)


def open_rows(asked: Against, folder: Path, context: RunContext) -> Rows:
    """Find the columns, and stage the rows in the folder.

    Raises:
        UsageError: What is named is none, has no message ids, or cannot be looked at twice.
        JobError: It is nothing that is read.
        SourceError: It cannot be read.
        InterruptedRunError: A signal came.
    """
    place = Path("reconcile.yaml").absolute()
    if len(asked.data) == 1 and asked.data[0].endswith(_YAML):
        place = Path(asked.data[0]).absolute()
        source = _of_yaml(place)
    else:
        source = describe(_as_asked(asked), place, context.stop.is_set)
        for name, choice in source.blanks.items():
            raise UsageError(f"the data does not tell its `{name}`: {choice}", hint=_SAY_IT)
    with kept_engine(None) as kept:
        found = look_at_source(source, place, context, kept)
        facts = {one.name: one for one in measure(found, source.fields.get("csv", {}).get("delimiter", ","), kept)[0]}
    columns = choose(asked.columns, facts)
    notes = [f"no column `{what}`: not compared" for what in NAMES if what not in columns]
    epochs, zoneless = _declare(source, facts, columns, notes)
    if zoneless:
        notes.append(f"times without a zone are taken for {asked.timezone}: {', '.join(zoneless)}")
    snapshot = stage(
        source.job(place),
        folder,
        memory_bytes=STAGING_MEMORY_BYTES,
        threads=None,
        stopping=context.stop.is_set,
    )
    return Rows(snapshot, columns, epochs, asked.timezone, asked.late_ms, notes)


def _as_asked(asked: Against) -> Asked:
    """As `guess` is asked; a database is known by its URL, or stands in an environment variable.

    Raises:
        UsageError: The URL has a password.
    """
    first = asked.data[0]
    if "://" in first and holds_password(first):
        raise UsageError(
            "the database's URL has a password, which others see in the list of processes",
            hint="put the URL into an environment variable, and name that: --against '${WAREHOUSE}'",
        )
    if len(asked.data) == 1 and (live_format(first) is not None or first.startswith("${") or _is_database(first)):
        return Asked((), first, asked.table, asked.query)
    return Asked(asked.data, None, asked.table, asked.query)


def _is_database(text: str) -> bool:
    return text.startswith(("sqlite:", "duckdb:"))


def _of_yaml(path: Path) -> Described:
    """The `source` of a job file, or of a YAML file that has nothing else."""
    fields = read_document(path, "job file").data.get("source")
    if not isinstance(fields, dict):
        raise JobError(f"{path} has no `source`", hint="write it as in a job file (docs/job-file.md)")
    try:
        SourceForm.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, ("source", *first["loc"])))
        raise JobError(f"{path}: {where}: {first['msg']}", hint="docs/job-file.md has the fields of a source") from None
    return Described(fields, format=str(fields.get("format", "")))


def choose(said: Mapping[str, str], facts: Mapping[str, Facts]) -> dict[str, str]:
    """The columns to be read: those that are said, else the first by name of each kind.

    Raises:
        UsageError: One that is said is not there, or none has message ids.
    """
    there = f"there are: {', '.join(list(facts)[:20])}"
    found = {}
    for what, names in NAMES.items():
        if what in said and said[what] not in facts:
            option = f"--{what.replace('_', '-')} {said[what]}"
            raise UsageError(f"{option}: there is no such column", hint=there)
        name = said.get(what) or next((name for name in names if name in facts), None)
        if name is not None:
            found[what] = name
    if "message_id" not in found:
        raise UsageError("no column has the message ids by its name", hint=f"say it with --message-id; {there}")
    return found


def _declare(
    source: Described, facts: Mapping[str, Facts], columns: dict[str, str], notes: list[str]
) -> tuple[dict[str, str], list[str]]:
    """Declare columns of text as the times they are, and leave out those that are none.

    Returns the units of epochs, and the columns whose times have no zone.
    """
    epochs: dict[str, str] = {}
    zoneless: list[str] = []
    for what in [each for each in TIMES if each in columns]:
        name = columns[what]
        one, reading = facts[name], facts[name].reading
        if one.filled and (reading is None or reading.days or one.blanks):
            days = reading is not None and reading.days
            why = next(iter(one.blanks.values()), "dates without a time" if days else "its values are no times")
            notes.append(f"column `{name}` is not compared: {why}")
            del columns[what]
            continue
        if one.column.kind in (Kind.TEXT, Kind.JSON):
            declared: dict[str, Any] = source.fields.setdefault("columns", {})
            if declared.get(name, "text") == "text":
                declared[name] = declared_value(one) if one.filled else "timestamp"
        elif reading is not None and isinstance(reading.format, str) and reading.format in EPOCH_MICROSECONDS:
            epochs[what] = reading.format
        if reading is not None and reading.naive:
            zoneless.append(name)
    return epochs, zoneless
