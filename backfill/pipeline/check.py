"""Is a job fit to run: its columns and SQL against its source's schema, then a sample of rows by a run's own code."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from backfill.document import Positions
from backfill.errors import Fault, InterruptedRunError, JobError, SourceError, counted, joined
from backfill.frozen import frozen
from backfill.job import check_columns, fault_at, fingerprint, positions
from backfill.job.fields import OWN_BLOCK
from backfill.job.models import Job
from backfill.job.notices import notices
from backfill.pipeline.context import RunContext
from backfill.pipeline.fingerprint import Fingerprint
from backfill.records import Column, Counts, Kind, Problem, Snapshot, SourceFile
from backfill.sources import Schema, inspect
from backfill.sources.origins.standard_input import STANDARD_INPUT
from backfill.sources.sql.kept import KeptEngine, kept_engine
from backfill.state import open_store

#: How many records are judged before a full read judges them all.
SAMPLE_ROWS = 1_000
#: How long they are waited for: a database may have to work out all rows for the first one.
SAMPLE_SECONDS = 10
_CONSTANT = "BF312"


@frozen
class Checked:
    """What a look at a job's source found out, where it found no fault."""

    counts: Counts | None = None  # of the sample; None where none was judged
    problems: Mapping[str, int] | None = None
    samples: tuple[Problem, ...] = ()
    files: tuple[SourceFile, ...] = ()
    whole: bool = False  # the sample is all there is
    notes: tuple[str, ...] = ()  # what only a full read can tell


class Deadline(threading.Event):
    """Set as soon as another event is, or so many seconds are over."""

    def __init__(self, other: threading.Event, seconds: float = SAMPLE_SECONDS) -> None:
        super().__init__()
        self._other, self._end = other, time.monotonic() + seconds

    def is_set(self) -> bool:
        """Whether to stop."""
        return self._other.is_set() or time.monotonic() > self._end


def refuse_unfit(jobs: Sequence[Job], notice: Callable[[Fault], None], *, live: bool = False) -> None:
    """Check every job against the schema of its source; no row is judged. What looks like a slip goes to `notice`.

    A source that cannot be read is left to the run of its own job. What standard input holds is not known before it is
    read. A `live` run also wants each call to say which destinations it may reach.

    Raises:
        JobError: With every fault of every job.
    """
    errors = []
    for job in jobs:
        try:
            faults = unstated_integrations(job) if live else []
            known = {(fault.line, fault.column, fault.path) for fault in faults}
            if STANDARD_INPUT not in job.source.path:
                schema, where = inspect(job), positions(Path(job.path))
                faults += faults_of(job, schema, where)
                for slip in slips_of(job, schema, where):
                    if (slip.line, slip.column, slip.path) not in known:
                        notice(slip)
        except SourceError:
            continue
        except JobError as error:
            errors.append(error)
            continue
        if faults:
            errors.append(unfit(job, faults))
    if errors:
        raise joined(errors)


def unfit(job: Job, faults: Sequence[Fault]) -> JobError:
    """The error of a job with these faults."""
    return JobError(
        f"{Path(job.path).name} does not fit its source", tuple(sorted(faults, key=lambda one: (one.line, one.column)))
    )


def faults_of(job: Job, schema: Schema, where: Positions, *, complete: bool | None = None) -> list[Fault]:
    """Every fault of the job against its source's schema, in the order of the file; `complete` overrides the schema's.

    `where` has the places of the job file's fields.
    """
    faults = check_columns(job, schema.columns, where, complete=schema.complete if complete is None else complete)
    known = {fault.path for fault in faults}
    absent = [f"source.columns.{name}" for name in schema.absent]
    there = f"it has {', '.join(schema.present)}"
    faults += [where.fault(path, "the source has no such column", there) for path in absent if path not in known]
    faults += [where.fault(fault.path, fault.message, fault.hint, offset=fault.offset) for fault in schema.faults]
    return sorted(dict.fromkeys(faults), key=lambda fault: (fault.line, fault.column))


def slips_of(job: Job, schema: Schema, where: Positions) -> list[Fault]:
    """What is no fault of the job, but looks like a slip."""
    slips = [where.fault(slip.path, slip.message, slip.hint, offset=slip.offset) for slip in schema.slips]
    return [*notices(job, schema.columns, where), *misnamed(job, where), *slips, *unseen(job, schema, where)]


def misnamed(job: Job, where: Positions) -> list[Fault]:
    """Destinations that Segment calls by nearly the same name: it would take no notice of these."""
    named = [
        (place, name)
        for place, call in enumerate(job.calls)
        for name in call.integrations or {}
        if name not in ("All", OWN_BLOCK)
    ]
    if not named:
        return []
    from backfill.advice import meant_name  # noqa: PLC0415 (its file is read where a job names a destination)

    found = dict[Fault, None]()
    for place, name in named:
        if meant := meant_name(name):
            message = f"Segment has no destination of the name {name!r}: it takes no notice of it"
            hint = f"case and blanks count: did you mean {meant!r}?"
            found[where.fault(f"calls[{place}].integrations.{name}", message, hint)] = None
    return list(found)


def unseen(job: Job, schema: Schema, where: Positions) -> list[Fault]:
    """What no record has of the sample that tells the columns' names: it may come after it, or be a slip."""
    if schema.complete or not schema.records:
        return []
    sampled = [column for column in schema.columns if column.name not in schema.assumed]
    known = set(check_columns(job, schema.columns, where, complete=False))
    absent = check_columns(job, sampled, where, absent="column") if sampled else []
    missing = [fault for fault in absent if fault not in known]
    missing += [where.fault(fault.path, fault.message, fault.hint, offset=fault.offset) for fault in schema.doubts]
    where_not = f"not in the first {counted(schema.records, 'record', 'records')}; no more were looked at"
    return [replace(fault, message=f"{fault.message}: {where_not}") for fault in missing]


def unstated_integrations(job: Job) -> list[Fault]:
    """A fault for each call that does not say which destinations it may reach.

    Without `integrations`, Segment forwards history to every destination that is switched on.
    """
    return [
        fault_at(
            Path(job.path),
            f"calls[{place}]",
            "`integrations` is not stated: a live run would reach every destination of the source",
            "say which: `integrations: {All: false}` forwards to none",
        )
        for place, call in enumerate(job.calls)
        if call.integrations is None
    ]


def check_job(job: Job, context: RunContext, notice: Callable[[Fault], None]) -> Checked:
    """Judge a job by its source's schema, then its first records by the code of a dry run; nothing of it is kept.

    Raises:
        JobError: The job does not fit its source, or its file cannot be read any more.
        SourceError: The source cannot be read.
        InterruptedRunError: A signal came.
    """
    if STANDARD_INPUT in job.source.path:
        return Checked(notes=("no column, SQL or row was judged, as they come from standard input",))
    with kept_engine(job.source.timezone) as kept:
        return _check_with(job, context, notice, kept)


def _check_with(job: Job, context: RunContext, notice: Callable[[Fault], None], kept: KeptEngine) -> Checked:
    """What `check_job` does, with one engine for the look and the sample, which lies in its folder."""
    schema, where = inspect(job, stopping=context.stop.is_set, kept=kept), positions(Path(job.path))
    faults = faults_of(job, schema, where)
    for slip in slips_of(job, schema, where):
        notice(slip)
    if faults:
        raise unfit(job, faults)
    if job.needs_all:
        return Checked(notes=(f"no row was judged, as its {job.needs_all} may need all of them",))
    if unseen(job, schema, where):
        return Checked(notes=("no row was judged, as what the first ones lack may come later",))
    late = [] if schema.complete else faults_of(job, with_untyped(schema), where, complete=True)
    return judge_sample(job, context, kept, late, complete=schema.complete)


def with_untyped(schema: Schema) -> Schema:
    """The schema with those columns, too, of whose type nothing is known, as they are all null so far."""
    known = {column.name for column in schema.columns}
    nulls = [Column(name, Kind.NULL) for name in sorted(schema.untyped - known)]
    return replace(schema, columns=(*schema.columns, *nulls))


def judge_sample(job: Job, context: RunContext, kept: KeptEngine, late: Sequence[Fault], *, complete: bool) -> Checked:
    """The first records judged, with the faults that a schema has which is that of a sample; raises as `check_job`."""
    from backfill.pipeline.sample import files_of, first_files, sample  # noqa: PLC0415 (polars, which no look needs)

    folder = kept.folder
    try:
        files = files_of(job, folder, context)
        looked_at = first_files(job, files)
        # One more tells whether there are more.
        limited = replace(context, stop=Deadline(context.stop))
        snapshot = sample(job, folder, SAMPLE_ROWS + 1, limited, looked_at, kept)
    except InterruptedRunError:
        if context.stop.is_set():
            raise
        return Checked(notes=(f"no row was judged, as the first ones take more than {SAMPLE_SECONDS} seconds",))
    except JobError as error:
        if not late:
            raise
        return Checked(notes=(f"of the first records: {error.message}",))
    whole = complete and snapshot.rows <= SAMPLE_ROWS and len(looked_at) == len(files)
    if late:
        return Checked(notes=tuple(f"not among the first records: {fault.path}: {fault.message}" for fault in late))
    found = replace(weigh_sample(job, context, snapshot, folder), whole=whole)
    return found if whole else _without_constants(found)


def _without_constants(found: Checked) -> Checked:
    """The same without what only all calls can tell: of the first ones a property may well have one value (BF312)."""
    problems = {code: count for code, count in (found.problems or {}).items() if code != _CONSTANT}
    return replace(found, problems=problems, samples=tuple(one for one in found.samples if one.code != _CONSTANT))


def weigh_sample(job: Job, context: RunContext, snapshot: Snapshot, folder: Path) -> Checked:
    """What a dry run makes of a sample that was staged."""
    from backfill.pipeline.dry_run import DryRunRequest, count_plan  # noqa: PLC0415

    run = open_store(folder).run("sample")
    run.make()
    now = Fingerprint(fingerprint(job), job.raw, snapshot.files)
    counts = count_plan(DryRunRequest(job, context, limit=SAMPLE_ROWS), run, now, snapshot)
    with run.read() as reader:
        problems: dict[str, int] = {}
        for (code, _), count in reader.problems().items():
            problems[code] = problems.get(code, 0) + count
        samples = tuple(reader.samples())
    return Checked(counts, problems, samples, snapshot.files)
