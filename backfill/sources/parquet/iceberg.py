"""Iceberg tables, https://iceberg.apache.org/spec/: pyiceberg reads their metadata, without a catalogue.

Of a folder, the newest of its metadata files is the table, or the one that `version-hint.text` names. Files that
delete rows of others, and data files other than Parquet, are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from backfill.errors import JobError, SourceError
from backfill.extras import required
from backfill.job.models import Job
from backfill.sources.parquet.table import Table, TableFiles

_HINT: Final = "version-hint.text"
#: v3.metadata.json, as Hadoop's catalogue names it, or 00003-UUID.metadata.json.
_METADATA: Final = re.compile(r"v?(\d+)(-.*)?\.metadata\.json")
_FORMAT: Final = "PARQUET"


class IcebergFiles(TableFiles):
    """How the files of Iceberg tables are opened."""

    def read(self, folder: Path, version: int | str | None) -> Table:
        """The table; `version` is the id of a snapshot. Raises as TableFiles.read says."""
        pyiceberg = required("pyiceberg.table", "iceberg", "Iceberg tables")
        arrow = required("pyiceberg.io.pyarrow", "iceberg", "Iceberg tables")
        if isinstance(version, str):
            raise JobError("source.version: of an Iceberg table it is the id of a snapshot", hint="write its number")
        try:
            table = pyiceberg.StaticTable.from_metadata(str(_newest(folder)))
            snapshot = table.current_snapshot() if version is None else table.snapshot_by_id(version)
            if snapshot is None and version is not None:
                ids = ", ".join(str(one.snapshot_id) for one in table.snapshots())
                raise SourceError(f"{folder.name} has no snapshot {version}", hint=f"it has {ids or 'none'}")
            schema = table.schema() if version is None else table.schemas()[snapshot.schema_id]
            _refuse_defaults(folder, schema)
            tasks = list(table.scan(snapshot_id=version).plan_files()) if snapshot is not None else []
            return Table(
                arrow.schema_to_pyarrow(schema),
                dict(_files(folder, table, schema, tasks)),
                {one.name: one.field_id for one in schema.fields},
                _written_names(table),
            )
        except (ValueError, OSError) as error:
            said = str(error).partition("\n")[0]
            raise SourceError(f"{folder.name} cannot be read as an Iceberg table: {said}") from error


def _newest(folder: Path) -> Path:
    """The metadata file that is the table."""
    metadata = folder / "metadata"
    found = {path: match for path in metadata.glob("*.metadata.json") if (match := _METADATA.fullmatch(path.name))}
    hint = metadata / _HINT
    if hint.is_file():
        named = hint.read_text(encoding="utf-8").strip()
        named = named if named.endswith(".json") else f"v{named}.metadata.json"
        return metadata / named
    if not found:
        raise SourceError(
            f"{folder.name} is no Iceberg table: it has no metadata", hint="name the folder that `metadata` is in"
        )
    return max(found, key=lambda path: (int(found[path][1]), path.name))


def _refuse_defaults(folder: Path, schema: Any) -> None:  # noqa: ANN401
    """Raise JobError where a column that old files lack is to be read as something other than null."""
    named = [one.name for one in schema.fields if getattr(one, "initial_default", None) is not None]
    if named:
        raise JobError(
            f"source.path: {folder.name} has defaults for {', '.join(named)}, which are not read",
            hint="write a copy of the table: CREATE TABLE ... AS SELECT * FROM ...",
        )


def _written_names(table: Any) -> dict[str, int]:  # noqa: ANN401
    """The numbers of columns by all names that they had: the table's name mapping, for files from elsewhere."""
    return {name: one.field_id for one in table.name_mapping() or () for name in one.names if one.field_id is not None}


def _files(folder: Path, table: Any, schema: Any, tasks: list[Any]) -> Iterator[tuple[Path, dict[str, Any]]]:  # noqa: ANN401
    """The data files where they are now: the table may have been moved, and its metadata have whole paths."""
    home = table.location().rstrip("/")
    for task in tasks:
        if task.delete_files:
            what, hint = "has rows that other files delete", "CALL system.rewrite_data_files writes its files anew"
            raise JobError(f"source.path: the Iceberg table {folder.name} {what}, which is not read", hint=hint)
        if task.file.file_format.name != _FORMAT:
            raise JobError(f"source.path: {folder.name} has files of {task.file.file_format.name}", hint="rewrite them")
        path: str = task.file.file_path
        if not path.startswith(f"{home}/"):
            raise SourceError(
                f"{folder.name} has files elsewhere: {path}", hint="CALL system.rewrite_data_files writes them anew"
            )
        yield folder / path.removeprefix(f"{home}/"), _partition(table, schema, task.file)


def _partition(table: Any, schema: Any, file: Any) -> dict[str, Any]:  # noqa: ANN401
    """The columns that a file need not have, since all of its rows have one value."""
    spec = table.specs()[file.spec_id]
    names = {one.field_id: one.name for one in schema.fields}
    return {
        names[one.source_id]: file.partition[place]
        for place, one in enumerate(spec.fields)
        if str(one.transform) == "identity" and one.source_id in names
    }


def open_files(job: Job) -> IcebergFiles:
    """How the Iceberg tables of a job are opened."""
    return IcebergFiles(job)
