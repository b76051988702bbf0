"""`backfill run`: stage, prepare, confirm, deliver."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from backfill.cli.metrics import MetricsOptions, metrics_options
from backfill.cli.options import (
    SendOptions,
    TargetOptions,
    delivery_options,
    jobs_argument,
    output_option,
    progress_option,
    replay_option,
    report_option,
    scheduler_option,
    spool_cache_option,
    spool_option,
    state_option,
    target_options,
    voice_options,
)
from backfill.cli.session import Session


@click.command("run", short_help="Stage, prepare, confirm, deliver; an unfinished run goes on.")
@jobs_argument
@target_options
@state_option
@spool_option
@spool_cache_option
@scheduler_option
@delivery_options
@click.option(
    "--only-new",
    is_flag=True,
    help="Prepare again where job or source have changed, and leave out every call that was delivered.",
)
@click.option(
    "--abandon",
    is_flag=True,
    help="Give up what an unfinished run has not sent, and begin again; what was delivered stays left out.",
)
@replay_option
@click.option(
    "--open",
    "open_page",
    is_flag=True,
    help="Tell where the sandbox shows its page, and serve it when the run is over, until Ctrl-C.",
)
@output_option
@progress_option
@metrics_options
@report_option
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
    asked: SendOptions,
    only_new: bool,
    abandon: bool,
    replay_rejects: Path | None,
    open_page: bool,
    output: str,
    no_progress: bool,
    metrics: MetricsOptions,
    report: Path | None,
) -> int:
    """\b
    backfill run jobs/01-users.yaml --target sandbox
    backfill run jobs --target segment --canary

    Deliver the jobs: every row is read, checked and packed before the first call is sent.

    A finished run sends nothing again, an unfinished one goes on where it stopped. A folder stands for its job
    files, by phase and in byte order of names. All job files are checked before any of them runs.
    """  # noqa: D205, D301, D415
    from backfill.cli.arguments import (
        expand_job_paths,
        in_phases,
        load_chosen_target,
        load_jobs,
        replayed,
        spool_choice,
        wanted_target_name,
    )
    from backfill.cli.interrupts import run_interruptibly
    from backfill.cli.page import PageServing
    from backfill.cli.report import place_of_report
    from backfill.cli.running import DeliveryCommand, deliver_all, run_options
    from backfill.pipeline.plans import check_plan_ids

    paths = expand_job_paths(jobs)
    chosen = replace(target, name=wanted_target_name(target.name))
    options = run_options(asked, abandon=abandon, only_new=only_new, scheduler=scheduler)
    delivery = DeliveryCommand(session, options, asked.yes, output, progress=not no_progress)
    delivery = replace(delivery, spool=spool_choice(spool, spool_cache), metrics=metrics)
    if open_page:
        delivery = replace(delivery, page=PageServing())
    loaded = in_phases(load_jobs(paths), jobs)
    if replay_rejects is not None:
        there = load_chosen_target(chosen, Path(loaded[0].path).parent)
        replay = replayed(session, loaded, there, state_dir, replay_rejects)
        delivery = replace(delivery, options=replace(options, run_id=replay.run_id, only_new=True))
        loaded = [replay.job]
    check_plan_ids(options.plans, len(loaded))
    if report is not None:
        delivery = replace(delivery, report=place_of_report(session, report, loaded, state_dir))
    return run_interruptibly(session, lambda interrupts: deliver_all(delivery, loaded, chosen, state_dir, interrupts))
