"""What an endpoint says of the calls that it has: only a sandbox of backfill does."""

from __future__ import annotations

from collections import Counter
from typing import Any

import httpx

from backfill.frozen import frozen
from backfill.sandbox import SERVER_NAME

_PAGE = 10_000


@frozen
class Seen:
    """What became of calls; those of others that came meanwhile included."""

    fates: dict[str, list[str]]  # by message id: `held` and reasons of drops, sorted
    unnamed: Counter[str]  # reasons of drops without a message id
    calls: dict[str, dict[str, Any]]  # by message id, of those that are kept with their JSON


class Lookup:
    """The sandbox's own pages, from what is there when this begins."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        stats = client.get("/stats").raise_for_status().json()
        self._dropped = stats["duplicate"] + sum(stats["dropped"].values())  # as many rows, numbered from 1
        self._accepted = stats["accepted"]

    def seen(self, prefix: str) -> Seen:
        """What became of the calls whose message ids begin so."""
        fates: dict[str, list[str]] = {}
        unnamed: Counter[str] = Counter()
        with self._client.stream("GET", "/ids") as answer:
            for line in answer.raise_for_status().iter_lines():
                if line.startswith(prefix):
                    fates.setdefault(line, []).append("held")
        for drop in self._rows("drops", self._dropped):
            if drop["messageId"] is None:
                unnamed[drop["reason"]] += 1
            elif drop["messageId"].startswith(prefix):
                fates.setdefault(drop["messageId"], []).append(drop["reason"])
        calls = {row["messageId"]: row for row in self._rows("calls", self._accepted)}
        return Seen({one: sorted(words) for one, words in fates.items()}, unnamed, calls)

    def _rows(self, table: str, after: int | None) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        while after is not None:
            page = self._client.get(f"/{table}", params={"after": after, "limit": _PAGE}).raise_for_status().json()
            rows += page[table]
            after = page["next"]
        return rows


def lookup_of(client: httpx.Client) -> Lookup | None:
    """The endpoint's lookup; None where it is no sandbox, as its /health would say, or wants a token to be asked."""
    try:
        answer = client.get("/health")
        if answer.status_code != httpx.codes.OK or answer.json().get("server") != SERVER_NAME:
            return None
        return Lookup(client)
    except (ValueError, AttributeError, httpx.HTTPStatusError):  # something else lives there
        return None
