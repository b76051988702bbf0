"""How delivery settles at a limit that the target does not tell: `python -m bench.pace`.

Each stand-in, in a process of its own, takes so many requests at once (answered after 50 ms) or so many a second, and
answers 429 to any more. Delivery begins knowing nothing; after half a minute to settle, it is measured for another. The
capacity of N at once is N over the time that one request takes from here, alone. Fails where 2% or more are refused, or
less than 90% of the capacity is used.
"""

import argparse
import sys
import threading
import time
import zlib
from dataclasses import dataclass

from backfill.deliver import DeliveryOptions, TargetAccess, deliver
from backfill.records import Batch
from backfill.wire import HEAD
from bench.standin import SAVED, Running

DELAY = 0.05
SETTLE_SECONDS, MEASURE_SECONDS = 30.0, 30.0
MOST_REFUSED, LEAST_SHARE = 0.02, 0.9
CALL = b'{"type":"track","messageId":"00000000-0000-5000-8000-000000000000"}'


class Batches:
    """A ledger and a spool of small batches which remember nothing: what is measured is the pace."""

    def __init__(self, most: int = sys.maxsize) -> None:
        """So many batches."""
        self.content = HEAD + CALL
        self.left = most

    def next_batches(self, limit: int) -> list[Batch]:
        """The next ones."""
        limit = min(limit, self.left)
        self.left -= limit
        size, check = len(self.content), zlib.crc32(self.content)
        return [Batch(self.left + number, 0, 1, size, 0, size, check) for number in range(limit)]

    def mark_sent(self, batch: Batch, at: float) -> int:  # noqa: ARG002 - as the ledger's
        """An attempt leaves."""
        return batch.attempts + 1

    def plain(self, batch: Batch) -> bytes:  # noqa: ARG002 - as the spool's
        """Its bytes."""
        return self.content

    def in_doubt(self) -> list[Batch]:
        """None are."""
        return []

    def nothing(self, *_: object) -> None:
        """What else a ledger does is not done here."""

    record_answer = mark_clock = clock_mark = lose_ages = decide = flush = nothing


@dataclass(frozen=True)
class Case:
    """One capacity, and what became of it."""

    together: int = 0
    rate: float = 0
    saved: float = SAVED  # seconds

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.together} at once" if self.together else f"{self.rate:g}/s, {self.saved:g} s saved"


@dataclass(frozen=True)
class Result:
    """What was measured."""

    case: Case
    requests: int
    refused: float  # a share
    used: float  # a share of the capacity

    @property
    def met(self) -> bool:
        """Whether both figures are on the right side."""
        return self.refused < MOST_REFUSED and self.used >= LEAST_SHARE

    def line(self) -> str:
        """For people."""
        figures = f"{self.requests:>10,}{self.refused:>12.2%}{self.used:>12.1%}"
        return f"{self.case.name:<20}{figures}   {'met' if self.met else 'NOT MET'}"


def measure(case: Case, settle: float, seconds: float, most: int) -> Result:
    """Deliver against one stand-in."""
    stop = threading.Event()
    with Running(delay=DELAY, together=case.together, rate=case.rate, saved=case.saved) as stand_in:
        sender = threading.Thread(target=send, args=(Batches(), stand_in, most, stop))
        sender.start()
        time.sleep(settle)
        (accepted, refused), began = stand_in.counts(), time.monotonic()
        time.sleep(seconds)
        (accepted_after, refused_after), took = stand_in.counts(), time.monotonic() - began
        stop.set()
        sender.join()
    accepted, refused = accepted_after - accepted, refused_after - refused
    capacity = case.rate or case.together / alone()
    return Result(case, accepted + refused, refused / max(accepted + refused, 1), accepted / took / capacity)


def alone(requests: int = 40) -> float:
    """Seconds of one request, one at a time, through the very same transport."""
    with Running(delay=DELAY) as stand_in:
        began = time.monotonic()
        send(Batches(requests), stand_in, 1, threading.Event())
        return (time.monotonic() - began) / requests


def send(batches: Batches, stand_in: Running, most: int, stop: threading.Event) -> None:
    """Deliver until there are no more, or `stop`."""
    deliver(
        ledger=batches,  # type: ignore[arg-type] # only what a delivery without trouble needs
        spool=batches,  # type: ignore[arg-type]
        target=TargetAccess(f"{stand_in.url}/v1/batch", "key", gzip=False),
        options=DeliveryOptions(concurrency=most, first_alone=False),
        stop=stop,
        abort=threading.Event(),
        progress=lambda _: None,
    )


def main() -> int:
    """Print the table; 1 where a figure is not met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settle", type=float, default=SETTLE_SECONDS)
    parser.add_argument("--seconds", type=float, default=MEASURE_SECONDS)
    parser.add_argument("--concurrency", type=int, default=64)
    asked = parser.parse_args()
    cases = [Case(together=number) for number in (2, 8, 32)] + [Case(rate=rate) for rate in (20, 100, 400)]
    cases += [Case(rate=100, saved=saved) for saved in (0.0, 1.0)]
    print(f"{'capacity':<20}{'requests':>10}{'refused':>12}{'used':>12}")
    results = []
    for case in cases:
        results.append(measure(case, asked.settle, asked.seconds, asked.concurrency))
        print(results[-1].line(), flush=True)
    return int(not all(result.met for result in results))


if __name__ == "__main__":
    sys.exit(main())
