"""A file that `rejects --export` wrote and somebody mended: its columns, and whose rejects they are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import polars as pl

from backfill.errors import SourceError, UsageError
from backfill.frozen import frozen
from backfill.records import REJECT_COLUMNS, REJECT_PREFIX

FORMATS: Final = {".csv": "csv", ".parquet": "parquet", ".ndjson": "ndjson"}
#: A fraction of a second whose last three of nine digits are not all zero.
_NANOSECONDS: Final = r"\.\d{6}(?:[1-9]\d\d|\d[1-9]\d|\d\d[1-9])"


@frozen
class Export:
    """What is to be known of an export before it is read as a source."""

    path: Path
    columns: tuple[str, ...]  # the rows' own
    reasons: Mapping[str, str]  # `run` and the names of REJECT_COLUMNS -> the columns that hold them
    runs: tuple[str, ...]
    unread: int  # records that could not be read as rows

    @classmethod
    def read(cls, path: Path) -> Export:
        """Look at the file; raises UsageError where it is no export, SourceError where it cannot be read."""
        frame = _scan(path)
        try:
            names = frame.collect_schema().names()
            reasons = {name: _reason(name, names) for name in ("run", *REJECT_COLUMNS)}
            missing = [name for name in ("run", "file", "record", "call") if reasons[name] not in names]
            if missing:
                raise UsageError(
                    f"{path} has no column {missing[0]}",
                    hint="it is to be what `backfill rejects RUN --export FILE` wrote, its rows mended",
                )
            run, call = pl.col(reasons["run"]), pl.col(reasons["call"])
            found = frame.select(run.unique().implode().alias("runs"), (call.fill_null("") == "").sum().alias("unread"))
            runs, unread = found.collect(engine="streaming").row(0)
        except pl.exceptions.PolarsError as error:
            raise SourceError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
        columns = tuple(name for name in names if name not in reasons.values())
        _refuse_types(path, frame.select(columns).collect_schema())
        return cls(path, columns, reasons, tuple(sorted(str(run or "nothing") for run in runs)), unread)

    def sql(self, name: str) -> str:
        """A column of the reason in SQL, null as an empty text."""
        quoted = self.reasons[name].replace('"', '""')
        return f"coalesce(\"{quoted}\", '')"

    def refuse_nanoseconds(self, times: Sequence[str]) -> None:
        """Raise UsageError where times have finer digits than what text is read as: a message key would lose them."""
        if not times:
            return
        fine = pl.any_horizontal(pl.col(times).str.contains(_NANOSECONDS).fill_null(value=False)).any()
        if _scan(self.path).select(fine).collect(engine="streaming").item():
            raise UsageError(
                f"{self.path}: times of {', '.join(times)} are finer than microseconds, which text is read as",
                hint="mend the source, and run the job with `--only-new`",
            )


def _scan(path: Path) -> pl.LazyFrame:
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise UsageError(f"{path} is no export by its name", hint=f"{', '.join(FORMATS)} are what `--export` writes")
    if kind == "csv":
        return pl.scan_csv(path, infer_schema=False, glob=False)
    if kind == "parquet":
        return pl.scan_parquet(path, glob=False)
    return pl.scan_ndjson(path, schema=dict.fromkeys(_keys(path), pl.String))


def _keys(path: Path) -> list[str]:
    """Those of all lines, which may have them in some only; and lines may differ in types, at which polars fails."""
    with path.open("rb") as lines:
        try:
            return list(dict.fromkeys(key for line in lines if line.strip() for key in json.loads(line)))
        except ValueError as error:
            raise SourceError(f"{path} cannot be read: it is to have an object in each line") from error


def _refuse_types(path: Path, schema: Mapping[str, pl.DataType]) -> None:
    """Raise UsageError where the rows' own columns are no text: 1.10 as a number is another text than it was."""
    typed = [f"{name} ({kind})" for name, kind in schema.items() if kind not in (pl.String, pl.Null)]
    if typed:
        raise UsageError(
            f"{path}: {', '.join(typed)}: the columns of an export are text", hint="cast them to text as you mend them"
        )


def _reason(name: str, present: Iterable[str]) -> str:
    """The column that holds it: with as many prefixes as it took to differ from the row's own columns."""
    there, found = set(present), name
    while f"{REJECT_PREFIX}{found}" in there:
        found = f"{REJECT_PREFIX}{found}"
    return found
