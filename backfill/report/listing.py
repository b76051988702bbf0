"""Rows that were not sent as people read them: one line each, with its place and its reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from backfill.errors import LedgerError
from backfill.ledger import LedgerReader
from backfill.records import Problem, Severity
from backfill.report.samples import problem_line
from backfill.state import RunFolder

#: So many rows of a run are listed; an export has all.
LISTED = 100
_SHOWN = ("file", "record", "line", "call", "code", "severity", "column", "value", "message")


@dataclass(frozen=True, slots=True)
class Listing:
    """What of a run was not sent."""

    total: int
    problems: tuple[Problem, ...]  # the first of them


def reject_files(spool: Path) -> list[Path]:
    """The files of a run that hold its rejects: the unreadable records, then each shard's, by our rules or the target.

    Of a shard what the rules refused stands before what the target refused.
    """
    files = [
        spool / "unreadable.parquet",
        *sorted([*spool.glob("*.rejects.parquet"), *spool.glob("*.refused.parquet")]),
    ]
    return [path for path in files if path.exists()]


def list_rejects(folder: RunFolder, limit: int = LISTED) -> Listing:
    """The first rejects of a run, with their lines as far as its job file and source are still what they were.

    Raises:
        LedgerError: A file of rejects is damaged, or the ledger is.
    """
    files = reject_files(folder.spool)
    if not files:
        return Listing(0, ())
    total, problems = read_problems(files, limit)
    with LedgerReader(folder.ledger) as reader:
        record, snapshot = reader.status().record, reader.snapshot()
    from backfill.report.lines import job_of, of_query, queried, with_lines  # noqa: PLC0415 (the job's models)

    if queried(record):
        problems = [of_query(problem) for problem in problems]
    job = job_of(record) if any(problem.record and not problem.line for problem in problems) else None
    if job is not None and snapshot is not None:
        problems = with_lines(problems, job, snapshot.files)
    return Listing(total, tuple(problems))


def read_problems(files: Sequence[Path], limit: int) -> tuple[int, list[Problem]]:
    """How many problems the files hold, and the first of them.

    Raises:
        LedgerError: One of them is damaged.
    """
    import pyarrow.parquet as pq  # type: ignore[import-untyped]  # noqa: PLC0415 (most runs have no rejects)

    total, problems = 0, list[Problem]()
    for path in files:
        with damage_told(path), pq.ParquetFile(path) as file:
            total += file.metadata.num_rows
            for batch in file.iter_batches(columns=list(_SHOWN)) if len(problems) < limit else ():
                problems += [_problem(row) for row in batch.slice(0, limit - len(problems)).to_pylist()]
                if len(problems) >= limit:
                    break
    return total, problems


@contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """Tell a file of rejects that cannot be read as what it is: damage (or another run's file)."""
    import pyarrow as pa  # noqa: PLC0415

    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        raise LedgerError(
            f"a file of rejects is damaged: {path}",
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
