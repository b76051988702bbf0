"""What a ledger in PostgreSQL costs: attempts recorded a second, beside the file.

    python -m bench.ledger [--batches 4000] [--senders 1 4 16] [--runs 3]

Each sender does what delivery does of a batch: the mark, durable before its request would leave, then the answer,
queued. Nothing is sent. Both force each commit to the disk of this machine; the server, that of the tests, is on
loopback: a network's turns come on top, two for each group of commits and one for each mark and answer.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path

from backfill.records import RunStore
from backfill.state import open_store
from tests.support import postgres
from tests.support.ledgers import ACCEPTED, RECORD, shard_plan
from tests.support.stores import delivering_run

#: The server keeps what it is told, which those of the tests do not.
_DURABLE = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "128MB"}


def main() -> None:
    """Measure, and print a line for each number of senders."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--batches", type=int, default=4_000)
    parser.add_argument("--senders", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    postgres.SETTINGS.update(_DURABLE)
    with postgres.running_server() as server, tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        for senders in asked.senders:
            best = {"file": 0.0, "PostgreSQL": 0.0}
            for number in range(asked.runs):
                place = Path(folder) / f"{senders}-{number}"
                stores = {
                    "file": open_store(place / "file"),
                    "PostgreSQL": open_store(place / "database", database=server.url(server.new_database())),
                }
                for name, store in stores.items():
                    best[name] = max(best[name], attempts_a_second(store, asked.batches, senders))
            file, database = best.values()
            print(f"{senders:>3} senders: file {file:>7,.0f}/s, PostgreSQL {database:>7,.0f}/s, {database / file:.2f}")


def attempts_a_second(store: RunStore, batches: int, senders: int) -> float:
    """How many attempts so many senders record a second, from the mark to the answer, all durable in the end."""
    store.make_usable()
    run = store.run(RECORD.run_id)
    with store.lock(run.run_id):
        run.make()
        with delivering_run(run, [shard_plan(0, (1,) * batches)]) as ledger:

            def send() -> None:
                while taken := ledger.next_batches(1):
                    for batch in taken:
                        ledger.record_answer(batch, ledger.mark_sent(batch, 1.0), ACCEPTED)

            threads = [threading.Thread(target=send) for _ in range(senders)]
            began = time.perf_counter()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            ledger.flush()
            return batches / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
