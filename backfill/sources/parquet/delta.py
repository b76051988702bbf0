"""Delta Lake tables, https://github.com/delta-io/delta/blob/master/PROTOCOL.md: deltalake reads their log.

What would change which rows a file has, or what its columns are called, is refused by name: deletion vectors, column
mapping, and any feature of readers that is not known here to change neither.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import pyarrow as pa  # type: ignore[import-untyped]

from backfill.errors import JobError, SourceError
from backfill.extras import required
from backfill.job.models import Job
from backfill.sources.parquet.table import Table, TableFiles

#: Features that change neither the rows of files nor the names of columns.
_HARMLESS: Final = frozenset(("timestampNtz", "v2Checkpoint", "vacuumProtocolCheck", "deletionVectors", "appendOnly"))
_MAPPING: Final = "delta.columnMapping.mode"
_PARTITION: Final = "partition."


class DeltaFiles(TableFiles):
    """How the files of Delta tables are opened."""

    def read(self, folder: Path, version: int | str | None) -> Table:
        """The table; `version` is its number, or a time in ISO 8601. Raises as TableFiles.read says."""
        deltalake = required("deltalake", "delta", "Delta tables")
        try:
            table = deltalake.DeltaTable(str(folder), version=version if isinstance(version, int) else None)
            if isinstance(version, str):
                _go_back(folder, table, version)
            _refuse_features(folder, table)
            return Table(pa.schema(table.schema().to_arrow()), dict(_partitions(folder, table)))
        except (deltalake.exceptions.DeltaError, ValueError) as error:
            if isinstance(version, int):
                _refuse_missing(deltalake, folder, version)
            said = str(error).partition("\n")[0]
            raise SourceError(f"{folder.name} cannot be read as a Delta table: {said}") from error


def _refuse_missing(deltalake: Any, folder: Path, version: int) -> None:  # noqa: ANN401
    """Raise SourceError where the table is there, and has no such version: not yet, or, by its log, no longer."""
    try:
        last = deltalake.DeltaTable(str(folder)).version()
    except deltalake.exceptions.DeltaError:
        return
    first = min((int(one.stem) for one in (folder / "_delta_log").glob("[0-9]*.json") if one.stem.isdigit()), default=0)
    if not first <= version <= last:
        there = f"versions {first} to {last}" if first < last else f"version {last} only"
        raise SourceError(f"{folder.name} has no version {version}", hint=f"it has {there}")


def _go_back(folder: Path, table: Any, when: str) -> None:  # noqa: ANN401
    """Make the table the one of a time.

    The library goes by the times of the log's files, which a copy of the table has anew: what the commits say decides.

    Raises:
        SourceError: there was no table by then, or the two differ.
    """
    commits = {one["version"]: one["timestamp"] for one in table.history() if "timestamp" in one}
    table.load_as_version(when)
    asked = dt.datetime.fromisoformat(when).timestamp() * 1_000
    by_then = max((number for number, time in commits.items() if time <= asked), default=None)
    if commits and by_then != table.version():
        said = "no version" if by_then is None else f"version {by_then} by its commits, another by the log's files"
        raise SourceError(f"{folder.name} had {said} at {when}", hint="state the version's number under `source`")


def _refuse_features(folder: Path, table: Any) -> None:  # noqa: ANN401
    """Raise JobError for a table whose files are not what they say by themselves."""
    if table.metadata().configuration.get(_MAPPING, "none") != "none":
        what, hint = "maps the names of columns", "write a copy without it: CREATE TABLE ... AS SELECT * FROM ..."
    elif pa.table(table.deletion_vectors()).num_rows:
        what, hint = "has deletion vectors", "REORG TABLE ... APPLY (PURGE) writes its files anew"
    else:
        others = sorted(set(table.protocol().reader_features or ()) - _HARMLESS - {"columnMapping"})
        what, hint = f"needs {', '.join(others)} of its readers", "write a copy without it"
        if not others:
            return
    raise JobError(f"source.path: the Delta table {folder.name} {what}, which is not read", hint=hint)


def _partitions(folder: Path, table: Any) -> Iterator[tuple[Path, dict[str, Any]]]:  # noqa: ANN401
    names = table.metadata().partition_columns
    for action in pa.table(table.get_add_actions(flatten=True)).to_pylist():
        written = unquote(action["path"])
        if "://" in written or Path(written).is_absolute():
            raise SourceError(
                f"{folder.name} has files elsewhere: {written}", hint="a clone is not read: name the table it is of"
            )
        yield folder / written, {name: action[f"{_PARTITION}{name}"] for name in names}


def open_files(job: Job) -> DeltaFiles:
    """How the Delta tables of a job are opened."""
    return DeltaFiles(job)
