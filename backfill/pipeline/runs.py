"""Runs by name, as `resume`, `status` and `rejects` find them: by an id, the beginning of one, or their job file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from backfill.errors import LedgerError, UsageError, counted
from backfill.records import RunState, RunStatus, RunStore, StoredRun
from backfill.state import holds_state, open_store

#: So many runs are named where one of them has to be chosen.
NAMED = 5
JOB_SUFFIXES = (".yaml", ".yml")


def status_of(folder: StoredRun) -> RunStatus:
    """Where a run stands.

    Raises:
        LedgerError: Its ledger is gone or cannot be read.
    """
    with folder.read() as reader:
        return reader.status()


def is_job_file(name: str) -> bool:
    """Whether what stands in the place of RUN is a job file; no run's id ends so."""
    return name.endswith(JOB_SUFFIXES)


def runs_in(state: RunStore, *, dry: bool) -> list[StoredRun]:
    """Every run, the latest first, those included whose ledger is lost; `dry`: every dry run instead."""
    return state.dry_runs.runs() if dry else state.runs(lost=True)


def runs_of_job(state: RunStore, job_file: Path, *, dry: bool = False) -> list[StoredRun]:
    """The runs that were made of a job file, the latest first.

    Raises:
        UsageError: There is none.
    """
    begun = runs_in(state, dry=dry)
    found = [run for run in begun if made_of(run, job_file)] or of_that_name(begun, job_file)
    if not found:
        raise UsageError(
            f"no {'dry run' if dry else 'run'} of {job_file} is in {state.path}",
            hint=others_hint(state, begun) if begun else "where runs are kept elsewhere, say it with --state-dir",
        )
    return found


def made_of(run: StoredRun, job_file: Path) -> bool:
    """Whether a run was made of that very file, as its ledger has it."""
    try:
        return Path(status_of(run).record.job_file).resolve() == job_file.resolve()
    except LedgerError:
        return False


def of_that_name(runs: Sequence[StoredRun], job_file: Path) -> list[StoredRun]:
    """The runs of the job that a file holds, wherever the file was when they were made."""
    from backfill.job import load_job  # noqa: PLC0415 (pydantic, for the case that a file was moved)

    if not job_file.is_file():
        return []
    name = load_job(job_file).name
    found = []
    for run in runs:
        try:
            if status_of(run).record.job_name == name:
                found.append(run)
        except LedgerError:
            continue
    return found


def named_run(state: RunStore, name: str, *, dry: bool = False) -> tuple[StoredRun, RunStatus]:
    """The run of that id, or the only one whose id begins so.

    `dry` looks among the dry runs, too, and among the earlier ones (RUN~1), where no run is meant.

    Raises:
        UsageError: There is none, or more than one.
    """
    sets = [state.runs(lost=True), *([state.dry_runs.runs(), state.earlier()] if dry else [])]
    begun = [run for runs in sets for run in runs]
    found = [run for run in begun if run.run_id == name]
    for runs in sets:
        found = found or [run for run in runs if run.run_id.startswith(name)]
    if not found:
        raise UsageError(f"there is no run {name} in {state.path}", hint=others_hint(state, begun))
    return only(found, name), status_of(found[0])


def only(found: Sequence[StoredRun], name: str) -> StoredRun:
    """The one run that was found; raises UsageError where there are more."""
    if len(found) > 1:
        raise UsageError(f"{name} matches {len(found)} runs: name one", hint=ids(found))
    return found[0]


def ids(runs: Sequence[StoredRun]) -> str:
    """The ids of the first of these runs."""
    return ", ".join(run.run_id for run in runs[:NAMED])


def others_hint(state: RunStore, runs: Sequence[StoredRun]) -> str:
    """What there is instead: other runs here, or other state directories nearby."""
    if runs:
        return f"there are {ids(runs)}"
    others = states_below(Path.cwd(), state.path)
    if others:
        return f"there are runs in {' and in '.join(others)}: say --state-dir {others[0]}, or name the job file"
    return "name the job file, or another state directory with --state-dir"


def states_below(folder: Path, known: Path) -> list[str]:
    """The state directories with runs in the folder and in those right below it, but for the known one."""
    found = [above for above in sorted([*folder.glob(".*"), *folder.glob("*/.*")]) if holds_state(above)]
    return [
        os.path.relpath(path, folder) for path in found if path.resolve() != known.resolve() and open_store(path).runs()
    ]


def unfinished_run(
    state: RunStore, *, among: Sequence[StoredRun] | None = None, refused: bool = False
) -> tuple[StoredRun, RunStatus]:
    """The only run that is not over, of all or of those `among` which it has to be.

    Where `refused` and there is none, the only finished one of which the target refused calls.

    Raises:
        UsageError: There is none, or more than one.
    """
    runs = state.runs() if among is None else among
    standing = [(run, status_of(run)) for run in runs]
    unfinished = [(run, status) for run, status in standing if not status.over]
    if refused and not unfinished:
        unfinished = [(run, status) for run, status in standing if has_refused(run, status)]
        if not unfinished:
            raise UsageError(f"no run in {state.path} has refused calls: there is nothing to try again")
    if not unfinished:
        hint = "" if runs else others_hint(state, runs)
        raise UsageError(f"no run in {state.path} is unfinished: there is nothing to resume", hint=hint)
    if len(unfinished) > 1:
        raise UsageError(
            f"{counted(len(unfinished), 'run', 'runs')} could be meant: name one",
            hint=ids([run for run, _ in unfinished]),
        )
    return unfinished[0]


def run_to_resume(runs: Sequence[StoredRun], state: RunStore, *, refused: bool = False) -> tuple[StoredRun, RunStatus]:
    """Of the runs of a job the one to go on with: the only one, else the only unfinished one; see `unfinished_run`.

    Raises:
        UsageError: There is none, or more than one.
    """
    return (runs[0], status_of(runs[0])) if len(runs) == 1 else unfinished_run(state, among=runs, refused=refused)


def has_refused(run: StoredRun, status: RunStatus) -> bool:
    """Whether a run is finished, and the target has refused calls of it."""
    with run.read() as reader:
        return status.state is RunState.FINISHED and reader.counts().refused > 0
