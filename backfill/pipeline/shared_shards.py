"""The shards of a run that several processes prepare, by what they share of it; no ledger knows of one until all are.

In the run's shared bytes, below `work/`, are what one process has settled for all (`prepare.settled`) and a file of
each shard that is prepared: `shard-000017`, put there once the shard's own files are in the spool. So a shard is there
whole or not at all, whoever prepared it; two processes that prepare the same one make the same bytes. Whoever finds all
of them records the plan, in the order of the shards, as a process does that prepares alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from backfill.disk import out_of_space
from backfill.errors import LedgerError, StoppedError, UsageError
from backfill.limits import Limits
from backfill.prepare.settled import (
    Settled,
    conditions,
    read_description,
    read_settled,
    write_settled,
)
from backfill.records import ShardPlan, SharedBytes
from backfill.records.shard_form import NO_SHARD, SETTLED_FILE, SHARD_FILE, shard_bytes, shard_of

if TYPE_CHECKING:
    from backfill.records import RunSpool

_SHARD: Final = re.compile(rf"{SHARD_FILE}(\d{{6,}})")


class SharedShards:
    """What is prepared of a run by now. Thread-safe."""

    def __init__(self, shared: SharedBytes, stopping: Callable[[], bool]) -> None:
        self._work, self._stopping = shared.work(), stopping
        self._spool: RunSpool = shared.spool(stopping)
        self._listed = self._names()

    @property
    def spool(self) -> RunSpool:
        """Where their bytes are."""
        return self._spool

    def prepared(self) -> set[int]:
        """Those that are there now."""
        self._listed = self._names()
        return self._listed

    def find(self, shard: int) -> ShardPlan | None:
        """The shard, if it was there when it was looked last, and is whole: else it is to be prepared."""
        if shard not in self._listed:
            return None
        try:
            plan = shard_of(self._work.bring(_name(shard)).read_bytes())
            self._spool.verify([plan])
        except (LedgerError, *NO_SHARD):
            return None
        return plan

    def known(self, shard: int) -> ShardPlan:
        """The shard, which was found before.

        Raises:
            StoppedError: It is not what it was then: it is to be prepared again.
        """
        plan = self.find(shard)
        if plan is None:
            raise StoppedError(
                f"shard {shard} was prepared, and is not what it was then", hint="the same command prepares it again"
            )
        return plan

    def keep(self, plan: ShardPlan) -> None:
        """Let others find a shard whose files are in the spool."""
        self._work.make_folder()
        with out_of_space(self._work.folder):
            (self._work.folder / _name(plan.shard)).write_bytes(shard_bytes(plan))
        self._work.keep(_name(plan.shard), self._stopping)
        self._listed.add(plan.shard)

    @property
    def settled(self) -> bool:
        """Whether a process has settled what holds for all of them."""
        return SETTLED_FILE in self._work.names(anew=True)

    def keep_settled(self, settled: Settled, limits: Limits) -> None:
        """Let others find what is settled, of a target of these limits."""
        self._work.make_folder()
        for name in write_settled(settled, limits, self._work.folder):
            self._work.keep(name, self._stopping)

    def bring_settled(self, limits: Limits) -> Settled:
        """What is settled, which has to be.

        Raises:
            UsageError: It was under other conditions, under which shards might be others.
        """
        folder = self._work.bring(SETTLED_FILE).parent
        data, here = read_description(folder), conditions(limits)
        others = [
            f"{name} {value} there, {here.get(name)} here"
            for name, value in data["conditions"].items()
            if value != here.get(name)
        ]
        if others:
            raise UsageError(
                f"another process began to prepare the run under other conditions: {'; '.join(others)}",
                hint="all that prepare a run have the same versions, the same targets.yaml and processors of one kind",
            )
        for name in data["files"]:
            self._work.bring(name)
        return read_settled(folder)

    def forget(self) -> None:
        """Remove what is of no use once the plan is recorded."""
        self._work.remove(self._work.names(anew=True))

    def _names(self) -> set[int]:
        found = (_SHARD.fullmatch(name) for name in self._work.names(anew=True))
        return {int(one[1]) for one in found if one}


def _name(shard: int) -> str:
    return f"{SHARD_FILE}{shard:06d}"
