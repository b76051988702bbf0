"""Rows that were not sent as people read them: one line each, with its place and its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from backfill.errors import LedgerError
from backfill.frozen import frozen
from backfill.records import Problem, Severity, StoredRun
from backfill.report.lines import source_of, with_places
from backfill.report.samples import LISTED, problem_line

#: How many records of a file are read again at the end of a run to tell lines; the lines of later ones are looked up
#: when they are listed.
NEAR_RECORDS = 100_000
_SHOWN = ("file", "record", "line", "call", "code", "severity", "column", "value", "message")


@frozen
class Listing:
    """What of a run was not sent."""

    total: int
    problems: tuple[Problem, ...]  # the first of them


def list_rejects(folder: StoredRun, limit: int = LISTED, *, duplicates: bool = False) -> Listing:
    """The first rejects of a run, with their places as far as they can be told (see `lines.with_places`).

    `duplicates`: instead the first rows whose call another row had made before.

    Raises:
        LedgerError: A file of rejects is damaged, or the ledger is.
    """
    files = folder.rejects().files(duplicates=duplicates)
    if not files:
        return Listing(0, ())
    total, problems = read_problems(files, limit)
    return Listing(total, tuple(with_places(problems, folder)))


def look_up_lines(folder: StoredRun) -> None:
    """Have the lines of the first rejects kept, as far as they are near the beginning of their files.

    For the process that made the rejects: it has loaded what reads the source, which costs `rejects` most of its time.
    """
    if not source_of(folder)[1]:
        return
    with suppress(LedgerError):  # damaged: `rejects` tells it
        _, problems = read_problems(folder.rejects().files(), LISTED)
        with_places([problem for problem in problems if problem.record <= NEAR_RECORDS], folder)


def read_problems(files: Sequence[Path], limit: int) -> tuple[int, list[Problem]]:
    """How many problems the files hold, and the first of them.

    DuckDB is the reader of Parquet that loads fastest.

    Raises:
        LedgerError: One of them is damaged.
    """
    if not files:
        return 0, []
    import duckdb  # noqa: PLC0415 (most runs have no rejects)

    from backfill.sources.sql.engine import own_parquet, quoted  # noqa: PLC0415

    rows, columns = own_parquet(files), ", ".join(map(quoted, _SHOWN))
    count, first = f"SELECT count(*) FROM {rows}", f"SELECT {columns} FROM {rows} LIMIT {limit}"  # noqa: S608 (ours)
    with duckdb.connect(config={"threads": 1}) as connection:
        try:
            total = connection.execute(count).fetchall()[0][0]
            found = connection.execute(first).fetchall()
            return total, [_problem(dict(zip(_SHOWN, row, strict=True))) for row in found]
        except (duckdb.Error, ValueError) as error:
            if len(files) > 1:  # which one?
                for path in files:
                    read_problems([path], 1)
            raise LedgerError(
                f"a file of rejects is damaged: {files[0] if len(files) == 1 else files[0].parent}",
                hint="`backfill rejects` with another run shows that; the runs themselves are not hurt",
            ) from error


def _problem(row: Mapping[str, object]) -> Problem:
    def text(name: str) -> str:
        return str(row[name] or "")

    return Problem(
        code=text("code"),
        severity=Severity(text("severity") or Severity.ERROR),
        message=text("message"),
        file=text("file"),
        record=int(text("record") or 0),
        line=int(text("line") or 0),
        call=text("call"),
        column=text("column"),
        value=text("value"),
    )


def reject_lines(listing: Listing, places: Mapping[str, str], *, more: str) -> list[str]:
    """A line for each, its code first; `places` are files as they are shown, `more` says how to get the rest."""
    shown = [replace(one, file=places.get(one.file, one.file)) for one in listing.problems]
    lines = [f"{one.code} {problem_line(one)}" for one in shown]
    rest = listing.total - len(lines)
    return lines + ([f"and {rest:,} more: {more}"] if rest > 0 else [])
