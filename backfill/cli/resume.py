"""`backfill resume`: send what was prepared and not sent."""

from __future__ import annotations

from pathlib import Path

import click

from backfill.cli.metrics import MetricsOptions, metrics_options
from backfill.cli.options import (
    RUN,
    SendOptions,
    TargetOptions,
    delivery_options,
    output_option,
    progress_option,
    run_target_options,
    spool_cache_option,
    state_option,
    voice_options,
)
from backfill.cli.session import Session


@click.command("resume", short_help="Finish sending what was prepared.")
@click.argument("run", required=False, type=RUN, metavar="[RUN|JOB]")
@click.option("--retry-rejected", is_flag=True, help="Try again what the target refused, also of a finished run.")
@run_target_options
@state_option
@spool_cache_option
@delivery_options
@output_option
@progress_option
@metrics_options
@voice_options
def command(
    session: Session,
    *,
    run: str | None,
    retry_rejected: bool,
    target: TargetOptions,
    state_dir: Path | None,
    spool_cache: str | None,
    asked: SendOptions,
    output: str,
    no_progress: bool,
    metrics: MetricsOptions,
) -> int:
    """\b
    backfill resume
    backfill resume orders-2019-2024-segment-g1-3f9a1c20
    backfill resume jobs/orders.yaml

    Finish a run that stopped: the same bytes, without looking at its job file or its source again.

    Without RUN there has to be exactly one unfinished run (`backfill status` lists them).

    --retry-rejected sends again the calls that the target refused, the same bytes, once it takes them. What the checks
    of backfill refused stays refused. Without RUN, and where no run is unfinished, the only finished run that has such
    calls is taken.
    """  # noqa: D205, D301, D415
    from backfill.cli.running import DeliveryCommand, run_options, send_prepared

    options = run_options(asked, retry_rejected=retry_rejected)
    delivery = DeliveryCommand(session, options, asked.yes, output, progress=not no_progress, metrics=metrics)
    return send_prepared(delivery, run, target, state_dir, spool_cache)
