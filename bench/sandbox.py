"""`python -m bench.sandbox`: what the sandbox takes a second, and how long its pages take over many stored calls.

Bodies of 480 KB on loopback, from two connections, first with the default of calls kept whole, then with all of them.
Over the store of the second each page is asked for five times; their median counts, and has to be within 0.2 s.
"""

import gzip
import http.client
import json
import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import click

from backfill.sandbox import KEEP_CALLS, Sandbox

A_BODY = 1_150
KEY = "Basic YS1rZXk6"
EVENTS = [f"Event {number}" for number in range(40)]
#: What a page may take, in seconds, and have, in bytes.
SECONDS, LARGEST = 0.2, 100_000


def bodies(calls: int, run: str) -> list[bytes]:
    """Bodies of so many calls, of a run by this name in their ids."""
    made = []
    for begin in range(0, calls, A_BODY):
        batch = [track(number, run) for number in range(begin, min(calls, begin + A_BODY))]
        text = json.dumps({"batch": batch, "sentAt": "2026-01-01T00:00:00.000Z"}, separators=(",", ":"))
        made.append(gzip.compress(text.encode(), 1))
    return made


def track(number: int, run: str) -> dict[str, object]:
    """A call of some 400 bytes."""
    return {
        "type": "track" if number % 5 else "identify",
        "messageId": f"{run}-{number * 2654435761 % 2**32:08x}-0000-5000-8000-{number:012x}",
        "userId": f"user-{number * 7919 % 100_003}",
        "event": EVENTS[number % 40] if number % 5 else None,
        "timestamp": f"20{10 + number % 14}-{1 + number % 12:02}-{1 + number % 28:02}T10:{number % 60:02}:00.000Z",
        "properties": {"order_id": number, "text": "x" * 150},
        "integrations": {"All": False},
    }


def send(endpoint: str, some: list[bytes], run: str) -> None:
    """Send bodies one after the other."""
    connection = http.client.HTTPConnection(urlsplit(endpoint).netloc)
    headers = {"Authorization": KEY, "Content-Encoding": "gzip", "Backfill-Run": run}
    for body in some:
        connection.request("POST", "/v1/batch", body, headers)
        assert connection.getresponse().read() == b'{"success":true}'
    connection.close()


def ingest(endpoint: str, made: list[bytes], run: str) -> tuple[float, float]:
    """Wall and CPU seconds of sending all, from two connections."""
    lanes = [threading.Thread(target=send, args=(endpoint, made[lane::2], run)) for lane in range(2)]
    began, used = time.monotonic(), sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    return time.monotonic() - began, sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) - used


def timed(endpoint: str, path: str) -> tuple[float, int]:
    """The median of five times that a page takes, in seconds, and its bytes."""
    taken, size = [], 0
    for _ in range(5):
        began = time.monotonic()
        size = len(read(endpoint, path))
        taken.append(time.monotonic() - began)
    return statistics.median(taken), size


def pages(calls: int) -> Iterator[str]:
    """The pages that are measured."""
    yield from ("/", "/counts", "/counts?run=1", "/dropped", "/runs", "/page.css", "/page.js")
    yield from (f"/?before={calls // 2}", "/?type=track", f"/?event={quote(EVENTS[7])}", "/?run=1&type=identify")
    yield from ("/?outcome=duplicate", "/?outcome=dropped", "/?run=2&outcome=accepted", "/?user=user-7919")
    yield from ("/?user=user-7919&type=identify", "/user?of=5", "/run?number=1", "/run?number=1&after=500")
    yield from ("/call?number=5", "/compare?before=1&after=2")


def wait_for_lookups(endpoint: str) -> float:
    """Seconds until all calls can be looked up by user and id."""
    began = time.monotonic()
    while "not looked up" in read(endpoint, "/?user=user-1").decode():
        time.sleep(0.2)
    return time.monotonic() - began


def read(endpoint: str, path: str) -> bytes:
    """What is answered."""
    connection = http.client.HTTPConnection(urlsplit(endpoint).netloc)
    connection.request("GET", path)
    answer = connection.getresponse()
    assert answer.status == 200, (path, answer.status)
    content = answer.read()
    connection.close()
    return content


def measure(calls: int, keep: int | None, folder: Path, *, with_pages: bool) -> None:
    """Send, and look at the pages."""
    made = bodies(calls, "a")
    with Sandbox(folder / "store", keep_calls=keep) as sandbox:
        wall, used = ingest(sandbox.endpoint, made, "first")
        kept = "all" if keep is None else f"{keep:,}"
        click.echo(f"{kept} kept: {calls / wall:,.0f} calls/s, {1e6 * used / calls:.1f} us of CPU a call")
        if with_pages:
            ingest(sandbox.endpoint, made[: len(made) // 10], "second")
            click.echo(f"looked up after {wait_for_lookups(sandbox.endpoint):.0f} s\n")
            click.echo("| page | s, median of 5 | bytes |\n|---|---|---|")
            found = {path: timed(sandbox.endpoint, path) for path in pages(calls)}
            for path, (seconds, size) in found.items():
                click.echo(f"| `{path}` | {seconds:.3f} | {size:,} |")
            assert max(seconds for seconds, _ in found.values()) < SECONDS
            assert max(size for _, size in found.values()) < LARGEST


@click.command()
@click.option("--calls", default=1_000_000, show_default=True)
@click.option("--no-pages", is_flag=True, help="Only what it takes a second.")
def main(calls: int, *, no_pages: bool) -> None:
    """Measure, print the tables; fails where a page is too slow or too large."""
    for keep in (KEEP_CALLS, None):
        with tempfile.TemporaryDirectory(prefix="backfill-bench-") as folder:
            measure(calls, keep, Path(folder), with_pages=keep is None and not no_pages)


if __name__ == "__main__":
    main()
