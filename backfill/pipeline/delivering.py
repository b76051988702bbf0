"""Deliver: from the complete plan to the last answer, or to where it stops; and what is tidied away after."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx

from backfill.deliver import DeliveryEnd, DeliveryOptions, EndKind, TargetAccess, deliver
from backfill.errors import (
    BackfillError,
    ExitCode,
    InterruptedRunError,
    StoppedError,
    TargetRefusedError,
    UsageError,
)
from backfill.ledger import Counts, Ledger, RunState
from backfill.limits import CANARY_CALLS
from backfill.pipeline.drift import intake_of
from backfill.pipeline.refused import keep_refused, refused_batches
from backfill.pipeline.work import Confirmation, Options, Surroundings
from backfill.records import DeliveryTotals
from backfill.sources import load_snapshot
from backfill.spool import Spool
from backfill.state import RunFolder
from backfill.targets import Target

LOG = logging.getLogger(__name__)
SANDBOX_FOLDER = "sandbox"
HEALTH_SECONDS = 5.0


def delivered(
    ledger: Ledger, folder: RunFolder, there: Target, options: Options, around: Surroundings
) -> tuple[ExitCode, DeliveryTotals, BackfillError | None]:
    """Send what is planned; returns the exit code, what this process sent, and why it ended early where it did.

    `there` is the target as `reachable` gives it.

    The ledger is `finished` or `stopped` after it. Where it is finished, snapshot and segments are removed, unless
    they are to be kept; the calls and rejects files stay.

    Raises:
        LedgerError: A segment is not what was prepared.
    """
    spool = Spool(folder.spool)
    before = ledger.reader.counts()
    if not finished_already(before):
        spool.verify(ledger.reader.shards().values(), full=before.requests > 0)
    if ledger.reader.status().state is not RunState.DELIVERING:
        ledger.set_state(RunState.DELIVERING)
    end = sent(ledger, spool, access(there, options), options, around, before)
    code, error = judged(ledger, end, folder.run_id, around.signal_code())
    if end.kind is EndKind.FINISHED:
        refused = refused_batches(folder.ledger)
        if refused:
            keep_refused(refused, load_snapshot(folder.snapshot), spool, call_scopes(ledger))
        ledger.finish(code)
        tidy(folder, options, around.state_folder)
    else:
        ledger.set_state(RunState.STOPPED, exit_code=code, detail=end.message)
    return code, end.totals, error


def call_scopes(ledger: Ledger) -> list[str]:
    """The label or type of each of the job's calls, as the ledger has the job."""
    data = json.loads(ledger.reader.status().record.job_data)
    return [str(call.get("label") or call["type"]) for call in data["calls"]]


def tidy(folder: RunFolder, options: Options, state_folder: Path) -> None:
    """Remove what a finished run needs no more.

    The snapshot goes last: a finished run that still has one was killed in here.
    """
    if not options.keep_spool:
        Spool(folder.spool).remove_segments()
    shutil.rmtree(intake_of(state_folder, folder), ignore_errors=True)
    shutil.rmtree(folder.snapshot, ignore_errors=True)


def sent(
    ledger: Ledger, spool: Spool, target: TargetAccess, options: Options, around: Surroundings, before: Counts
) -> DeliveryEnd:
    """Deliver, telling the progress."""
    if before.requests:
        LOG.info("%s calls were sent before, %s of them in doubt", f"{before.delivered:,}", f"{before.in_doubt:,}")
    LOG.info("sending %s calls to %s", f"{before.pending + before.in_doubt:,}", target.batch_url)
    around.progress.begin("deliver", before.pending + before.in_doubt, "calls")
    settings = DeliveryOptions(first_alone=before.delivered == 0, canary=options.canary)
    if json.loads(ledger.reader.status().record.job_data).get("ordered"):
        settings = replace(settings, concurrency=1)  # one request at a time keeps the order of the source
    elif options.concurrency is not None:
        settings = replace(settings, concurrency=options.concurrency)
    try:
        return deliver(
            ledger=ledger,
            spool=spool,
            target=target,
            options=settings,
            stop=around.stop,
            abort=around.abort,
            progress=lambda totals: around.progress.advance(totals.calls, totals.json_bytes),
        )
    finally:
        around.progress.end()


def judged(
    ledger: Ledger, end: DeliveryEnd, run_id: str, signal_code: ExitCode
) -> tuple[ExitCode, BackfillError | None]:
    """The exit code of an end, and the error that tells it where it is not the good one."""
    if end.kind is EndKind.FINISHED:
        counts = ledger.reader.counts()
        return (ExitCode.REJECTS if counts.rejected + counts.unreadable else ExitCode.DELIVERED), None
    hint = end.hint or f"`backfill resume {run_id}` sends the rest"
    if end.kind is EndKind.INTERRUPTED:
        return signal_code, InterruptedRunError(
            "interrupted; what was sent is recorded", exit_code=signal_code, hint=hint
        )
    message = f"{end.message}: {end.answer}" if end.answer else end.message
    kind = TargetRefusedError if end.exit_code is ExitCode.TARGET_REFUSED else StoppedError
    return end.exit_code, kind(message, hint=hint)


def finished_already(counts: Counts) -> bool:
    """Nothing is left to be sent."""
    return counts.pending == counts.in_doubt == 0


def access(target: Target, options: Options) -> TargetAccess:
    """How to reach the target, with what the command line says of it.

    Raises:
        UsageError: There is no write key.
    """
    if target.write_key is None:
        raise UsageError(f"there is no write key for {target.name}")
    return TargetAccess(
        batch_url=target.batch_url,
        write_key=target.write_key.reveal(),
        gzip=target.gzip if options.gzip is None else options.gzip,
        rate=rate_of(target, options),
        body_limit=target.limits.body_bytes,
        headers=dict(target.headers),
    )


def rate_of(target: Target, options: Options) -> float | None:
    """Calls a second; None for as fast as the target takes them."""
    return None if options.unlimited else options.rate or target.rate


@contextmanager
def reachable(target: Target, state_folder: Path) -> Iterator[Target]:
    """The target where it can be reached: a sandbox without an endpoint runs inside this process meanwhile.

    Raises:
        UsageError: It is to be a sandbox, but none of ours answers there.
        LockedError: Another process runs a sandbox on the same store.
    """
    if target.live or target.endpoint:
        refuse_stranger(target)
        yield target
    else:
        from backfill.sandbox import Sandbox  # noqa: PLC0415 (a web server that live runs need not load: 60 ms)

        with Sandbox(state_folder / SANDBOX_FOLDER) as sandbox:
            yield target.at(sandbox.endpoint)


def duplicates_held(target: Target) -> int | None:
    """How many duplicates the sandbox at a target has counted so far; None of a live target, or where it does not say.

    A rehearsal that sends again what the sandbox's store has already is told so: its calls count as delivered, since
    the answer is 200, as Segment's would be.
    """
    if target.live:
        return None
    try:
        answer = httpx.get(
            f"{target.batch_url.rpartition('/v1/')[0]}/stats", timeout=HEALTH_SECONDS, trust_env=False
        ).raise_for_status()
        return int(answer.json()["duplicate"])
    except (httpx.HTTPError, ValueError, KeyError):
        return None


def refuse_stranger(target: Target) -> None:
    """Raise UsageError where the target is a sandbox at an endpoint at which none of ours answers.

    Loopback alone proves little: a tunnel on it may lead to a live service.
    """
    if target.live or not target.endpoint:
        return
    from backfill.sandbox import SERVER_NAME  # noqa: PLC0415 (as above)

    endpoint = target.endpoint
    try:
        answer = httpx.get(f"{endpoint}/health", timeout=HEALTH_SECONDS, trust_env=False)
    except httpx.HTTPError as error:
        raise UsageError(
            f"no sandbox answers at {endpoint}: {error}", hint="`backfill sandbox` starts one; or leave --endpoint out"
        ) from error
    if not answer.headers.get("Server", "").startswith(SERVER_NAME):
        raise UsageError(
            f"what answers at {endpoint} is no sandbox of backfill",
            hint="for a real target say --target segment or a profile's name",
        )


def confirmation(ledger: Ledger, target: Target, options: Options, state_folder: Path) -> Confirmation:
    """What a live delivery is about to do, from the plan in the ledger."""
    counts, days = ledger.reader.counts(), sorted(day for _, day in ledger.reader.days())
    calls = counts.pending + counts.in_doubt
    rate = rate_of(target, options)
    return Confirmation(
        job=ledger.reader.status().record.job_name,
        target=target.name,
        kind=target.kind,
        region=target.region,
        endpoint=target.batch_url,
        key_digest=target.key_digest,
        calls=calls,
        now=min(calls, CANARY_CALLS) if options.canary else calls,
        rejected=counts.rejected,
        unreadable=counts.unreadable,
        first_day=days[0] if days else "",
        last_day=days[-1] if days else "",
        rate=rate,
        seconds=calls / rate if rate else None,
        state_folder=state_folder,
    )
