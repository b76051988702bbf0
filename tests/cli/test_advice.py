"""What destinations do with history: each fact has its source, and is told where it can still change something."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backfill.advice import advise, destinations, meant_name
from backfill.advice.matching import Traffic
from backfill.report.advice import SHOWN, advice_lines, block_text
from tests.support.code_pages import DESTINATIONS, destinations_document
from tests.support.projects import Project, backfill

FACTS = [pytest.param(fact, id=f"{one.key}-{place}") for one in destinations() for place, fact in enumerate(one.facts)]
NOW = datetime(2026, 6, 15, tzinfo=UTC)
OLD, NEW = datetime(2021, 3, 1, tzinfo=UTC), NOW - timedelta(hours=5)


@pytest.mark.parametrize("fact", FACTS)
def test_every_fact_has_a_source_and_a_date(fact: Any) -> None:
    """A public page by its title and address, and the day on which it was looked up; and it reads as sentences."""
    assert fact.source.title
    assert fact.source.url.startswith("https://")
    assert date(2026, 1, 1) <= fact.source.looked_up <= datetime.now(UTC).date()
    assert fact.means.endswith(".")
    assert not fact.says.endswith(".")
    assert not fact.instead or fact.instead.endswith((".", "`."))
    assert set(fact.calls) <= {"identify", "track", "page", "screen", "group", "alias"}
    assert sum(one is not None for one in (fact.older_than_hours, fact.within_hours, fact.before)) <= 1


@pytest.mark.parametrize("way", [pytest.param(way, id=one.key) for one in destinations() for way in one.undo])
def test_every_way_back_has_a_source(way: Any) -> None:
    """As every fact."""
    assert way.source.title
    assert way.source.url.startswith("https://")
    assert not way.says.endswith(".")
    assert "`" not in way.says  # as a command it would be completed for the run at hand, and broken over lines


def test_the_document_is_that_of_the_facts() -> None:
    """docs/destinations.md has all of them: `make pages` writes it again."""
    assert DESTINATIONS.read_text("utf-8") == destinations_document()


def flow(integrations: dict[str, Any], kind: str = "track", *when: datetime) -> Traffic:
    """Nine calls of these integrations, the first and the last at these times."""
    first, last = (round(at.timestamp() * 1_000) for at in when) if when else (None, None)
    return Traffic(kind, kind, integrations, 9, first, last)


AMPLITUDE = {"All": False, "Actions Amplitude": True}
#: Integrations, type and dates of the calls -> how each fact begins, of which of them it is, and the block without it.
CASES = [
    (flow({"All": False}), []),
    (flow({"All": False, "Actions Amplitude": False}), []),
    (flow({"All": False, "Nobody knows": True}), []),
    (flow({"*": "(of the row)"}), []),
    (flow(AMPLITUDE, "identify"), [("puts old user properties", "all", {"All": False})]),
    (flow(AMPLITUDE, "group"), []),
    (flow({"All": False, "Google Analytics 4": {}}, "track", OLD, OLD), [("takes events back", "all", {"All": False})]),
    (flow({"All": False, "Google Analytics 4": True}, "track", OLD, NEW), [("takes events", "some", {"All": False})]),
    (flow({"All": False, "Google Analytics 4": True}, "track", NEW, NEW), []),
    (flow({"All": False, "Google Analytics 4": True}), [("takes events back", "dates", {"All": False})]),
    (flow({"All": False, "Customer.io": True}, "track", OLD, OLD), []),
    (flow({"All": False, "Customer.io": True}, "track", OLD, NEW), [("starts campaigns", "some", {"All": False})]),
    (flow({"All": False, "Customer.io": True}, "screen", NEW, NEW), [("starts campaigns", "all", {"All": False})]),
    (flow({"All": False, "Mixpanel (Actions)": True}, "track", OLD, OLD), []),
    (
        flow({"All": False, "Mixpanel": True, "X": True}, "page", OLD, OLD),
        [("drops events of more than 5 days", "all", {"All": False, "X": True})],
    ),
    (
        flow({"All": False, "Customer.io": True, "GA4": True, "mixpanel": True, "Mixpanel": False}, "track", NEW, NEW),
        [("starts campaigns", "all", {"All": False, "Google Analytics 4 Cloud": True, "Mixpanel": False})],
    ),
    (flow({"All": False, "Snowflake": False}), [("gets the calls in any case", "all", None)]),
    (
        flow({"PostHog": True}),
        [
            ("reaches every destination", "all", {"All": False, "PostHog": True}),
            ("reaches Unify", "all", {"All": False, "PostHog": True}),
            ("wants history marked", "all", {"PostHog": False}),
        ],
    ),
]


@pytest.mark.parametrize(("calls", "told"), CASES, ids=[str(dict(case[0].integrations)) for case in CASES])
def test_what_is_told(calls: Traffic, told: list[tuple[str, str, dict[str, Any] | None]]) -> None:
    """By the destinations that are on, the type of the calls and their dates."""
    found = advise([calls], NOW.timestamp())
    assert [(one.applies, one.avoid) for one in found] == [tuple(case[1:]) for case in told]
    for one, case in zip(found, told, strict=True):
        assert one.fact.says.startswith(case[0])


def test_calls_of_one_fact_are_told_together() -> None:
    """Each destination once, its block below its facts, in 80 columns; of very many facts how many there are more."""
    everything = {"All": True} | {name: True for one in destinations() for name in one.names}
    kinds = ("identify", "track", "page")
    found = advise([flow(everything, kind, OLD, OLD) for kind in kinds], NOW.timestamp())
    lines = advice_lines(found, 12)
    assert max(map(len, lines)) <= 68
    assert any(f"and {len(found) - SHOWN} more facts of" in line for line in lines)
    both = advice_lines(advise([flow(AMPLITUDE, kind) for kind in kinds[1:]], 0), 12)
    assert "  counts users as new on the day of their earliest event (track,\n    page)" in "\n".join(both)
    wide = [flow(AMPLITUDE | {"A destination of some name": True}, "track", OLD, OLD)]
    told = [advice_lines(advise(wide, 0), indent) for indent in (2, 12)]
    ways = [[line for line in lines if "avoided by" in line] for lines in told]
    assert ways[0] == ways[1] == ["  avoided by leaving Actions Amplitude out of `integrations`"]
    assert block_text({"All": False, "a: b": True, "X": {"key": 1}}) == '{All: false, "a: b": true, X: {...}}'


@pytest.mark.parametrize(
    ("name", "meant"),
    [("actions amplitude", "Actions Amplitude"), ("ActionsAmplitude", "Actions Amplitude"),
     ("Amplitude (Actions)", "Actions Amplitude"), ("GA4", "Google Analytics 4 Cloud"), ("all", "All"),
     ("Actions Amplitude", None), ("Google Analytics 4", None), ("Amplitudes", None), ("Nobody knows", None)],
)  # fmt: skip
def test_names_that_are_nearly_those(name: str, meant: str | None) -> None:
    """Case and blanks count for Segment; what people write in place of a name is known, and no more is guessed."""
    assert meant_name(name) == meant


def job_of(project: Project, integrations: str, joined: str = "2021-05-01 10:00:00") -> Path:
    """A job of one identify call with these integrations."""
    job = project.people(3)
    job.write_text(job.read_text("utf-8").replace("{All: false}", integrations), encoding="utf-8")
    source = project.folder / "people.csv"
    source.write_text(f"id,email,joined,age\nu1,a@example.org,{joined},1\n", encoding="utf-8")
    return job


def test_told_at_each_verb(project: Project, endpoint: str, key: str) -> None:
    """`check`, the plan of a dry run as text, JSON and page, and the question before a live run."""
    job = job_of(project, '{All: false, "Customer.io": true, mixpanel: true}')
    block = "avoided by `integrations: {All: false, Mixpanel: true}`"  # Segment ignores mixpanel
    checked = backfill("check", job)
    assert checked.code == 0
    assert "did you mean 'Mixpanel'?" in checked.err
    assert "  Customer.io\n    may take identify calls in another order than they come in" in checked.err
    planned = backfill("dry-run", job)
    for text in (checked.err, planned.out):
        assert block in text
        assert '`backfill explain "Customer.io"` says more' in text
    (advice,) = backfill("dry-run", job, "--output", "json").object["plan"]["advice"]
    assert advice["destination"] == "Customer.io"
    assert advice["calls"] == ["identify"]
    assert advice["integrations"] == {"All": False, "Mixpanel": True}
    assert advice["source"]["url"].startswith("https://docs.customer.io/")
    assert date.fromisoformat(advice["looked_up"])
    page = project.folder / "plan.html"
    assert backfill("dry-run", job, "--report", page).code == 0
    assert "It may take identify calls in another order than they come in." in page.read_text("utf-8")
    sent = backfill("run", job, "--target", "segment", "--endpoint", endpoint, "--yes")
    assert sent.code == 0
    assert "  advice    Customer.io\n" in sent.err
    assert f"            {'  ' + block}\n" in sent.err


def test_nothing_is_told_of_nothing(project: Project, endpoint: str, key: str) -> None:
    """A job that turns no destination on hears nothing, at any verb."""
    job = job_of(project, "{All: false}")
    told = [backfill("check", job), backfill("dry-run", job)]
    told.append(backfill("run", job, "--target", "segment", "--endpoint", endpoint, "--yes"))
    for result in told:
        assert result.code == 0
        assert "history" not in result.err
        assert "advice" not in result.err + result.out
    assert json.loads(backfill("dry-run", job, "--output", "json").out)["plan"]["advice"] == []


@pytest.mark.parametrize(("asked", "title"), [("GA4", "Google Analytics 4"), ("actions customerio", "Customer.io")])
def test_explained(asked: str, title: str) -> None:
    """A destination's page is found by any of its names."""
    told = backfill("explain", asked)
    assert told.code == 0
    assert told.out.startswith(f"{title}: what it does with history")
    assert "looked up on 2026-" in told.out
