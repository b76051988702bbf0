"""The calls that --canary sends, to be looked up in the destination: the first ones, so many of them, or one user's.

They are chosen before anything is confirmed, by the bytes that were prepared. Where they are not the first of the plan
they are cut out of their batches, which are sent without them once the run goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
import polars as pl

from backfill.errors import UsageError
from backfill.frozen import frozen
from backfill.limits import CANARY_CALLS
from backfill.pipeline.call_fields import USERS, has_value, read_json
from backfill.pipeline.context import Options
from backfill.records import Batch, CanaryCall, RunReader, RunSpool, RunWriter
from backfill.wire import COMMA, HEAD, cut_out

#: Batches are fetched so many at a time.
_GROUP = 64


@frozen
class Chosen:
    """A call that the canary is to send."""

    batch: Batch
    index: int  # in the batch
    call: CanaryCall


def choose_canary(reader: RunReader, spool: RunSpool, options: Options) -> list[Chosen]:
    """The calls that the canary sends, in plan order; none without --canary.

    Raises:
        UsageError: A user is asked for who has no call left to be sent, or whose calls cannot be sent before others.
        LedgerError: The spool is not what was prepared.
    """
    if not options.canary:
        return []
    record = reader.status().record
    if options.canary_user is not None and record.facts.ordered:
        raise UsageError(
            f"--canary-user: {record.job_name} is `ordered`, and calls of a user would come before others",
            hint="--canary sends its first calls",
        )
    found: list[Chosen] = []
    most = options.canary_calls or CANARY_CALLS
    for batch in _open_batches(reader):
        found += _of_batch(reader, spool, batch, options, most - len(found))
        if len(found) >= most or (found and not options.chooses):
            break
    if options.canary_user is not None and not found:
        raise UsageError(
            f"--canary-user: no call of {record.run_id} that is still to be sent has that userId or anonymousId",
            hint="`backfill calls RUN --user ID` shows those of the plan",
        )
    return found


def cut_canary(ledger: RunWriter, spool: RunSpool, chosen: Sequence[Chosen]) -> tuple[Batch, ...]:
    """Cut the chosen calls out of their batches, durably; returns the parts that hold them, to be sent alone."""
    parts: list[Batch] = []
    for _, group in groupby(chosen, key=lambda one: one.batch.id):
        calls = list(group)
        batch = calls[0].batch
        if len(calls) == batch.calls:
            parts.append(batch)
            continue
        wanted = {one.index for one in calls}
        cut = cut_out(batch, spool.plain(batch), call_sizes(spool, batch), wanted)
        made = ledger.record_cut(batch, [part for _, part in cut])
        parts += [part for part, (is_wanted, _) in zip(made, cut, strict=True) if is_wanted]
    return tuple(parts)


def call_sizes(spool: RunSpool, batch: Batch) -> list[int]:
    """The bytes of each call of a batch, in their order, without the commas."""
    sizes: list[int] = spool.call_records(batch)["bytes"].tolist()
    return sizes


def _open_batches(reader: RunReader) -> Iterator[Batch]:
    """Batches still to be delivered, in plan order."""
    after = None
    while page := reader.open_batches(_GROUP, after):
        yield from page
        after = (page[-1].shard, page[-1].first_call, page[-1].id)


def _of_batch(reader: RunReader, spool: RunSpool, batch: Batch, options: Options, most: int) -> Iterator[Chosen]:
    begun = batch.attempts > 0 or batch.first_unknown_at is not None  # which is sent as it is, or not at all
    if begun and options.chooses:
        return
    records, plain = spool.call_records(batch), spool.plain(batch)
    sizes = records["bytes"].astype(np.int64)
    starts = len(HEAD) + np.concatenate([[0], np.cumsum(sizes[:-1] + COMMA)])
    count = len(sizes) if begun or options.canary_user is not None else min(most, len(sizes))
    texts = [plain[start : start + size].decode() for start, size in zip(starts[:count], sizes[:count], strict=True)]
    wanted = range(count)
    if options.canary_user is not None:
        fits = has_value(pl.Series("json", texts, pl.String), options.canary_user, USERS)
        wanted = np.flatnonzero(fits)[:most].tolist()
    calls = reader.status().record.facts.calls
    for index in wanted:
        content = read_json(texts[index])
        who = content.get("userId") or content.get("anonymousId") or ""
        named = str(content.get("event") or content.get("name") or "")
        scope = calls[records["call"][index]].scope
        place = batch.first_call + index
        told = CanaryCall(content["messageId"], scope, who, named, content["timestamp"], batch.shard, place)
        yield Chosen(batch, index, told)
