"""The finder of repeated ids, measured alone: `python -m bench.repeats [IDS]` (50 million unless told).

Ids are hashed as prepare hashes them (uniform 64-bit numbers stand in for the hashes), one in a thousand occurs twice,
in any order. Prints seconds, CPU seconds, peak memory and disk, and fails where the finder missed one or invented one.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from backfill.prepare.repeats import Collector, DuplicateResolver, Resolution, among

SHARD = 32_768


def shard_hashes(number: int, repeats: int) -> np.ndarray:
    """One shard's hashes: its own stream, some replaced by hashes that an early shard has too."""
    stream = np.random.default_rng(number)
    hashes = stream.integers(0, 2**64, SHARD, np.uint64)
    hashes[:repeats] = np.random.default_rng([7, number // 2]).integers(0, 2**64, repeats, np.uint64)
    return hashes


def main(ids: int) -> int:
    """Run both passes; returns 1 where a call is resolved wrongly."""
    shards, repeats = -(-ids // SHARD), SHARD // 1_000
    wall, cpu = time.monotonic(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        collector = Collector(Path(folder))
        for number in range(shards):
            collector.add(shard_hashes(number, repeats))
        candidates = collector.candidates()
        resolver = DuplicateResolver(candidates, Path(folder) / "duplicates")
        duplicates = 0
        for number in range(shards):
            hashes = shard_hashes(number, repeats)
            asked = hashes[among(hashes, candidates)]
            sixteen = np.zeros((len(asked), 16), np.uint8)
            sixteen[:, :8] = asked.view(np.uint8).reshape(-1, 8)
            places = np.arange(len(asked), dtype=np.uint64) + np.uint64(number * SHARD)
            resolutions, _ = resolver.resolve(asked, sixteen, sixteen, np.column_stack([places, places]))
            duplicates += int((resolutions == Resolution.DUPLICATE).sum())
    expected = shards // 2 * repeats
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{shards * SHARD:,} ids, {len(candidates):,} occur twice: {time.monotonic() - wall:.1f} s,")
    print(
        f"{time.process_time() - cpu:.1f} CPU s (making them included), peak {peak} MB, {ids * 8 / 1e6:,.0f} MB of disk"
    )
    return int(duplicates != expected or len(candidates) != expected)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000_000))
