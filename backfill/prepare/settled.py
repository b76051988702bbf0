"""What is found out of all calls of a job before any shard is prepared, and the form in which other processes get it.

    settled.json   what it was made under, and what is said of the first conflicts
    dropped        the entries of the drop table, where it has any
    spelt          the forms of ids that are spelt in several ways, where there are any

Whoever prepares shards by it has the same version of backfill, the same limits of the target, and hashes of texts as
polars made them there, which it promises within one version of its own alone: settled.json tells them all.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from backfill import __version__
from backfill.frozen import frozen
from backfill.job.models import Job
from backfill.limits import Limits
from backfill.prepare.masks import Masks
from backfill.prepare.profiled import profiled
from backfill.prepare.repeats import DropTable, Hashes
from backfill.prepare.shard import DroppedCalls, ShardContext
from backfill.prepare.spellings import checked_spellings
from backfill.records.shard_form import SETTLED_FILE

DROPPED_FILE, SPELT_FILE = "dropped", "spelt"


@frozen
class Settled:
    """What is known of all calls together."""

    spelt: Hashes  # forms of ids that are spelt in more than one way, sorted
    dropped: DroppedCalls

    def apply(self, context: ShardContext, job: Job) -> ShardContext:
        """The context in which shards of the job are prepared."""
        calls = checked_spellings(context.calls, self.spelt)
        masks = Masks.of(job, context.snapshot)
        return replace(context, calls=calls, profiled=tuple(profiled(call, masks) for call in calls), masks=masks)


def conditions(limits: Limits) -> dict[str, str]:
    """What has to be the same wherever shards of one run are prepared, the job and its source aside."""
    probe = pl.Series(["", "a", "Ä \N{GRINNING FACE}", "0123456789" * 8]).hash(seed=1).to_list()
    hashes = " ".join(f"{one:x}" for one in probe)
    told = {"backfill": __version__, "polars": pl.__version__, "hashes of polars": hashes}
    return told | {f"limit {name}": f"{value:,}" for name, value in asdict(limits).items()}


def write_settled(settled: Settled, limits: Limits, folder: Path) -> list[str]:
    """Write it into files of the folder; returns their names, in the order in which they are to be kept."""
    names = []
    if len(settled.spelt):
        (folder / SPELT_FILE).write_bytes(settled.spelt.astype("<u8").tobytes())
        names.append(SPELT_FILE)
    if not settled.dropped.table.empty:
        settled.dropped.table.copy(folder / DROPPED_FILE)
        names.append(DROPPED_FILE)
    explanations = {str(place): text for place, text in settled.dropped.explanations.items()}
    data = {"conditions": conditions(limits), "files": names, "explanations": explanations}
    (folder / SETTLED_FILE).write_text(json.dumps(data), encoding="ascii")
    return [*names, SETTLED_FILE]


def read_description(folder: Path) -> dict[str, Any]:
    """What settled.json says: the `conditions` it was made under, `files` beside it, `explanations`."""
    data: dict[str, Any] = json.loads((folder / SETTLED_FILE).read_bytes())
    return data


def read_settled(folder: Path) -> Settled:
    """What `write_settled` wrote; its files stay where they are."""
    data = read_description(folder)
    spelt = np.fromfile(folder / SPELT_FILE, "<u8") if SPELT_FILE in data["files"] else np.empty(0, np.uint64)
    path = folder / DROPPED_FILE
    table = DropTable.kept(path) if path.name in data["files"] else DropTable(path)
    explanations = {int(place): text for place, text in data["explanations"].items()}
    return Settled(spelt, DroppedCalls(table, explanations))
