"""`python -m bench.objects`: a dry run of 1,000 gz files in a bucket beside one of the same files on this disk.

The store is SeaweedFS (`weed`, of the test group), which speaks S3 and verifies signatures, in a process of its own on
loopback. Both runs are fresh, in turn; the least of the rounds counts, since others may use the machine.
"""

import gzip
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from bench.process import Cost, run

ROOT = Path(__file__).resolve().parents[1]
#: CPU seconds of the bucket's run for each one of the disk's.
TARGET = 1.5
KEY, SECRET, BUCKET = "AKIABENCHBENCH", "benchbenchbench", "bench"
_START_SECONDS = 60
JOB = """\
version: 1
name: {name}
source:
  path: {path}
calls:
  - type: track
    message_key: [order_id]
    userId: customer_id
    timestamp: {{value: "2024-01-01T00:00:00Z"}}
    event: {{value: Order Completed}}
    properties: {{"*": {{}}}}
    integrations: {{All: false}}
"""


@contextmanager
def seaweed(folder: Path) -> Iterator[dict[str, str]]:
    """A store that keeps its objects in the folder, until the block ends; gives the environment that leads to it."""
    folder.mkdir(parents=True)
    identity = {"name": "bench", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    names = ("s3.port", "master.port", "volume.port", "filer.port")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    command = [Path(sys.executable).parent / "weed", "server", "-s3", f"-s3.config={folder / 's3.json'}"]
    command += [
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-volume.max=4",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
    ]
    command += [f"-{name}={port}" for name, port in ports.items()]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{ports['s3.port']}"
    try:
        wait_for(url, process, folder / "log")
        yield {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }
    finally:
        process.kill()  # its own farewell takes half a minute
        process.wait()


def free_ports(count: int) -> list[int]:
    """Ports nobody listens at; weed takes those 10,000 above for itself, too."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            try:
                other.bind(("127.0.0.1", port - 10_000 if port > 50_000 else port + 10_000))
            except OSError:
                continue
            lower = port - 10_000 if port > 50_000 else port
            if all(lower not in (each, each + 10_000) for each in found):
                found.append(lower)
    return found


def wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Return once the store takes a bucket and an object; raises AssertionError with its log where it does not."""
    end = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=1).close()
        except urllib.error.HTTPError:
            return  # it wants a signature
        except OSError:
            time.sleep(0.1)
    raise AssertionError(log.read_text(errors="replace")[-3000:])


def fill(environment: dict[str, str], folder: Path) -> None:
    """Make the bucket, and put every file of the folder there."""
    import obstore  # noqa: PLC0415 (the benchmark itself holds nothing large)
    from obstore.store import S3Store  # noqa: PLC0415

    store = S3Store(
        BUCKET,
        access_key_id=environment["AWS_ACCESS_KEY_ID"],
        secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        endpoint=environment["AWS_ENDPOINT_URL"],
        region="us-east-1",
        client_options={"allow_http": True},
    )
    for path in sorted(folder.iterdir()):
        obstore.put(store, f"{folder.name}/{path.name}", path.read_bytes())


def write(files: int, rows: int, folder: Path) -> None:
    """So many gz files of so many orders each, of 13 columns."""
    folder.mkdir(parents=True)
    names = [f"c{place}" for place in range(11)]
    for number in range(files):
        lines = [",".join(["order_id", "customer_id", *names])]
        for row in range(rows):
            order = number * rows + row
            lines.append(
                f"{order},cu-{order * 7919 % 100_003}," + ",".join(f"v{order * p % 9973}" for p in range(2, 13))
            )
        (folder / f"{number:05}.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode(), 6, mtime=0))


def dry_run(folder: Path, name: str, path: str, environment: dict[str, str]) -> Cost:
    """A fresh dry run of the files at that path."""
    shutil.rmtree(folder / ".backfill", ignore_errors=True)
    (folder / f"{name}.yaml").write_text(JOB.format(name=name, path=path))
    command = [sys.executable, "-m", "backfill", "dry-run", f"{name}.yaml", "--output", "json", "-q"]
    cost = run(command, folder, environment)
    if cost.exit_code:
        raise click.ClickException((folder / "stderr.txt").read_text())
    return cost


@click.command()
@click.option("--files", default=1_000, show_default=True)
@click.option("--rows", default=500, show_default=True, help="Of each file.")
@click.option("--rounds", default=2, show_default=True)
def main(files: int, rows: int, rounds: int) -> None:
    """Measure, and print the table; exit 1 where the target is not met."""
    least: dict[str, Cost] = {}
    with tempfile.TemporaryDirectory(prefix="backfill-bench-") as name:
        folder = Path(name)
        write(files, rows, folder / "data")
        with seaweed(folder / "store") as store:
            fill(store, folder / "data")
            environment = os.environ | store | {"PYTHONPATH": str(ROOT)}
            paths = {"disk": "data/*.csv.gz", "bucket": f"s3://{BUCKET}/data/*.csv.gz"}
            for _ in range(rounds):
                for where, path in paths.items():
                    cost = dry_run(folder, where, path, environment)
                    least[where] = min(cost, least.get(where, cost), key=lambda one: one.cpu_seconds)
    click.echo("| source | CPU s | s | peak MB |\n|---|---|---|---|")
    for where, cost in least.items():
        click.echo(f"| {where} | {cost.cpu_seconds:.1f} | {cost.seconds:.1f} | {cost.peak_megabytes:.0f} |")
    times = least["bucket"].cpu_seconds / least["disk"].cpu_seconds
    click.echo(f"\nthe bucket takes {times:.2f} times the CPU (at most {TARGET})")
    raise SystemExit(times > TARGET)


if __name__ == "__main__":
    main()
