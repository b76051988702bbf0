"""Staging of CSV and TSV: one pass where all is well, a second one over Parquet where rows are rejected or filtered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import duckdb

from backfill.errors import SourceError
from backfill.records import Snapshot, SnapshotPart, SourceFile
from backfill.sources.binding import bound_layout
from backfill.sources.delimited import REJECTIONS, same_names
from backfill.sources.engine import literal, quoted
from backfill.sources.files import nothing_in
from backfill.sources.layout import Layout, place_columns, settled_zones, text_columns
from backfill.sources.many_files import Run, are_many, read_run, runs
from backfill.sources.reading import END, Reading, open_reading, places, reading_clause, unterminated
from backfill.sources.rejects import save_rejects, unreadable_row
from backfill.sources.staging import Staging

#: What DuckDB says of a record with a wrong number of fields; of all else nothing is taken over.
_COUNTS = r"Expected Number of Columns: (\d+) Found: (\d+)"


@dataclass(slots=True)
class _Part:
    """One file, or a run of small ones, read."""

    index: int  # of the file, or of the first one
    path: Path
    rows: int
    rejected: list[int]  # record numbers
    files: list[tuple[int, int]]  # (index, rows) of every file in it


def freeze_delimited(staging: Staging, kind: str, in_query: Sequence[str] = ()) -> Snapshot:
    """Stage the files, each into a part of its own, many small ones together."""
    opened = [open_reading(file, staging.job, kind, staging.folder, watch=staging.watch) for file in staging.files]
    readings = [(index, reading) for index, reading in enumerate(opened) if reading is not None]
    if not readings:
        raise nothing_in(staging.files, staging.job)
    same_names([(staging.files[index].name, reading.names) for index, reading in readings])
    columns = text_columns(staging.engine, staging.job, readings[0][1].names)
    layout = bound_layout(staging.engine, staging.job, columns, in_query=in_query)
    many = are_many(staging)
    parts, selects = [], []
    for run in runs(staging, readings) if many else ([one] for one in readings):
        for part, select in _read_run(staging, kind, layout, run):
            staging.advance(part.rows, sum(staging.files[index].bytes for index, _ in part.files))
            parts.append(part)
            selects += select
    if selects:
        save_rejects(staging.engine, selects, staging.unreadable_file)
    read, unreadable = sum(part.rows for part in parts), sum(len(part.rejected) for part in parts)
    described = settled_zones(staging.engine, [part.path for part in parts], layout.columns)
    if unreadable or layout.keep is not None or many:
        described = (*described, *place_columns(file=many))
        for part in parts:
            part.rows = staging.number(layout, part.path, part.rows, part.rejected, part.files if many else None)
    kept = tuple(SnapshotPart(part.path, part.rows, part.index) for part in parts)
    return Snapshot(
        parts=kept,
        columns=described,
        files=staging.files,
        read=read + unreadable,
        filtered=read - sum(part.rows for part in kept),
        unreadable=unreadable,
        in_place=False,
        unreadable_file=staging.unreadable_file if unreadable else None,
    )


def _read_run(staging: Staging, kind: str, layout: Layout, run: Run) -> list[tuple[_Part, list[str]]]:
    """Read a run of files into one part, or those that are not to be read together into parts of their own."""
    if len(run) == 1:
        return [_read(staging, kind, layout, *run[0])]
    again = read_run(staging, kind, layout, run)
    if not again:
        held = [(index, reading.expected or 0) for index, reading in run]
        first = run[0][0]
        return [(_Part(first, staging.part(first), sum(rows for _, rows in held), [], held), [])]
    staging.part(run[0][0]).unlink()
    pieces = groupby(run, lambda one: one[0] if one[0] in again else None)
    return [part for _, piece in pieces for part in _read_run(staging, kind, layout, list(piece))]


def _read(staging: Staging, kind: str, layout: Layout, index: int, reading: Reading) -> tuple[_Part, list[str]]:
    """Read one file into a part; returns it and the SQL of its unreadable records.

    Raises:
        SourceError: the file cannot be read, or gives another number of records than its quotes say it has.
    """
    file, job = staging.files[index], staging.job
    rows, table, rejects = _copy(staging, kind, layout, index, reading)
    if reading.parallel and rows + len(rejects) != reading.expected:
        reading.discard()
        reading = open_reading(file, job, kind, staging.folder, doubted=True, watch=staging.watch) or reading
        rows, table, rejects = _copy(staging, kind, layout, index, reading)
    found = places(reading, job, kind, rejects, staging.watch)
    selects = [_unreadable(file, table, [line for line, _ in rejects], found)] if rejects else []
    rejected = [record for record, _ in found]
    if _is_cut(staging, kind, reading, rows, len(rejects)):
        line, text = unterminated(reading, job, kind, staging.watch)
        rejected.append(rows + len(rejects) + 1)
        row = (literal(file.name), str(rejected[-1]), str(line), "'BF003'", "'broken quotes'", literal(text))
        selects.append(f"SELECT {unreadable_row(*row)}")
    reading.discard()
    return _Part(index, staging.part(index), rows, rejected, [(index, rows)]), selects


def _copy(
    staging: Staging, kind: str, layout: Layout, index: int, reading: Reading
) -> tuple[int, str, list[tuple[int, int]]]:
    """Write the file's part; returns its rows, the table of rejects, and each one's DuckDB line and first byte."""
    table = f"rejects_{index}" if reading.parallel else f"rejects_{index}_in_line"
    clause = _without_end(reading, reading_clause(reading, staging.job, kind, rejects=table))
    file = staging.files[index]
    try:
        rows = staging.copy(layout.select(clause, filtered=False), staging.part(index), file.bytes)
    except duckdb.Error as error:
        raise staging.failure(layout, error, clause, file.name) from error
    rejects = staging.engine.rows(
        "SELECT line, min(line_byte_position) - 1 + any_value(len(csv_line) - len(ltrim(csv_line, E'\\r\\n'))) "
        f"FROM {table} GROUP BY line ORDER BY line"
    )
    return rows, table, [(int(line), int(start)) for line, start in rejects]


def _without_end(reading: Reading, clause: str) -> str:
    """The relation without the END of a copy."""
    if reading.expected is not None or not reading.copied:
        return clause
    return f"(SELECT * FROM {clause} WHERE {quoted(reading.names[0])} IS DISTINCT FROM {literal(END)})"


def _is_cut(staging: Staging, kind: str, reading: Reading, rows: int, rejects: int) -> bool:
    """Whether a last record that a quote leaves open was dropped without a word.

    Raises:
        SourceError: the file gave another number of records than its quotes say it has.
    """
    if reading.parallel:
        return False
    if reading.expected is None:
        clause = reading_clause(reading, staging.job, kind, rejects="rejects_looked_for_end")
        where = f"WHERE {quoted(reading.names[0])} = {literal(END)}"
        return not staging.engine.run(f"SELECT count(*) FROM {clause} {where}")[0][0]
    surplus = rows + rejects - reading.expected
    if surplus == 0:
        return reading.open_at is not None
    if surplus == 1 and reading.open_at is not None:
        return False
    name = reading.path.name
    raise SourceError(
        f"{name} cannot be read reliably: {rows + rejects} records came of {reading.expected}",
        hint="its quotes are broken in a way that backfill does not know: please report it",
    )


def _unreadable(file: SourceFile, table: str, lines: Sequence[int], found: Sequence[tuple[int, int]]) -> str:
    """SQL: the rejects of one file as unreadable records."""
    cases = " ".join(f"WHEN {literal(name)} THEN {literal(code)}" for name, (code, _) in REJECTIONS.items())
    words = " ".join(f"WHEN {literal(name)} THEN {literal(word)}" for name, (_, word) in REJECTIONS.items())
    columns = unreadable_row(
        literal(file.name),
        "place.record",
        "place.line",
        f"CASE kind {cases} ELSE 'BF009' END",
        f"CASE kind {words} ELSE lower(kind) END || {_counted('detail')}",
        "original",
    )
    placed = ", ".join(f"({line}, {record}, {at})" for line, (record, at) in zip(lines, found, strict=True))
    return (
        f"SELECT {columns} FROM (SELECT line, arg_min(CAST(error_type AS VARCHAR), byte_position) AS kind, "
        "arg_min(error_message, byte_position) AS detail, any_value(ltrim(csv_line, E'\\r\\n')) AS original "
        f"FROM {table} GROUP BY line) AS reject JOIN (VALUES {placed}) AS place (duckdb_line, record, line) "
        "ON reject.line = place.duckdb_line ORDER BY place.record"
    )


def _counted(detail: str) -> str:
    """SQL: `: 2 where 4 are expected`, or nothing."""
    expected, found = (f"regexp_extract({detail}, {literal(_COUNTS)}, {group})" for group in (1, 2))
    return f"coalesce(': ' || nullif({found}, '') || ' where ' || {expected} || ' are expected', '')"
