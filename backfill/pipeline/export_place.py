"""Where an export may be written: never over what runs read or keep, over anything else only when that is said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from backfill.errors import BackfillError, UsageError
from backfill.job import load_job
from backfill.job.models import Job
from backfill.job.remote import is_remote
from backfill.pipeline.runs import states_below
from backfill.records import RunStore, StoredRun
from backfill.sources.files import locate
from backfill.sources.origins.archives import container
from backfill.state import holds_state, open_store, state_folder_from
from backfill.targets import find_targets

#: Suffixes of an export, which say how it is written.
FORMATS = (".csv", ".parquet", ".ndjson")


def export_place(
    file: Path, state: RunStore, *, force: bool, option: str = "--export", formats: Sequence[str] = FORMATS
) -> Path:
    """The file to write where `file` was asked for: links resolved, so that what they lead to is what is judged.

    Raises:
        UsageError: The suffix is none of `formats`; there is no such folder; it is in a state directory; it is a
            source, a job file or a targets file of one of the runs, under whatever name; or it exists, and `force` is
            not given.
    """
    asked, place = f"{option} {file}", file.resolve()
    if {file.suffix, place.suffix} - set(formats) or file.suffix != place.suffix:
        raise UsageError(f"{asked}: the suffix says the format", hint=f"one of {', '.join(formats)}")
    if not place.parent.is_dir():
        raise UsageError(f"{asked}: there is no such folder")
    if any(holds_state(above) for above in place.parents) or place.is_relative_to(state.path.resolve()):
        raise UsageError(f"{asked}: it is in a state directory", hint="name a file somewhere else")
    if not place.exists():
        return place
    if not place.is_file():
        raise UsageError(f"{asked}: it is there, and no file", hint="name another file")
    for used, kind in files_in_use(state, place):
        with suppress(OSError):
            if used.samefile(place):
                raise UsageError(f"{asked}: it is {kind}, and is never overwritten", hint="name another file")
    if not force:
        again = "; or --force overwrites it" if option != "--report" else ""
        raise UsageError(f"{asked}: it exists", hint=f"name another file{again}")
    return place


def files_in_use(state: RunStore, place: Path) -> Iterator[tuple[Path, str]]:
    """Every file that runs and job files near by read, and what it is.

    Those of the state directory, of those below the current directory, and of the one that the place would have.
    """
    here = Path.cwd()
    for targets in (find_targets(state.path.parent), find_targets(here), find_targets(place.parent)):
        if targets is not None:
            yield targets, "a targets file"
    states = [state.path, state_folder_from(place.parent), *(here / other for other in states_below(here, state.path))]
    for folder in {path.resolve() for path in states}:
        yield from files_of_state(open_store(folder))
    for job_file in {
        path for above in (here, place.parent) for path in (*above.glob("*.y*ml"), *above.glob("*/*.y*ml"))
    }:
        yield from files_of_job(job_file)


def files_of_state(state: RunStore) -> Iterator[tuple[Path, str]]:
    """Every file that a run or dry run in the state directory was made from, and what it is."""
    for folder in [*state.runs(), *state.earlier(), *state.dry_runs.runs()]:
        yield from files_of_run(folder)


def files_of_job(job_file: Path) -> Iterator[tuple[Path, str]]:
    """A job file and its sources as they are today; nothing of a file that is no job file."""
    with suppress(BackfillError):
        job = load_job(job_file)
        yield job_file, f"the job file of {job.name}"
        for file in locate(without_urls(job)):
            yield Path(container(file.path)), f"a source of {job.name}"


def without_urls(job: Job) -> Job:
    """The job without what no file can be written over: no bucket is asked for that."""
    files = {name: path for name, path in job.source.files.items() if not is_remote(path)}
    paths = tuple(path for path in job.source.path if not is_remote(path))
    return job.model_copy(update={"source": job.source.model_copy(update={"path": paths, "files": files})})


def files_of_run(folder: StoredRun) -> Iterator[tuple[Path, str]]:
    """The job file, targets file and sources of a run, as its ledger has them and as its job file has them today."""
    try:
        with folder.read() as reader:
            record, snapshot = reader.status().record, reader.snapshot()
    except BackfillError:  # which its own verbs tell
        return
    job_file = Path(record.job_file)
    yield job_file, f"the job file of {record.job_name}"
    targets = find_targets(job_file.parent)
    if targets is not None:
        yield targets, "a targets file"
    for file in snapshot.files if snapshot else ():
        yield Path(container(file.path)), f"a source of {record.job_name}"
    yield from files_of_job(job_file)
