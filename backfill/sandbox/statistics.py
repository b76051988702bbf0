"""What a sandbox tells as JSON of what it has received: counts, calls, drops, ids."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from backfill import __version__
from backfill.sandbox.drops import REASONS
from backfill.sandbox.moments import iso_moment
from backfill.sandbox.pages.routes import HEADERS
from backfill.sandbox.store import Store

SERVER_NAME = "backfill-sandbox"
#: The Server header of every answer: `backfill-sandbox/` and the version.
SERVER_HEADER = f"{SERVER_NAME}/{__version__}"
#: How many rows a page of /calls or /drops has unless asked, and at most.
PAGE_ROWS, MOST_PAGE_ROWS = 100, 10_000
_IDS_AT_ONCE = 20_000


class Statistics:
    """The answers over a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[Route]:
        """All of them, for GET."""
        return [
            Route("/health", self._health),
            Route("/stats", self._stats),
            Route("/calls", self._calls),
            Route("/drops", self._drops),
            Route("/ids", self._ids),
        ]

    async def _health(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok", "server": SERVER_NAME, "version": __version__}, headers=HEADERS)

    async def _stats(self, _request: Request) -> Response:
        counts = await asyncio.wrap_future(self._store.ask(lambda tables: tables.counts()))
        return JSONResponse(statistics(counts), headers=HEADERS)

    async def _calls(self, request: Request) -> Response:
        page = _page(request)
        if isinstance(page, Response):
            return page
        after, limit = page
        rows = await asyncio.wrap_future(self._store.ask(lambda tables: tables.page("calls", after=after, limit=limit)))
        return _json({"calls": [_call(row) for row in rows], "next": rows[-1]["number"] if rows else None})

    async def _drops(self, request: Request) -> Response:
        page = _page(request)
        if isinstance(page, Response):
            return page
        after, limit = page
        reason = request.query_params.get("reason")
        if reason not in {None, "duplicate", *REASONS}:
            return refusal(400, "bad_request", f"no such reason: {reason}")
        rows = await asyncio.wrap_future(
            self._store.ask(lambda tables: tables.page("drops", after=after, limit=limit, reason=reason))
        )
        return _json({"drops": [_drop(row) for row in rows], "next": rows[-1]["number"] if rows else None})

    async def _ids(self, _request: Request) -> Response:
        return StreamingResponse(self._id_lines(), headers=HEADERS, media_type="text/plain; charset=utf-8")

    async def _id_lines(self) -> AsyncIterator[bytes]:
        after = 0
        while ids := await asyncio.wrap_future(self._store.ask(_ids_from(after))):
            yield "".join(f"{_one_line(message_id)}\n" for message_id in ids).encode()
            after += len(ids)


def statistics(counts: dict[str, int]) -> dict[str, Any]:
    """What GET /stats tells: `received` = `accepted` + `duplicate` + the sum of `dropped`."""
    stats: dict[str, Any] = dict.fromkeys(("requests", "received", "accepted", "duplicate", "distinct_ids"), 0)
    stats |= {group: {} for group in ("dropped", "by_type", "refused", "faults", "bytes")}
    for name, value in counts.items():
        group, _, member = name.partition("/")
        if member:
            stats[group][member] = value
        else:
            stats[name] = value
    return stats


def _page(request: Request) -> tuple[int, int] | Response:
    """The rows asked for: after which number, and how many."""
    wanted = []
    for name, default, most in (("after", 0, 1 << 62), ("limit", PAGE_ROWS, MOST_PAGE_ROWS)):
        text = request.query_params.get(name, str(default))
        if not (text.isascii() and text.isdigit() and len(text) <= len(str(most))) or int(text) > most:
            return refusal(400, "bad_request", f"{name} is to be a whole number up to {most}")
        wanted.append(int(text))
    return wanted[0], wanted[1]


def _ids_from(after: int) -> Callable[[Any], list[str]]:
    return lambda tables: list(tables.ids(after=after, limit=_IDS_AT_ONCE))


def _one_line(message_id: str) -> str:
    """An id as one line; where it has a line break of its own, as JSON text."""
    return message_id if len(message_id.splitlines()) == 1 else orjson.dumps(message_id).decode()


def _call(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "number": row["number"],
        "messageId": row["message_id"],
        "type": row["type"],
        "timestamp": row["timestamp"],
        "originalTimestamp": row["original_timestamp"],
        "sentAt": row["sent_at"],
        "receivedAt": iso_moment(row["received_ms"]),
        "call": orjson.Fragment(row["json"]),
    }


def _drop(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "number": row["number"],
        "reason": row["reason"],
        "messageId": row["message_id"],
        "type": row["type"],
        "receivedAt": iso_moment(row["received_ms"]),
    }


def _json(value: object) -> Response:
    return Response(orjson.dumps(value), headers=HEADERS, media_type="application/json")


def refusal(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    """An answer that is none of success."""
    # The shape of Segment's own 400 is not documented; `code` and `message` are what its Python library reads.
    return JSONResponse({"success": False, "code": code, "message": message}, status, headers)
