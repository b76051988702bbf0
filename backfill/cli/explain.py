"""`backfill explain`: what a job compiles to."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from backfill.cli.layout import wrap
from backfill.cli.options import jobs_argument, voice_options
from backfill.cli.session import Session, columns


@click.command("explain", short_help="What a job compiles to: its SQL, ids and calls.")
@jobs_argument
@voice_options
def command(session: Session, *, jobs: tuple[Path, ...]) -> None:
    """\b
    backfill explain jobs/01-users.yaml

    Show what a job compiles to: where rows come from and what is done with them, and for each call the column, constant
    or DuckDB SQL that each of its values is, `defaults` and shapes written out. Nothing is read but the job file.
    """  # noqa: D205, D301, D415
    from backfill.cli.arguments import expand_job_paths, load_jobs
    from backfill.report.explain import explain_text

    width = columns(sys.stdout)
    for job in load_jobs(expand_job_paths(jobs)):
        text = explain_text(job)
        session.data(wrap(text, width) if width else text, raw=True)
