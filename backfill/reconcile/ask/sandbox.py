"""A sandbox, asked over HTTP: it gives all that it has, page by page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from backfill.errors import counted
from backfill.pipeline.call_fields import EVENTS
from backfill.reconcile.ask.api import JsonApi, as_documented, text_or_none

_PAGE: Final = 10_000


class SandboxHolder:
    """A sandbox of ours: see docs/sandbox.md."""

    columns = ("message_id", "original_timestamp", "timestamp", "received_at", "sent_at", "event")

    def __init__(self, api: JsonApi) -> None:
        self._api = api
        self.notes: list[str] = []

    @property
    def what(self) -> str:
        """It, in words."""
        return f"the sandbox at {self._api.target.endpoint}"

    def rows(self, ids: Iterable[Sequence[str]]) -> Iterator[Sequence[Mapping[str, Any]]]:
        """All its calls; of those that it does not keep the ids alone. See `Holder`."""
        del ids  # it cannot choose
        kept: set[str] = set()
        after: int | None = 0
        while after is not None:
            with as_documented(self.what):
                rows, after = _page(self._api.ask(f"/calls?after={after}&limit={_PAGE}"), after)
            kept.update(row["message_id"] for row in rows)
            if rows:
                yield rows
        with as_documented(self.what):
            stats = self._api.ask("/stats")
            held, twice = int(stats["distinct_ids"]), int(stats["duplicate"])
        others = [] if held == len(kept) else [i for i in self._api.lines("/ids") if i not in kept]
        for begin in range(0, len(others), _PAGE):
            yield [{"message_id": one} for one in others[begin : begin + _PAGE]]
        if others:
            calls = counted(len(others), "call", "calls")
            self.notes.append(f"of {calls} the sandbox has the ids alone (`sandbox --keep all` keeps all)")
        if twice:
            self.notes.append(f"calls that the sandbox dropped, as it had their ids, are no rows: {twice:,} of any run")


def _page(page: Mapping[str, Any], after: int) -> tuple[list[dict[str, Any]], int | None]:
    """The rows of a page, and after which number the next begins; raises ValueError where that goes back."""
    following = page["next"]
    if following is not None and int(following) <= after:
        raise ValueError("the next page is one before")
    return [_row(one) for one in page["calls"]], following


def _row(one: Mapping[str, Any]) -> dict[str, Any]:
    names = {"message_id": "messageId", "received_at": "receivedAt", "sent_at": "sentAt", "timestamp": "timestamp"}
    names |= {"original_timestamp": "originalTimestamp"}
    call = one["call"]
    event = next((call[name] for name in EVENTS if call.get(name)), one["type"])  # of any type in calls of others
    return {name: text_or_none(one[there]) for name, there in names.items()} | {"event": str(event)}
