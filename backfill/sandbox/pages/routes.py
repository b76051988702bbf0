"""The addresses of the pages, what each asks of the store, and the headers that all answers have."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import cache, partial
from http import HTTPStatus
from importlib.resources import files
from typing import Any, Final, TypeVar

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from backfill.sandbox import lookups
from backfill.sandbox.drops import KINDS, REASONS
from backfill.sandbox.facets import ACCEPTED
from backfill.sandbox.moments import parse_moment
from backfill.sandbox.pages.comparing import CHANGES, compare
from backfill.sandbox.pages.counting import BATCHES, DUPLICATE, Counts, Run, batches, by_run, counts, outcomes, runs
from backfill.sandbox.pages.listing import (
    DROPPED,
    ROWS,
    Filter,
    Row,
    arrived,
    last_number,
    newest,
    of_user,
    rows_at,
)
from backfill.sandbox.pages.live import Watchers
from backfill.sandbox.pages.showing import meaning, page, short, shown_json
from backfill.sandbox.store import Store
from backfill.sandbox.tables import Tables

_Answer = TypeVar("_Answer")
#: All that a page may load: our own style and script, and what it watches.
POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; base-uri 'none';"
    " form-action 'self'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_ASSETS: Final = {"page.css": "text/css", "page.js": "text/javascript"}
#: What choices of events and runs may have, in characters: a page is to stay below 100 KB.
_CHOICES: Final = 3_000
_MOST_RUNS: Final = 100
_MOST_NUMBER: Final = 1 << 62


class _NotFoundError(LookupError):
    """There is no such call, or run."""


class Pages:
    """The pages over a store. `ending` says whether the server is about to stop."""

    def __init__(self, store: Store, *, ending: Callable[[], bool]) -> None:
        self._store = store
        self._watchers = Watchers(ending)

    def routes(self) -> list[Route]:
        """All of them, for GET."""
        pages = {
            "/": self._list,
            "/live": self._live,
            "/call": self._call,
            "/call.json": self._json,
            "/user": self._user,
            "/counts": self._counts,
            "/dropped": self._dropped,
            "/runs": self._runs,
            "/run": self._run,
            "/compare": self._compare,
        }
        return [
            *(Route(path, _guarded(answer), methods=["GET"]) for path, answer in pages.items()),
            *(Route(f"/{name}", partial(_asset, name), methods=["GET"]) for name in _ASSETS),
        ]

    async def _ask(self, read: Callable[[Tables], _Answer]) -> _Answer:
        return await asyncio.wrap_future(self._store.ask(read))

    async def _list(self, request: Request) -> Response:
        wanted, before, at = _filter(request), _number(request, "before"), request.query_params.get("at", "")

        def read(tables: Tables) -> dict[str, Any]:
            if wanted.user:
                lookups.look_at_next(tables)
                key = (at, before) if before is not None else None
                rows = of_user(tables, wanted, before=key)
            else:
                rows = newest(tables, wanted, before=before)
            return {
                "rows": rows,
                "left": lookups.left(tables) if wanted.user else 0,
                "last": last_number(tables),
                "counts": _of_outcomes(outcomes(tables)),
                "runs": runs(tables),
                "events": list(counts(tables, wanted.run).events),
            }

        found = await self._ask(read)
        found["kept"] = self._store.kept
        found["events"] = _fitting([*found["events"], wanted.event])
        found["run_names"] = {run.number: run.name for run in found["runs"]}
        found["runs"] = _fitting_runs(found["runs"], wanted.run)
        return _html(
            "list.html", wanted=wanted, first=before is None, full=len(found["rows"]) == ROWS, **_CHOSEN, **found
        )

    async def _live(self, request: Request) -> Response:
        wanted = _filter(request)
        resumed = request.headers.get("last-event-id", "")
        after = _whole(resumed) if resumed else _number(request, "after")

        def read(after: int, tables: Tables) -> tuple[list[Row], int, dict[str, Any], dict[int, str]]:
            rows, last = arrived(tables, wanted, after)
            return rows, last, _of_outcomes(outcomes(tables)), {run.number: run.name for run in runs(tables)}

        names: dict[int, str] = {}

        async def look(after: int) -> tuple[list[Row], int, dict[str, Any]]:
            rows, last, told, found = await self._ask(partial(read, after))
            names.update(found)
            return rows, last, told

        def render(rows: list[Row]) -> str:
            return page("rows.html", rows=rows, run_names=names)

        if request.method == "HEAD":
            return Response(headers=HEADERS, media_type="text/event-stream")
        begin = after if after is not None else await self._ask(last_number)
        stream = self._watchers.answer(self._watchers.events(look, render, begin), HEADERS)
        return stream or PlainTextResponse("too many pages watch", HTTPStatus.SERVICE_UNAVAILABLE, HEADERS)

    async def _call(self, request: Request) -> Response:
        number = _wanted(request, "number")

        def read(tables: Tables) -> tuple[Row, Run]:
            row = _one(rows_at(tables, [number]))
            return row, _one(runs(tables, row.facet.run))

        row, run = await self._ask(read)
        text, cut = shown_json(row)
        return _html(
            "call.html", row=row, run=run, json=text, cut=cut, means=meaning(row.facet.outcome), shift=_shift(row)
        )

    async def _json(self, request: Request) -> Response:
        number = _wanted(request, "number")
        row = _one(await self._ask(lambda tables: rows_at(tables, [number])))
        return Response(row.json or "", headers=HEADERS, media_type="application/json")

    async def _user(self, request: Request) -> Response:
        number, before, at = _wanted(request, "of"), _number(request, "before"), request.query_params.get("at", "")

        def read(tables: Tables) -> dict[str, Any]:
            row = _one(rows_at(tables, [number]))
            if row.user is None:
                raise _NotFoundError
            lookups.look_at_next(tables)
            key = (at, before) if before is not None else None
            rows = of_user(tables, Filter(user=row.user), before=key)
            return {"user": row.user, "rows": rows, "left": lookups.left(tables), "runs": runs(tables)}

        found = await self._ask(read)
        names = {run.number: run.name for run in found.pop("runs")}
        full = len(found["rows"]) == ROWS
        return _html("user.html", of=number, first=before is None, full=full, run_names=names, **found)

    async def _counts(self, request: Request) -> Response:
        run = _number(request, "run")
        found, all_runs = await self._ask(lambda tables: (counts(tables, run), runs(tables)))
        chosen = next((one for one in all_runs if one.number == run), None)
        shown = _fitting_runs(all_runs, run)
        return _html("counts.html", counts=found, totals=_totals(found), kept=self._store.kept, run=chosen, runs=shown)

    async def _dropped(self, request: Request) -> Response:
        run = _number(request, "run")
        found, all_runs = await self._ask(lambda tables: (counts(tables, run), runs(tables)))
        rows = [(name, calls, meaning(name)) for name, calls in found.outcomes.items() if name != ACCEPTED]
        chosen = next((one for one in all_runs if one.number == run), None)
        return _html("dropped.html", rows=rows, run=chosen, runs=_fitting_runs(all_runs, run), totals=_totals(found))

    async def _runs(self, _request: Request) -> Response:
        found, outcomes = await self._ask(lambda tables: (runs(tables), by_run(tables)))
        rows = [(run, _of_outcomes(outcomes.get(run.number, {}))) for run in found[:_MOST_RUNS]]
        return _html("runs.html", rows=rows, more=len(found) - len(rows), before=_before([run for run, _ in rows]))

    async def _run(self, request: Request) -> Response:
        number, after = _wanted(request, "number"), _number(request, "after") or 0
        run, found, sent = await self._ask(
            lambda tables: (_one(runs(tables, number)), counts(tables, number), batches(tables, number, after=after))
        )
        more = sent[-1].number if len(sent) == BATCHES else None
        return _html("run.html", run=run, totals=_totals(found), batches=sent, more=more, first=not after)

    async def _compare(self, request: Request) -> Response:
        numbers = _wanted(request, "before"), _wanted(request, "after")
        start = request.query_params.get("start", "")
        only = next((one for one in CHANGES if one == request.query_params.get("only")), None)

        def read(tables: Tables) -> dict[str, Any]:
            before, after = (_one(runs(tables, number)) for number in numbers)
            lookups.look_at_next(tables)
            found = compare(tables, *numbers, start=start, only=only)
            wanted = [number for one in found.differences for number in (one.before, one.after) if number is not None]
            rows = {row.number: row for row in rows_at(tables, wanted)}
            outcomes = by_run(tables)
            sizes = [sum(outcomes.get(number, {}).values()) for number in numbers]
            return {
                "before": before,
                "after": after,
                "found": found,
                "rows": rows,
                "sizes": sizes,
                "left": lookups.left(tables),
            }

        return _html("compare.html", start=start, only=only, **await self._ask(read))


_CHOSEN: Final = {"types": KINDS, "outcomes": (ACCEPTED, DUPLICATE, DROPPED, *REASONS)}


def _guarded(answer: Callable[[Request], Any]) -> Callable[[Request], Any]:
    async def answered(request: Request) -> Response:
        try:
            found: Response = await answer(request)
        except _NotFoundError:
            return HTMLResponse(page("missing.html"), HTTPStatus.NOT_FOUND, HEADERS)
        return found

    return answered


def _html(template: str, **values: Any) -> Response:  # noqa: ANN401 (whatever the template shows)
    return HTMLResponse(page(template, **values), headers=HEADERS)


async def _asset(name: str, _request: Request) -> Response:
    return Response(_read_asset(name), headers=HEADERS, media_type=_ASSETS[name])


@cache
def _read_asset(name: str) -> bytes:
    return files("backfill.sandbox.pages").joinpath(name).read_bytes()


def _filter(request: Request) -> Filter:
    query = request.query_params
    texts = {name: query.get(name, "") for name in ("type", "event", "user", "outcome")}
    return Filter(**texts, run=_number(request, "run"))


def _whole(text: str) -> int | None:
    """A number of our own in an address; none where it is something else, as it is where there is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < len(str(_MOST_NUMBER)) else None


def _number(request: Request, name: str) -> int | None:
    return _whole(request.query_params.get(name, ""))


def _wanted(request: Request, name: str) -> int:
    number = _number(request, name)
    if number is None:
        raise _NotFoundError
    return number


def _before(found: list[Run]) -> Run | None:
    """What the last run is best compared with: the one before of the same name, but for when it began; else any."""
    alike = [run for run in found[1:] if run.name.partition(" of ")[0] == found[0].name.partition(" of ")[0]]
    return next(iter(alike or found[1:]), None)


def _one(found: list[_Answer]) -> _Answer:
    if not found:
        raise _NotFoundError
    return found[0]


def _totals(found: Counts) -> dict[str, int]:
    return _of_outcomes(found.outcomes)


def _of_outcomes(outcomes: dict[str, int]) -> dict[str, int]:
    total, accepted, duplicate = sum(outcomes.values()), outcomes.get(ACCEPTED, 0), outcomes.get(DUPLICATE, 0)
    return {"received": total, "accepted": accepted, "duplicate": duplicate, "dropped": total - accepted - duplicate}


def _fitting(names: list[str]) -> list[str]:
    """The first of the names that take no more room than choices have; the last, which is chosen, in any case."""
    shown, room = dict.fromkeys(names[-1:]), _CHOICES
    for name in names:
        room -= len(name) + 30
        if room > 0:
            shown[name] = None
    return sorted(name for name in shown if name)


def _fitting_runs(found: list[Run], chosen: int | None) -> list[Run]:
    names = [short(run.name) for run in found]
    most = next((n for n in range(len(names)) if sum(map(len, names[: n + 1])) + 30 * n > _CHOICES), len(found))
    return [run for place, run in enumerate(found) if place < most or run.number == chosen]


def _shift(row: Row) -> int | None:
    """By how many milliseconds the stored timestamp is later than the one that was sent."""
    sent, stored = parse_moment(row.original_timestamp), parse_moment(row.timestamp)
    return stored - sent if sent is not None and stored is not None else None
