"""The archive of delivered ids, measured alone: `python -m bench.archive [IDS]` (100 million unless told).

Archives the ids of ten runs as a finished run does, then asks as `run --only-new` does (shard by shard, four threads,
every other id new) and as `status --message-id` does. Prints seconds, disk and memory, and fails where an answer is
wrong. Own memory is what the kernel cannot take back (RssAnon, sampled); the columns are memory-mapped beside it.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from backfill.archive import Archive, ArchiveReader
from backfill.records import ArchivedRun, DeliveredCalls

SHARD = 32_768
RUNS = 10
THREADS = 4
#: So many shards are asked about: 10 million ids.
ASKED = 306


def shard_ids(shard: int) -> np.ndarray:
    """The ids of one shard: its own stream."""
    return np.random.default_rng(shard).integers(0, 256, (SHARD, 16), np.uint8)


class Memory(threading.Thread):
    """Watches how much memory the process has to itself, in MB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self.start()

    def run(self) -> None:
        """Look every 5 ms."""
        while True:
            self.peak = max(self.peak, own_memory())
            time.sleep(0.005)


def own_memory() -> int:
    """RssAnon of this process, in MB."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(text.partition("RssAnon:")[2].split()[0]) // 1024


def archived(folder: Path, shards: int) -> ArchiveReader:
    """An archive of so many shards' ids, from RUNS runs."""
    archive = Archive(folder, "bench", "segment https://api.segment.io", "scope")

    def delivered(number: int) -> Iterator[DeliveredCalls]:
        for shard in range(number, shards, RUNS):
            yield DeliveredCalls(shard, shard_ids(shard), np.arange(SHARD))

    for run in range(RUNS):
        archive.add(ArchivedRun(f"bench-g{run}", float(run), len(range(run, shards, RUNS)) * SHARD), delivered(run))
    reader = archive.open()
    assert reader is not None
    return reader


def ask(reader: ArchiveReader, shard: int, shards: int) -> bool:
    """Ask about half a shard's archived ids and as many new ones; whether every answer was right."""
    ids = np.concatenate([shard_ids(shard % shards)[::2], shard_ids(shard + 10**9)[::2]])
    found = reader.delivered(ids)
    return bool(found[: SHARD // 2].all() and not found[SHARD // 2 :].any())


def main(ids: int) -> int:
    """Archive, ask, find; returns 1 where an answer is wrong."""
    shards = -(-ids // SHARD)
    memory, began = Memory(), own_memory()
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        reader = archived(Path(folder), shards)
        built, peak_built = time.monotonic() - start, memory.peak
        disk = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        memory.peak = 0
        start = time.monotonic()
        with ThreadPoolExecutor(THREADS) as pool:
            right = list(pool.map(lambda shard: ask(reader, shard * 7, shards), range(ASKED)))
        asked = time.monotonic() - start
        wanted = shard_ids(shards // 2)[:1000]
        start = time.monotonic()
        places = [reader.find(one.tobytes()) for one in wanted]
        found = time.monotonic() - start
        exact = all((place.shard, place.call) == (shards // 2, at) for at, (place,) in enumerate(places))
    print(f"{len(reader):,} ids of {RUNS} runs in {len(reader.manifest.files)} files, {disk / 1e9:.1f} GB of disk:")
    print(
        f"archived in {built:.1f} s (making them included), own memory at most {peak_built} MB ({began} of it Python)"
    )
    print(
        f"asked about {ASKED * SHARD:,} in {asked:.1f} s (making them included), own memory at most {memory.peak} MB;"
        f" one looked up in {found * 1e3 / len(wanted):.2f} ms"
    )
    return int(not (all(right) and exact))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000_000))
