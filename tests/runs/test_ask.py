"""`reconcile --ask`: a sandbox, PostHog, Segment's Delivery Overview are asked what they hold, by ids or by counts."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backfill.clock import Clock
from backfill.errors import UsageError
from backfill.pipeline import RunContext
from backfill.reconcile.ask.run import count_run, counter_of
from backfill.sandbox import Sandbox
from backfill.state.folder import StateFolder
from backfill.targets.asked import load_asked
from tests.support.projects import Project, Result, backfill
from tests.support.sandbox_calls import KEY, client_of, post
from tests.support.stand_ins.holders import TOKEN, DeliveryOverview, Event, PostHog
from tests.support.stand_ins.server import Said, StandIn

ROWS = 400
JOB = """\
version: 1
name: people
source: {path: people.csv, timezone: UTC, columns: {age: integer}}
defaults: {userId: id, timestamp: {column: joined, format: "%Y-%m-%d %H:%M:%S"}, integrations: {All: false}}
calls:
  - {type: identify, message_key: [id], traits: {email: email, age: age}}
  - {type: track, when: age > 44, message_key: [id], event: {sql: "'Year ' || age % 3"}, properties: {age: age}}
"""


@dataclass
class Room:
    """A finished run, the sandbox that has its calls, and what is to be asked."""

    project: Project
    job: Path
    sandbox: Sandbox
    calls: list[dict[str, Any]]

    def ask(self, settings: str, *options: str | Path) -> Result:
        """Ask what these settings of targets.yaml say."""
        (self.project.folder / "targets.yaml").write_text(
            f"version: 1\ntargets: {{}}\nask:\n  it: {settings}\n", "utf-8"
        )
        return backfill("reconcile", self.job, "--ask", "it", *options)

    @property
    def events(self) -> list[Event]:
        """The calls as PostHog may have them."""
        return [
            (one["messageId"], datetime.fromisoformat(one["timestamp"]), one.get("event", "$identify"))
            for one in self.calls
        ]

    @property
    def types(self) -> list[tuple[str, str | None]]:
        """The calls as Segment counts them."""
        return [(one["type"], one.get("event")) for one in self.calls]


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """It."""
    project = Project(tmp_path_factory.mktemp("ask"))
    job = project.people(ROWS)
    job.write_text(JOB, "utf-8")
    folder = project.folder / "store"
    with Sandbox(folder, keep_calls=None) as sandbox, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGMENT_WRITE_KEY", "a-key")
        assert backfill("run", job, "--target", "segment", "--endpoint", sandbox.endpoint, "--yes").code == 0
        with closing(sqlite3.connect(folder / "sandbox.sqlite3")) as store:
            calls = [json.loads(text) for (text,) in store.execute("SELECT json FROM calls")]
        yield Room(project, job, sandbox, calls)


@pytest.fixture(autouse=True)
def _tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens and a write key in the environment."""
    monkeypatch.setenv("SEGMENT_WRITE_KEY", "a-key")
    for variable in ("POSTHOG_API_KEY", "SEGMENT_PUBLIC_API_TOKEN", "OTHER_TOKEN"):
        monkeypatch.setenv(variable, TOKEN)


def test_a_sandbox(room: Room, tmp_path: Path) -> None:
    """All its calls with their dates; one that keeps few of them has the ids of the others; an empty one nothing."""
    found = room.ask(f"{{kind: sandbox, endpoint: {room.sandbox.endpoint}}}", "--output", "json")
    assert (found.code, found.object["all_there"]) == (0, True), found.err
    counts = found.object["counts"]
    assert (counts["rows"], counts["dates_compared"], counts["late"]) == (len(room.calls), len(room.calls), 0)
    assert found.object["against"] == f"the sandbox at {room.sandbox.endpoint}"
    with Sandbox(tmp_path / "few", keep_calls=10) as few:
        again = room.project.folder / "again.yaml"
        again.write_text(JOB.replace("name: people", "name: again"), "utf-8")
        assert backfill("run", again, "--target", "segment", "--endpoint", few.endpoint, "--yes").code == 0
        asked = replace(room, job=again).ask(f"{{kind: sandbox, endpoint: {few.endpoint}}}", "--output", "json")
    assert (asked.code, asked.object["counts"]["rows"], asked.object["counts"]["dates_compared"]) == (
        0,
        len(room.calls),
        10,
    )
    assert any(
        f"of {len(room.calls) - 10:,} calls the sandbox has the ids alone" in one for one in asked.object["notes"]
    )
    with Sandbox(tmp_path / "none") as nothing:
        missing = room.ask(f"{{kind: sandbox, endpoint: {nothing.endpoint}}}", "--output", "json")
    assert (missing.code, missing.object["counts"]["missing"]) == (3, len(room.calls))


def test_posthog_by_ids(room: Room, tmp_path: Path) -> None:
    """Missing, doubled and moved events are found; it is asked again where it is busy; the missing can be requeued."""
    events = room.events
    moved = [(identity, at + timedelta(hours=5), event) for identity, at, event in events[10:12]]
    service = PostHog([*events[5:10], *moved, *events[12:], *events[20:23], ("somebody's", datetime.now(UTC), "Live")])
    busy = [Said(429, headers={"Retry-After": "0"}), Said(503, headers={"Retry-After": "0"})]
    with StandIn(service, first=busy) as posthog:
        settings = f'{{kind: posthog, endpoint: "{posthog.url}", project: "42", message_id: uuid}}'
        missing = tmp_path / "missing.txt"
        found = room.ask(settings, "--output", "json", "--missing", missing)
        assert posthog.said[:3] == [429, 503, 200]
        counts = found.object["counts"]
        assert (counts["missing"], counts["doubled"], counts["shifted"], counts["unknown_rows"]) == (5, 3, 2, 0)
        assert (found.code, found.object["cause"]) == (3, "time_zone")
        assert sorted(missing.read_text("utf-8").split()) == sorted(identity for identity, _, _ in events[:5])
        assert any("what is late is not known" in one for one in found.object["notes"])
        planned = room.ask(settings, "--output", "json", "--requeue", "--late", "0s")
        assert planned.object["requeue"]["calls"] == 5
    assert TOKEN not in found.out + found.err


def test_posthog_by_counts(room: Room) -> None:
    """Without what has the message id, track calls are counted by event, and what that cannot tell is said."""
    first = next(event for _, _, event in room.events if event != "$identify")
    events = [one for one in room.events if one[2] != first] + [one for one in room.events if one[2] == first][3:]
    with StandIn(PostHog(events)) as posthog:
        settings = f'{{kind: posthog, endpoint: "{posthog.url}", project: "42", token: "${{OTHER_TOKEN}}"}}'
        found = room.ask(settings, "--output", "json").object
        text = room.ask(settings)
        assert room.ask(settings, "--requeue").code == 2
    tracked = Counter(event for _, _, event in room.events if event != "$identify")
    assert {one["value"]: one["delivered"] for one in found["counts"]} == tracked
    assert {one["value"]: one["delivered"] - one["received"] for one in found["counts"] if one["value"] == first} == {
        first: 3
    }
    assert (found["fewer"], text.code) == (3, 3)
    assert "at least 3 fewer were received than delivered" in text.out
    assert "they are not compared" in " ".join(text.out.split())
    assert max(map(len, text.out.splitlines())) <= 80


def test_segments_delivery_overview(room: Room, tmp_path: Path) -> None:
    """By type and event, in the hours of the run, page by page; what failed on ingest is told with its reasons."""
    lost = [one for one in room.types if one[1] is not None][:4]
    received = room.types
    for one in lost:
        received.remove(one)
    service = DeliveryOverview([*received, ("track", "Live"), ("page", "Home")], ["BLOCKED_EVENT"] * 3 + ["EMPTY"])
    with StandIn(service) as segment:
        settings = f'{{kind: segment, endpoint: "{segment.url}", source_id: rh5BDZp6}}'
        found = room.ask(settings, "--output", "json")
        text = room.ask(settings).out
        (tmp_path / "told.json").write_text(found.out, "utf-8")
        service.received = room.types
        whole = room.ask(settings)
    page = tmp_path / "page.html"
    assert backfill("report", room.job, "--reconciled", tmp_path / "told.json", "-o", page).code == 0
    assert "At least 4 fewer were received than delivered." in page.read_text("utf-8")
    assert "<th>Failed on ingest: BLOCKED_EVENT</th><td>3</td>" in page.read_text("utf-8")
    told = found.object
    assert (found.code, told["fewer"], told["failed"]) == (3, 4, {"BLOCKED_EVENT": 3, "EMPTY": 1})
    wanted = {("type", kind): calls for kind, calls in Counter(kind for kind, _ in room.types).items()}
    wanted |= {("event", event): calls for event, calls in Counter(event for _, event in room.types if event).items()}
    assert {(one["field"], one["value"]): one["delivered"] for one in told["counts"]} == wanted
    fewer = {(one["field"], one["value"]): one["delivered"] - one["received"] for one in told["counts"]}
    assert fewer["type", "track"] == 3  # another sender's is among them
    assert sum(calls for (name, _), calls in fewer.items() if name == "event") == 4
    ((begin, end, granularity),) = service.windows
    assert (granularity, begin <= told["begin"], told["end"] <= end, begin[13:], end[13:]) == (
        "HOUR",
        True,
        True,
        ":00:00Z",
        ":00:00Z",
    )
    assert "  failed    3 on ingest: BLOCKED_EVENT" in text
    assert max(map(len, text.splitlines())) <= 80
    assert (whole.code, "no fewer were received than delivered" in whole.out) == (0, True)


def test_counts_that_are_gone(room: Room) -> None:
    """Segment keeps them for thirty days: of a run before that nothing is asked; of a long one they are by the day."""
    with StandIn(DeliveryOverview(room.types)) as segment:
        room.ask(f'{{kind: segment, endpoint: "{segment.url}", source_id: rh5BDZp6}}')
        asked = load_asked("it", room.project.folder / "targets.yaml", {"SEGMENT_PUBLIC_API_TOKEN": TOKEN})
        store = StateFolder(room.project.state)
        (run,) = [
            one for one in store.runs() if one.run_id.startswith("people-segment") and "requeue" not in one.run_id
        ]
        later = RunContext(store=store, clock=Clock(now=lambda: datetime.now(UTC).timestamp() + 31 * 86_400))
        with pytest.raises(UsageError, match="goes back 30 days"):
            count_run(run, counter_of(asked, later), later)
        context = RunContext(store=store)
        now = context.clock.now()
        by_day = counter_of(asked, context).count(now - 20 * 86_400, now)
    assert (by_day.begin % 86_400, by_day.end % 86_400, by_day.total) == (0, 0, len(room.types))


WRONG = [
    ('{kind: posthog, project: "7"}', 8, "answers 404"),
    ('{kind: posthog, project: "42", message_id: "uuid) OR (1"}', 2, "ask.it.message_id cannot be that"),
    ('{kind: posthog, project: "42", token: phx_secretTokenOfNobody}', 2, "ask.it.token is to be a variable"),
    ('{kind: posthog, project: "42", token: "${NOT_SET}"}', 2, "NOT_SET is not set"),
    ("{kind: posthog}", 2, "has no `project`"),
    ('{kind: posthog, project: "42", source_id: x}', 2, "ask.it.source_id is for kind segment"),
    ('{kind: posthog, project: "42", token: "${WRONG_TOKEN}"}', 8, "answers 401"),
]


@pytest.mark.parametrize(("settings", "code", "said"), WRONG)
def test_what_is_wrong(room: Room, monkeypatch: pytest.MonkeyPatch, settings: str, code: int, said: str) -> None:
    """Each with its exit code; no token is shown, wherever it stands, though the service repeats it."""
    monkeypatch.setenv("WRONG_TOKEN", "phx_anotherSecret")
    with StandIn(PostHog()) as posthog:
        found = room.ask(settings.replace("kind: posthog", f'kind: posthog, endpoint: "{posthog.url}"'))
    assert (found.code, said in found.err) == (code, True), found.err
    assert "ecret" not in found.out + found.err


def test_what_cannot_be_asked(room: Room) -> None:
    """No such name, nothing or both to compare with, plain http beyond this machine, answers that are none."""
    assert room.ask("{kind: sandbox, endpoint: http://10.0.0.1}").code == 2
    settings = f"{{kind: sandbox, endpoint: {room.sandbox.endpoint}}}"
    assert room.ask(settings, "--against", "x.csv").code == 2
    assert backfill("reconcile", room.job).code == 2
    other = backfill("reconcile", room.job, "--ask", "its")
    assert (other.code, "there is nothing to ask by the name 'its'" in other.err) == (2, True)
    for answer in (Said(200, "<html>"), Said(200, '{"results": 7}'), Said(400, '{"detail": "no such column"}')):
        with StandIn(lambda _asked, answer=answer: answer) as posthog:  # type: ignore[misc]
            found = room.ask(f'{{kind: posthog, endpoint: "{posthog.url}", project: "42"}}')
        assert found.code == 9, found.err


ASKED = (
    '{kind: sandbox, endpoint: "URL"}',
    '{kind: posthog, endpoint: "URL", project: "42", message_id: uuid}',
    '{kind: posthog, endpoint: "URL", project: "42"}',
    '{kind: segment, endpoint: "URL", source_id: x}',
)
STRANGE = (
    "[1]",
    '{"calls": 5, "results": [[1]], "data": 5}',
    '{"calls": [{"call": 5}], "next": null, "results": [[{}, 1, null]], "data": {"dataset": [{"total": "x"}]}}',
    '{"calls": [], "next": 0, "results": [5], "data": {"dataset": {}, "pagination": null}}',
    "[" * 50_000,
    '{"calls": "\\ud800", "results": [["\\ud800", "x", "y"]], "data": "\\ud800"}',
)


@pytest.mark.parametrize("settings", ASKED)
def test_answers_in_another_form_are_told(room: Room, monkeypatch: pytest.MonkeyPatch, settings: str) -> None:
    """As of another program at that address, or of a later version: by whom, exit 9, and never for ever."""
    monkeypatch.setenv("SEGMENT_PUBLIC_API_TOKEN", TOKEN)
    monkeypatch.setenv("POSTHOG_API_KEY", TOKEN)
    for answer in STRANGE:
        with StandIn(lambda _asked, answer=answer: Said(200, answer)) as strange:  # type: ignore[misc]
            found = room.ask(settings.replace("URL", strange.url))
        assert (found.code, strange.url in found.err or "Delivery Overview" in found.err) == (9, True), (answer, found)


def test_calls_of_others_in_a_sandbox_may_have_any_name(room: Room) -> None:
    """A name that is no text, in a call of a type that has none, is told as text."""
    with Sandbox() as sandbox, client_of(sandbox.endpoint, auth=KEY) as client:
        post(client, [{"type": "identify", "userId": "u", "messageId": "m", "name": {"a": [1]}, "event": 5}])
        found = room.ask(f'{{kind: sandbox, endpoint: "{sandbox.endpoint}"}}', "--output", "json")
    assert (found.code, found.object["counts"]["unknown_rows"]) == (3, 1), found
