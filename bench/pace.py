"""How delivery settles at a limit that the target does not tell: `python -m bench.pace`, or over sockets, `--sockets`.

Delivery begins knowing nothing of the target. In simulated time: 196 limits and disturbances, of which 60 seconds are
measured after a minute to settle (a minute after the change, where the target changes). Over sockets: eight limits,
each of a stand-in in a process of its own, which answers after 50 ms, or 429 to what is too much; half a minute is
measured after another. BOUNDS tells what is asked for. Refusals by chance cannot become fewer: their share is allowed
for, and the capacity is what the back-off of the refused leaves.
"""

import argparse
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

from backfill.deliver import DeliveryOptions, TargetAccess, deliver
from backfill.records import Batch
from backfill.wire import HEAD
from bench.standin import SAVED, Running
from tests.support.pace_simulation import BACKOFF, NETWORK, Simulation
from tests.support.pace_targets import (
    Bucket,
    Changing,
    Flaky,
    Plain,
    Queue,
    Sliding,
    Target,
    Together,
    Window,
    even,
    lognormal,
)

SETTLE, SPAN, CHANGE = 60.0, 60.0, 60.0
#: At most refused, at least used, and how many of the simulated targets are to keep to that.
BOUNDS = ((0.02, 0.9, 145), (0.05, 0.8, 155))
#: On average a refused request waits so long, in seconds.
WAITED = BACKOFF * 1.05
#: Over sockets: how long an answer takes, and how long is settled and looked at, in seconds.
DELAY, SOCKET_SECONDS = 0.05, 30.0
CALL = b'{"type":"track","messageId":"00000000-0000-5000-8000-000000000000"}'


@dataclass(frozen=True)
class Figures:
    """What was measured."""

    refused: float  # a share of the requests
    used: float  # a share of the capacity
    chance: float = 0.0  # the share that is refused whatever is sent

    def keeps(self, most_refused: float, least_used: float) -> bool:
        """Whether both figures are on the right side."""
        allowed = max(most_refused, 1.5 * self.chance + 0.003 if self.chance else 0.0)
        return self.refused < allowed and self.used >= least_used

    def __str__(self) -> str:
        marks = "".join("" if self.keeps(*bounds[:2]) else "*" for bounds in BOUNDS)
        return f"{self.refused:>10.2%}{self.used:>10.1%} {marks}"


@dataclass(frozen=True)
class Case:
    """One target and those who send to it."""

    name: str
    target: Callable[[int], Target]  # anew for each seed
    capacity: float = 0.0  # requests a second; 0: as many as the senders can
    together: float = 0.0  # or so many at once
    senders: int = 64
    delay: float = 0.05
    sigma: float = 0.0  # how much that varies; 0: hardly
    by_calls: bool = False
    chance: float = 0.0
    changes: bool = False

    def seconds(self) -> float:
        """What one request takes on average."""
        return (self.delay if self.sigma else self.delay * 1.05) + 2.1 * NETWORK

    def most(self) -> float:
        """Requests a second that can come through."""
        senders = self.senders / (self.seconds() + self.chance * WAITED)
        return min(senders, self.capacity or self.together / self.seconds() or senders)


def bucket(rate: float, seconds: float) -> Bucket:
    """So many a second, saved up for so many seconds."""
    return Bucket(rate=rate, burst=max(1, seconds * rate))


def together() -> Iterator[Case]:
    """So many at once."""
    for delay, sigma, numbers in [
        (0.05, 0, (1, 2, 3, 5, 8, 12, 16, 24, 32, 50)),
        (0.2, 0, (2, 8, 32, 100)),
        (0.02, 0, (1, 3, 8, 16)),
        (0.002, 0, (1, 2)),
        (1.0, 0, (1, 5, 32)),
        (0.05, 0.5, (1, 2, 5, 12, 32)),
        (0.05, 1.0, (5, 32)),
        (0.2, 0.5, (3, 12)),
    ]:
        for number in numbers:
            yield Case(str(number), lambda _, n=number: Together(most=n), together=number, delay=delay, sigma=sigma)
    for number in (2, 8, 32):
        for senders in (4, 16):
            yield Case(str(number), lambda _, n=number: Together(most=n), together=number, senders=senders)


def rates() -> Iterator[Case]:
    """So many a second, in all ways."""
    for rate in (5, 10, 20, 50, 100, 200, 400, 1000):
        for saved in (0, 0.1, 1, 2):
            yield Case(f"{rate}/s saved {saved} s", lambda _, r=rate, s=saved: bucket(r, s), rate)
        yield Case(f"{rate}/s by the second", lambda _, r=rate: Window(rate=r), rate)
    for rate in (5, 20, 100, 400):
        yield Case(f"{rate}/s by ten seconds", lambda _, r=rate: Window(rate=r, seconds=10), rate)
        yield Case(f"{rate}/s in any second", lambda _, r=rate: Sliding(rate=r), rate)
    for rate in (20, 100):
        yield Case(f"{rate}/s in any ten seconds", lambda _, r=rate: Sliding(rate=r, seconds=10), rate)
        tenth = Case(f"{rate}/s saved 0.1 s", lambda _, r=rate: bucket(r, 0.1), rate)
        yield from (replace(tenth, delay=delay) for delay in (0.002, 0.02, 0.2, 1.0))
        yield from (replace(tenth, sigma=sigma) for sigma in (0.5, 1.0))
        yield from (replace(tenth, senders=senders) for senders in (4, 16))
        for senders in (4, 16):
            yield Case(f"{rate}/s saved 1 s", lambda _, r=rate: bucket(r, 1), rate, senders=senders)


def uneven_rates() -> Iterator[Case]:
    """So many calls a second, queues, and rates at which requests must lie apart."""
    for rate in (20, 100, 400):
        for saved in (0.1, 1):
            made = lambda _, r=rate, s=saved: Bucket(rate=r, burst=max(2, s * r), calls=True)  # noqa: E731
            yield Case(f"{rate}/s saved {saved} s, by calls", made, rate, by_calls=True)
        for most in (5, 50):
            yield Case(f"{rate}/s, a queue of {most}", lambda _, r=rate, m=most: Queue(rate=r, most=m), rate)
    for rate in (30, 50, 70, 100, 200, 400):
        strict = Case(f"{rate}/s saved 0 s", lambda _, r=rate: bucket(r, 0), rate)
        yield from (replace(strict, delay=delay) for delay in (0.02, 0.03, 0.2))
        yield from (replace(strict, sigma=0.5), replace(strict, senders=16))
        if rate in (30, 70):
            yield strict


def changes() -> Iterator[Case]:
    """Another limit after a minute."""
    for before, after in ((32, 16), (8, 4), (2, 1), (8, 16), (4, 8), (16, 32)):
        made = lambda _, a=before, b=after: Changing(target=Together(most=a), then={"most": b}, since=CHANGE)  # noqa: E731
        yield Case(f"{before} then {after}", made, together=after, changes=True)
    for before, after in ((100, 50), (20, 10), (400, 200), (50, 100), (200, 400), (10, 20)):
        then = {"rate": after, "burst": max(1, after / 10)}
        made = lambda _, a=before, then=then: Changing(target=bucket(a, 0.1), then=then, since=CHANGE)  # noqa: E731
        yield Case(f"{before}/s then {after}/s", made, after, changes=True)


def chances() -> Iterator[Case]:
    """Refusals by chance, alone and beside a limit."""
    for share in (0.001, 0.0025, 0.005, 0.01, 0.02):
        for senders, delay in ((16, 0.05), (16, 0.2), (4, 0.004), (4, 0.05), (64, 0.05)):
            made = lambda seed, s=share: Flaky(share=s, seed=seed)  # noqa: E731
            yield Case(f"{share:.2%} by chance", made, senders=senders, delay=delay, chance=share)
    for share in (0.001, 0.005, 0.01):
        made = lambda seed, s=share: Flaky(share=s, seed=seed, inner=Together(most=8))  # noqa: E731
        yield Case(f"8 and {share:.1%} by chance", made, together=8)
        made = lambda seed, s=share: Flaky(share=s, seed=seed, inner=bucket(100, 0.1))  # noqa: E731
        yield Case(f"100/s and {share:.1%} by chance", made, 100)
    yield Case("no limit", lambda _: Plain(), senders=16)


CASES = [*together(), *rates(), *uneven_rates(), *changes(), *chances()]


def simulate(case: Case, seed: int) -> Figures:
    """In simulated time."""
    since = SETTLE + CHANGE * case.changes
    simulation = Simulation(
        case.target(seed),
        senders=case.senders,
        needs=lognormal(case.delay, case.sigma) if case.sigma else even(case.delay),
        weight=(lambda chance: chance.uniform(0.5, 1.5)) if case.by_calls else (lambda _: 1.0),
        seed=seed,
    ).run(since + SPAN)
    used = simulation.share(case.most(), since, since + SPAN)
    return Figures(simulation.refusals(since, since + SPAN), used, case.chance)


def _simulated(number: int, seeds: int) -> Figures:
    """The worst figures of some seeds."""
    each = [simulate(CASES[number], seed) for seed in range(1, seeds + 1)]
    return Figures(max(one.refused for one in each), min(one.used for one in each), CASES[number].chance)


def in_simulation(seeds: int, *, everything: bool) -> bool:
    """Print what misses a bound and how many do not; returns whether enough do not."""
    print(f"{'limit':<32}{'senders':>8}{'answers after':>20}{'refused':>10}{'used':>10}")
    with ProcessPoolExecutor() as pool:
        results = list(pool.map(_simulated, range(len(CASES)), [seeds] * len(CASES)))
    for case, figures in zip(CASES, results, strict=True):
        answers = f"{case.delay * 1000:g} ms" + (f", sigma {case.sigma:g}" if case.sigma else "")
        if everything or not figures.keeps(*BOUNDS[0][:2]):
            print(f"{case.name:<32}{case.senders:>8}{answers:>20}{figures}")
    enough = True
    for refused, used, least in BOUNDS:
        kept = sum(figures.keeps(refused, used) for figures in results)
        print(
            f"under {refused:.0%} refused, at least {used:.0%} used: {kept} of {len(CASES)}, at least {least} asked for"
        )
        enough = enough and kept >= least
    return enough


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
class Limit:
    """What a stand-in takes: so many at once, or a second."""

    together: int = 0
    rate: float = 0
    saved: float = SAVED  # seconds for which requests that do not come add up

    def __str__(self) -> str:
        return f"{self.together} at once" if self.together else f"{self.rate:g}/s, {self.saved:g} s saved"


LIMITS = [
    *(Limit(together=number) for number in (2, 8, 32)),
    *(Limit(rate=rate) for rate in (20, 100, 400)),
    *(Limit(rate=100, saved=saved) for saved in (0.0, 1.0)),
]


def over_sockets(seconds: float, senders: int) -> bool:
    """Print what becomes of each; returns whether all keep to the wider bounds."""
    print(f"{'limit':<32}{'requests':>10}{'refused':>10}{'used':>10}")
    good = True
    for limit in LIMITS:
        requests, figures = measure(limit, seconds, senders)
        print(f"{limit!s:<32}{requests:>10,}{figures}", flush=True)
        good = good and figures.keeps(*BOUNDS[-1][:2])
    return good


def measure(limit: Limit, seconds: float, senders: int) -> tuple[int, Figures]:
    """Deliver against one stand-in: the requests that were looked at, and what became of them."""
    stop = threading.Event()
    with Running(delay=DELAY, together=limit.together, rate=limit.rate, saved=limit.saved) as stand_in:
        sender = threading.Thread(target=send, args=(Batches(), stand_in, senders, stop))
        sender.start()
        time.sleep(seconds)
        (accepted, refused), began = stand_in.counts(), time.monotonic()
        time.sleep(seconds)
        (accepted_after, refused_after), took = stand_in.counts(), time.monotonic() - began
        stop.set()
        sender.join()
    accepted, refused = accepted_after - accepted, refused_after - refused
    capacity = limit.rate or limit.together / alone()
    return accepted + refused, Figures(refused / max(accepted + refused, 1), accepted / took / capacity)


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
    """Print the figures; 1 where they are not good enough."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="of some, the worst figures count")
    parser.add_argument("--all", action="store_true", help="also print what keeps to the bounds")
    parser.add_argument("--sockets", action="store_true", help="real senders and stand-ins instead")
    parser.add_argument("--seconds", type=float, default=SOCKET_SECONDS, help="to settle, and to look at, over sockets")
    parser.add_argument("--concurrency", type=int, default=64, help="senders, over sockets")
    asked = parser.parse_args()
    if asked.sockets:
        return int(not over_sockets(asked.seconds, asked.concurrency))
    return int(not in_simulation(asked.seeds, everything=asked.all))


if __name__ == "__main__":
    sys.exit(main())
