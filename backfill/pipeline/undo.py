"""`undo`: what a run has sent, to be taken back by whoever may; written to a new folder. Sends nothing.

The bytes of the calls are those that were prepared, or made again (`call_bytes`). Which of them were delivered and
which are in doubt is the ledger's word.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from backfill.advice import in_plan, undo_notes
from backfill.errors import BackfillError, LockedError, UsageError
from backfill.pipeline.call_bytes import PlanCalls
from backfill.pipeline.call_fields import read_json
from backfill.pipeline.context import RunContext
from backfill.pipeline.delivered_ids import related_runs
from backfill.records import RunReader, RunRecord, RunStore, StoredRun
from backfill.state import holds_state
from backfill.undo.result import TableRows, Undo
from backfill.undo.users import DELETE, SUPPRESS, UserTables
from backfill.undo.warehouse import COLUMNS, DIALECTS, IDS_FILE, TABLES, event_table, script

README: Final = "README.txt"
Array = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
_DELIVERED, _IN_DOUBT = "delivered", "in_doubt"
_USERS: Final = ("userId", "anonymousId")
_FIELDS: Final = ("messageId", "type", "event", *_USERS, "previousId")
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
    if (holder := run.holder()) is not None:
        raise LockedError(f"a process ({holder}) is at work on {run.run_id}", hint="undo it once that has ended")
    with run.read() as reader:
        status, counts = reader.status(), reader.counts()
        profile = reader.profile()
    record = status.record
    generations = [record.generation, *(other.generation for other, _ in related_runs(store, record))]
    return Undo(
        run.run_id,
        status,
        delivered=counts.delivered,
        in_doubt=counts.in_doubt,
        notes=tuple(undo_notes(in_plan(profile))) if profile is not None else (),
        next_generation=max(generations) + 1,
    )


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
        RefusedError: The bytes of the run's calls are gone, and cannot be made again.
        UsageError, LockedError, LedgerError: As `look_at`; or what was kept is damaged.
        InterruptedRunError: A signal came.
    """
    found = replace(look_at(run, context.store), schema=schema, regulation=SUPPRESS if suppress_users else DELETE)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    try:
        with tempfile.TemporaryDirectory(prefix="backfill-") as work, closing(UserTables(Path(work))) as users:
            found = _write_ids(found, run, context, unfinished, users)
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


def _write_ids(found: Undo, run: StoredRun, context: RunContext, folder: Path, users: UserTables) -> Undo:
    """Write the ids of what was sent, count it by table, and note its users."""
    tables: dict[str, Counter[str]] = {}
    types: set[str] = set()
    no_table = 0
    with PlanCalls(run, context) as calls, (folder / IDS_FILE).open("wb") as file:
        file.write((",".join(COLUMNS) + "\n").encode())
        for frame in _sent(calls, context):
            ids = frame.select("message_id", "standing", "type", "event_table")
            ids.write_csv(file, include_header=False)
            users.add("sent", frame, _USERS)
            for kind, table, standing, number in ids.group_by("type", "event_table", "standing").len().select(
                "type", "event_table", "standing", "len"
            ).iter_rows():  # fmt: skip
                types.add(kind)
                no_table += number if kind == "track" and not table else 0
                for name in {TABLES[kind], *filter(None, [table])}:
                    tables.setdefault(name, Counter())[standing] += number
    rows = [TableRows(name, tables[name][_DELIVERED], tables[name][_IN_DOUBT]) for name in sorted(tables)]
    return replace(found, tables=tuple(rows), types=tuple(kind for kind in TABLES if kind in types), no_table=no_table)


def _sent(calls: PlanCalls, context: RunContext) -> Iterator[pl.DataFrame]:
    """The calls that were delivered or are in doubt, in plan order."""
    with calls.run.read() as reader:
        spans = _spans(reader)
    for shard, (places, standing) in spans.items():
        where = np.concatenate(places)
        order = np.argsort(where)
        where, doubt = where[order], np.concatenate(standing)[order]
        for own, texts in calls.texts(shard, where):
            context.check_stop()
            in_doubt = pl.Series("in_doubt", doubt[np.searchsorted(where, own)])
            yield _with_tables(read_fields(texts)).with_columns(
                pl.when(in_doubt).then(pl.lit(_IN_DOUBT)).otherwise(pl.lit(_DELIVERED)).alias("standing"),
                pl.col("messageId").alias("message_id"),
            )


def _spans(reader: RunReader) -> dict[int, tuple[list[Array], list[Flags]]]:
    """Of each shard the places of calls that were sent, and whether they are in doubt."""
    found: dict[int, tuple[list[Array], list[Flags]]] = {}
    for span in reader.call_spans():
        if span.standing in (_DELIVERED, _IN_DOUBT):
            places, standing = found.setdefault(span.shard, ([], []))
            places.append(np.arange(span.first_call, span.first_call + span.calls))
            standing.append(np.full(span.calls, span.standing == _IN_DOUBT))
    return found


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
    for other in [*context.store.earlier(), *context.store.runs()]:
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
