"""The report: one page of a plan or a run, for those who approve it and those who audit it.

One file that loads nothing: styles and charts are inside, its policy (CSP) forbids all else, and there is no script.
Names and values come from data, and are escaped by the template engine. Values are masked samples, never whole calls.
"""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from backfill import __version__
from backfill.advice import Advice, source_text
from backfill.errors import counted
from backfill.escape import escaped
from backfill.limits import SEGMENT
from backfill.masking import shortened
from backfill.records import Problem, RunState, StoredRun
from backfill.records.profile import Event
from backfill.report.advice import block_text, concerned
from backfill.report.charts import bars, dwarfs, lines, pygal
from backfill.report.contents import (
    PlanContents,
    billed_text,
    bodies_text,
    by_calls,
    instant_text,
    percent,
    properties_of,
    read_contents,
    sample_of,
)
from backfill.report.held import Held
from backfill.report.pace import Pace, pace_of
from backfill.report.replays import IDENTITY, PARTS, together
from backfill.report.runs import RunView, accounts_text, read_run_view, where_to
from backfill.report.samples import QUERY, SAMPLES, most_frequent
from backfill.report.summary import duration_text, time_text
from backfill.rules import CODES
from backfill.tracking.describe import CODES as TRACKING_CODES

#: What a page shows of long lists.
EVENTS_SHOWN: Final = 40
PROPERTIES_SHOWN: Final = 60
DOUBTS_SHOWN: Final = 25
UNPLANNED_SHOWN: Final = 40
VALUES_SHOWN: Final = 10
#: A history of more days is shown by month.
DAYS_SHOWN: Final = 62
_SIZES: Final = 20
_SAMPLE_COLUMNS: Final = {"where": "Where", "call": "Call", "column": "Column", "value": "Value"}
_ACCOUNTS: Final = (
    ("rows", "read", ("filtered", "unreadable", "mapped")),
    (
        "calls",
        "planned",
        ("delivered", "rejected", "duplicate", "already_delivered", "in_doubt", "pending"),
    ),
)


def report_page(
    run: StoredRun,
    *,
    now: float,
    replays: Sequence[RunView] = (),
    requeues: Sequence[RunView] = (),
    held: Held | None = None,
) -> str:
    """The page of a run or dry run, with the `replays` of its rejects, and the `requeues` of what was missing of it.

    `held` is what a destination was found to hold, `now` is in POSIX seconds.

    Raises:
        LedgerError: Its ledger cannot be read.
        UsageError: The libraries of the extra `report` are missing.
    """
    need_libraries()
    view, contents = read_run_view(run, now=now), read_contents(run)
    with run.read() as reader:
        begun = [at for at, state, _, _ in reader.history() if state is RunState.DELIVERING]
        samples, pace = reader.samples(), pace_of(reader.sent_attempts(), begun)
    style = files("backfill.report").joinpath("page.css").read_text("utf-8")
    template = files("backfill.report").joinpath("page.html").read_text("utf-8")
    charts = {name: _markup(chart) for name, chart in _charts(view, contents).items()}
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    page: str = environment.from_string(template).render(
        style=_markup(style),
        style_hash=_markup(f"sha256-{b64encode(sha256(style.encode()).digest()).decode()}"),
        **charts,
        **_head(view, contents),
        **_plan(contents),
        problems=_problems(view, samples, contents),
        problems_caption="Problems by code" + (", on a logarithmic scale" if dwarfs(view.problems) else ""),
        pace=[(_markup(chart), caption) for chart, caption in _pace(pace)],
        pauses=_pauses(pace),
        doubts=_doubts(view),
        accounts=[*_accounts(view), *_together(view, replays)],
        replays=[(one.status.record.run_id, accounts_text(one)) for one in replays],
        requeues=[(one.status.record.run_id, accounts_text(one)) for one in requeues],
        held=held,
        facts=_facts(view),
        history=_history(view),
        version=__version__,
        made_at=time_text(now),
    )
    return page


def _markup(made: str) -> Markup:
    """What was made here, and is not to be escaped: styles and charts."""
    return Markup(made)  # noqa: S704


def need_libraries() -> None:
    """Raise UsageError where the extra `report` is missing."""
    pygal()


def _charts(view: RunView, contents: PlanContents | None) -> dict[str, str]:
    found = {"when": "", "sizes": "", "problems_chart": ""}
    if contents is not None and contents.profile.total:
        found["when"] = bars(_days(contents) or contents.months, label="Calls over time")
        found["sizes"] = bars(_sizes(contents), label="Batches by size")
    if len(view.problems) > 1:
        found["problems_chart"] = bars(
            dict(sorted(view.problems.items())), label="Problems by code", labels=10, logarithmic=True
        )
    return found


def _days(contents: PlanContents) -> dict[str, int]:
    """Calls by day; nothing where there are too many days."""
    days: Counter[str] = Counter()
    for (_, day), calls in contents.days.items():
        days[day] += calls
    return dict(sorted(days.items())) if len(days) <= DAYS_SHOWN else {}


def _sizes(contents: PlanContents) -> dict[str, int]:
    """Batches by the size of their bodies, in twentieths of the limit."""
    step = SEGMENT.body_bytes // _SIZES
    found = Counter(min(_SIZES - 1, size // step) for size in contents.batch_bytes)
    return {f"{(place + 1) * step // 1_000} KB": found[place] for place in range(_SIZES)}


def _head(view: RunView, contents: PlanContents | None) -> dict[str, Any]:
    record, counts = view.status.record, view.counts
    tiles = [(f"{counts.planned:,}", "calls planned")]
    if view.dry:
        kind, standing = "Dry run: nothing was sent", "What a run of this job would send."
        tiles.append((f"{counts.pending:,}", "calls to send"))
    else:
        kind = "Live run" if record.live else "Run to a sandbox: nothing left this machine"
        standing = f"{view.state}, {time_text(view.status.state_at)}"
        tiles += [(f"{counts.delivered:,}", "received" if record.live else "delivered")]
        tiles += [(f"{counts.in_doubt:,}", "in doubt")] if counts.in_doubt else []
    tiles.append((f"{counts.rejected:,}", "calls rejected"))
    if contents is not None:
        profile = contents.profile
        about = "" if profile.users.exact and profile.anonymous.exact else "about "
        tiles.append((f"{about}{profile.tracked_users:,}", "users as billed"))
        tiles.append((f"{profile.event_count:,}", "events"))
    tiles.append((f"{counts.batches:,}", "batches"))
    return {
        "title": escaped(f"{record.job_name}: {kind}"),
        "kind": kind,
        "job": escaped(record.job_name),
        "target": escaped(record.target_name if view.dry else where_to(view)),
        "standing": standing,
        "tiles": tiles,
    }


def _plan(contents: PlanContents | None) -> dict[str, Any]:
    nothing: dict[str, Any] = dict.fromkeys(
        (
            "calls",
            "events",
            "more_events",
            "bodies",
            "forecast",
            "when_caption",
            "advice",
            "unplanned",
            "more_unplanned",
        ),
        "",
    )
    if contents is None or not contents.profile.total:
        return nothing
    profile = contents.profile
    names = by_calls(profile)
    others = profile.event_count - min(len(names), EVENTS_SHOWN)
    unplanned = _unplanned(contents)
    seconds = [(f"At {rate:,.0f} calls a second", duration_text(took)) for rate, took in contents.seconds().items()]
    return {
        "calls": [
            {
                "call": escaped(scope),
                "type": one.type,
                "calls": f"{one.calls:,}",
                "first": instant_text(one.first),
                "last": instant_text(one.last),
                "integrations": escaped(one.integrations),
            }
            for scope, one in profile.calls.items()
        ],
        "events": [_event(contents, event) for event in names[:EVENTS_SHOWN]],
        "more_events": counted(others, "other event", "other events") if others > 0 else "",
        "bodies": bodies_text(contents),
        "forecast": [
            ("Requests", f"{contents.requests:,}"),
            *seconds,
            ("Billed by throughput", counted(profile.total, "call", "calls")),
            ("Billed by users", billed_text(profile).split("; ")[1]),
        ],
        "advice": [_advice(one) for one in contents.advice],
        "unplanned": unplanned[:UNPLANNED_SHOWN],
        "more_unplanned": f"and {len(unplanned) - UNPLANNED_SHOWN:,} more" if len(unplanned) > UNPLANNED_SHOWN else "",
        "when_caption": "Calls by day (UTC)" if _days(contents) else "Calls by month (UTC)",
    }


def _unplanned(contents: PlanContents) -> list[tuple[str, str, str, str]]:
    """Call, event, property (none of an event) and how many calls."""
    if contents.unplanned is None:
        return []
    events = [((*event, ""), calls) for event, calls in contents.unplanned.events]
    found = [*events, *contents.unplanned.properties]
    return [(escaped(scope), escaped(event), escaped(name), f"{calls:,}") for (scope, event, name), calls in found]


def _advice(advice: Advice) -> dict[str, str]:
    return {
        "destination": escaped(advice.destination),
        "says": advice.fact.says,
        "means": advice.fact.means,
        "calls": escaped(concerned(advice)),
        "block": "" if advice.avoid is None else escaped(block_text(advice.avoid)),
        "instead": advice.fact.instead,
        "source": source_text(advice.fact.source),
    }


def _event(contents: PlanContents, event: Event) -> dict[str, Any]:
    profile, (scope, name) = contents.profile, event
    own = properties_of(profile, event)
    more = len(own) - PROPERTIES_SHOWN
    return {
        "name": escaped(name or scope),
        "call": escaped(scope) if name else "",
        "calls": counted(profile.events[event], "call", "calls"),
        "properties": [
            {
                "name": escaped(one[2]),
                "percent": percent(profile.fill(one)),
                "width": f"{100 * profile.fill(one):.1f}",
                "types": ", ".join(sorted(profile.properties[one])),
                "mixed": len(profile.properties[one].keys() - {"null"}) > 1,
                "sample": escaped(sample_of(profile, one)),
                "constant": profile.constant(one),
            }
            for one in own[:PROPERTIES_SHOWN]
        ],
        "more": counted(more, "other property", "other properties") if more > 0 else "",
    }


def _filled(rows: Sequence[Mapping[str, str]], titles: Mapping[str, str]) -> dict[str, str]:
    """The columns of a table, by name and title, in which any row has something."""
    return {name: title for name, title in titles.items() if any(row[name] for row in rows)}


def _problems(view: RunView, samples: list[Problem], contents: PlanContents | None) -> list[dict[str, Any]]:
    values = contents.profile.bad_values if contents else {}
    found = []
    for code, count in sorted(view.problems.items(), key=lambda one: (-one[1], one[0])):
        shown = [_sample(one) for one in [each for each in samples if each.code == code][:SAMPLES]]
        most = [
            {"value": escaped(shortened(value)), "column": escaped(column), "count": f"{calls:,}"}
            for column, value, calls in most_frequent(code, values)[:VALUES_SHOWN]
            if count > SAMPLES
        ]
        found.append(
            {
                "code": code,
                "title": CODES[code].title if code in CODES else "",
                "count": f"{count:,}",
                "hint": CODES[code].hint if code in CODES else "",
                "most": most,
                "samples": shown,
                "columns": _filled(shown, _SAMPLE_COLUMNS),
            }
        )
    return found


def _sample(problem: Problem) -> dict[str, str]:
    """One problem; nothing stands in place of a record where it is of all calls together."""
    file = "" if problem.file == QUERY and not problem.record else problem.file
    return {
        "where": escaped(f"{file} (record {problem.record:,})" if problem.record else file),
        "call": escaped(problem.call),
        "column": escaped(problem.column),
        "wanted": escaped(problem.message.partition(": ")[2]) if problem.code in TRACKING_CODES else "",
        "value": escaped(shortened(problem.value)),
    }


def _pace(pace: Pace | None) -> list[tuple[str, str]]:
    if pace is None:
        return []
    charts = [
        (lines({"calls": pace.calls}, pace.labels, label="Throughput"), "Calls accepted, a second"),
        (
            lines({"median": pace.median, "slowest": pace.slowest}, pace.labels, label="Latency"),
            "Seconds until the answer: the median, and above it the slowest",
        ),
        (lines({"requests": pace.under_way}, pace.labels, label="Concurrency"), "Requests under way, on average"),
    ]
    if any(pace.failed):
        failed = bars(dict(zip(pace.labels, pace.failed, strict=True)), label="Attempts that failed")
        charts.append((failed, "Attempts that were not accepted, and were made again or refused"))
    return charts


def _pauses(pace: Pace | None) -> str:
    if pace is None:
        return ""
    told = []
    if pace.pauses:
        pauses = counted(len(pace.pauses), "pause", "pauses")
        told.append(f"{pauses} without any request under way, {_longest(pace.pauses)}")
    if pace.idle:
        times = counted(len(pace.idle), "time", "times")
        told.append(f"{times} no process was at work, which the charts leave out, {_longest(pace.idle)}")
    return " ".join(told)


def _longest(times: Sequence[tuple[float, float]]) -> str:
    longest_at, longest = max(times, key=lambda one: one[1])
    total = duration_text(sum(seconds for _, seconds in times))
    return f"{total} in all; the longest at {time_text(longest_at)}, {duration_text(longest)}."


def _doubts(view: RunView) -> list[dict[str, Any]]:
    return [
        {
            "batch": one.batch,
            "calls": f"{one.calls:,}",
            "attempts": one.attempts,
            "since": time_text(one.since) if one.since is not None else "unknown",
            "answer": escaped(f"{one.status or ''} {one.detail}".strip()),
        }
        for one in view.doubts.first[:DOUBTS_SHOWN]
    ]


def _accounts(view: RunView) -> list[dict[str, Any]]:
    found = []
    for what, whole, parts in _ACCOUNTS:
        numbers = {name: int(getattr(view.counts, name)) for name in (whole, *parts)}
        holds = numbers[whole] == sum(numbers[name] for name in parts)
        found.append(
            {
                "identity": f"{what}: {whole} = {' + '.join(parts)}".replace("_", " "),
                "parts": [(name.replace("_", " "), f"{number:,}") for name, number in numbers.items()],
                "verdict": "it adds up" if holds else "it does NOT add up",
            }
        )
    return found


def _together(view: RunView, replays: Sequence[RunView]) -> list[dict[str, Any]]:
    """The accounts of the run and its replays in one, where there are any."""
    if not replays:
        return []
    found = together(view, replays)
    names = ("planned", "unreadable", *PARTS)
    return [
        {
            "identity": f"calls, with those of the replays: {IDENTITY}".replace("_", " "),
            "parts": [(name.replace("_", " "), f"{getattr(found, name):,}") for name in names],
            "verdict": next(iter(found.faults()), "it adds up"),
        }
    ]


def _facts(view: RunView) -> list[tuple[str, str]]:
    record = view.status.record
    found = [("run" if not view.dry else "dry run", record.run_id), ("job file", escaped(record.job_file))]
    if view.plan is not None:
        found += [("plan", view.plan.plan_id), ("digest", view.plan.digest)]
    found += [("job data", record.job_fingerprint), ("scope of ids", escaped(record.id_scope))]
    found += (
        [("source", escaped(f"{file.name}, SHA-256 {file.sha256}")) for file in view.plan.files[:20]]
        if view.plan
        else []
    )
    return [*found, ("made by", f"backfill {record.backfill_version}")]


def _history(view: RunView) -> list[tuple[str, str, str]]:
    return [
        (time_text(at), f"{state}{f' (exit {code})' if code is not None else ''}", escaped(detail))
        for at, state, code, detail in view.history
    ]
