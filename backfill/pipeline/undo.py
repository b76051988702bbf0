"""`undo`: what a run has sent, to be taken back by whoever may; written to a new folder. Sends nothing.

The bytes of the calls are those that were prepared, or made again (`call_bytes`); where neither is left, ids and types
are what was kept, and users are not known. Which of the calls were delivered, and which are in doubt, the ledger says.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from backfill.advice import in_plan, undo_notes
from backfill.disk import TEMPORARY_FOLDERS
from backfill.errors import BackfillError, LedgerError, LockedError, RefusedError, UsageError
from backfill.job.load import load_kept_job
from backfill.pipeline.call_bytes import PlanCalls
from backfill.pipeline.call_fields import read_json
from backfill.pipeline.context import RunContext
from backfill.pipeline.snapshot_cache import REPLAYED
from backfill.records import RunRecord, RunStore, StoredRun
from backfill.state import holds_state
from backfill.undo.result import TableRows, Undo, UndoUsers
from backfill.undo.users import DELETE, SUPPRESS, UserTables
from backfill.undo.warehouse import COLUMNS, DIALECTS, IDS_FILE, TABLES, event_table, script

README: Final = "README.txt"
_DELIVERED, _IN_DOUBT = "delivered", "in_doubt"
_USERS: Final = ("userId", "anonymousId")
_FIELDS: Final = ("messageId", "type", "event", *_USERS, "previousId")
#: Calls whose bytes are gone, written at a time; and the parts of a UUID in its digits, first and length.
_AT_ONCE: Final = 100_000
_UUID_PARTS: Final = ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))
_WRITTEN: Final = pl.Struct(dict.fromkeys(_FIELDS, pl.String))


def undo_place(folder: Path, state: RunStore) -> Path:
    """The folder to be made where `folder` was asked for.

    Raises:
        UsageError: It is there, has no folder above it, or is in a state directory.
    """
    place = folder.resolve()
    if place.exists() or folder.is_symlink():
        raise UsageError(f"-o {folder}: it exists", hint="name a folder that does not")
    if not place.parent.is_dir():
        raise UsageError(f"-o {folder}: there is no folder {place.parent}")
    if any(holds_state(above) for above in place.parents) or place.is_relative_to(state.path.resolve()):
        raise UsageError(f"-o {folder}: it is in a state directory", hint="name a folder somewhere else")
    return place


def look_at(run: StoredRun, store: RunStore) -> Undo:
    """What is known of a run before its calls are read; `empty` where there is nothing to undo.

    Raises:
        UsageError: It is a dry run.
        LockedError: A process is at work on it.
        LedgerError: Its ledger is gone or damaged.
    """
    if run.is_dry:
        raise UsageError(f"{run.run_id} is a dry run: nothing was sent that could be taken back")
    if holders := run.holders():
        raise LockedError(f"a process ({holders[0]}) is at work on {run.run_id}", hint="undo it once that has ended")
    with run.read() as reader:
        status, counts = reader.status(), reader.counts()
        profile = reader.profile()
    return Undo(
        run.run_id,
        status,
        delivered=counts.delivered,
        in_doubt=counts.in_doubt,
        notes=tuple(undo_notes(in_plan(profile))) if profile is not None else (),
        next_generation=_next_generation(status.record, store),
    )


def _next_generation(record: RunRecord, store: RunStore) -> int:
    """One above the generations of all runs of the job whose ledger can be read, to whatever target."""
    highest = record.generation
    for run in _runs(store):
        with suppress(LedgerError), run.read() as reader:
            other = reader.status().record
            highest = max(highest, other.generation if other.job_name == record.job_name else 0)
    return highest + 1


def _runs(store: RunStore) -> list[StoredRun]:
    return [*store.earlier(), *store.runs(lost=True)]


def write_undo(
    run: StoredRun,
    context: RunContext,
    place: Path,
    *,
    schema: str,
    suppress_users: bool,
    text: Callable[[Undo], str],
) -> Undo:
    """Write the folder `place`, all of it or nothing; `text` makes its README.

    Raises:
        RefusedError: The bytes of the run's calls are gone, cannot be made again, and their ids were the source's.
        UsageError, LockedError, LedgerError: As `look_at`; or what was kept is damaged.
        InterruptedRunError: A signal came.
    """
    found = replace(look_at(run, context.store), schema=schema, regulation=SUPPRESS if suppress_users else DELETE)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    try:
        with TEMPORARY_FOLDERS.opened() as work, closing(UserTables(work)) as users:
            found = _write_calls(found, run, context, unfinished, users)
            if not found.users.gone:
                unknown = _add_others(run, found.status.record, context, users)
                found = replace(found, users=users.write(unfinished, unknown, found.regulation))
        for kind in DIALECTS:
            sql = script(kind, run.run_id, found.tables, schema, place)
            (unfinished / f"{kind}.sql").write_text(sql, "utf-8")
        names = sorted(path.relative_to(unfinished).as_posix() for path in unfinished.rglob("*") if path.is_file())
        found = replace(found, files=(README, *names))
        (unfinished / README).write_text(text(found) + "\n", "utf-8")
        unfinished.rename(place)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return found


class _Written:
    """What of a run is written so far: its ids in a file, counted by table."""

    def __init__(self, found: Undo, file: BinaryIO) -> None:
        self._found = found
        self._file = file
        self._tables: dict[str, Counter[str]] = {}
        self._types: set[str] = set()
        self._no_table = 0
        file.write((",".join(COLUMNS) + "\n").encode())

    def add(self, calls: pl.DataFrame) -> None:
        """Write the ids of these calls."""
        ids = calls.select(COLUMNS)
        ids.write_csv(self._file, include_header=False)
        counts = ids.group_by("type", "event_table", "standing").len()
        for kind, table, standing, number in counts.iter_rows():
            self._types.add(kind)
            self._no_table += number if kind == "track" and not table else 0
            for name in {TABLES[kind], *filter(None, [table])}:
                self._tables.setdefault(name, Counter())[standing] += number

    def result(self, events: Mapping[str, int]) -> Undo:
        """What was found; `events` are tables of events that no call names, and how many rows they may have."""
        rows = [TableRows(name, one[_DELIVERED], one.total()) for name, one in self._tables.items()]
        rows += [TableRows(name, 0, most) for name, most in events.items()] if "track" in self._types else []
        types = tuple(kind for kind in TABLES if kind in self._types)
        tables = tuple(sorted(rows, key=lambda one: one.name))
        return replace(self._found, tables=tables, types=types, no_table=0 if events else self._no_table)


def _write_calls(found: Undo, run: StoredRun, context: RunContext, folder: Path, users: UserTables) -> Undo:
    """Write the ids of what was sent, count it by table, and note its users where its bytes are there."""
    with PlanCalls(run, context) as calls:
        try:
            with (folder / IDS_FILE).open("wb") as file:
                written = _Written(found, file)
                for frame in _sent(calls, context):
                    written.add(frame)
                    users.add("sent", frame, _USERS)
            return written.result({})
        except RefusedError as error:
            if any(call.given_id for call in calls.status.record.facts.calls):
                raise  # of ids that the source gives, a hash is kept
            gone = error.message
        with (folder / IDS_FILE).open("wb") as file:
            written = _Written(found, file)
            for frame in _sent_by_id(calls, context):
                written.add(frame)
        return replace(written.result(_planned_events(run)), users=UndoUsers(gone=gone))


def _planned_events(run: StoredRun) -> dict[str, int]:
    """The tables of the events that the plan has, as far as it names them, with how many calls are planned of each."""
    with run.read() as reader:
        profile = reader.profile()
    found: Counter[str] = Counter()
    for (scope, event), calls in profile.events.items() if profile is not None else ():
        if profile is not None and profile.calls[scope].type == "track" and event_table(event):
            found[event_table(event)] += calls
    return dict(found)


def _sent(calls: PlanCalls, context: RunContext) -> Iterator[pl.DataFrame]:
    """The calls that were delivered or are in doubt, in plan order, read from their bytes; raises as `write_undo`."""
    for shard, where, doubt in _places(calls.run):
        for own, texts in calls.texts(shard, where):
            context.check_stop()
            fields = _with_tables(read_fields(texts))
            standing = _standings(doubt[np.searchsorted(where, own)])
            yield fields.with_columns(standing, pl.col("messageId").alias("message_id"))


def _sent_by_id(calls: PlanCalls, context: RunContext) -> Iterator[pl.DataFrame]:
    """The same of calls whose bytes are gone: ids and types alone, which the calls files keep."""
    data = json.loads(calls.status.record.job_data)
    data.pop(REPLAYED, None)
    job = load_kept_job(json.dumps(data), Path(calls.status.record.job_file))
    kinds = np.array([call.type for call in job.calls])
    for shard, where, doubt in _places(calls.run):
        records = calls.records(shard)
        for start in range(0, len(where), _AT_ONCE):
            context.check_stop()
            own = records[where[start : start + _AT_ONCE]]
            digits = pl.col("message_id").bin.encode("hex")
            parts = [digits.str.slice(first, length) for first, length in _UUID_PARTS]
            yield pl.DataFrame(
                {
                    "message_id": pl.Series([one.tobytes() for one in own["id_bytes"]], dtype=pl.Binary),
                    "type": kinds[own["call"]],
                    "event_table": pl.Series([None] * len(own), dtype=pl.String),
                    "standing": _standings(doubt[start : start + _AT_ONCE]),
                }
            ).with_columns(pl.concat_str(parts, separator="-").alias("message_id"))


def _places(run: StoredRun) -> Iterator[tuple[int, npt.NDArray[np.int64], npt.NDArray[np.bool_]]]:
    """Of each shard the places of the calls that were sent, ascending, and which of these are in doubt."""
    with run.read() as reader:
        spans = [span for span in reader.call_spans() if span.standing in (_DELIVERED, _IN_DOUBT)]
    for shard, own in groupby(sorted(spans, key=lambda span: (span.shard, span.first_call)), lambda span: span.shard):
        parts = list(own)
        where = np.concatenate([np.arange(part.first_call, part.first_call + part.calls) for part in parts])
        yield shard, where, np.repeat([part.standing == _IN_DOUBT for part in parts], [part.calls for part in parts])


def _standings(in_doubt: npt.NDArray[np.bool_]) -> pl.Series:
    return pl.Series("standing", np.where(in_doubt, _IN_DOUBT, _DELIVERED))


def read_fields(texts: pl.Series) -> pl.DataFrame:
    """Of each call its ids, type and event, as strings or null."""
    try:
        return texts.str.json_decode(_WRITTEN).struct.unnest()
    except pl.exceptions.ComputeError:  # numbers that it does not take
        read = [read_json(text) for text in texts]
        return pl.DataFrame({name: [one.get(name) for one in read] for name in _FIELDS}, dict(_WRITTEN.to_schema()))


def _with_tables(calls: pl.DataFrame) -> pl.DataFrame:
    """Beside each track call the table of its event."""
    events = calls.filter(pl.col("type") == "track")["event"].drop_nulls().unique()
    names = {event: event_table(event) or None for event in events}
    table = pl.col("event").replace_strict(names, default=None, return_dtype=pl.String)
    return calls.with_columns(pl.when(pl.col("type") == "track").then(table).alias("event_table"))


def _add_others(run: StoredRun, record: RunRecord, context: RunContext, users: UserTables) -> tuple[str, ...]:
    """Note the users of every other run kept here that sent, or may yet send; returns those whose are not known.

    Of a live run those of the sandbox are no others, as Segment knows nothing of them.
    """
    unknown = []
    for other in _runs(context.store):
        if other.run_id == run.run_id:
            continue
        context.check_stop()
        try:
            with other.read() as reader:
                status, counts = reader.status(), reader.counts()
            if (record.live and not status.record.live) or not counts.sendable or status.plan_digest is None:
                continue
            with PlanCalls(other, context) as calls:
                for shard, plan in calls.shards.items():
                    for _, texts in calls.texts(shard, np.arange(len(calls.records(shard)))) if plan.batches else ():
                        context.check_stop()
                        users.add("known", read_fields(texts), (*_USERS, "previousId"))
        except BackfillError as error:
            context.check_stop()
            context.say(f"The users of {other.run_id} are not known: {error.message}.")
            unknown.append(other.run_id)
    return tuple(unknown)
