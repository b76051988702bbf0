"""Users of several jobs whom no identify call of any of them has: counted once all are planned, and noted in each plan.

It is a finding of the jobs of one command, so that none of them can tell while it is prepared by itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice, product
from typing import Final

import numpy as np
import polars as pl
import polars_hash  # noqa: F401 (the namespace `nchash`)

from backfill.errors import BackfillError
from backfill.frozen import frozen
from backfill.lint import UNIDENTIFIED, Unidentified, without_identify
from backfill.mapping import CompiledCall, compile_job
from backfill.mapping.template import BoundValue
from backfill.pipeline.call_bytes import PlanCalls, kept_job
from backfill.pipeline.context import RunContext
from backfill.prepare.evaluate import derive, reads_of
from backfill.prepare.frames import ROW_COLUMN, Frames, snapshot_schema
from backfill.prepare.masks import Masks
from backfill.records import FILE_COLUMN, RECORD_COLUMN, Problem, Severity, StoredRun
from backfill.records.profile import PlanProfile
from backfill.rules import CODES, severity
from backfill.sources import load_snapshot
from backfill.state.plan_file import read_conditions

#: Users of each plan that are named.
SAMPLES: Final = 5
_ID: Final = "__bf_user"


@frozen
class Planned:
    """A run or dry run whose plan is whole, and whether what is found may be noted in its ledger."""

    run: StoredRun
    context: RunContext
    finished: bool = False


def note_unidentified(plans: Sequence[Planned]) -> None:
    """Note in the ledger of each plan the users whom no identify call of any of them has. Hold their locks.

    Nothing is said of one job alone, nor where rows or calls of a plan were left out on purpose: they may identify.

    Raises:
        LedgerError: A ledger cannot be read or written.
    """
    profiles: list[tuple[Planned, PlanProfile]] = []
    for one in plans:
        with one.run.read() as reader:
            status, profile = reader.status(), reader.profile()
        conditions = read_conditions(one.run) if one.run.is_dry else None
        partly = conditions is not None and (conditions.rows is not None or conditions.left_out)
        if partly or status.record.only_new or profile is None or status.plan_digest is None:
            return
        profiles.append((one, profile))
    if len(profiles) < 2:  # noqa: PLR2004
        return
    for (one, _), missing in zip(profiles, without_identify([each for _, each in profiles]), strict=True):
        if not one.finished:
            _note(one, missing)


def _note(one: Planned, missing: Unidentified) -> None:
    with one.run.open(clock=one.context.clock.now) as ledger:
        rules = json.loads(ledger.reader.status().record.job_data).get("rules") or {}
        if severity(UNIDENTIFIED, rules) is None or not missing.count:
            ledger.note_finding(UNIDENTIFIED, 0, ())
            return
        samples: list[Problem] = []
        # The rows may be gone with the process that prepared them: how many there are is known all the same.
        with suppress(BackfillError), PlanCalls(one.run, one.context) as calls:
            samples = list(islice(_problems(calls, one, missing), SAMPLES))
        ledger.note_finding(UNIDENTIFIED, missing.count, samples or [_problem(missing)])


def _problems(calls: PlanCalls, one: Planned, missing: Unidentified) -> Iterator[Problem]:
    """The users that are missing, each where it is first planned; raises BackfillError where the rows are gone."""
    record, snapshot = calls.status.record, load_snapshot(one.run.snapshot)
    job = kept_job(record, calls.files, one.context.store)
    facts = {"id_scope": record.id_scope, "library_version": record.library_version}
    compiled = compile_job(job, snapshot, snapshot_schema(snapshot), now=record.created_at, **facts)
    masks, frames = Masks.of(job, snapshot), Frames(snapshot)
    seen: set[str] = set()
    for shard, (index, call) in product(calls.shards, enumerate(compiled)):
        user = call.members.members.get("userId")
        if not isinstance(user, BoundValue) or (missing.exact and len(seen) == missing.count):
            continue
        records = calls.records(shard)
        rows = pl.Series(np.unique(records["row"][records["call"] == index]), dtype=pl.UInt32)
        for file, number, value in _users(frames, shard, call, user, rows, missing):
            if value not in seen:
                seen.add(value)
                problem = _problem(missing, calls.files[file].name, number, call.scope, user.column, value)
                yield masks.problem(problem)


def _users(
    frames: Frames, shard: int, call: CompiledCall, user: BoundValue, rows: pl.Series, missing: Unidentified
) -> Iterator[tuple[int, int, str]]:
    """File, record and userId of the first row in each frame of a shard of every user that is missing."""
    names, derived = reads_of(call, user.plain)
    known, last = pl.Series(list(missing.identified), dtype=pl.UInt64), pl.lit(missing.bound - 1, pl.UInt64)
    for frame in frames.walk(shard, list(dict.fromkeys([*names, FILE_COLUMN, RECORD_COLUMN]))):
        own = derive(frame.filter(pl.col(ROW_COLUMN).is_in(rows.implode())), derived)
        found = own.select(FILE_COLUMN, RECORD_COLUMN, user.plain.alias(_ID)).drop_nulls(_ID)
        hashed = pl.col(_ID).nchash.xxhash64()  # type: ignore[attr-defined]
        missed = found.filter(~hashed.is_in(known.implode()) & (hashed <= last))
        yield from missed.unique(_ID, keep="first", maintain_order=True).iter_rows()


def _problem(
    missing: Unidentified, file: str = "", record: int = 0, call: str = "", column: str = "", value: str = ""
) -> Problem:
    title = CODES[UNIDENTIFIED].title
    message = title if missing.exact else f"{title}: how many is estimated"
    return Problem(UNIDENTIFIED, Severity.WARNING, message, file, record, call=call, column=column, value=value)
