# ruff: noqa: S608 (what stands in a question is checked, quoted, or made here)
"""PostHog, asked by HogQL: `POST /api/projects/ID/query/`, https://posthog.com/docs/api/queries.

Its events have an id of their own, `uuid`, a name and a timestamp (https://posthog.com/docs/data). Whether one of them,
or a property, is the message id depends on what brought the calls there: that is said in targets.yaml, or calls are
counted by name alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from backfill.errors import SourceError
from backfill.reconcile.ask.api import JsonApi, as_documented, text_or_none
from backfill.reconcile.ask.holders import Counted, Received

#: Ids of one question, and rows of one answer: its documentation has 50,000 for the most.
IDS: Final = 1_000
ROWS: Final = 50_000


class PostHogHolder:
    """The events of a project, by what holds the message id of each."""

    columns = ("message_id", "timestamp", "event")

    def __init__(self, api: JsonApi) -> None:
        self._api = api
        self.notes = [
            "PostHog tells when an event is dated, not when it was received: what is late is not known",
        ]

    @property
    def what(self) -> str:
        """It, in words."""
        return _what(self._api)

    def rows(self, ids: Iterable[Sequence[str]]) -> Iterator[Sequence[Mapping[str, Any]]]:
        """What it has of these ids. See `Holder`."""
        field = self._api.target.message_id
        for some in ids:
            for begin in range(0, len(some), IDS):
                wanted = ", ".join(_quoted(one) for one in some[begin : begin + IDS])
                found = query(
                    self._api,
                    f"SELECT toString({field}), toString(toTimeZone(timestamp, 'UTC')), event FROM events"
                    f" WHERE toString({field}) IN ({wanted}) LIMIT {ROWS}",
                )
                with as_documented(self.what):
                    told = [(text_or_none(one), _instant(at), text_or_none(event)) for one, at, event in found]
                yield [{"message_id": one, "timestamp": at, "event": event} for one, at, event in told]


class PostHogCounter:
    """The events of a project, by name: of calls whose message id they do not have."""

    by_receipt = False

    def __init__(self, api: JsonApi) -> None:
        self._api = api
        self.notes = [
            "events are counted by name, in the days of the run's calls, those of other senders among them",
            "no id tells which calls are missing; as many as were delivered, or more, prove nothing by themselves",
            "of calls that are no track calls PostHog's names are not known here: they are not compared",
        ]

    @property
    def what(self) -> str:
        """It, in words."""
        return _what(self._api)

    def count(self, begin: float, end: float) -> Counted:
        """The events dated between these instants. See `Counter`."""
        first, last = (datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S") for at in (begin, end))
        found = query(
            self._api,
            "SELECT event, count() FROM events"
            f" WHERE timestamp >= toDateTime('{first}', 'UTC') AND timestamp < toDateTime('{last}', 'UTC')"
            f" GROUP BY event ORDER BY event LIMIT {ROWS}",
        )
        with as_documented(self.what):
            counts = Counter({str(event): int(count) for event, count in found})
        return Counted(begin, end, [Received("event", counts)], {})


def query(api: JsonApi, hogql: str) -> list[list[Any]]:
    """The rows of an answer; raises SourceError where they are not all of them, or none such."""
    told = api.ask(f"/api/projects/{api.target.project}/query/", {"query": {"kind": "HogQLQuery", "query": hogql}})
    results = told.get("results") if isinstance(told, dict) else None
    if not isinstance(results, list) or not all(isinstance(row, list) for row in results):
        raise SourceError(f"{_what(api)} answers no `results` of rows")
    if len(results) >= ROWS or told.get("hasMore"):
        raise SourceError(f"{_what(api)} tells no more than {ROWS:,} of the rows it has: export its events instead")
    return results


def _what(api: JsonApi) -> str:
    return f"PostHog's project {api.target.project} at {api.target.endpoint}"


def _quoted(text: str) -> str:
    """A text in HogQL, which escapes as ClickHouse does."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _instant(text: object) -> str:
    """A time in UTC as PostHog writes it, with its zone."""
    return f"{str(text).replace(' ', 'T')}Z"
