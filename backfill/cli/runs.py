"""Runs by name, as `resume`, `status` and `rejects` find them."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from backfill.errors import JobError, UsageError
from backfill.job import fingerprint, load_job
from backfill.ledger import LedgerReader, RunRecord, RunStatus
from backfill.pipeline.rehearsal import DRY_RUNS_FOLDER
from backfill.report import rejects_frame, with_line_column
from backfill.state import RunFolder, StateFolder


def status_of(folder: RunFolder) -> RunStatus:
    """Where a run stands.

    Raises:
        LedgerError: Its ledger cannot be read.
    """
    with LedgerReader(folder.ledger) as reader:
        return reader.status()


def named_run(state: StateFolder, name: str, *, dry: bool = False) -> tuple[RunFolder, RunStatus]:
    """The run of that id, or the only one whose id begins so; `dry` looks among the dry runs, too.

    Raises:
        UsageError: There is none, or more than one.
    """
    begun = state.runs() + (StateFolder(state.path / DRY_RUNS_FOLDER).runs() if dry else [])
    found = [run for run in begun if run.run_id == name] or [run for run in begun if run.run_id.startswith(name)]
    if not found:
        known = ", ".join(run.run_id for run in begun[:5])
        raise UsageError(
            f"there is no run {name} in {state.path}",
            hint=f"there are {known}" if known else "give another state directory with --state-dir",
        )
    if len(found) > 1:
        raise UsageError(
            f"{name} is the beginning of {len(found)} runs", hint=", ".join(run.run_id for run in found[:5])
        )
    return found[0], status_of(found[0])


def unfinished_run(state: StateFolder) -> tuple[RunFolder, RunStatus]:
    """The only run that is not over.

    Raises:
        UsageError: There is none, or more than one.
    """
    standing = [(run, status_of(run)) for run in state.runs()]
    unfinished = [(run, status) for run, status in standing if not status.over]
    if not unfinished:
        raise UsageError(f"no run in {state.path} is unfinished: there is nothing to resume")
    if len(unfinished) > 1:
        raise UsageError(
            f"{len(unfinished)} runs are unfinished: name one", hint=", ".join(run.run_id for run, _ in unfinished[:5])
        )
    return unfinished[0]


def run_endpoint(record: RunRecord) -> str | None:
    """The endpoint that a run was begun with; None for the sandbox inside the process.

    It may have come from --endpoint, or from a profile that says something else by now: a run stays with its own.
    """
    return record.target_identity.partition(" ")[2] or None


def located(folder: RunFolder) -> pl.LazyFrame:
    """The run's rejects, with their lines as far as its job file and source are still what they were."""
    rejects = rejects_frame(folder.spool)
    with LedgerReader(folder.ledger) as reader:
        record, snapshot = reader.status().record, reader.snapshot()
    try:
        job = load_job(Path(record.job_file))
    except JobError:
        return rejects
    if snapshot is None or fingerprint(job) != record.job_fingerprint:
        return rejects
    return with_line_column(rejects, job, snapshot.files)
