"""Problems as people read them: a few of each code, each with its place, its value and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from backfill.errors import Fault
from backfill.masking import MASKED
from backfill.records import Problem, Severity
from backfill.records.profile import BadValues
from backfill.rules import of_all_calls

if TYPE_CHECKING:  # pydantic
    from backfill.job.models import Job

#: Stands in place of a file where a record is a row of the query's result.
QUERY = "the query"
#: How many problems of each code are shown.
SAMPLES = 5
#: Codes of names, whose values tell nothing.
NAME_CODES: Final = frozenset({"BF141", "BF302"})
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


def most_frequent(code: str, values: Mapping[tuple[str, str], BadValues]) -> list[tuple[str, str, int]]:
    """The values that problems of a code are about: column, value, how often, the most frequent first.

    There are none where the name is the problem; of events that are not in the tracking plan, only where they differ.
    """
    if code in NAME_CODES:
        return []
    found = [
        (column, value, count)
        for (each, column), some in values.items()
        if each == code
        for value, count in some.counts.items()
        if value not in ("", MASKED)
    ]
    if code == "BF140" and len(found) == 1:
        return []
    return sorted(found, key=lambda one: (-one[2], one[:2]))


def value_lines(code: str, count: int, values: Mapping[tuple[str, str], BadValues]) -> list[str]:
    """What so many problems of a code are about, by value; nothing where the samples tell as much."""
    found = most_frequent(code, values)
    if count <= SAMPLES or not found or found[0][2] == 1:
        return []
    at_least = "" if all(some.exact for (each, _), some in values.items() if each == code) else "at least "
    told = [
        f"{column + ' = ' if column else ''}{value!r} {at_least}{calls:,}" for column, value, calls in found[:SAMPLES]
    ]
    rest = count - sum(calls for _, _, calls in found[:SAMPLES])
    return [f"by value: {', '.join(told)}{f', and {rest:,} others' if rest > 0 else ''}"]


def sample_lines(
    samples: Iterable[Problem],
    counts: Mapping[str, int],
    titles: Mapping[str, tuple[str, str]],
    run_id: str,
    values: Mapping[tuple[str, str], BadValues] | None = None,
    *,
    told: Callable[[Problem], bool] = lambda _: False,
) -> list[str]:
    """Up to SAMPLES lines for each code, in the order of the codes.

    Args:
        samples: Problems in source order; of codes of all calls together, every finding.
        counts: How often each code was found altogether.
        titles: Code -> (title, hint), as the rules have it.
        run_id: Whose problems they are; empty where no run has them.
        values: What they are about, by code and column.
        told: Whether a warning of the job file, above, has named what a problem is about; it is not shown again.
    """
    by_code: dict[str, list[Problem]] = {}
    for problem in samples:
        by_code.setdefault(problem.code, []).append(problem)
    lines = []
    for code in sorted(counts):
        found = by_code.get(code, [])
        severities = sorted({str(problem.severity) for problem in found[:SAMPLES]})
        severity = f" ({', '.join(severities)})" if severities else ""
        shown = [problem for problem in found if not told(problem)][:SAMPLES]
        title, hint = titles.get(code, ("", ""))
        lines.append(f"{code}{severity} {title}: {counts[code]:,}")
        if found and not shown:
            lines.append("    named above, by line of the job file")
            continue
        lines += [f"    {problem_line(_untitled(problem, title))}" for problem in shown]
        more = (len(found) if of_all_calls(code) else counts[code]) - len(shown)
        if more > 0 and shown:
            sent = all(problem.severity is Severity.WARNING for problem in shown)
            rest = "" if sent or not run_id else f": {way_to_rejects(run_id, sum(counts.values()))}"
            lines.append(f"    and {more:,} more{rest}")
        lines += [f"    {line}" for line in value_lines(code, counts[code], values or {})]
        hint = next((problem.hint for problem in shown if problem.hint), hint)
        if hint:
            lines.append(f"    Hint: {hint}")
    return lines


def names_problem(job: Job, notices: Sequence[Fault], problem: Problem) -> bool:
    """Whether a notice of the job file has named the event or property that a problem of the tracking plan is about."""
    if problem.code not in ("BF140", "BF141", "BF142"):
        return False
    path = problem.column.partition(" (column ")[0]
    inside, _, name = path.rpartition(".")
    for place in (f"calls[{number}]." for number, call in enumerate(job.calls) if call.scope == problem.call):
        for notice in notices:
            within = notice.path in (f"{place}{inside}", f"{place}{inside}.*") and f'"{name}"' in notice.message
            if within or (notice.path == f"{place}{path}" and problem.code != "BF142"):
                return True
    return False
