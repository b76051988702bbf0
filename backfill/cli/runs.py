"""What RUN comes to, and the target of a run that is there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from backfill.cli.here import display_path
from backfill.cli.session import Session
from backfill.cli.settings import TargetOptions, choose_state_folder, load_chosen_target
from backfill.pipeline.runs import is_job_file, named_run, runs_in, runs_of_job
from backfill.records import RunRecord, RunStore, StoredRun
from backfill.state import open_store

if TYPE_CHECKING:
    from backfill.targets import Target


def open_state(session: Session, run: str | None, option: Path | None) -> tuple[RunStore, Path | None]:
    """The state directory in which RUN is looked for, and the job file where RUN is one."""
    job = Path(run) if run and is_job_file(run) else None
    return open_store(choose_state_folder(session, option, job)), job


def find_runs(
    session: Session, run: str | None, option: Path | None, *, dry: bool = False
) -> tuple[RunStore, list[StoredRun]]:
    """The state directory, and the runs in it that RUN means: all where it is not said, dry runs with --dry-run.

    Raises:
        UsageError: RUN means none, or is the beginning of several ids.
    """
    state, job = open_state(session, run, option)
    if job is not None:
        return state, runs_of_job(state, job, dry=dry)
    if run is not None:
        return state, [named_run(state, run, dry=True)[0]]
    return state, runs_in(state, dry=dry)


def source_paths(folder: StoredRun) -> dict[str, str]:
    """The files of a run's source, by their names in problems, as they can be opened from where the user stands.

    Raises:
        LedgerError: The ledger cannot be read.
    """
    with folder.read() as reader:
        snapshot = reader.snapshot()
    return {file.name: display_path(file.path) for file in snapshot.files if file.name != "-"} if snapshot else {}


def load_run_target(state: RunStore, record: RunRecord, options: TargetOptions) -> Target:
    """The target of a run that is there: its own, unless the options, whose name may be empty, say another.

    Raises:
        JobError: targets.yaml is wrong.
        UsageError: There is no such target, its key is missing, or the endpoint is not allowed for it.
    """
    endpoint = options.endpoint
    if options.name in ("", record.target_name):  # another profile has an endpoint of its own, to be compared
        endpoint = endpoint or run_endpoint(record)
    named = TargetOptions(options.name or record.target_name, options.targets, endpoint)
    return load_chosen_target(named, *targets_folders(record, state))


def run_endpoint(record: RunRecord) -> str | None:
    """The endpoint that a run was begun with; None for the sandbox inside the process.

    It may have come from --endpoint, or from a profile that says something else by now: a run stays with its own.
    """
    return record.target_identity.partition(" ")[2] or None


def targets_folders(record: RunRecord, state: RunStore) -> list[Path]:
    """The folders from which the targets.yaml of a run is looked for upward, the likeliest first.

    The job file's, as the ledger has it; where that is not on this machine, the state directory's and the current one.
    """
    recorded, others = Path(record.job_file).parent, [state.path.parent, Path.cwd()]
    return [recorded, *others] if recorded.is_dir() else [*others, recorded]
