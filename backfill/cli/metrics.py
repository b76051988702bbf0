"""--metrics and --metrics-file: what runs tell Prometheus while a verb is at work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backfill.errors import UsageError
from backfill.frozen import frozen

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from backfill.cli.session import Session
    from backfill.records import StoredRun

LOOPBACK = "127.0.0.1"
#: Seconds between two writings of the file.
FILE_SECONDS = 5.0
_MOST_PORTS = 65_535
Runs = Callable[[], "Sequence[StoredRun]"]


@frozen
class MetricsOptions:
    """--metrics and --metrics-file as given; None where one is not."""

    at: str | None = None
    file: Path | None = None

    @property
    def asked(self) -> bool:
        """Whether there is anything to tell."""
        return self.at is not None or self.file is not None


def metrics_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--metrics and --metrics-file, which come to the command as one: `metrics`."""

    @wraps(command)
    def wrapped(*, metrics: str | None, metrics_file: Path | None, **others: object) -> object:
        return command(metrics=MetricsOptions(metrics, metrics_file), **others)

    verb: Callable[..., Any] = wrapped
    for option in (
        click.option(
            "--metrics-file",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            help="Write metrics for Prometheus there every 5 s, and at the end.",
        ),
        click.option("--metrics", metavar="[HOST:]PORT", help="Serve metrics for Prometheus there (127.0.0.1)."),
    ):
        verb = option(verb)
    return verb


@contextmanager
def telling_metrics(session: Session, asked: MetricsOptions, runs: Runs) -> Iterator[None]:
    """Tell Prometheus of these runs until the block ends, as it was asked for.

    Raises:
        UsageError: Nobody can listen at that port, the file cannot be written, or the library is not installed.
    """
    if not asked.asked:
        yield
        return
    from backfill.report.metrics import registry_of

    registry = registry_of(runs)
    with ExitStack() as ending:
        if asked.at is not None:
            ending.enter_context(_served(session, registry, asked.at))
        if asked.file is not None:
            ending.enter_context(_written(session, registry, asked.file))
        yield


@contextmanager
def _served(session: Session, registry: CollectorRegistry, at: str) -> Iterator[None]:
    from prometheus_client import start_http_server

    host, _, port = at.rpartition(":")
    host = host.strip("[]") or LOOPBACK
    if not port.isdecimal() or int(port) > _MOST_PORTS:
        raise UsageError(f"--metrics {at}: {port!r} is no port", hint="say 9108, or 0.0.0.0:9108 for other machines")
    try:
        server, thread = start_http_server(int(port), addr=host, registry=registry)
    except OSError as error:
        raise UsageError(f"--metrics {at}: {error.strerror or error}", hint="say another port") from error
    shown = f"[{host}]" if ":" in host else host
    session.say(f"Metrics are at http://{shown}:{server.server_port}/metrics.")
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def _written(session: Session, registry: CollectorRegistry, file: Path) -> Iterator[None]:
    from backfill.report.metrics import write_metrics

    def write() -> None:
        try:
            write_metrics(registry, file)
        except OSError as error:
            raise UsageError(
                f"--metrics-file {file} cannot be written: {error.strerror}", hint="name another file"
            ) from error

    def write_now_and_then() -> None:
        while not ended.wait(FILE_SECONDS):
            try:
                write()
            except UsageError as error:  # the run is worth more than what is told of it
                session.say_once(error.message, "warning")

    write()
    ended = threading.Event()
    thread = threading.Thread(target=write_now_and_then, name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        try:
            write()
        except UsageError as error:
            session.say_once(error.message, "warning")
