"""What runs tell Prometheus, read from their ledgers: whoever reaches those can serve it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from backfill.errors import BackfillError
from backfill.extras import required
from backfill.records import RunState, StoredRun
from backfill.report.runs import UNDER_WAY, RunView, read_run_view
from backfill.report.speed import Speed, Speeds
from backfill.report.summary import CALLS, ROWS

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

EXTRA: Final = "metrics"
_RUN: Final = ("run", "job", "target")
_Sample = tuple[Sequence[str], float]
_Read = Callable[[RunView, Speed | None], Iterable[_Sample]]


def _one(value: float | None) -> list[_Sample]:
    return [] if value is None else [((), value)]


def _left(_: RunView, speed: Speed | None) -> list[_Sample]:
    return _one(speed.seconds_left if speed else None)


def _per_second(_: RunView, speed: Speed | None) -> list[_Sample]:
    return _one(speed.calls_per_second if speed else None)


#: Name, kind, help, further labels, and how the samples of a run are read.
METRICS: Final[tuple[tuple[str, str, str, tuple[str, ...], _Read], ...]] = (
    (
        *("state", "gauge", "1 for the state that the run is in, 0 for all others.", ("state",)),
        lambda view, _: [((str(state),), float(state is view.status.state)) for state in RunState],
    ),
    (
        *("at_work", "gauge", "Whether a process is at work on the run.", ()),
        lambda view, _: _one(float(view.status.state in UNDER_WAY and not view.process_gone)),
    ),
    (
        *("rows", "gauge", "Rows of the source, by what became of them.", ("outcome",)),
        lambda view, _: [((name,), getattr(view.counts, name)) for name in ROWS],
    ),
    (
        *("calls", "gauge", "Calls, by what became of them; in_doubt and pending are still to be sent.", ("outcome",)),
        lambda view, _: [((name,), getattr(view.counts, name)) for name in CALLS],
    ),
    (
        *("calls_refused", "gauge", "Of the rejected calls those that the target refused.", ()),
        lambda view, _: _one(view.counts.refused),
    ),
    (*("batches", "gauge", "Batches as planned.", ()), lambda view, _: _one(view.counts.batches)),
    (
        *("batches_in_doubt", "gauge", "Batches in doubt that are still to be sent, those in flight included.", ()),
        lambda view, _: _one(view.doubts.span.batches),
    ),
    (
        *("in_doubt_since_timestamp_seconds", "gauge", "Since when the first batch is in doubt.", ()),
        lambda view, _: _one(view.doubts.span.first if view.doubts.span.batches else None),
    ),
    (*("requests", "counter", "Requests sent.", ()), lambda view, _: _one(view.counts.requests)),
    (*("retries", "counter", "Requests that sent a batch once more.", ()), lambda view, _: _one(view.counts.retries)),
    (*("wire_bytes", "counter", "Bytes of request bodies sent.", ()), lambda view, _: _one(view.counts.wire_bytes)),
    (*("json_bytes", "gauge", "Bytes of JSON of all planned calls.", ()), lambda view, _: _one(view.counts.json_bytes)),
    (
        *("problems", "gauge", "Problems of rows and calls, by code.", ("code",)),
        lambda view, _: [((code,), count) for code, count in view.problems.items()],
    ),
    (*("calls_per_second", "gauge", "Calls delivered a second, over half a minute.", ()), _per_second),
    (*("lag_seconds", "gauge", "Seconds until all is sent at that rate; absent where nothing moves.", ()), _left),
    (
        *("last_answer_timestamp_seconds", "gauge", "When the last answer of the target came.", ()),
        lambda view, _: _one(view.counts.last_ended_at),
    ),
)


class RunMetrics:
    """Reads the runs anew each time that Prometheus asks: a collector of its client library."""

    def __init__(self, runs: Callable[[], Sequence[StoredRun]], clock: Callable[[], float] = time.monotonic) -> None:
        self._runs, self._clock = runs, clock
        self._speeds = Speeds()

    def collect(self) -> Iterator[Metric]:
        """All metrics of all runs; of one that cannot be read only that."""
        core = required("prometheus_client.core", EXTRA, "Metrics", made="told")
        kinds = {"gauge": core.GaugeMetricFamily, "counter": core.CounterMetricFamily}
        found = {
            name: kinds[kind](f"backfill_{name}", told, labels=(*_RUN, *labels))
            for name, kind, told, labels, _ in METRICS
        }
        readable = core.GaugeMetricFamily("backfill_readable", "Whether the run's ledger can be read.", labels=("run",))
        for run in self._runs():
            try:
                view = read_run_view(run)
            except BackfillError:
                readable.add_metric((run.run_id,), 0.0)
                continue
            readable.add_metric((run.run_id,), 1.0)
            self._add(view, found)
        yield from (readable, *found.values())

    def _add(self, view: RunView, found: dict[str, Any]) -> None:
        record = view.status.record
        speed = self._speeds.seen(record.run_id, view.counts, self._clock())
        for name, _, _, _, read in METRICS:
            for labels, value in read(view, speed):
                found[name].add_metric((record.run_id, record.job_name, record.target_name, *labels), value)


def registry_of(runs: Callable[[], Sequence[StoredRun]]) -> CollectorRegistry:
    """A registry with the metrics of these runs, and nothing of this process.

    Raises:
        UsageError: The library is not installed.
    """
    library = required("prometheus_client", EXTRA, "Metrics", made="told")
    registry: CollectorRegistry = library.CollectorRegistry()
    registry.register(RunMetrics(runs))
    return registry


def write_metrics(registry: CollectorRegistry, file: Path) -> None:
    """Write the text that a node exporter takes up, whole or not at all; raises OSError."""
    from prometheus_client import write_to_textfile  # noqa: PLC0415 (where there is a registry, it is installed)

    write_to_textfile(str(file), registry)
