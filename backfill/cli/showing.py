"""How a run's end is shown: samples of problems and why it stopped on stderr, the summary or the JSON on stdout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from backfill.cli.arguments import source_paths
from backfill.cli.handler import explain
from backfill.cli.session import Session
from backfill.disk import PRIVATE_FILE
from backfill.errors import ExitCode, GateError, InterruptedRunError, counted
from backfill.pipeline import RunResult, refused_batches
from backfill.records import CanaryCall, Counts, DeliveryTotals, Problem, RunReader, RunRecord, StoredRun
from backfill.report import (
    Summary,
    by_code,
    held_back_lines,
    job_of,
    look_up_lines,
    names_problem,
    not_read_text,
    read_contents,
    sample_lines,
    summary_text,
    with_places,
)
from backfill.rules import CODES
from backfill.state.plan_file import plan_facts
from backfill.targets import TargetKind

#: In a run's folder: its problems were shown.
SHOWN_FILE = "problems_shown"
#: A target may name the call in its answer, so that no two answers are alike.
SHOWN_ANSWERS = 5
MORE = "`backfill explain CODE` says of each why it matters, with an example."
#: What received means, for people.
LOOK_SEGMENT = (
    "Received is what Segment's API says; what it ingested is in the source's Delivery Overview"
    " (its Debugger shows a sample of 500 only)."
)
LOOK_ELSEWHERE = "Received is what the target answered; whether it kept the calls can only be seen there."


def show_end(
    session: Session, end: RunResult, *, output: str, interrupted: ExitCode, dry: bool = False
) -> tuple[ExitCode, Counts]:
    """Show how a run ended; returns its exit code, UNEXPECTED where its ledger does not add up, and its counts.

    Args:
        session: Where it is said.
        end: The run's end.
        output: text or json.
        interrupted: The exit code of a run that a signal interrupted: the signal's.
        dry: It was a dry run.
    """
    with end.run.read() as reader:
        problems = by_code(reader.problems())
        doubts = held_back_lines(reader) if end.exit_code is ExitCode.STOPPED else []
        counts = reader.counts()
        summary = Summary(
            *(reader.status(), counts, problems, reader.dates(), totals_of(counts) if end.together else end.totals),
            *(end.seconds, dry, end.sandbox_duplicates),
            share=end.totals if end.together else None,
            look=look_for(end.record) if counts.delivered and not dry else "",
            not_read_again=end.not_read_again,
            plan=plan_facts(end.run),
            canary=[(call, standing_of(reader, call)) for call in end.canary],
            gates=end.error.hits if isinstance(end.error, GateError) else (),
            contents=read_contents(end.run),
        )
    show_problems(session, end.run)
    kept_back = end.kept_back is not None
    for line in [] if kept_back else [*refusal_lines(end), *doubts]:
        session.say(line, "warning")
    if end.kept_back:
        session.say_once(end.kept_back, "warning")
    if end.error is not None:
        explain(session, end.error)
    if end.repeated:
        session.say(f"{end.record.job_name}: finished before; nothing was sent again.")
    if end.not_read_again is not None:
        session.say(not_read_text(end.not_read_again), "warning")
    if output == "json":
        session.record(summary.as_json())
    elif not kept_back:  # of which the plan of all jobs has told
        session.data(summary_text(summary))
    if not (summary.counts.planned or kept_back) and end.error is None:
        then = " when it was read" if end.not_read_again is not None else ""
        left_out = f"no row came of the source{then}" if not summary.counts.mapped else "no row makes a call"
        session.say(f"Warning: there was nothing to send: {left_out}.", "warning")
    faults = summary.counts.faults()
    for fault in faults:
        session.say(f"The ledger does not add up: {fault}", "error")
    code = interrupted if isinstance(end.error, InterruptedRunError) else end.exit_code
    return ExitCode.UNEXPECTED if faults else code, counts


def totals_of(counts: Counts) -> DeliveryTotals:
    """What all processes of a run have sent."""
    return DeliveryTotals(requests=counts.requests, retries=counts.retries, wire_bytes=counts.wire_bytes)


def standing_of(reader: RunReader, call: CanaryCall) -> str:
    """What became of a call: delivered, rejected, in_doubt or pending."""
    span = reader.span_of(call.shard, call.place)
    return span.standing if span else "pending"


def look_for(record: RunRecord) -> str:
    """What received means at the run's target; empty for a sandbox."""
    if not record.live:
        return ""
    return LOOK_SEGMENT if record.target_kind == TargetKind.SEGMENT else LOOK_ELSEWHERE


def show_problems(session: Session, run: StoredRun, heading: str = "") -> None:
    """Show up to five samples of each problem of a run's plan, unless a process has done so before."""
    with run.read() as reader:
        record, problems, samples = reader.status().record, by_code(reader.problems()), reader.samples()
        profile = reader.profile()
    shown, plan = run.path / SHOWN_FILE, repr(record.created_at)  # which a run that takes its place has not
    with suppress(OSError):
        if shown.read_bytes() == plan.encode("ascii"):
            return
    if problems:
        if heading:
            session.say(heading, "warning")
        look_up_lines(run)
        places = source_paths(run)
        samples = [replace(one, file=places.get(one.file, one.file)) for one in with_places(samples, run)]
        titles = {code: (rule.title, rule.hint) for code, rule in CODES.items()}
        values = profile.bad_values if profile else None
        told = named_by_notices(session, record)
        for line in sample_lines(samples, problems, titles, run.run_id, values, told=told):
            session.say(line, "warning")
        session.say_once(MORE)
    with suppress(OSError):  # where it cannot be written, they are shown once more
        shown.touch(PRIVATE_FILE)
        shown.write_text(plan, encoding="ascii")


def named_by_notices(session: Session, record: RunRecord) -> Callable[[Problem], bool]:
    """What tells of a problem whether a warning of the run's job file, said before, has named what it is about."""
    notices = [one for one in session.notices if Path(one.file).absolute() == Path(record.job_file)]
    job = job_of(record) if notices else None
    return partial(names_problem, job, notices) if job else lambda _: False


def refusal_lines(end: RunResult) -> list[str]:
    """What the target refused, by its answer."""
    answers: Counter[str] = Counter()
    for refused in refused_batches(end.run) if not end.repeated else ():
        answers[f"{refused.status} {refused.detail}".strip()] += refused.batch.calls
    shown = answers.most_common(SHOWN_ANSWERS)
    lines = [f"refused by the target: {counted(calls, 'call', 'calls')}: {answer}" for answer, calls in shown]
    if rest := answers.total() - sum(calls for _, calls in shown):
        others = counted(len(answers) - len(shown), "other answer", "other answers")
        lines.append(f"refused by the target: {counted(rest, 'call', 'calls')} with {others}")
    return lines
