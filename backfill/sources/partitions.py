"""Columns that the names of folders give, such as `year=2024`: as Hive, Spark and DuckDB write partitions.

Rules
1) What counts are the folders on the way from the job file's folder to the file, those named in `path` included. So
   a project can be moved as a whole, and a folder far above it makes no column.
2) The value is the text behind the first `=`, percent-decoded in both halves as Hive does it (a `+` stays a `+`), and
   null where it is Hive's word for that. It is text in every format, unless `columns` says otherwise.
3) A column that the files themselves hold wins: the record knows better than its folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote_to_bytes

from backfill.errors import SourceError
from backfill.job.models import Job
from backfill.records import SourceFile
from backfill.sources.origins.standard_input import STANDARD_INPUT

#: What Hive calls the folder of rows whose value is null or empty.
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
_PARTITION = re.compile(r"([^=]+)=(.*)", re.DOTALL)

#: Column name -> its value in each file.
Partitions = Mapping[str, tuple[str | None, ...]]


def partitions_of(job: Job, files: Sequence[SourceFile], base: Path) -> Partitions:
    """The columns of folders' names, in the order of the folders; `base` is the job file's folder.

    Raises:
        SourceError: files lie in folders of different names and are not to be united, one name stands twice on the
            way to a file, or a name is encoded wrongly.
    """
    if job.source.database is not None or not any("=" in file.path for file in files):
        return {}
    way: dict[str, dict[str, str | None]] = {}  # folders are shared by many files
    found = [_of_file(file, base, way) for file in files]
    names = tuple(dict.fromkeys(name for values in found for name in values))
    if job.source.union is None:
        _refuse_different(files, found, names)
    return {name: tuple(values.get(name) for values in found) for name in names}


def _of_file(file: SourceFile, base: Path, way: dict[str, dict[str, str | None]]) -> dict[str, str | None]:
    """The names and values on the way to a file."""
    if file.key == STANDARD_INPUT:
        return {}
    folder = os.path.dirname(file.path)  # noqa: PTH120 (of text, for ten thousand files)
    if folder not in way:
        way[folder] = _values(Path(os.path.relpath(folder, base)).parts, file.name)
    return way[folder]


def _values(folders: Sequence[str], shown: str) -> dict[str, str | None]:
    values: dict[str, str | None] = {}
    for found in filter(None, map(_PARTITION.fullmatch, folders)):
        name, value = _decoded(found[1], shown), _decoded(found[2], shown)
        if name in values:
            raise SourceError(
                f"{shown}: two folders on the way to it say what {name} is", hint="rename one of them, or name the file"
            )
        values[name] = None if value == HIVE_NULL else value
    return values


def _decoded(text: str, shown: str) -> str:
    """The text with its %XX undone."""
    if "%" not in text:
        return text
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise SourceError(
            f"{shown}: the folder name {text} is percent-encoded, and not as UTF-8", hint="rename the folder"
        ) from None


def _refuse_different(files: Sequence[SourceFile], found: Sequence[Mapping[str, object]], names: Sequence[str]) -> None:
    """Raise SourceError where a file lacks a column that another's folders give."""
    for file, values in zip(files, found, strict=True):
        lost = [name for name in names if name not in values]
        if lost:
            other = next(other.name for other, has in zip(files, found, strict=True) if lost[0] in has)
            raise SourceError(
                f"{file.name} lies in no folder {lost[0]}=..., unlike {other}",
                hint="`union: by_name` under `source` makes the column null there; or make a job of each",
            )
