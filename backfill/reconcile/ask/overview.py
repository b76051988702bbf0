"""Segment's Delivery Overview, asked by its Public API (beta), which counts and knows no ids.

https://docs.segmentapis.com/tag/Delivery-Overview: `GET /delivery-overview/successfully-received` and
`/failed-on-ingest` of a source, from an inclusive to an exclusive time; by the hour for at most 14 days, by the day for
at most 30, of the last 30 days. An answer has `data.dataset`, of each group its `total`, and `data.pagination.next`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from backfill.errors import SourceError, UsageError
from backfill.pipeline.context import RunContext
from backfill.reconcile.ask.api import JsonApi
from backfill.reconcile.ask.holders import Counted, Received

HEADERS: Final = {"Accept": "application/vnd.segment.v1beta+json, application/json"}
_HOUR, _DAY = 3_600, 86_400
#: Counts by the hour are told of so long a time, those by the day of this, which is as far as they go back.
_HOURS_TOLD, _DAYS_TOLD = 14 * _DAY, 30 * _DAY
_PAGE: Final = 200
_RECEIVED: Final = "/delivery-overview/successfully-received"
_FAILED: Final = "/delivery-overview/failed-on-ingest"


class DeliveryOverview:
    """The counts of one source."""

    by_receipt = True

    def __init__(self, api: JsonApi, context: RunContext) -> None:
        self._api = api
        self._context = context
        self.notes = [
            "these are counts by the time of receiving, those of other senders of the source among them",
            "no id tells which calls are missing; as many as were delivered, or more, prove nothing by themselves",
            "what a destination or a warehouse has of them is not told",
        ]

    @property
    def what(self) -> str:
        """It, in words."""
        return f"Segment's Delivery Overview of the source {self._api.target.source_id}"

    def count(self, begin: float, end: float) -> Counted:
        """What was received in whole hours, or days, around these instants. See `Counter`."""
        unit, name = (_HOUR, "HOUR") if end - begin + 2 * _HOUR <= _HOURS_TOLD else (_DAY, "DAY")
        first, last = begin // unit * unit, (end // unit + 2) * unit  # what left in the last second is received after
        if last - first > _DAYS_TOLD or first < self._context.clock.now() - _DAYS_TOLD:
            raise UsageError(
                f"{self.what} goes back 30 days, and the run began {_text(begin)}",
                hint="compare with the warehouse instead: --against",
            )
        window = {"startTime": _text(first), "endTime": _text(last), "granularity": name}
        received = [
            Received(field, self._grouped(_RECEIVED, window, group))
            for field, group in (("type", "eventType"), ("event", "eventName"))
        ]
        failed = self._grouped(_FAILED, window, "discardReason")
        return Counted(first, last, received, failed, total=sum(received[0].counts.values()))

    def _grouped(self, path: str, window: Mapping[str, str], group: str) -> Counter[str]:
        """How many calls of each value of a field."""
        counts: Counter[str] = Counter()
        cursor: str | None = None
        while True:
            asked = {
                "sourceId": self._api.target.source_id,
                **window,
                "groupBy.0": group,
                "pagination.count": str(_PAGE),
            }
            asked |= {"pagination.cursor": cursor} if cursor else {}
            data = _data(self._api.ask(f"{path}?{urlencode(asked)}"), self.what)
            for one in data["dataset"]:
                counts[str(one.get(group) or "")] += int(one["total"])
            pages = data.get("pagination")
            following = pages.get("next") if isinstance(pages, dict) else None
            if not following or following == cursor:
                return counts
            cursor = following


def _data(told: Any, what: str) -> Mapping[str, Any]:  # noqa: ANN401 (JSON)
    data = told.get("data") if isinstance(told, dict) else None
    if not isinstance(data, dict) or not isinstance(data.get("dataset"), list):
        raise SourceError(f"{what}: the answer has no `data.dataset`")
    if not all(isinstance(one, dict) and isinstance(one.get("total"), int) for one in data["dataset"]):
        raise SourceError(f"{what}: the answer has groups without a `total`")
    return data


def _text(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
