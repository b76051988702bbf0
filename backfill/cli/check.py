"""`backfill check`: the job file against the source's schema and the SQL binder."""

from __future__ import annotations

from pathlib import Path

import click

from backfill.cli.options import speaking
from backfill.cli.session import Session


@click.command("check", short_help="The job file against its source; no row is read.")
@click.argument(
    "jobs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="JOB [JOB...|DIR]"
)
@speaking
def command(session: Session, *, jobs: tuple[Path, ...]) -> None:
    """\b
    backfill check jobs/01-users.yaml
    backfill check jobs

    Check job files against the schema of their sources and their SQL against DuckDB: every fault at once.

    Headers and footers are read, of NDJSON a sample; no row is judged (`backfill dry-run` does that).
    """  # noqa: D205, D301, D415
    from backfill.cli.checking import STDIN, refuse_unfit
    from backfill.cli.settings import job_paths, load_jobs

    loaded = load_jobs(job_paths(jobs))
    refuse_unfit(session, loaded, sources_needed=True)
    for job in loaded:
        unseen = " (columns and SQL not checked: standard input)" if STDIN in job.source.path else ""
        session.data(f"{job.path}: {job.name}: nothing wrong{unseen}")
