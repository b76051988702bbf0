"""Rejected rows that were mended: an export of `rejects` sent as a run of its own, under the ids they would have had.

The plan of a run never changes, nor do its accounts: what was rejected there stays rejected. So the mended rows are a
run beside it, `RUN-replay-DIGEST`, with a ledger and accounts of its own, of the same job, target, generation and scope
of ids. It leaves out every id that was delivered, and what it delivers is left out later, as of any run of the job. The
digest is that of the file: the same file goes on with its run, another one is another run.

What was done to the rows already is not done again: `query`, `explode`, `where` and `latest` have been applied, and of
a row's calls only the rejected one is made. Records that could not be read, and were filled in, have `where` and `when`
before them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from backfill.errors import RefusedError, UsageError
from backfill.frozen import frozen
from backfill.job.formats import SUFFIXES, suffix_within
from backfill.job.models import (
    Call,
    ColumnSpec,
    ColumnType,
    ColumnValue,
    Job,
    ListValue,
    ObjectSpec,
    ObjectValue,
    Source,
    SqlValue,
    Star,
    Value,
)
from backfill.pipeline.mended_export import FORMATS, Export
from backfill.pipeline.runs import REPLAY_MARK, status_of
from backfill.pipeline.snapshot_cache import REPLAYED
from backfill.pipeline.supersede import scope_ways
from backfill.records import Kind, RunStore, SourceFile, StoredRun
from backfill.sources import inspect
from backfill.targets import Target

#: Hex digits of the file's SHA-256 in the id of its run.
DIGITS: Final = 8
#: Sources that are text but for what `columns` declares, as an export is.
_TEXT: Final = ("csv", "tsv", "fixed_width")
#: What an export, which is text, has of a source's own types; all others are text. Of JSON and nested values it does
#: not tell the text "12" from the number, nor a wall clock from an instant.
_TYPES: Final[Mapping[Kind, ColumnType]] = {
    Kind.INTEGER: "integer",
    Kind.NUMBER: "number",
    Kind.DECIMAL: "decimal",
    Kind.BOOLEAN: "boolean",
    Kind.DATE: "date",
    Kind.TIMESTAMP: "timestamp",
}


@frozen
class Replay:
    """A mended export as a job, and the run that it is sent as."""

    job: Job
    run_id: str


def replay_of(store: RunStore, job: Job, target: Target, file: Path) -> Replay:
    """What it takes to send a mended export of the rejects of that job's run to that target.

    Raises:
        UsageError: The file is no export of that run, or the run is not over.
        RefusedError: The scope of message ids is another one now.
        SourceError: The file, or the source where it says the types of its columns, cannot be read.
    """
    parent = store.find(job.name, target.kind, target.identity, job.generation)
    keys = _parent_files(parent, target)
    export = Export.read(file)
    own = (f"{parent.run_id}{REPLAY_MARK}", f"{parent.run_id}~")
    others = [run for run in export.runs if run != parent.run_id and not run.startswith(own)]
    if others:
        raise UsageError(
            f"{file}: it has rejects of {others[0]}, not of {parent.run_id}",
            hint="export those of one run: `backfill rejects RUN --export FILE`",
        )
    digest = _sha256(file)[:DIGITS]
    return Replay(_replayed(job, export, keys, digest), f"{parent.run_id}{REPLAY_MARK}{digest}")


def replayed_again(job: Job, digest: object, file: SourceFile, store: RunStore) -> Job:
    """What a replay of that file was, once more: `job` is the one of its run, `digest` what REPLAYED said.

    Raises:
        RefusedError: The file is gone, or was changed.
        UsageError: It is no export.
        SourceError: The source, where it says the types of its columns, cannot be read.
    """
    path = Path(file.path)
    if not path.is_file():
        raise RefusedError(f"{path}, the mended rejects, is no longer there")
    if _sha256(path) != file.sha256:
        raise RefusedError(f"{path}, the mended rejects, was changed")
    export = Export.read(path)
    parent = store.run(export.runs[0].partition(REPLAY_MARK)[0].partition("~")[0])
    return _replayed(job, export, _changed_keys(parent) if parent.begun() else {}, digest)


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _parent_files(parent: StoredRun, target: Target) -> dict[str, str]:
    """The files of the run's source whose part of a `row` key is not what an export calls them."""
    if not parent.begun():
        raise UsageError(f"there is no run {parent.run_id}", hint="name the target whose run had the rejects: --target")
    status = status_of(parent)
    if not status.over:
        raise UsageError(f"{parent.run_id} is {status.state}", hint="`backfill resume RUN` first: it is to be finished")
    if status.record.id_scope != target.id_scope:
        then = status.record.id_scope
        raise RefusedError(
            f"the scope of the message ids of {parent.run_id} was {then}, now it is {target.id_scope}",
            hint=scope_ways(status.record),
        )
    return _changed_keys(parent)


def _changed_keys(parent: StoredRun) -> dict[str, str]:
    with parent.read() as reader:
        snapshot = reader.snapshot()
    return {one.name: one.key for one in snapshot.files if one.name != one.key} if snapshot else {}


def _replayed(job: Job, export: Export, keys: Mapping[str, str], digest: object) -> Job:
    """The job over the export in place of its source."""
    again = job.source.query is not None or job.explode is not None or job.latest is not None
    if export.unread and again:
        raise UsageError(
            f"{export.path}: {export.unread:,} of its lines are records that could not be read",
            hint="`query`, `explode` and `latest` see the source's records: delete these lines, or mend the source",
        )
    unread = export.unread > 0
    row = _row_key(export, keys)
    source = Source(
        path=(str(export.path.absolute()),),
        format=FORMATS[export.path.suffix.lower()],
        timezone=job.source.timezone,
        columns=_types(job, export),
        all_text=True,
    )
    return job.model_copy(
        update={
            "source": source,
            "where": f"{export.sql('call')} <> '' OR (\n{job.where}\n)" if job.where and unread else None,
            "explode": None,
            "latest": None,
            "calls": tuple(_call(call, export, row, unread=unread) for call in job.calls),
            "raw": {**job.raw, REPLAYED: digest},
        }
    )


def _types(job: Job, export: Export) -> dict[str, ColumnSpec]:
    """The types of the export's columns: those declared, else what the source says of itself."""
    declared = job.source.columns
    found = {name: declared[name] for name in export.columns if name in declared and job.source.query is None}
    if job.source.query is None and job.explode is None and _format(job) in _TEXT:
        return found
    columns = [column for column in inspect(job).columns if column.name in export.columns]
    mixed = [column.name for column in columns if column.kind in (Kind.JSON, Kind.NESTED) and column.raw is None]
    if mixed:
        raise UsageError(
            f"{export.path} is text, and does not tell exactly what the values of {', '.join(mixed)} were",
            hint="mend the source, and run the job with `--only-new`",
        )
    export.refuse_nanoseconds([column.name for column in columns if column.kind is Kind.TIMESTAMP])
    return {column.name: ColumnSpec(type=_TYPES[column.kind]) for column in columns if column.kind in _TYPES} | found


def _format(job: Job) -> str:
    """The format of the source, as far as its name tells; empty where it does not."""
    if job.source.database is not None:
        return "database"
    return job.source.format or SUFFIXES.get(suffix_within(Path(job.source.path[0])), "")


def _row_key(export: Export, keys: Mapping[str, str]) -> tuple[Value, ...]:
    """What `message_key: row` stands for: the file and the record's number in the source."""
    file: Value = ColumnValue(column=export.reasons["file"])
    if keys:
        whens = " ".join(f"WHEN {_text(name)} THEN {_text(key)}" for name, key in keys.items())
        named = export.sql("file")
        file = SqlValue(sql=f"CASE {named} {whens} ELSE {named} END")
    return file, ColumnValue(column=export.reasons["record"])


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _call(call: Call, export: Export, row: tuple[Value, ...], *, unread: bool) -> Call:
    """The call for those rows of which it was rejected."""
    when = f"{export.sql('call')} = {_text(call.scope)}"
    if unread:
        when += f" OR ({export.sql('call')} = '' AND (\n{call.when or 'true'}\n))"
    objects = {name: getattr(call, name) for name in ("properties", "traits", "context")}
    whole = {name: _object(spec, export) for name, spec in objects.items() if spec is not None}
    key = row if call.message_key == "row" else call.message_key
    return call.model_copy(update={"when": when, "message_key": key, **whole})


def _object(spec: ObjectSpec, export: Export) -> ObjectSpec:
    """The object, whose stars leave the reasons' columns out, those of objects inside it, too."""
    star = Star(exclude=(*spec.star.exclude, *export.reasons.values())) if spec.star else None
    members = tuple((path, _value(value, export)) for path, value in spec.members)
    return spec.model_copy(update={"star": star, "members": members})


def _value(value: Value, export: Export) -> Value:
    if isinstance(value, ObjectValue):
        return ObjectValue(object=_object(value.object, export))
    if isinstance(value, ListValue):
        return ListValue(list=tuple(_value(one, export) for one in value.list))
    return value
