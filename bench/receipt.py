"""`python -m bench.receipt`: the Merkle roots of a receipt over many delivered ids: seconds, and memory of its own.

Records of calls are made here, a shard at a time, in place of the files of a run: reading those is not measured.
"""

import resource
import time

import click
import numpy as np

from backfill.receipt.content import trees_of
from backfill.records import CALL_RECORD, CallSpan
from bench.reconcile import ids

SHARD, BATCH = 60_000, 1_200
#: What making a receipt may hold, in MB, whatever the size.
MEMORY = 300


class Calls:
    """Stands for a run, its ledger and its spool: so many calls, all of them delivered."""

    def __init__(self, calls: int) -> None:
        self.calls = calls

    def spool(self) -> "Calls":
        """Itself."""
        return self

    def calls_digests(self) -> dict[int, str]:
        """Of no shard."""
        return {}

    def calls_of(self, shard: int, _sha256: str | None) -> bytes:
        """The records of a shard."""
        begin, end = shard * SHARD, min(self.calls, (shard + 1) * SHARD)
        records = np.zeros(end - begin, CALL_RECORD)
        records["id_bytes"] = ids(begin, end).view("V16").ravel()
        records["bytes"] = 400
        return records.tobytes()

    def hashes_of(self, shard: int) -> np.ndarray:
        """The hashes of a shard."""
        return np.arange(shard * SHARD, min(self.calls, (shard + 1) * SHARD), dtype=np.uint64)

    def call_spans(self) -> list[CallSpan]:
        """The batches."""
        return [
            CallSpan(
                place // BATCH, place // SHARD, place % SHARD, min(BATCH, self.calls - place), "delivered", settled=True
            )
            for place in range(0, self.calls, BATCH)
        ]

    def attempts(self, _batch: int) -> list[object]:
        """None."""
        return []


@click.command()
@click.option("--calls", default=2_000_000, show_default=True)
def main(calls: int) -> None:
    """Measure, print the line of the table; fails where the memory is above its bound."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    made = Calls(calls)
    trees = trees_of(made, made)
    seconds = time.monotonic() - began
    own = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1_024
    assert trees["delivered"]["count"] == calls
    assert own <= MEMORY, own
    click.echo("| calls | seconds | calls/s | MB of its own |\n|---|---|---|---|")
    click.echo(f"| {calls:,} | {seconds:.1f} | {calls / seconds:,.0f} | {own:,.0f} |")


if __name__ == "__main__":
    main()
