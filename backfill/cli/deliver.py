"""`backfill deliver`: send what was prepared, beside other processes that do the same."""

from __future__ import annotations

from dataclasses import replace
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


@click.command("deliver", short_help="Send what was prepared, by as many processes at once as you start.")
@click.argument("run", type=RUN, metavar="RUN|JOB")
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
    run: str,
    target: TargetOptions,
    state_dir: Path | None,
    spool_cache: str | None,
    asked: SendOptions,
    output: str,
    no_progress: bool,
    metrics: MetricsOptions,
) -> int:
    """\b
    backfill deliver orders-2019-2024-segment-g1-3f9a1c20 --yes
    backfill deliver jobs/05-orders.yaml --yes --state postgresql://db/backfill

    Deliver one prepared run together with all other processes, on any machines, that run the same command.

    Each takes batches from the ledger, all keep to one rate and one pause, and the run ends once, when nobody has
    anything left to send: then all end, with its exit code. One that dies costs the others what it had in flight, which
    is in doubt. It needs a ledger in PostgreSQL and bytes that all reach; with a ledger in a file one process delivers,
    and a second ends with exit code 7. So it is with --canary, with --in-doubt, and of a job that is `ordered`.
    """  # noqa: D205, D301, D415
    from backfill.cli.running import DeliveryCommand, run_options, send_prepared

    options = replace(run_options(asked), together=True)
    delivery = DeliveryCommand(session, options, asked.yes, output, progress=not no_progress, metrics=metrics)
    return send_prepared(delivery, run, target, state_dir, spool_cache)
