"""`latest`: of the rows that are one of a kind only the newest is kept, the others count as filtered.

It is asked of a snapshot that is whole but for this, so that it sees what `where` and `query` left, and rows keep their
file and record number.

Rules
1) The newest is the row of the greatest `on`; of several with that one, the last of the source.
2) A null in `on` is older than any value: such a row is kept where no other of its kind has one.
3) A null in `by` makes a row no one's: it is kept, whatever the others are.
4) A bad value in `by` or `on` leaves the row's place unknown: it is unreadable (BF007).
"""

from __future__ import annotations

from dataclasses import replace

from backfill.errors import JobError
from backfill.job.models import Latest
from backfill.records import RECORD_COLUMN, Column, Snapshot
from backfill.sources.bad_rows import Bad, save_unreadable
from backfill.sources.query import value_in_sql
from backfill.sources.sql.engine import own_parquet, quoted
from backfill.sources.sql.layout import place_columns
from backfill.sources.staging import Staging

_PLACE = "file_row_number"


def keep_latest(staging: Staging, rows: Snapshot, latest: Latest) -> Snapshot:
    """The snapshot without the rows that are not the newest; its part is written again.

    Raises:
        JobError: it has no such column.
    """
    (part,) = rows.parts
    read = [_column(rows, name, path) for name, path in _named(latest)]
    bad = [_misfit(column, staging) for column in read if column.raw is not None]
    left_out = save_unreadable(staging, rows, bad) - rows.unreadable
    relation = own_parquet([part.path], f"{_PLACE} = true")
    numbered = rows.column(RECORD_COLUMN) is not None
    record = "" if numbered else f", CAST({_PLACE} + 1 AS UBIGINT) AS {RECORD_COLUMN}"
    chosen = _chosen(staging, relation, read, bad)
    select = f"SELECT * EXCLUDE ({_PLACE}){record} FROM {relation} SEMI JOIN ({chosen}) USING ({_PLACE})"
    select += f" ORDER BY {_PLACE}"  # a join keeps no order
    target = part.path.with_suffix(".latest")
    kept = staging.copy_counted(select, target)
    target.replace(part.path)
    return replace(
        rows,
        parts=(replace(part, rows=kept),),
        columns=rows.columns if numbered else (*rows.columns, *place_columns(file=False)),
        filtered=rows.filtered + part.rows - kept - left_out,
        unreadable=rows.unreadable + left_out,
        unreadable_file=staging.unreadable_file if rows.unreadable + left_out else None,
    )


def _named(latest: Latest) -> list[tuple[str, str]]:
    return [*((name, f"latest.by[{at}]") for at, name in enumerate(latest.by)), (latest.on, "latest.on")]


def _column(rows: Snapshot, name: str, path: str) -> Column:
    column = rows.column(name)
    if column is None:
        raise JobError(f'{path}: there is no column "{name}"')
    return column


def _misfit(column: Column, staging: Staging) -> Bad:
    """A value of a declared column that does not fit it, or is no one instant."""
    raw = quoted(column.raw or "")
    why = "'a value that does not fit its declared type, so that `latest` cannot place the row'"
    value = value_in_sql(column, staging.specs, staging.job)
    return Bad(f"({raw} IS NOT NULL AND {value} IS NULL)", "BF007", column.name, raw, why)


def _chosen(staging: Staging, relation: str, read: list[Column], bad: list[Bad]) -> str:
    """SQL: the places of the rows that are kept."""
    *by, on = [value_in_sql(column, staging.specs, staging.job) for column in read]
    sound = f"NOT ({' OR '.join(each.test for each in bad)})" if bad else "true"
    nobody = " OR ".join(f"{each} IS NULL" for each in by)
    order = f"PARTITION BY {', '.join(by)} ORDER BY {on} DESC NULLS LAST, {_PLACE} DESC"
    return f"SELECT {_PLACE} FROM {relation} WHERE {sound} QUALIFY ({nobody}) OR row_number() OVER ({order}) = 1"
