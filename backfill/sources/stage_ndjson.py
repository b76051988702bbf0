"""Staging of NDJSON: collect the keys, take the objects apart, then type the columns by all that they hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from backfill.job.models import CsvSpec
from backfill.records import RECORD_COLUMN, Snapshot, SnapshotPart, SourceFile
from backfill.sources import ndjson
from backfill.sources.binding import bound_layout
from backfill.sources.engine import literal
from backfill.sources.files import nothing_in
from backfill.sources.layout import place_columns, settled_zones
from backfill.sources.rejects import numbered, reject_changes, save_rejects, unreadable_row
from backfill.sources.rewrite import rewrite
from backfill.sources.staging import Staging
from backfill.sources.survey import survey

_NO_QUOTES = CsvSpec(quote="")
_ENCODING = "INVALID ENCODING"
_TOO_LONG = "LINE SIZE OVER MAXIMUM"


@dataclass(slots=True)
class _Taken:
    """One file taken apart."""

    file: SourceFile
    index: int
    path: Path  # read: the file, or a copy with one kind of line end
    split: Path  # its values as JSON text
    rows: int = 0
    rejected: list[tuple[int, str, str]] = field(default_factory=list)  # line, kind, text
    empty: list[int] = field(default_factory=list)  # rows, from 1

    @property
    def relation(self) -> str:
        """The rows as taken apart."""
        return f"read_parquet({literal(str(self.split))}, file_row_number = true)"

    def line(self) -> str:
        """SQL: a row's line."""
        return numbered("file_row_number + 1", self.rows, reject_changes([line for line, _, _ in self.rejected]))

    def record(self) -> str:
        """SQL: a row's record number; empty lines are no records."""
        changes = reject_changes([line for line, _, _ in self.rejected])
        return numbered("file_row_number + 1", self.rows, [*changes, *((row, -1) for row in self.empty)])

    def empty_before(self, line: int) -> int:
        """Empty lines before a rejected line."""
        rejected_before = sum(other < line for other, _, _ in self.rejected)
        return sum(row < line - rejected_before for row in self.empty)


def freeze_ndjson(staging: Staging, in_query: Sequence[str] = ()) -> Snapshot:
    """Stage the files, each into a part of its own."""
    job, engine = staging.job, staging.engine
    taken = [_open(staging, index, file) for index, file in enumerate(staging.files) if file.bytes]
    if not taken:
        raise nothing_in(staging.files, job)
    objects = [
        ndjson.object_lines(ndjson.lines_clause(one.path, f"looked_{one.index}")) for one in taken
    ]  # fmt: skip
    keys = ndjson.collect_keys(engine, objects)
    for one in taken:
        _take_apart(staging, one, keys)
    relations = [f"read_parquet({literal(str(one.split))})" for one in taken]
    columns = ndjson.source_columns(engine, job, keys.names, relations)
    layout = bound_layout(engine, job, columns, in_query=in_query)
    parts, selects, read, unreadable = [], [], 0, 0
    for one in taken:
        typed = ndjson.typed_relation(one.relation, columns, job, one.record())
        select = layout.select(typed, filtered=True, extra=[RECORD_COLUMN])
        try:
            rows = staging.copy(select, staging.part(one.index))
        except duckdb.Error as error:
            raise staging.failure(layout, error, typed, one.file.name) from error
        parts.append(SnapshotPart(staging.part(one.index), rows, one.index))
        bad = engine.rows(f"SELECT count(*) FROM {one.relation} WHERE {ndjson.FAULT} IS NOT NULL")[0][0]
        if bad + len(one.rejected):
            selects.append(_unreadable(one))
        unreadable += bad + len(one.rejected)
        read += one.rows - len(one.empty) + len(one.rejected)
        staging.advance(one.rows, one.file.bytes)
    if selects:
        save_rejects(engine, selects, staging.unreadable_file)
    for one in taken:
        one.split.unlink()
    described = (*settled_zones(engine, [part.path for part in parts], layout.columns), *place_columns(file=False))
    return Snapshot(
        parts=tuple(parts),
        columns=described,
        files=staging.files,
        read=read,
        filtered=read - unreadable - sum(part.rows for part in parts),
        unreadable=unreadable,
        in_place=False,
        unreadable_file=staging.unreadable_file if unreadable else None,
    )


def _open(staging: Staging, index: int, file: SourceFile) -> _Taken:
    """The file, written anew first where its lines end in more than one way."""
    path = Path(file.path)
    if survey(path, "", staging.watch).kinds_of_line_end > 1:
        path = staging.folder / f"lines-{index:05}.ndjson"
        rewrite(Path(file.path), path, _NO_QUOTES, ndjson.DELIMITER, "utf-8", watch=staging.watch)
    return _Taken(file, index, path, staging.folder / f"split-{index:05}.parquet")


def _take_apart(staging: Staging, one: _Taken, keys: ndjson.Keys) -> None:
    """Write each line's values to `one.split`, and note which lines are no rows or empty ones."""
    table = f"rejects_{one.index}"
    select = ndjson.split_select(ndjson.lines_clause(one.path, table), keys.names, repeated=keys.repeated)
    one.rows = staging.copy(select, one.split, one.file.bytes)
    one.rejected = [
        (int(line), str(kind), str(text or ""))
        for line, kind, text in staging.engine.rows(
            f"SELECT line, min(CAST(error_type AS VARCHAR)), left(any_value(csv_line), 2000) FROM {table} "
            "GROUP BY line ORDER BY line"
        )
    ]
    empty = staging.engine.rows(f"SELECT file_row_number + 1 FROM {one.relation} WHERE {ndjson.EMPTY} ORDER BY 1")
    one.empty = [int(row) for (row,) in empty]
    if one.path != Path(one.file.path):
        one.path.unlink()


def _unreadable(one: _Taken) -> str:
    """SQL: the file's unreadable records."""
    words = " ".join(f"WHEN {literal(name)} THEN {literal(word)}" for name, word in ndjson.FAULTS.items())
    name = literal(one.file.name)
    in_place = unreadable_row(
        name, one.record(), one.line(), "'BF005'", f"CASE {ndjson.FAULT} {words} END", ndjson.LINE
    )  # fmt: skip
    selects = [f"SELECT {in_place} FROM {one.relation} WHERE {ndjson.FAULT} IS NOT NULL"]
    for line, kind, text in one.rejected:
        code, word = "BF005", ndjson.FAULTS["json"]
        if kind == _ENCODING:
            code, word = "BF004", "bytes that are not UTF-8"
        elif kind == _TOO_LONG:
            code, word = "BF006", "the line is too long"
        record = str(line - one.empty_before(line))
        selects.append(f"SELECT {unreadable_row(name, record, str(line), literal(code), literal(word), literal(text))}")
    return f"SELECT * FROM ({' UNION ALL '.join(selects)}) ORDER BY record"
