"""Runs by name, as `resume`, `status` and `rejects` find them: by an id, the beginning of one, or their job file."""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from backfill.errors import BackfillError, LedgerError, UsageError, counted
from backfill.records import RunRecord, RunState, RunStatus, RunStore, StoredRun
from backfill.state import holds_state, may_be_of, open_store, state_folder_from, state_folder_of_job

#: How many runs are named where one of them has to be chosen.
NAMED = 5
JOB_SUFFIXES = (".yaml", ".yml")
#: Between a run's id and the digest of the mended rejects of it that another run has sent.
REPLAY_MARK = "-replay-"
#: The same before the digest of calls of it that a destination lacked, and that another run has sent again.
REQUEUE_MARK = "-requeue-"
_BESIDE = re.compile(rf"-g\d+-[0-9a-f]+(?:{REPLAY_MARK}|{REQUEUE_MARK})[0-9a-f]+")


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


def runs_in(store: RunStore, *, dry: bool) -> list[StoredRun]:
    """Every run, the latest first, those included whose ledger is lost; `dry`: every dry run instead."""
    return store.dry_runs.runs() if dry else store.runs(lost=True)


def find_runs(store: RunStore, named: str | None, *, dry: bool = False) -> list[StoredRun]:
    """The runs that are meant: by a job file, an id or the beginning of one; all where it is None, `dry`: dry runs.

    Raises:
        UsageError: None is, or it is the beginning of several ids.
    """
    if named is None:
        return runs_in(store, dry=dry)
    return runs_of_job(store, Path(named), dry=dry) if is_job_file(named) else [named_run(store, named, dry=True)[0]]


def find_run_to_resume(store: RunStore, named: str | None, *, refused: bool = False) -> tuple[StoredRun, RunStatus]:
    """The run to go on with: the one of that id, of a job the only one, else the only unfinished one.

    `refused`: where none is unfinished, the only finished one of which the target refused calls.

    Raises:
        UsageError: There is none, or more than one.
    """
    if named and not is_job_file(named):
        return named_run(store, named)
    runs = runs_of_job(store, Path(named)) if named else None
    return (runs[0], status_of(runs[0])) if runs and len(runs) == 1 else unfinished_run(store, runs, refused=refused)


def runs_of_job(store: RunStore, job_file: Path, *, dry: bool = False) -> list[StoredRun]:
    """The runs that were made of a job file, the latest first.

    Those included whose ledger cannot be read, where by their id they may be of that job: to leave them out would be
    to say that there are none. Whoever reads their ledger is told what is wrong with it.

    Raises:
        UsageError: There is none.
    """
    begun = [(run, _record_of(run)) for run in runs_in(store, dry=dry)]
    unreadable = [run for run, record in begun if record is None]
    made = [run for run, record in begun if record is not None and _is_of_file(record, job_file)]
    found = made
    if unreadable or not made:
        name = _job_name(job_file, needed=not made)
        named = [run for run, record in begun if record is not None and record.job_name == name]
        hurt = [run for run in unreadable if name is not None and may_be_of(run.run_id, name)]
        meant = {run.run_id for run in (*(made or named), *hurt)}
        found = [run for run, _ in begun if run.run_id in meant]
    if not found:
        ways = _meant_file(job_file) or _ways_on(store, [run for run, _ in begun], job_file, dry=dry)
        told = f"; the ledger of {list_ids(unreadable)} cannot be read" if unreadable else ""
        raise UsageError(f"no {'dry run' if dry else 'run'} of {job_file} is in {store.name}{told}", hint=ways)
    return found


def _record_of(run: StoredRun) -> RunRecord | None:
    """What a run was begun with; None where its ledger cannot be read."""
    try:
        return status_of(run).record
    except LedgerError:
        return None


def _is_of_file(record: RunRecord, job_file: Path) -> bool:
    """Whether a run was made of that very file, as its ledger has it."""
    return Path(record.job_file).resolve() == job_file.resolve()


def _job_name(job_file: Path, *, needed: bool) -> str | None:
    """The name of the job that a file holds; None where there is no such file.

    Raises:
        BackfillError: The job cannot be loaded, and its name is `needed`; else it is None then, too.
    """
    from backfill.job import load_job  # noqa: PLC0415 (pydantic, for the case that a file was moved)

    if not job_file.is_file():
        return None
    try:
        return load_job(job_file).name
    except BackfillError:
        if needed:
            raise
        return None


def _ways_on(store: RunStore, others: Sequence[StoredRun], job_file: Path, *, dry: bool) -> str:
    """What to do where no run, or dry run, was made of a job file; `others` are those of other jobs."""
    usual = state_folder_of_job(job_file)
    if job_file.is_file() and store.path == usual and (dry or others):
        what = "makes one" if dry else "tells what a run would send"
        return f"`backfill dry-run {shlex.quote(str(job_file))}` {what}"
    return others_hint(store, others) if others else nothing_begun(store, usual)


def named_run(store: RunStore, name: str, *, dry: bool = False) -> tuple[StoredRun, RunStatus]:
    """The run of that id, or the only one whose id begins so; replays and requeues beside it do not count.

    `dry` looks among the dry runs, too, and among the earlier ones (RUN~1), where no run is meant.

    Raises:
        UsageError: There is none, or more than one.
    """
    sets = [store.runs(lost=True), *([store.dry_runs.runs(), store.earlier(), store.dry_runs.earlier()] if dry else [])]
    begun = [run for runs in sets for run in runs]
    found = [run for run in begun if run.run_id == name]
    for runs in sets:
        found = found or [run for run in runs if _begins_so(run, name)]
    if not found:
        hint = f"did you mean {near}?" if (near := _near_id(name, begun)) else others_hint(store, begun)
        raise UsageError(f"there is no run {name} in {store.name}", hint=hint)
    return only_run(found, name), status_of(found[0])


def _begins_so(run: StoredRun, name: str) -> bool:
    """Whether its id begins with that name, and of a run beside another not that one's, too, which is meant then."""
    marks = map(run.run_id.rfind, (REPLAY_MARK, REQUEUE_MARK)) if is_replay(run) else (-1,)
    return run.run_id.startswith(name) and len(name) > max(marks)


def _near_id(name: str, runs: Sequence[StoredRun]) -> str:
    """The id that is most like a name that is the beginning of none; empty where none is."""
    beginnings = {run.run_id[: len(name)]: run.run_id for run in reversed(runs)}
    near = get_close_matches(name.lower(), beginnings, n=1, cutoff=0.7)
    return beginnings[near[0]] if near else ""


def near_file(path: Path) -> str:
    """The file beside one that is not there whose name is most like it; empty where none is."""
    folder = path.parent
    names = [one.name for one in folder.iterdir() if not one.name.startswith(".")] if folder.is_dir() else []
    near = get_close_matches(path.name, names, n=1)
    return str(folder / near[0]) if near else ""


def _meant_file(path: Path) -> str:
    """What was meant by a job file that is not there; empty where it is, or none is near."""
    near = "" if path.exists() else near_file(path)
    return f"did you mean {near}?" if near else ""


def replays_of(store: RunStore, run: StoredRun) -> list[StoredRun]:
    """The runs that have sent mended rejects of this one."""
    return [one for one in store.runs(lost=True) if one.run_id.startswith(f"{run.run_id}{REPLAY_MARK}")]


def requeues_of(store: RunStore, run_id: str) -> list[StoredRun]:
    """The runs that have planned calls of a run of this id again, and those that have planned calls of these again.

    Where another run took its place they may be of either: `pipeline.requeues` tells which.
    """
    return [one for one in store.runs(lost=True) if one.run_id.startswith(f"{run_id}{REQUEUE_MARK}")]


def is_requeue(run_id: str) -> bool:
    """Whether a run, by its id, is of calls of another one that a destination lacked."""
    return REQUEUE_MARK in run_id


def late_warning(run_id: str, window: float) -> str:
    """What to mind before a run is sent whose calls another one has delivered; empty of any other run.

    `window` is for how many seconds the target drops ids that it has seen; 0: it is not known to.
    """
    if not is_requeue(run_id):
        return ""
    twice = "what is not missing but late arrives twice"
    if window:
        twice += f", unless it was first received in the last {window / 3600:g} hours"
    return f"these calls were delivered before: {twice}"


def own_replays(store: RunStore, run: StoredRun) -> list[StoredRun]:
    """The runs that have sent mended rejects of this very run, not of one before or after it in its place.

    Those included whose ledger cannot be read: they may be of it.
    """
    name = run.run_id.partition("~")[0]
    began = status_of(run).record.created_at
    records = [_record_of(one) for one in (*store.earlier(name), store.run(name)) if one.begun()]
    next_one = min((one.created_at for one in records if one and one.created_at > began), default=math.inf)
    replays = [(one, _record_of(one)) for one in replays_of(store, store.run(name)) if not is_requeue(one.run_id)]
    return [one for one, record in replays if record is None or began <= record.created_at < next_one]


def is_replay(run: StoredRun) -> bool:
    """Whether a run or dry run is of mended rejects, or of missing calls, beside the run of its job."""
    return _BESIDE.search(run.run_id) is not None


def only_run(found: Sequence[StoredRun], name: str) -> StoredRun:
    """The one run that was found; raises UsageError where there are more."""
    if len(found) > 1:
        raise UsageError(f"{name} matches {len(found)} runs: name one", hint=list_ids(found))
    return found[0]


def list_ids(runs: Sequence[StoredRun]) -> str:
    """The ids of the first of these runs."""
    return ", ".join(run.run_id for run in runs[:NAMED])


def others_hint(store: RunStore, runs: Sequence[StoredRun]) -> str:
    """What there is instead: other runs here, or other state directories nearby."""
    if runs:
        return f"there are {list_ids(runs)}"
    if store.name != str(store.path):
        return f"no run was begun in {store.name} yet"
    usual = state_folder_from(Path.cwd())
    if store.path != usual:  # whoever named a place does not mean another one
        return nothing_begun(store, usual)
    others = states_below(Path.cwd(), store.path)[:NAMED]
    if others:
        return f"there are runs in {' and in '.join(others)}: say --state-dir {others[0]}, or name the job file"
    return "name the job file, or another state directory with --state-dir"


def nothing_begun(store: RunStore, usual: Path) -> str:
    """What a state directory without runs tells; `usual` is where runs are looked for if nothing else is said."""
    said = "where runs are kept elsewhere, say it with --state-dir" if store.path == usual else ""
    if not holds_state(store.path):
        return said or f"{store.path} is no state directory: name the one that the run was begun with"
    begun = "no run was begun there yet: one that is interrupted while its source is still being read leaves none"
    return f"{begun}; {said or 'the same command begins it anew'}"


def states_below(folder: Path, known: Path) -> list[str]:
    """The state directories with runs in the folder and in those right below it, but for the known one."""
    found = [above for above in sorted([*folder.glob(".*"), *folder.glob("*/.*")]) if holds_state(above)]
    return [
        os.path.relpath(path, folder) for path in found if path.resolve() != known.resolve() and open_store(path).runs()
    ]


def unfinished_run(
    store: RunStore, among: Sequence[StoredRun] | None = None, *, refused: bool = False
) -> tuple[StoredRun, RunStatus]:
    """The only run that is not over, of all or of those `among` which it has to be.

    Where `refused` and there is none, the only finished one of which the target refused calls.

    Raises:
        UsageError: There is none, or more than one.
    """
    runs = store.runs() if among is None else among
    found = [(run, status_of(run)) for run in runs]
    unfinished = [(run, status) for run, status in found if not status.over]
    if refused and not unfinished:
        unfinished = [(run, status) for run, status in found if has_refused(run, status)]
        if not unfinished:
            raise UsageError(f"no run in {store.name} has refused calls: there is nothing to try again")
    if not unfinished:
        hint = "" if runs else others_hint(store, runs)
        raise UsageError(f"no run in {store.name} is unfinished: there is nothing to resume", hint=hint)
    if len(unfinished) > 1:
        raise UsageError(
            f"{counted(len(unfinished), 'run', 'runs')} could be meant: name one",
            hint=list_ids([run for run, _ in unfinished]),
        )
    return unfinished[0]


def has_refused(run: StoredRun, status: RunStatus) -> bool:
    """Whether a run is finished, and the target has refused calls of it."""
    with run.read() as reader:
        return status.state is RunState.FINISHED and reader.counts().refused > 0


def run_endpoint(record: RunRecord) -> str | None:
    """The endpoint that a run was begun with; None for the sandbox inside the process.

    It may have come from --endpoint, or from a profile that says something else by now: a run stays with its own.
    """
    return record.target_identity.partition(" ")[2] or None


def targets_folders(record: RunRecord, store: RunStore) -> list[Path]:
    """The folders from which the targets.yaml of a run is looked for upward, the likeliest first.

    The job file's, as the ledger has it; where that is not on this machine, the state directory's and the current one.
    """
    recorded, others = Path(record.job_file).parent, [store.path.parent, Path.cwd()]
    return [recorded, *others] if recorded.is_dir() else [*others, recorded]
