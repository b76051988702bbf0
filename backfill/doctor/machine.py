"""This machine: the versions of what the program stands on, and the place where runs are kept."""

from __future__ import annotations

import platform
import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from backfill import __version__
from backfill.doctor.findings import Finding, Level, error_finding
from backfill.errors import BackfillError, ExitCode, UsageError, counted
from backfill.extras import how_to_install
from backfill.pipeline.runs import list_ids, status_of
from backfill.records import RunStore, StoredRun
from backfill.state import refuse_network

PACKAGES = ("polars", "duckdb", "pyarrow", "httpx")
#: Less free than this is warned of: a run of a million rows takes some 115 MB (docs/performance.md).
SMALL_DISK_BYTES = 1_000_000_000
GB = 1_000_000_000


def look_at_machine() -> Iterator[Finding]:
    """Which versions there are."""
    found, missing = [], []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    words = [f"backfill {__version__}", f"Python {platform.python_version()}", *found]
    yield Finding("versions", ", ".join(words))
    if missing:
        yield Finding(
            *("versions", f"not installed: {', '.join(missing)}", Level.ERROR, how_to_install("backfill")),
            exit_code=ExitCode.UNEXPECTED,
        )


def look_at_state(store: RunStore) -> Iterator[Finding]:
    """Whether runs can be kept there, and what those that are there wait for."""
    place = store.path
    there = next(above for above in (place, *place.parents) if above.exists())
    yield _writable(place, there)
    try:
        refuse_network(place)
    except UsageError as error:
        yield error_finding("file system", error)
    else:
        yield Finding("file system", "local")
    free = shutil.disk_usage(there).free
    small = free < SMALL_DISK_BYTES
    yield Finding(
        *("disk", f"{free / GB:,.1f} GB free", Level.WARNING if small else Level.OK),
        fix="free some space, or give a folder on another disk with --state-dir" if small else "",
    )
    try:
        if server := store.look():
            yield Finding("state database", server)
    except BackfillError as error:
        yield error_finding("state database", error)
        return
    yield from _look_at_runs(store)


def _writable(place: Path, there: Path) -> Finding:
    name = "state directory"
    new = "" if place == there else ", which a run will make"
    try:
        with tempfile.TemporaryFile(dir=there) as file:  # nobody sees it: it never has a name
            file.write(b"\0")
    except OSError as error:
        code = ExitCode.USAGE if new else ExitCode.STOPPED
        fix = "make it possible to write there, or give another one with --state-dir"
        return Finding(name, f"{place} takes nothing: {error.strerror}", Level.ERROR, fix, code)
    return Finding(name, f"{place}{new}")


def _look_at_runs(store: RunStore) -> Iterator[Finding]:
    try:
        runs = store.runs(lost=True)
    except (BackfillError, OSError) as error:
        yield Finding("runs", str(error), Level.ERROR, "`backfill status` shows which", ExitCode.UNEXPECTED)
        return
    unfinished: list[StoredRun] = []
    for run in runs:
        try:
            if not status_of(run).over:
                unfinished.append(run)
        except BackfillError as error:
            yield error_finding(f"run {run.run_id}", error)
    busy = [run for run in unfinished if run.holders()]
    waiting = [run for run in unfinished if run not in busy]
    yield Finding("runs", f"{counted(len(runs), 'run', 'runs')}, {len(unfinished)} unfinished")
    if busy:
        fix = "wait for the process that is at work, or interrupt it"
        yield Finding("locks", f"held: {list_ids(busy)}", Level.WARNING, fix)
    if waiting:
        fix = "`backfill resume RUN` sends what was prepared"
        yield Finding("runs", f"no process is at work on {list_ids(waiting)}", Level.WARNING, fix)
