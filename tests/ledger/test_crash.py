"""SIGKILL in the middle of recording: nothing that was acknowledged is lost, and the counts still add up."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backfill.ledger import Ledger, LedgerReader
from backfill.records import RunState
from tests.support.ledgers import delivering, shard_plan

# Eight senders, as in deliver; each line is printed only after the ledger has acknowledged what it says.
SENDER = """
import os, sys, threading
from pathlib import Path
from backfill.ledger import Ledger
from tests.support.ledgers import ACCEPTED, UNKNOWN

ledger = Ledger.open(Path(sys.argv[1]))

def say(text):
    os.write(1, text.encode())

def send():
    while batches := ledger.next_batches(1):
        for batch in batches:
            number = ledger.mark_sent(batch, 1.0)
            say(f"sent {batch.id} {number}\\n")
            ledger.record_answer(batch, number, UNKNOWN if batch.id % 7 == 0 else ACCEPTED)
            if batch.id % 5 == 0:
                ledger.flush()
                say(f"flushed {batch.id} {number}\\n")

threads = [threading.Thread(target=send) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
ledger.close()
say("closed 0 0\\n")
"""

RECORDER = """
import os, sys
from pathlib import Path
from backfill.ledger import Ledger
from tests.support.ledgers import RECORD, shard_plan, snapshot_of

plans = [shard_plan(shard, (2,) * 40) for shard in range(60)]
ledger = Ledger.create(Path(sys.argv[1]), RECORD)
os.write(1, b"made 0 0\\n")
ledger.record_snapshot(snapshot_of(plans), calls_per_row=1)
for plan in plans:
    ledger.record_shard(plan)
    os.write(1, f"shard {plan.shard} 0\\n".encode())
ledger.record_plan()
ledger.close()
os.write(1, b"closed 0 0\\n")
"""


def killed(repository: Path, program: str, path: Path, lines: int) -> list[tuple[str, int, int]]:
    """What the program said until it was killed, some time after it had said so many lines."""
    with subprocess.Popen(
        [sys.executable, "-c", program, path], stdout=subprocess.PIPE, cwd=repository, text=True
    ) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        said += process.stdout.readlines()
    parts = [line.split() for line in said if line.endswith("\n")]
    return [(word, int(batch), int(number)) for word, batch, number in parts]


@pytest.mark.parametrize("seed", range(6))
def test_killed_while_sending(repository: Path, tmp_path: Path, seed: int) -> None:
    """Every attempt that was acknowledged is there, whatever was flushed has its end, and the rest is handed out."""
    path = tmp_path / "ledger.sqlite3"
    delivering(path, [shard_plan(shard, (2,) * 100) for shard in range(4)]).close()
    sent: set[tuple[int, int]] = set()
    flushed: set[tuple[int, int]] = set()
    lines = random.Random(seed)
    for _ in range(3):
        said = killed(repository, SENDER, path, lines.randrange(1, 150))
        sent |= {(batch, number) for word, batch, number in said if word == "sent"}
        flushed |= {(batch, number) for word, batch, number in said if word == "flushed"}
        with LedgerReader(path) as reader:
            assert reader.counts().faults() == []
    with Ledger.open(path) as ledger:
        rows = ledger.reader._rows("SELECT batch, number, outcome FROM attempts")
        outcomes = {(row["batch"], row["number"]): row["outcome"] for row in rows}
        assert sent <= set(outcomes)
        assert all(outcomes[key] == ("unknown" if key[0] % 7 == 0 else "accepted") for key in flushed)
        accepted = {batch for (batch, _), outcome in outcomes.items() if outcome == "accepted"}
        assert {batch.id for batch in ledger.next_batches(1_000)} == set(range(1, 401)) - accepted
        assert ledger.reader.counts().delivered == 2 * len(accepted)
        assert ledger.reader.counts().faults() == []


@pytest.mark.parametrize("seed", range(3))
def test_killed_while_preparing(repository: Path, tmp_path: Path, seed: int) -> None:
    """Every shard that was acknowledged is there and whole, and prepare goes on after them."""
    path = tmp_path / "ledger.sqlite3"
    said = killed(repository, RECORDER, path, random.Random(seed).randrange(1, 60))
    acknowledged = {shard for word, shard, _ in said if word == "shard"}
    plans = {shard: shard_plan(shard, (2,) * 40) for shard in range(60)}
    with Ledger.open(path) as ledger:
        done = ledger.prepared_shards()
        assert acknowledged <= set(done)
        assert done == {shard: plans[shard] for shard in done}
        if ledger.reader.status().state is RunState.PREPARING:
            for shard in sorted(set(plans) - set(done)):
                ledger.record_shard(plans[shard])
            ledger.record_plan()
            assert ledger.prepared_shards() == plans
