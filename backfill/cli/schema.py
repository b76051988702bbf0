"""`backfill schema`: the job file's JSON Schema."""

from __future__ import annotations

import json

import click

from backfill.cli.options import voice_options
from backfill.cli.session import Session


@click.command("schema", short_help="The job file's JSON Schema.")
@voice_options
def command(session: Session) -> None:
    """\b
    backfill schema > job.schema.json

    The job file's JSON Schema, for editors and for programs that write job files.
    """  # noqa: D205, D301, D415
    from backfill.job import job_schema

    session.data(json.dumps(job_schema(), indent=2, ensure_ascii=False), raw=True)
