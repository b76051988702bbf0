"""`backfill prepare`: all of a run but its delivery."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from backfill.cli.metrics import MetricsOptions, metrics_options
from backfill.cli.options import (
    SendOptions,
    TargetOptions,
    gate_option,
    jobs_argument,
    output_option,
    progress_option,
    scheduler_option,
    spool_cache_option,
    spool_option,
    state_option,
    target_options,
    voice_options,
)
from backfill.cli.session import Session


@click.command("prepare", short_help="Stage and prepare a run, send nothing: `resume` does, from anywhere.")
@jobs_argument
@target_options
@state_option
@spool_option
@spool_cache_option
@scheduler_option
@gate_option
@click.option("--only-new", is_flag=True, help="Leave out what was delivered, as `run --only-new` does.")
@click.option("--abandon", is_flag=True, help="Give up what an unfinished run has not sent, as `run --abandon` does.")
@click.option(
    "--shards",
    metavar="K/N",
    help="Only the shards of part K of N, from 0/N on, beside the processes that prepare the others: of one job.",
)
@output_option
@progress_option
@metrics_options
@voice_options
def command(
    session: Session,
    *,
    jobs: tuple[Path, ...],
    target: TargetOptions,
    state_dir: Path | None,
    spool: str | None,
    spool_cache: str | None,
    scheduler: str | None,
    gates: tuple[str, ...],
    max_rejects: str | None,
    only_new: bool,
    abandon: bool,
    shards: str | None,
    output: str,
    no_progress: bool,
    metrics: MetricsOptions,
) -> int:
    """\b
    backfill prepare jobs/05-orders.yaml --target segment
    backfill prepare jobs --target segment --spool s3://my-bucket/backfill
    backfill prepare jobs/05-orders.yaml --target segment --shards 3/16

    Begin the jobs' runs, or go on with them, until all is ready to be sent: every row read, checked and packed.

    Nothing is sent and nobody is asked. `backfill resume RUN` delivers, and so does `backfill run` of the same jobs:
    later, or on another machine where ledger and bytes are shared. Schedulers call the two one after the other.

    With --shards N processes prepare one run, on one machine or many: the first stages it, each prepares its part, and
    the last one completes the plan. What comes out is what one process makes.
    """  # noqa: D205, D301, D415
    from backfill.cli.arguments import expand_job_paths, in_phases, load_jobs, spool_choice, wanted_target_name
    from backfill.cli.interrupts import run_interruptibly
    from backfill.cli.running import DeliveryCommand, deliver_all, run_options

    paths = expand_job_paths(jobs)
    chosen = replace(target, name=wanted_target_name(target.name))
    asked = SendOptions.nothing_said(gates, max_rejects)
    options = run_options(asked, abandon=abandon, only_new=only_new, scheduler=scheduler)
    options = replace(options, only_prepare=True)
    delivery = DeliveryCommand(session, options, asked.yes, output, progress=not no_progress, metrics=metrics)
    delivery = replace(delivery, spool=spool_choice(spool, spool_cache))
    loaded = in_phases(load_jobs(paths), jobs)
    if shards is not None:
        from backfill.cli.parts import prepare_one_part

        part = prepare_one_part(delivery, loaded, chosen, state_dir, shards)
        return run_interruptibly(session, part)
    return run_interruptibly(session, lambda interrupts: deliver_all(delivery, loaded, chosen, state_dir, interrupts))
