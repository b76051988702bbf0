"""The script that a skilled person writes in an afternoon: FILE.parquet ENDPOINT.

polars reads slices of rows and formats their times, uuid5 makes stable ids, orjson encodes each call once, bodies are
filled by size to just under 500,000 bytes, and aiohttp keeps a few requests in flight, with retries. One process. No
rules are checked, no ledger is written, and a crash starts it over.
"""

import asyncio
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import aiohttp
import orjson
import polars as pl

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:bench:orders")
SLICE = 50_000
BODY = 499_000
CALLS = 2_500
IN_FLIGHT = 4
ATTEMPTS = 10
RETRIED = {408, 410, 429, 460, 500, 502, 503, 504}


def encode(row: dict[str, object]) -> bytes:
    """One order as the JSON of a track call."""
    return orjson.dumps(
        {
            "type": "track",
            "messageId": str(uuid.uuid5(NAMESPACE, f'["{row["order_id"]}"]')),
            "userId": row.pop("customer_id"),
            "anonymousId": row.pop("anonymous_id"),
            "timestamp": row.pop("ordered_at"),
            "event": "Order Completed",
            "properties": {name: value for name, value in row.items() if value is not None},
            "context": {"library": {"name": "script", "version": "1.0"}},
            "integrations": {"All": False},
        }
    )


def calls(path: str) -> Iterator[bytes]:
    """Every order of the file, encoded, in order."""
    frame = pl.scan_parquet(path).with_columns(pl.col("ordered_at").dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"))
    total = frame.select(pl.len()).collect().item()
    for start in range(0, total, SLICE):
        for row in frame.slice(start, SLICE).collect().iter_rows(named=True):
            yield encode(row)


def batches(encoded: Iterator[bytes]) -> Iterator[list[bytes]]:
    """The calls in bodies as full as the limits allow."""
    batch: list[bytes] = []
    size = 0
    for call in encoded:
        if size + len(call) + 1 > BODY or len(batch) == CALLS:
            yield batch
            batch, size = [], 0
        batch.append(call)
        size += len(call) + 1
    if batch:
        yield batch


async def post(session: aiohttp.ClientSession, url: str, batch: list[bytes]) -> int:
    """Send one batch, again after a failure that may pass; the number of its calls."""
    for attempt in range(ATTEMPTS):
        sent_at = datetime.now(UTC).isoformat(timespec="milliseconds")[:23].encode() + b"Z"
        body = b'{"sentAt":"' + sent_at + b'","batch":[' + b",".join(batch) + b"]}"
        try:
            async with session.post(url, data=body) as answer:
                await answer.read()
                if answer.status < 300:
                    return len(batch)
                if answer.status not in RETRIED:
                    break
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(min(60.0, 0.5 * 2**attempt))
    message = f"a batch of {len(batch)} calls could not be sent"
    raise RuntimeError(message)


async def main(path: str, endpoint: str) -> None:
    """Send the file with a few requests in flight, and print the number of calls."""
    sent = 0
    in_flight: set[asyncio.Task[int]] = set()
    headers = {"Content-Type": "application/json", "Authorization": aiohttp.encode_basic_auth("bench-key", "")}
    async with aiohttp.ClientSession(headers=headers) as session:
        for batch in batches(calls(path)):
            in_flight.add(asyncio.create_task(post(session, f"{endpoint}/v1/batch", batch)))
            await asyncio.sleep(0)
            if len(in_flight) >= IN_FLIGHT:
                done, in_flight = await asyncio.wait(in_flight, return_when=asyncio.FIRST_COMPLETED)
                sent += sum(task.result() for task in done)
        sent += sum(await asyncio.gather(*in_flight))
    sys.stdout.write(f"{sent}\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
