"""Segment's own library, segment-analytics-python, tuned for a backfill: FILE.parquet ENDPOINT.

Tuned means: the most calls a request may have, a queue long enough that the feeding loop seldom waits, one consumer
thread (more are slower, since the work is Python's), no gzip. What the library cannot be tuned out of it keeps: each
call is serialised three times.
"""

import logging
import sys
import time
import uuid

import polars as pl
from segment.analytics.client import Client

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:bench:orders")
QUEUE = 50_000
SLICE = 20_000


def main(path: str, endpoint: str) -> int:
    """Send the file; 0 where no batch failed."""
    failures: list[object] = []
    logging.getLogger("segment").setLevel(logging.CRITICAL)
    client = Client(
        "bench-key", host=endpoint, max_queue_size=QUEUE, upload_size=2_500, thread=1, gzip=False,
        on_error=lambda error, _batch: failures.append(error),
    )  # fmt: skip
    rows = 0
    frame = pl.scan_parquet(path)
    total = frame.select(pl.len()).collect().item()
    for start in range(0, total, SLICE):
        for row in frame.slice(start, SLICE).collect().iter_rows(named=True):
            while client.queue.qsize() >= QUEUE - 1:  # a full queue would drop the call
                time.sleep(0.01)
            client.track(
                user_id=row.pop("customer_id"),
                anonymous_id=row.pop("anonymous_id"),
                event="Order Completed",
                timestamp=row.pop("ordered_at"),
                message_id=str(uuid.uuid5(NAMESPACE, f'["{row["order_id"]}"]')),
                properties={name: value for name, value in row.items() if value is not None},
                integrations={"All": False},
            )
            rows += 1
    client.shutdown()
    sys.stdout.write(f"{rows}\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
