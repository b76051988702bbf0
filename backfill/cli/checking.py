"""Is a job fit to run: its columns against the source's schema, its SQL against DuckDB's binder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from backfill.cli.session import Session
from backfill.cli.settings import joined
from backfill.errors import Fault, JobError, SourceError
from backfill.job import check_columns, fault_at, notices, positions
from backfill.job.models import Job
from backfill.sources import Schema, inspect

STDIN = "-"
#: How sources say that a declared column is not there.
ABSENT = re.compile(r"source\.columns\.(.+): (the source has no such column)", re.DOTALL)


def refuse_unfit(session: Session, jobs: Sequence[Job], *, sources_needed: bool = False) -> None:
    """Check every job against the schema of its source; no row is judged. What looks like a slip is said.

    A source that cannot be read is left to the run of its own job, unless `sources_needed`. What standard input holds
    is not known before it is read.

    Raises:
        JobError: With every fault of every job.
        SourceError: A source cannot be read, where they are needed.
    """
    errors = []
    for job in jobs:
        if STDIN in job.source.path:
            continue
        try:
            faults, doubtful = faults_of(job)
        except SourceError:
            if sources_needed:
                raise
            continue
        except JobError as error:
            errors.append(error)
            continue
        if faults:
            errors.append(JobError(f"{Path(job.path).name} does not fit its source", tuple(faults)))
        for notice in doubtful:
            session.say(f"{notice}\n    Hint: {notice.hint}", "warning")
    if errors:
        raise joined(errors)


def faults_of(job: Job) -> tuple[list[Fault], list[Fault]]:
    """Every fault of the job against its source, in the order of the file; and what is none, but looks like a slip.

    Raises:
        SourceError: The source cannot be read.
        JobError: The declared columns do not fit it.
    """
    where = positions(Path(job.path))
    schema, absent = looked_at(job)
    faults = check_columns(job, schema.columns, where, complete=schema.complete)
    known = {fault.path for fault in faults}
    faults += [where.fault(path, message, hint) for path, message, hint in absent if path not in known]
    faults += [where.fault(fault.path, fault.message, fault.hint, offset=fault.offset) for fault in schema.faults]
    ordered = sorted(dict.fromkeys(faults), key=lambda fault: (fault.line, fault.column))
    return ordered, notices(job, schema.columns, where)


def looked_at(job: Job) -> tuple[Schema, list[tuple[str, str, str]]]:
    """The source's columns, and path, message and hint of declared columns that it does not have.

    One such column must not hide every other fault: the source is looked at again without it.

    Raises:
        SourceError: The source cannot be read.
        JobError: The job does not fit it otherwise.
    """
    absent: list[tuple[str, str, str]] = []
    while True:
        try:
            return inspect(job), absent
        except JobError as error:
            name = ABSENT.fullmatch(error.message)
            if name is None or error.faults or name[1] not in job.source.columns:
                raise
            absent.append((f"source.columns.{name[1]}", name[2], error.hint))
            columns = {key: spec for key, spec in job.source.columns.items() if key != name[1]}
            job = job.model_copy(update={"source": job.source.model_copy(update={"columns": columns})})


def refuse_unstated_integrations(jobs: Sequence[Job]) -> None:
    """Raise JobError where a call does not say which destinations it may reach; live runs want it said.

    Without `integrations`, Segment and its kin forward history to every destination that is switched on.
    """
    faults = [
        fault_at(
            Path(job.path),
            f"calls[{place}]",
            "`integrations` is not stated: a live run would reach every destination of the source",
            "say which: `integrations: {All: false}` for no destination but the target's own storage",
        )
        for job in jobs
        for place, call in enumerate(job.calls)
        if call.integrations is None
    ]
    if faults:
        raise JobError("integrations have to be stated before a live run", tuple(faults))
