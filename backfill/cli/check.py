"""`backfill check`: the job file against its source's schema and a sample of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backfill.cli.here import display_path, shown_files
from backfill.cli.options import jobs_argument, voice_options
from backfill.cli.session import Session
from backfill.errors import ExitCode, Fault, JobError, counted, joined, worst

if TYPE_CHECKING:
    from backfill.cli.interrupts import Interrupts
    from backfill.job.models import Job
    from backfill.pipeline.check import Checked

#: What judges what a look at the first rows cannot.
FULL_READ = "`backfill dry-run JOB` reads and judges all"


@click.command("check", short_help="The job file against its source, by its first rows.")
@jobs_argument
@voice_options
def command(session: Session, *, jobs: tuple[Path, ...]) -> int:
    """\b
    backfill check jobs/01-users.yaml
    backfill check jobs

    Check job files against the schema of their sources and their SQL against DuckDB: every fault at once.

    The first 1,000 records are judged as a dry run judges them all, except where a `query` over files may need all
    records for one row; only `backfill dry-run` can tell of the rest.
    """  # noqa: D205, D301, D415
    from backfill.cli.arguments import expand_job_paths, load_jobs
    from backfill.cli.interrupts import run_interruptibly

    loaded = load_jobs(expand_job_paths(jobs))
    return run_interruptibly(session, lambda interrupts: check_all(session, loaded, interrupts))


def check_all(session: Session, jobs: list[Job], interrupts: Interrupts) -> ExitCode:
    """Check the jobs and tell what was found; returns the exit code, 3 where rows would be rejected.

    Raises:
        JobError: With every fault of every job.
        SourceError: A source cannot be read.
    """
    from backfill.cli.progress import sample_context
    from backfill.pipeline.check import check_job

    errors: list[JobError] = []
    codes = [ExitCode.DELIVERED]
    for job in jobs:
        notices: list[Fault] = []
        try:
            around = sample_context(session, interrupts, shown=False)
            found = check_job(job, around, partial(_tell_and_keep, session, notices))
        except JobError as error:
            errors.append(error)
            continue
        codes.append(show_checked(session, job, found, notices))
    if errors:
        raise joined(errors)
    return worst(codes)


def _tell_and_keep(session: Session, notices: list[Fault], notice: Fault) -> None:
    from backfill.cli.handler import tell_notice

    tell_notice(session, notice)
    notices.append(notice)


def show_checked(session: Session, job: Job, found: Checked, notices: Sequence[Fault]) -> ExitCode:
    """Tell what the look at one job found, after these warnings of its file; returns its exit code."""
    session.here.job = display_path(job.path)
    for line in sample_problem_lines(job, found, notices):
        session.say(line, "warning")
    session.data(f"{display_path(job.path)}: {job.name}: {check_line(found, warned=bool(notices))}")
    for note in found.notes[1:]:  # the first one is in that line
        session.say(f"{job.name}: {note}: {FULL_READ}")
    if not found.whole and not found.notes:
        session.say(f"{job.name}: the records after them were not judged: {FULL_READ}")
    if lines := advice_of(job):
        session.say_once("\n".join(["What the destinations of these calls do with history:", *lines]), lines=True)
    bad = found.counts and (found.counts.rejected or found.counts.unreadable)
    return ExitCode.REJECTS if bad else ExitCode.DELIVERED


def advice_of(job: Job) -> list[str]:
    """What the destinations that a job turns on do with history; what depends on dates is told as it is."""
    if all(call.integrations in (None, {"All": False}) for call in job.calls):
        return []
    import time

    from backfill.advice import advise, in_job
    from backfill.report.advice import advice_lines

    return [f"  {line}" for line in advice_lines(advise(in_job(job), time.time()), indent=2)]


def check_line(found: Checked, *, warned: bool) -> str:
    """What is to be said of a job in a few words; `warned`: its file gave warnings."""
    good = "no errors" if warned or found.problems else "nothing wrong"
    if found.counts is None:
        return f"{good} so far; {found.notes[0]}: {FULL_READ}" if found.notes else good
    if found.whole and not found.counts.read:
        return f"{good}, but its source has no record"
    records = "its" if found.whole else "the first"
    judged = f"{records} {counted(found.counts.read, 'record', 'records')}"
    wrong = [f"{found.counts.unreadable:,} unreadable"] if found.counts.unreadable else []
    if found.counts.rejected:
        wrong.append(f"{counted(found.counts.rejected, 'call', 'calls')} rejected")
    if wrong:
        return f"{', '.join(wrong)}, of {judged}"
    return f"no errors in {judged}" if good == "no errors" else f"nothing wrong with {judged}"


def sample_problem_lines(job: Job, found: Checked, notices: Sequence[Fault]) -> list[str]:
    """The problems of the sample, some of each code; those that the notices name are only counted."""
    from dataclasses import replace

    from backfill.report import names_problem, sample_lines, with_lines
    from backfill.rules import CODES

    if not found.problems:
        return []
    places = shown_files(found.files)
    lined = with_lines(found.samples, job, found.files)
    shown = [replace(one, file=places.get(one.file, one.file)) for one in lined]
    titles = {code: (rule.title, rule.hint) for code, rule in CODES.items()}
    return sample_lines(shown, found.problems, titles, "", told=partial(names_problem, job, notices))
