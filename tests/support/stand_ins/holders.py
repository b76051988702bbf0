"""What PostHog and Segment's Delivery Overview answer to who asks them, as their documentation has it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import sqlglot
from sqlglot import exp

from tests.support.stand_ins.server import Asked, Said

TOKEN = "phx_secretTokenOfNobody"
#: A row of PostHog's events: what has the message id, when, and its name.
Event = tuple[str, datetime, str]


@dataclass
class PostHog:
    """The query API of one project: https://posthog.com/docs/api/queries."""

    events: list[Event] = field(default_factory=list)
    project: str = "42"

    def __call__(self, asked: Asked) -> Said:
        """The answer to a question."""
        if asked.bearer != TOKEN:
            return said(401, {"type": "authentication_error", "detail": f"Invalid key {asked.bearer}"})
        if asked.path != f"/api/projects/{self.project}/query/":
            return said(404, {"detail": "Not found."})
        question = json.loads(asked.body)["query"]
        if question["kind"] != "HogQLQuery":
            return said(400, {"detail": "no such kind"})
        return said(200, {"results": self.results(sqlglot.parse_one(question["query"], read="clickhouse"))})

    def results(self, query: exp.Expression) -> list[list[Any]]:
        """The rows of the two questions that are put to it: by ids, or by event in some time."""
        limit = query.args["limit"].expression
        assert int(limit.this) == 50_000
        if ids := query.find(exp.In):
            wanted = {one.this for one in ids.expressions}
            assert len(wanted) <= 1_000
            rows = [(identity, at, event) for identity, at, event in self.events if identity in wanted]
            return [[identity, at.strftime("%Y-%m-%d %H:%M:%S.%f"), event] for identity, at, event in rows]
        texts = [one.this for one in query.find_all(exp.Literal) if one.is_string and one.this != "UTC"]
        first, last = sorted(datetime.strptime(one, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC) for one in texts)
        counts = Counter(event for _, at, event in self.events if first <= at < last)
        return [[event, calls] for event, calls in sorted(counts.items())]


@dataclass
class DeliveryOverview:
    """The Public API's counts of one source, a group a page: https://docs.segmentapis.com/tag/Delivery-Overview."""

    received: Sequence[tuple[str, str | None]] = ()  # type, event
    discarded: Sequence[str] = ()  # reasons
    source: str = "rh5BDZp6"
    windows: set[tuple[str, str, str]] = field(default_factory=set)  # that were asked for

    def __call__(self, asked: Asked) -> Said:
        """The answer to a question."""
        if asked.bearer != TOKEN:
            return said(403, {"errors": [{"type": "forbidden"}]})
        options = {name: values[0] for name, values in parse_qs(asked.query).items()}
        if options.get("sourceId") != self.source:
            return said(404, {"errors": [{"type": "not-found"}]})
        if "application/vnd.segment.v1beta+json" not in asked.headers["accept"]:
            return said(422, {"errors": [{"type": "bad-request"}]})
        self.windows.add((options["startTime"], options["endTime"], options["granularity"]))
        counts = self.counts(asked.path, options["groupBy.0"])
        groups = [
            {options["groupBy.0"]: value, "total": calls, "series": [{"time": options["startTime"], "count": calls}]}
            for value, calls in counts.items()
        ]
        place = int(options.get("pagination.cursor", "0"))
        page = {"current": str(place), "totalEntries": len(groups)}
        page |= {"next": str(place + 1)} if place + 1 < len(groups) else {}
        data = {"total": sum(counts.values()), "dataset": groups[place : place + 1], "pagination": page}
        return said(200, {"data": data})

    def counts(self, path: str, group: str) -> Counter[str]:
        """How many calls of each value."""
        if path == "/delivery-overview/failed-on-ingest":
            return Counter(self.discarded)
        assert path == "/delivery-overview/successfully-received"
        return Counter(str(one[0] if group == "eventType" else one[1] or "") for one in self.received)


def said(status: int, body: object) -> Said:
    """An answer in JSON."""
    return Said(status, json.dumps(body))
