"""What a request costs: `python -m bench.transports`. One thread, one kept connection to nginx on loopback.

Bodies as they leave: 95 KB (a full batch, compressed) and 480 KB (plain). `http.client` is the floor: it knows neither
proxies nor the deadline of a whole attempt. The last is what delivery uses, the transport of httpx. The rounds
alternate; medians.
"""

import argparse
import contextlib
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path

import httpcore
import httpx

from backfill.clock import Clock
from backfill.deliver import DeliveryOptions, TargetAccess
from backfill.deliver.environment import context_for
from backfill.deliver.transport import Transport
from bench.endpoint import Endpoint

BODIES = {"95 KB": 95_000, "480 KB": 480_000}
HEADERS = {"User-Agent": "bench", "Authorization": "Basic a2V5Og==", "Content-Type": "application/json"}


def of_client(url: httpx.URL, body: bytes) -> Callable[[], object]:
    """The standard library's connection."""
    connection = HTTPConnection(url.host, url.port)

    def send() -> object:
        connection.request("POST", url.path, body, HEADERS)
        return connection.getresponse().read()

    return send


def of_httpx(url: httpx.URL, body: bytes) -> Callable[[], object]:
    """The client, as most people use it."""
    client = httpx.Client(headers=HEADERS, trust_env=False)
    return lambda: client.post(url, content=body)


def of_httpx_transport(url: httpx.URL, body: bytes) -> Callable[[], object]:
    """The transport of httpx without its client."""
    transport = httpx.HTTPTransport(trust_env=False)

    def send() -> object:
        response = transport.handle_request(httpx.Request("POST", url, headers=HEADERS, content=body))
        return response.read()

    return send


def of_httpcore(url: httpx.URL, body: bytes) -> Callable[[], object]:
    """The engine of httpx alone."""
    pool = httpcore.ConnectionPool(max_connections=1)
    headers = [*HEADERS.items(), ("Host", url.netloc.decode()), ("Content-Length", str(len(body)))]
    return lambda: pool.request("POST", str(url), headers=headers, content=body)


def of_backfill(url: httpx.URL, body: bytes) -> Callable[[], object]:
    """httpx.HTTPTransport, with a deadline for the whole attempt, and the answer read within bounds."""
    target = TargetAccess(str(url), "key", gzip=False)
    transport = Transport(target, DeliveryOptions(), Clock(), context_for(target.batch_url))
    return lambda: transport.post(body, 0)


TRANSPORTS: dict[str, Callable[[httpx.URL, bytes], Callable[[], object]]] = {
    "http.client": of_client,
    "httpx.Client": of_httpx,
    "httpx.HTTPTransport": of_httpx_transport,
    "httpcore": of_httpcore,
    "backfill": of_backfill,
}


def measured(send: Callable[[], object], requests: int) -> tuple[float, float]:
    """Microseconds, and microseconds of CPU, for each of so many requests."""
    send()
    used, began = cpu_seconds(), time.perf_counter()
    for _ in range(requests):
        send()
    return 1e6 * (time.perf_counter() - began) / requests, 1e6 * (cpu_seconds() - used) / requests


def cpu_seconds() -> float:
    """User and system time of this thread so far."""
    usage = resource.getrusage(resource.RUSAGE_THREAD)
    return usage.ru_utime + usage.ru_stime


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = httpx.URL(f"{stack.enter_context(Endpoint(folder / 'nginx')).url}/v1/batch")
        print(f"{'':<22}{'body':>8}{'us a request':>14}{'us of CPU':>12}")
        for words, size in BODIES.items():
            senders = {name: make(url, bytes(size)) for name, make in TRANSPORTS.items()}
            rounds = [
                {name: measured(send, asked.requests) for name, send in senders.items()} for _ in range(asked.rounds)
            ]
            for name in senders:
                wall, cpu = (statistics.median(one[name][part] for one in rounds) for part in (0, 1))
                print(f"{name:<22}{words:>8}{wall:>14,.0f}{cpu:>12,.0f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
