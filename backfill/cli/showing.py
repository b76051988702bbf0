"""How a run's end is shown: samples of problems and why it stopped on stderr, the summary or the JSON on stdout."""

from __future__ import annotations

import json
from collections.abc import Mapping

from backfill.cli.handler import explain
from backfill.cli.runs import job_of, queried
from backfill.cli.session import Session
from backfill.errors import ExitCode, InterruptedRunError
from backfill.ledger import LedgerReader
from backfill.pipeline import RunEnd, refused_batches
from backfill.report import Summary, by_code, of_query, sample_lines, summary_text, with_lines
from backfill.rules import CODES

LOOK = (
    "Received is what Segment's API says; what it ingested is in the source's Delivery Overview"
    " (its Debugger shows a sample of 500 only)."
)


def show_end(session: Session, end: RunEnd, *, output: str, interrupted: ExitCode, dry: bool = False) -> ExitCode:
    """Show how a run ended; returns its exit code, which is UNEXPECTED where its ledger does not add up.

    Args:
        session: Where it is said.
        end: The run's end.
        output: text or json.
        interrupted: The exit code of a run that a signal interrupted: the signal's.
        dry: It was a dry run.
    """
    with LedgerReader(end.folder.ledger) as reader:
        problems = by_code(reader.problems())
        summary = Summary(
            reader.status(), reader.counts(), problems, end.totals, end.seconds, dry, end.sandbox_duplicates
        )
    for line in [*(problem_lines(end, problems) if end.prepared else []), *refusal_lines(end)]:
        session.say(line, "warning")
    if end.error is not None:
        explain(session, end.error)
    if end.repeated:
        session.say(f"{end.record.job_name}: finished before; nothing was sent again.")
    if output == "json":
        session.data(json.dumps(summary.as_json(), ensure_ascii=False))
    else:
        session.data(summary_text(summary) + (f"\n  {LOOK}" if end.record.live else ""))
    faults = summary.counts.faults()
    for fault in faults:
        session.say(f"The ledger does not add up: {fault}", "error")
    if faults:
        return ExitCode.UNEXPECTED
    return interrupted if isinstance(end.error, InterruptedRunError) else end.exit_code


def problem_lines(end: RunEnd, problems: Mapping[str, int]) -> list[str]:
    """Up to five samples of each problem, with their lines."""
    if not problems:
        return []
    with LedgerReader(end.folder.ledger) as reader:
        samples, snapshot = reader.samples(), reader.snapshot()
    if queried(end.record):
        samples = [of_query(problem) for problem in samples]
    job = job_of(end.record)
    if job is not None and snapshot is not None:
        samples = with_lines(samples, job, snapshot.files)
    titles = {code: (rule.title, rule.hint) for code, rule in CODES.items()}
    return sample_lines(samples, problems, titles, end.record.run_id)


def refusal_lines(end: RunEnd) -> list[str]:
    """What the target refused, by its answer."""
    answers: dict[str, list[int]] = {}
    for refused in refused_batches(end.folder.ledger) if not end.repeated else ():
        answer = f"{refused.status} {refused.detail}".strip()
        answers.setdefault(answer, []).append(refused.batch.calls)
    return [
        f"refused by the target: {sum(calls):,} calls in {len(calls):,} batches: {answer}"
        for answer, calls in answers.items()
    ]
