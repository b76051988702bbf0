"""What arguments and options come to: job files, the state directory, the runs that RUN means, the target."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backfill.cli.here import display_path, shell_word, shown_files
from backfill.cli.named import TARGETS_FILE
from backfill.cli.options import TargetOptions
from backfill.cli.session import Session
from backfill.errors import JobError, UsageError, joined
from backfill.pipeline.runs import is_job_file, run_endpoint, targets_folders
from backfill.records import RunRecord, RunStore, StoredRun
from backfill.shared.place import place_url
from backfill.state import SpoolChoice, open_store
from backfill.state.stated import is_url, stated_place

if TYPE_CHECKING:
    from backfill.job.models import Job
    from backfill.pipeline.replay import Replay
    from backfill.targets import Target

SUFFIXES = (".yaml", ".yml")
#: Suffixes of files that are given in place of their job file.
DATA = (
    *(".csv", ".tsv", ".tab", ".parquet", ".pq", ".ndjson", ".jsonl", ".gz", ".zst", ".zip"),
    *(".db", ".sqlite", ".sqlite3", ".xls", ".xlsx"),
)


def expand_job_paths(named: Sequence[Path]) -> list[Path]:
    """The job files meant by the arguments: a file is itself, a folder its *.yaml and *.yml in byte order of names.

    Raises:
        UsageError: A folder holds no job file, or a file is named twice.
    """
    paths: list[Path] = []
    for path in named:
        if not path.is_dir():
            refuse_data(path)
            paths.append(path)
            continue
        inside = [one for one in path.iterdir() if one.suffix in SUFFIXES and one.name != TARGETS_FILE]
        if not inside:
            raise UsageError(f"{path} holds no job file", hint="job files end in .yaml or .yml")
        paths += sorted(inside, key=lambda one: os.fsencode(one.name))
    for path in paths:
        refuse_unwritable_name(path)
    twice = {str(path) for path in paths if [one.resolve() for one in paths].count(path.resolve()) > 1}
    if twice:
        raise UsageError(f"{min(twice)} is named twice")
    return paths


def in_phases(jobs: Sequence[Job], named: Sequence[Path]) -> list[Job]:
    """The jobs in the order in which they run: those of a folder by phase, else as they were named.

    `named` are the arguments that `expand_job_paths` has had.
    """
    folders = {path.resolve() for path in named if path.is_dir()}
    alone = {path.resolve() for path in named}
    found: list[Job] = []
    for folder, group in groupby(jobs, lambda job: None if Path(job.path) in alone else Path(job.path).parent):
        found += sorted(group, key=lambda job: job.phase if folder in folders else 0)
    return found


def refuse_data(path: Path) -> None:
    """Raise UsageError where a file is data by its name, or the targets, and no job file."""
    if path.name == TARGETS_FILE:
        raise UsageError(
            f"{display_path(path)} has the targets, and is no job file",
            hint="it is found by itself: name job files, or their folder",
        )
    if path.suffix.lower() in DATA:
        raise UsageError(
            f"{display_path(path)} is data by its name, and no job file",
            hint=f"`backfill guess {shell_word(display_path(path))} -o job.yaml` writes a job file for it, which says "
            "which calls its rows become",
        )


def refuse_unwritable_name(path: Path) -> None:
    """Raise UsageError where a path cannot be written down: ledgers and messages are UTF-8."""
    whole = str(path.absolute())
    try:
        whole.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{whole}: the name is not UTF-8", hint="rename it") from None


def load_jobs(paths: Sequence[Path]) -> list[Job]:
    """Load every job file.

    Raises:
        JobError: With the faults of all the files, not only of the first; or two jobs have the same name and
            generation, and so would be one run.
    """
    from backfill.api import load_job_file

    jobs: list[Job] = []
    errors: list[JobError] = []
    for path in paths:
        try:
            jobs.append(load_job_file(path))
        except JobError as error:
            errors.append(error)
    if errors:
        raise joined(errors)
    seen: dict[tuple[str, int], str] = {}
    for job in jobs:
        other = seen.setdefault((job.name, job.generation), job.path)
        if other != job.path:
            raise JobError(
                f"{other} and {job.path} are both named {job.name!r}",
                hint="the name is the run's and part of every message id: give each job its own",
            )
    return jobs


def wanted_target_name(given: str) -> str:
    """The name of the target of a new run: what is said, else `sandbox` on a terminal.

    Raises:
        UsageError: Nothing is said, and there is no terminal.
    """
    if not given and not sys.stdin.isatty():
        raise UsageError(
            "no target: without a terminal it has to be said", hint="--target sandbox, --target segment, or a profile"
        )
    return given or "sandbox"


def load_chosen_target(options: TargetOptions, *starts: Path) -> Target:
    """The target, with its key, looked up from each of the folders `starts` upward where no file is named.

    Raises:
        JobError: targets.yaml is wrong.
        UsageError: There is no such target, its key is missing, or the endpoint is not allowed for it.
    """
    from backfill.targets import find_targets, load_target

    found = (file for start in starts if (file := find_targets(start)) is not None)
    return load_target(
        options.name,
        targets_file=options.targets or next(found, None),
        endpoint=options.endpoint,
        environ=os.environ,
    )


def load_dry_run_target(session: Session, options: TargetOptions, start: Path) -> Target:
    """The target whose ids and limits a dry run takes; says so where the ids are not the live ones.

    Raises:
        JobError: targets.yaml is wrong.
        UsageError: There is no such target.
    """
    from backfill.targets import find_targets, load_target

    target = load_target(
        options.name or "sandbox",
        targets_file=options.targets or find_targets(start),
        endpoint=options.endpoint,
        environ=os.environ,
        need_key=False,
    )
    if not target.ids_are_live:
        session.say_once("Message ids are those of the sandbox: a live run's need its target and write key.")
    return target


def choose_state_folder(session: Session, option: Path | None, job: Path | None = None) -> Path:
    """The state directory: what --state-dir says, else by the job file, else from the current directory upward.

    It is noted in the session: a crash report would go there.
    """
    from backfill.state import state_folder_from, state_folder_of_job

    stated = None if session.here.database else stated_state(job.parent if job is not None else Path.cwd())
    if stated is not None and is_url(stated) and option is None:
        session.here.database = stated
    if option is not None:
        folder = option.absolute()
    elif stated is not None and not is_url(stated):
        folder = Path(stated)
    else:
        folder = state_folder_of_job(job) if job is not None else state_folder_from(Path.cwd())
    refuse_unwritable_name(folder)
    session.here.state = folder
    return folder


def stated_state(start: Path) -> str | None:
    """What the nearest targets.yaml, or that of --targets, says of where runs are kept; None where it says nothing."""
    context = click.get_current_context(silent=True)
    return stated_place(start, context.params.get("targets") if context else None, os.environ)


def store_at(session: Session, folder: Path, choice: SpoolChoice | None = None) -> RunStore:
    """The runs of that state directory, or of the database that the session has."""
    return open_store(folder, choice or SpoolChoice(), session.here.database)


def open_state(session: Session, run: str | None, option: Path | None, *, spool_cache: str | None = None) -> RunStore:
    """The state directory in which RUN is looked for: of a job file its own."""
    place = choose_state_folder(session, option, Path(run) if run and is_job_file(run) else None)
    return store_at(session, place, spool_choice(None, spool_cache))


def spool_choice(spool: str | None, cache: str | None) -> SpoolChoice:
    """What --spool and --spool-cache say; of the latter, without the option, what the environment says.

    Raises:
        UsageError: One is neither a place nor a size.
    """
    choice = SpoolChoice(place_url(spool) if spool else "")
    size = cache or os.environ.get("BACKFILL_SPOOL_CACHE")
    if not size:
        return choice
    from backfill.job.gates import parse_size

    try:
        return replace(choice, cache_bytes=parse_size(size))
    except UsageError as error:
        raise UsageError(f"--spool-cache {size}: {error.message}", hint=error.hint) from None


def source_paths(folder: StoredRun) -> dict[str, str]:
    """The files of a run's source, by their names in problems, as they can be opened from where the user stands.

    Raises:
        LedgerError: The ledger cannot be read.
    """
    with folder.read() as reader:
        snapshot = reader.snapshot()
    return shown_files(snapshot.files) if snapshot else {}


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


def replayed(session: Session, jobs: Sequence[Job], target: Target, state_dir: Path | None, file: Path) -> Replay:
    """The mended rejects of a job's run as a job over that file.

    Raises:
        UsageError: Several jobs are named, or the file is no export of the run's rejects.
        RefusedError: The scope of message ids is another one now.
        SourceError: The file cannot be read.
    """
    from backfill.pipeline.replay import replay_of

    if len(jobs) != 1:
        raise UsageError("--replay-rejects is for one job", hint="name the job file whose run had the rejects")
    store = store_at(session, choose_state_folder(session, state_dir, Path(jobs[0].path)))
    return replay_of(store, jobs[0], target, file)
