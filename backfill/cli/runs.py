"""Runs by name, as `resume`, `status` and `rejects` find them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import polars as pl

from backfill.cli.settings import TargetOptions, chosen_target
from backfill.errors import JobError, UsageError
from backfill.job import fingerprint, load_job
from backfill.job.models import Job
from backfill.ledger import LedgerReader, RunRecord, RunState, RunStatus
from backfill.pipeline.rehearsal import DRY_RUNS_FOLDER
from backfill.report import Standing, read_standing, rejects_frame, with_line_column, with_query
from backfill.state import RunFolder, StateFolder
from backfill.targets import Target


def status_of(folder: RunFolder) -> RunStatus:
    """Where a run stands.

    Raises:
        LedgerError: Its ledger is gone or cannot be read.
    """
    refuse_lost(folder)
    with LedgerReader(folder.ledger) as reader:
        return reader.status()


def refuse_lost(folder: RunFolder) -> None:
    """Raise LedgerError where the ledger of the run is gone."""
    _ = folder.begun


def named_run(state: StateFolder, name: str, *, dry: bool = False) -> tuple[RunFolder, RunStatus]:
    """The run of that id, or the only one whose id begins so.

    `dry` looks among the dry runs, too, and among the earlier ones (RUN~1), where no run is meant.

    Raises:
        UsageError: There is none, or more than one.
    """
    sets = [state.runs(lost=True), *([dry_runs(state), state.earlier()] if dry else [])]
    begun = [run for runs in sets for run in runs]
    found = [run for run in begun if run.run_id == name]
    for runs in sets:
        found = found or [run for run in runs if run.run_id.startswith(name)]
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


def dry_runs(state: StateFolder) -> list[RunFolder]:
    """Every dry run that has begun, the latest first."""
    return StateFolder(state.path / DRY_RUNS_FOLDER).runs()


def standing_of(state: StateFolder, folder: RunFolder) -> Standing:
    """Everything that is shown about a run, a dry run or not.

    Raises:
        LedgerError: Its ledger is gone or cannot be read.
    """
    refuse_lost(folder)
    dry = folder.path.parent.parent.name == DRY_RUNS_FOLDER
    return read_standing(folder.ledger, dry=dry, worked_on=worked_on(state, folder))


def worked_on(state: StateFolder, folder: RunFolder) -> bool:
    """Whether the process that took the run's lock last is there still.

    Told by the process id in the lock's file, which a process that ends by itself takes out: to try the lock would
    keep a process from it that begins at this moment.
    """
    try:
        holder = (state.path / "locks" / f"{folder.run_id}.lock").read_text(encoding="ascii").strip()
        os.kill(int(holder), 0)
    except (OSError, ValueError) as error:
        return isinstance(error, PermissionError)  # of another user
    return True


def job_of(record: RunRecord) -> Job | None:
    """The job of a run, where its file is there and still what it was."""
    try:
        job = load_job(Path(record.job_file))
    except JobError:
        return None
    return job if fingerprint(job) == record.job_fingerprint else None


def queried(record: RunRecord) -> bool:
    """Whether the run's rows are those of a query, not of a file."""
    return json.loads(record.job_data)["source"].get("query") is not None


def unfinished_run(state: StateFolder, *, refused: bool = False) -> tuple[RunFolder, RunStatus]:
    """The only run that is not over; where `refused`, else the only finished one of which the target refused calls.

    Raises:
        UsageError: There is none, or more than one.
    """
    standing = [(run, status_of(run)) for run in state.runs()]
    unfinished = [(run, status) for run, status in standing if not status.over]
    if refused and not unfinished:
        unfinished = [(run, status) for run, status in standing if has_refused(run, status)]
        if not unfinished:
            raise UsageError(f"of no run in {state.path} the target has refused a call: there is nothing to try again")
    if not unfinished:
        raise UsageError(f"no run in {state.path} is unfinished: there is nothing to resume")
    if len(unfinished) > 1:
        raise UsageError(
            f"{len(unfinished)} runs could be meant: name one", hint=", ".join(run.run_id for run, _ in unfinished[:5])
        )
    return unfinished[0]


def has_refused(run: RunFolder, status: RunStatus) -> bool:
    """Whether a run is finished, and the target has refused calls of it."""
    with LedgerReader(run.ledger) as reader:
        return status.state is RunState.FINISHED and reader.counts().refused > 0


def target_of(state: StateFolder, record: RunRecord, options: TargetOptions) -> Target:
    """The target of a run that is there: its own, unless the options, whose name may be empty, say another.

    Raises:
        JobError: targets.yaml is wrong.
        UsageError: There is no such target, its key is missing, or the endpoint is not allowed for it.
    """
    endpoint = options.endpoint
    if options.name in ("", record.target_name):  # another profile has an endpoint of its own, to be compared
        endpoint = endpoint or run_endpoint(record)
    named = TargetOptions(options.name or record.target_name, options.targets, endpoint)
    return chosen_target(named, *targets_places(record, state))


def run_endpoint(record: RunRecord) -> str | None:
    """The endpoint that a run was begun with; None for the sandbox inside the process.

    It may have come from --endpoint, or from a profile that says something else by now: a run stays with its own.
    """
    return record.target_identity.partition(" ")[2] or None


def targets_places(record: RunRecord, state: StateFolder) -> list[Path]:
    """The folders from which the targets.yaml of a run is looked for upward, the likeliest first.

    The job file's, as the ledger has it; where that is not on this machine, the state directory's and the current one.
    """
    recorded, others = Path(record.job_file).parent, [state.path.parent, Path.cwd()]
    return [recorded, *others] if recorded.is_dir() else [*others, recorded]


def located(folder: RunFolder) -> pl.LazyFrame:
    """The run's rejects, with their lines as far as its job file and source are still what they were."""
    rejects = rejects_frame(folder.spool)
    with LedgerReader(folder.ledger) as reader:
        record, snapshot = reader.status().record, reader.snapshot()
    if queried(record):
        rejects = with_query(rejects)
    job = job_of(record)
    return rejects if job is None or snapshot is None else with_line_column(rejects, job, snapshot.files)
