"""The first rows of a source in memory, staged by the code that stages them for `check`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from backfill.frozen import frozen
from backfill.job.models import Job
from backfill.pipeline.check import SAMPLE_ROWS, Deadline
from backfill.pipeline.context import RunContext
from backfill.pipeline.sample import files_of, first_files, sample
from backfill.records import INTERNAL_PREFIX, Column
from backfill.sources.sql.kept import KeptEngine
from backfill.state import open_store


@frozen
class Sample:
    """The first rows and what their columns hold."""

    frame: pl.DataFrame
    columns: tuple[Column, ...]
    whole: bool  # they are all there is
    unreadable: int = 0


def look(job: Job, context: RunContext | None, kept: KeptEngine) -> Sample:
    """The first rows of the job's source; raises as `pipeline.sample.sample` does."""
    with TemporaryDirectory(dir=kept.folder) as name:
        folder = Path(name)
        around = context or RunContext(open_store(folder))
        around = replace(around, stop=Deadline(around.stop))
        files = files_of(job, folder, around)
        looked_at = first_files(job, files)
        snapshot = sample(job, folder, SAMPLE_ROWS + 1, around, looked_at, kept)
        columns = tuple(one for one in snapshot.columns if not one.name.startswith(INTERNAL_PREFIX))
        frame = _rows([part.path for part in snapshot.parts], [one.name for one in columns])
    whole = snapshot.rows <= SAMPLE_ROWS and len(looked_at) == len(files)
    return Sample(frame.head(SAMPLE_ROWS), columns, whole, snapshot.unreadable)


def _rows(paths: list[Path], names: list[str]) -> pl.DataFrame:
    """The first rows, of the columns of those names (which polars would take for patterns)."""
    if not paths:
        return pl.DataFrame({name: [] for name in names})
    return pl.scan_parquet(paths, glob=False).head(SAMPLE_ROWS + 1).collect()[names]


def records_within(found: Sample) -> str:
    """The keys that lead to the only list of objects in the only record of a document, joined by dots; "" for none."""
    if len(found.frame) != 1 or not found.whole:
        return ""
    ways = [way for name in found.frame.columns for way in _lists(_json(found.frame[name][0]), (name,))]
    return ".".join(key.replace("\\", "\\\\").replace(".", "\\.") for key in ways[0]) if len(ways) == 1 else ""


def _json(value: Any) -> Any:  # noqa: ANN401
    try:
        return json.loads(value) if isinstance(value, str) and value[:1] in ("{", "[") else None
    except ValueError:
        return None


def _lists(value: Any, way: tuple[str, ...]) -> list[tuple[str, ...]]:  # noqa: ANN401
    if isinstance(value, list):
        return [way] if value and all(isinstance(one, dict) for one in value) else []
    return (
        [found for key, one in value.items() for found in _lists(one, (*way, key))] if isinstance(value, dict) else []
    )
