"""Problems as people read them: a few of each code, each with its place, its value and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from backfill.records import Problem, Severity
from backfill.rules import of_all_calls

#: Stands in place of a file where a record is a row of the query's result.
QUERY = "the query"
#: How many problems of each code are shown.
SAMPLES = 5
#: How many rows of a run `backfill rejects` lists; an export has all.
LISTED = 100


def problem_line(problem: Problem) -> str:
    """One problem as `file:line (record n): call: message: column = value`, parts that are not known left out."""
    where = f"{problem.file}:{problem.line}" if problem.line else problem.file
    if problem.file == QUERY:
        where = f"row {problem.record:,} of {QUERY}" if problem.record else ""  # 0: of all calls together
    elif problem.record:
        where += f" (record {problem.record:,})"
    parts = [where, problem.call, problem.message]
    if problem.column:
        parts.append(f"{problem.column} = {problem.value!r}" if problem.value else problem.column)
    elif problem.value:  # of the call as a whole: its size, its message id
        parts.append(problem.value)
    return ": ".join(part for part in parts if part)


def _untitled(problem: Problem, title: str) -> Problem:
    """The problem without the title of its code, which stands above it."""
    known = bool(title) and (problem.message == title or problem.message.startswith(f"{title}: "))
    return replace(problem, message=problem.message[len(title) + 2 :]) if known else problem


def way_to_rejects(run_id: str, count: int) -> str:
    """How to see so many rejects of a run: they are listed where that shows all of them."""
    if count > LISTED:
        return f"`backfill rejects {run_id} --export rejects.csv` writes them all"
    return f"`backfill rejects {run_id}` lists them"


def sample_lines(
    samples: Iterable[Problem], counts: Mapping[str, int], titles: Mapping[str, tuple[str, str]], run_id: str
) -> list[str]:
    """Up to SAMPLES lines for each code, in the order of the codes.

    Args:
        samples: Problems in source order; of codes of all calls together, every finding.
        counts: How often each code was found altogether.
        titles: Code -> (title, hint), as the rules have it.
        run_id: Whose problems they are; empty where no run has them.
    """
    by_code: dict[str, list[Problem]] = {}
    for problem in samples:
        by_code.setdefault(problem.code, []).append(problem)
    lines = []
    for code in sorted(counts):
        found = by_code.get(code, [])
        shown = found[:SAMPLES]
        severity = f" ({', '.join(sorted({str(problem.severity) for problem in shown}))})" if shown else ""
        title, hint = titles.get(code, ("", ""))
        lines.append(f"{code}{severity} {title}: {counts[code]:,}")
        lines += [f"    {problem_line(_untitled(problem, title))}" for problem in shown]
        more = (len(found) if of_all_calls(code) else counts[code]) - len(shown)
        if more > 0 and shown:
            sent = all(problem.severity is Severity.WARNING for problem in shown)
            rest = "" if sent or not run_id else f": {way_to_rejects(run_id, sum(counts.values()))}"
            lines.append(f"    and {more:,} more{rest}")
        hint = next((problem.hint for problem in shown if problem.hint), hint)
        if hint:
            lines.append(f"    Hint: {hint}")
    return lines
