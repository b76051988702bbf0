"""`backfill resume`: send what was prepared and not sent."""

from __future__ import annotations

from pathlib import Path

import click

from backfill.cli.options import (
    delivery_options,
    gate_option,
    output_option,
    progress_option,
    run_target_options,
    speaking,
    state_option,
)
from backfill.cli.session import Session


@click.command("resume", short_help="Finish sending what was prepared.")
@click.argument("run", required=False)
@click.option("--retry-rejected", is_flag=True, help="Try again what the target refused, also of a finished run.")
@run_target_options
@state_option
@delivery_options
@gate_option
@output_option
@progress_option
@speaking
def command(
    session: Session,
    *,
    run: str | None,
    retry_rejected: bool,
    target: str | None,
    targets: Path | None,
    endpoint: str | None,
    state_dir: Path | None,
    rate: str | None,
    concurrency: int | None,
    gzip: bool | None,
    attempts: int | None,
    in_doubt: str | None,
    canary: bool,
    max_rejects: str | None,
    keep_spool: bool,
    yes: bool,
    output: str,
    no_progress: bool,
) -> int:
    """\b
    backfill resume
    backfill resume orders-2019-2024-segment-g1-3f9a1c20

    Finish a run that stopped: the same bytes, without looking at its job file or its source again.

    Without RUN there has to be exactly one unfinished run (`backfill status` lists them).

    --retry-rejected sends again the calls that the target refused, the same bytes, once it takes them. What the checks
    of backfill refused stays refused. Without RUN it is the only finished run that has such calls where none is
    unfinished.
    """  # noqa: D205, D301, D415
    from backfill.cli.confirm import refuse_without_terminal
    from backfill.cli.interrupts import interruptible
    from backfill.cli.running import Delivery, run_options, told
    from backfill.cli.runs import named_run, run_endpoint, targets_places, unfinished_run
    from backfill.cli.settings import TargetOptions, chosen_target, state_folder
    from backfill.pipeline import resume_run
    from backfill.report import Subject
    from backfill.state import StateFolder

    options = run_options(
        rate=rate,
        concurrency=concurrency,
        gzip=gzip,
        attempts=attempts,
        in_doubt=in_doubt,
        canary=canary,
        max_rejects=max_rejects,
        keep_spool=keep_spool,
        retry_rejected=retry_rejected,
    )
    state = StateFolder(state_folder(session, state_dir))
    folder, status = named_run(state, run) if run else unfinished_run(state, refused=retry_rejected)
    record = status.record
    if target in (None, record.target_name):  # another profile has an endpoint of its own, to be compared
        endpoint = endpoint or run_endpoint(record)
    access = chosen_target(
        TargetOptions(target or record.target_name, targets, endpoint), *targets_places(record, state)
    )
    if access.live:
        refuse_without_terminal(yes=yes)
    delivery = Delivery(session, options, yes, output, progress=not no_progress)
    return interruptible(
        session,
        lambda interrupts: told(
            delivery,
            interrupts,
            lambda around: resume_run(state, folder, access, options, around),
            state.path,
            Subject(folder.run_id, record.job_name, record.target_name, record.live),
        ),
    )
