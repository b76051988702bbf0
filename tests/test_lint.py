"""What is odd about all calls of a plan together."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backfill.errors import JobError
from backfill.job import load_job
from backfill.lint import lint, snake_case, without_identify
from backfill.records import Problem, Severity
from backfill.records.profile import Instants, PlanProfile, Sketch, Values, sketch_of
from backfill.report.samples import sample_lines
from backfill.rules import CODES
from tests.support.projects import Project, backfill

YEAR = 31_536_000_000  # milliseconds
#: Of a job of one call, 200 of which lie in the year 2023.
TIMES = Instants("track", 200, 53 * YEAR, 54 * YEAR, midnight=0, integrations="{}")
EVENT = ("call", "Order Completed")


def profile_of(
    properties: dict[str, dict[str, int]] | None = None,
    *,
    times: Instants = TIMES,
    event: tuple[str, str] = EVENT,
    long: int = 0,
    digest: str = "",
    **more: Any,
) -> PlanProfile:
    """A profile of one event; `properties` say name -> JSON type -> calls."""
    known = {
        (*event, name): {kind: Values(calls, "", digest, long) for kind, calls in kinds.items()}
        for name, kinds in (properties or {}).items()
    }
    return PlanProfile(calls={"call": times}, events={event: times.calls}, properties=known, **more)


ODD = [
    ("BF301", "size", 3, profile_of({"size": {"number": 90, "string": 3, "null": 50}})),
    ("BF302", "userId", 1, profile_of({"userId": {"string": 9}})),
    ("BF302", "received.at", 1, profile_of({"received.at": {"string": 9}})),
    ("BF303", "first_name, firstName", 2, profile_of({"first_name": {"string": 9}, "firstName": {"string": 9}})),
    ("BF303", "a.b, a b", 2, profile_of({"a.b": {"string": 9}, "a b": {"string": 9}})),
    ("BF304", "note", 4, profile_of({"note": {"string": 9}}, long=4)),
    ("BF307", "Paid 10231", 200, profile_of(event=("call", "Paid 10231"))),
    ("BF307", "Report 2024-05-01", 200, profile_of(event=("call", "Report 2024-05-01"))),
    ("BF307", "Mail to ada@example.org", 200, profile_of(event=("call", "Mail to ada@example.org"))),
    ("BF307", "Saw 0f1e2d3c4b5a6978", 200, profile_of(event=("call", "Saw 0f1e2d3c4b5a6978"))),
    ("BF308", "", 20, profile_of(times=replace(TIMES, midnight=20))),
    ("BF309", "", 200, profile_of(times=replace(TIMES, last=TIMES.first, midnight=200))),
    ("BF310", "", 2, profile_of(times=replace(TIMES, first=0))),
    ("BF311", "currency", 5, profile_of({"revenue": {"number": 9}, "currency": {"string": 9}}, unpriced={EVENT: 5})),
    ("BF313", "", 3, profile_of(times=replace(TIMES, first=1_700_000_000))),
    ("BF312", "env", 1, profile_of({"env": {"string": 200}}, digest="x")),
]  # fmt: skip

#: Looks like one of the above, and is as it should be.
PLAIN = [
    profile_of({"size": {"number": 90, "null": 50}}),
    profile_of({"orderId": {"string": 9}, "id_of_user": {"string": 9}}),
    profile_of({"revenue": {"number": 15}, "currency": {"string": 15}}),
    profile_of({"currency": {"string": 15}}),
    profile_of({"env": {"string": 199}}, digest="x"),  # not in every call
    profile_of({"env": {"string": 200}}),  # of several values
    profile_of({"env": {"string": 99}}, digest="x", times=replace(TIMES, calls=99, midnight=99)),  # of few calls
    profile_of({"plan": {"string": 200}}, digest="x"),  # the job states it
    profile_of(event=("call", "Step 2 of 4 (2024)")),
    profile_of(event=("call", "Facade Deadbeef Accede")),
    profile_of(times=replace(TIMES, midnight=19)),
    profile_of(times=replace(TIMES, first=-YEAR, last=20 * YEAR)),  # all of them
]


def judged(
    folder: Path, profile: PlanProfile, early: int, shrunk: int = 0, *, rules: str = "{}"
) -> list[tuple[str, str, int]]:
    """Code, property or event, and of how many."""
    path = folder / "odd.yaml"
    path.write_text(
        "version: 1\nname: odd\nsource: {path: odd.csv}\ncalls:\n  - {type: track, label: call, message_key: [id], "
        "userId: id, timestamp: {column: at, timezone: UTC}, event: {value: Order Completed}, "
        f"integrations: {{All: false}}, properties: {{plan: {{value: free}}, '*': {{}}}}}}\nrules: {rules}\n",
        encoding="utf-8",
    )
    return [
        (one.code, one.column, count) for one, count in lint(load_job(path), profile, {"call": early}, {"call": shrunk})
    ]


@pytest.mark.parametrize(("code", "name", "count", "profile"), ODD, ids=[f"{one[0]}-{one[1]}" for one in ODD])
def test_odd(tmp_path: Path, code: str, name: str, count: int, profile: PlanProfile) -> None:
    """Each is found once, and nothing else is; a job may ignore it."""
    early, shrunk = (2 if code == "BF310" else 3 if code == "BF313" else 0), 3 * (code == "BF313")
    assert judged(tmp_path, profile, early, shrunk) == [(code, name, count)]
    assert judged(tmp_path, profile, early, shrunk, rules=f"{{{code}: ignore}}") == []


@pytest.mark.parametrize("profile", PLAIN)
def test_plain(tmp_path: Path, profile: PlanProfile) -> None:
    """Nothing is said of what is as it should be."""
    early = 200 if (profile.calls["call"].first or 0) < 0 else 0
    assert judged(tmp_path, profile, early) == []


def test_many_event_names(tmp_path: Path) -> None:
    """More event names than a profile keeps apart."""
    events = {("call", f"Event {chr(0x4E00 + number)}"): 1 for number in range(500)}
    profile = PlanProfile(calls={"call": TIMES}, events=events, more_events=True)
    ((code, _, count),) = judged(tmp_path, profile, 0)
    assert (code, count) == ("BF306", profile.event_count)


@pytest.mark.parametrize(
    ("name", "column"),
    [("firstName", "first_name"), ("First Name", "first_name"), ("HTTPStatus", "http_status"), ("a.bC", "a_b_c"),
     ("user-id", "user_id"), ("orderID", "order_id"), ("größe", "gr_e")],
)  # fmt: skip
def test_snake_case(name: str, column: str) -> None:
    """Names become columns as in a warehouse."""
    assert snake_case(name) == column


def test_no_call_is_rejected_for_it(tmp_path: Path) -> None:
    """`rules` cannot make an error of what is odd about all calls."""
    judged(tmp_path, profile_of(), 0, rules="{BF301: error}")
    with pytest.raises(JobError) as raised:
        load_job(tmp_path / "odd.yaml", {code: rule.lowerable for code, rule in CODES.items()})
    assert "of all calls together" in str(raised.value.faults[0])


@pytest.mark.parametrize(("findings", "more"), [(1, ""), (2, ""), (7, "and 2 more")])
def test_findings_are_counted_by_themselves(findings: int, more: str) -> None:
    """What is not shown is told in findings, not in the calls or names that they are of."""
    found = [Problem("BF312", Severity.WARNING, "same", "", 0, column=f"p{number}") for number in range(findings)]
    lines = sample_lines(found, {"BF312": 40}, {}, "")
    assert "40" in lines[0]
    assert [line.strip() for line in lines if "more" in line] == ([more] if more else [])


def test_check_tells_no_constants_of_a_part(project: Project) -> None:
    """Of the first thousand records a property may have one value; a source that is read whole tells."""
    for rows, told in ((1_200, False), (150, True)):
        text = "".join(
            f"{number},2023-01-02T03:04:{number % 60:02}Z,{'x' * (number <= 1_000)}\n" for number in range(1, rows)
        )
        (project.folder / "same.csv").write_text(f"id,at,env\n{text}", encoding="utf-8")
        (project.folder / "same.yaml").write_text(
            "version: 1\nname: same\nsource: {path: same.csv, columns: {at: timestamp}}\ncalls:\n"
            "  - {type: track, message_key: [id], userId: id, timestamp: at, event: {value: Noted}, "
            "integrations: {All: false}, properties: {env: env}}\n",
            encoding="utf-8",
        )
        result = backfill("check", project.folder / "same.yaml")
        assert result.code == 0
        assert ("BF312" in result.err) is told


def test_told_beside_the_other_problems(project: Project) -> None:
    """A dry run counts it with the problems of rows, and shows where it is."""
    rows = "".join(f"{number},2023-01-02,{'x' * 600}\n" for number in range(1, 121))
    (project.folder / "notes.csv").write_text(f"id,day,note\n{rows}", encoding="utf-8")
    (project.folder / "notes.yaml").write_text(
        "version: 1\nname: notes\nsource: {path: notes.csv, timezone: UTC, columns: {day: date}}\ncalls:\n"
        "  - {type: track, message_key: [id], userId: id, timestamp: day, event: {value: Noted}, "
        "integrations: {All: false}, properties: {note: note}}\n",
        encoding="utf-8",
    )
    result = backfill("dry-run", project.folder / "notes.yaml", "--state-dir", project.state)
    assert result.code == 0
    assert "BF304 (warning) text of more than 512 bytes: 120" in result.err
    assert "    track: in 'Noted': note" in result.err
    assert "BF309" in result.err
    assert "BF312" in result.err


def test_calls_of_several_early_days_are_summed(project: Project) -> None:
    """Also where the rows are those of a query, of which a finding names none."""
    days = ["1980-05-05"] * 3 + ["1999-12-31"] * 4 + ["2020-01-02"] * 200
    rows = "".join(f"{number},{day}\n" for number, day in enumerate(days, 1))
    (project.folder / "old.csv").write_text(f"id,day\n{rows}", encoding="utf-8")
    (project.folder / "old.yaml").write_text(
        "version: 1\nname: old\nsource: {path: old.csv, timezone: UTC, columns: {day: date}, "
        "query: SELECT * FROM source ORDER BY id}\ncalls:\n"
        "  - {type: track, message_key: [id], userId: id, timestamp: day, event: {value: Noted}, "
        "integrations: {All: false}}\nrules: {BF308: ignore}\n",
        encoding="utf-8",
    )
    result = backfill("dry-run", project.folder / "old.yaml", "--state-dir", project.state)
    assert "BF310 (warning) a few calls before 2000, the others after: 7\n    track\n" in result.err


ODD_ROWS = """id,anon,at,since,when_paid,signup_date,start_date,update,revenue,currency,n
1,8d5a4c62-6f0e-4c1e-9a55-0c2f1f4ce2a1,2023-01-02 00:00:01,2023-01-02 00:00:01,x,44928,2023-01-02,44928,1,EUR,44928
2,visitor-1024,2023-01-02 00:00:01,1970-01-20 16:13:20,44928.5,44929,,44928,2,,44929
3,0190a5c8-7d2e-7b40-8000-5f3c2b1a0d9e,2023-01-02 00:00:01,1969-01-20 16:13:20,44928,29999,1,x,,USD,60000
"""


def test_odd_rows(project: Project) -> None:
    """What is odd about single rows is counted with its samples, where the job sends what makes it odd."""
    (project.folder / "odd.csv").write_text(ODD_ROWS, encoding="utf-8")
    job = project.folder / "odd.yaml"
    text = (
        "version: 1\nname: odd\nsource: {path: odd.csv, timezone: UTC, columns: {n: integer, revenue: number, "
        "at: timestamp, since: timestamp}}\nrules: {BF203: warn}\n"
        "defaults: {message_key: [id], userId: id, anonymousId: anon, integrations: {All: false, NAME: true}}\ncalls:\n"
        "  - {type: track, timestamp: since, event: {value: Paid}, properties: {revenue: revenue, currency: currency, "
        "last_date: n, startDate: start_date, update: update, when: when_paid}}\n"
        "  - {type: identify, timestamp: at, traits: {signup_date: signup_date}}\n"
    )
    job.write_text(text.replace("NAME", "Mixpanel (Actions)"), encoding="utf-8")
    result = backfill("dry-run", job, "--output", "json")
    assert result.code == 0
    found = {"BF125": 4, "BF126": 4, "BF203": 1, "BF311": 1, "BF313": 1}
    assert result.object["problems"] == found
    assert "odd.csv:3 (record 2): track: anon = 'visitor-1024'" in result.err
    assert "odd.csv:2 (record 1): identify: signup_date = '44928'" in result.err
    assert "last_date (column n) = '44928'" in result.err
    job.write_text(text.replace("NAME", "Amplitude"), encoding="utf-8")
    assert "BF125" not in backfill("dry-run", job, "--output", "json").object["problems"]


def hashes_of(numbers: range) -> Sketch:
    """The sketch of these users, spread as a hash spreads them."""
    hashes = np.array([number * 0x9E3779B97F4A7C15 % 2**64 for number in numbers], np.uint64)
    return sketch_of(hashes)


def test_users_whom_nothing_identifies() -> None:
    """Exact as long as the sketches are; from there on within some percent, of each plan by itself."""
    few = [
        PlanProfile(users=hashes_of(range(9)), identified=hashes_of(range(4))),
        PlanProfile(users=hashes_of(range(6))),
    ]
    assert [(one.count, one.exact) for one in without_identify(few)] == [(5, True), (2, True)]
    events = PlanProfile(users=hashes_of(range(200_000, 500_000)))
    many = [PlanProfile(users=hashes_of(range(300_000)), identified=hashes_of(range(300_000))), events]
    none, missing = without_identify(many)
    assert (none.count, none.exact, missing.exact) == (0, False, False)
    assert abs(missing.count - 200_000) < 6_000


def test_told_of_several_jobs(project: Project) -> None:
    """Of each job by itself, by dry runs and runs; not of one job alone, nor where a job ignores it."""
    folder = project.folder / "jobs"
    folder.mkdir()
    (folder / "a.csv").write_text("id,at\nu1,2024-01-01\nu2,2024-01-01\n", encoding="utf-8")
    (folder / "b.csv").write_text(
        "id,at\nu1,2024-01-01\nU2,2024-01-02\nu9,2024-01-02\nu9,2024-01-03\n", encoding="utf-8"
    )
    head = "version: 1\nname: NAME\nsource: {path: NAME.csv, timezone: UTC, columns: {at: date}}\ncalls:\n"
    call = "  - {type: TYPE, message_key: row, userId: id, timestamp: at, integrations: {All: false}MORE}\n"
    for name, kind, more in (("a", "identify", ""), ("b", "track", ", event: {value: Seen}")):
        text = (head + call).replace("NAME", name).replace("TYPE", kind).replace("MORE", more)
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    told = (
        "BF314 (warning) users without an identify call in any of the jobs of one command: 2\n"
        "    b.csv:3 (record 2): track: id = 'U2'\n"
        "    b.csv:4 (record 3): track: id = 'u9'\n"
    )
    state = ["--state-dir", project.state]
    shown = " ".join(backfill("dry-run", folder, *state).out.split())
    assert all(re.search(rf"`backfill run \S*/{name}\.yaml --plan", shown) for name in "ab")
    asked = ["--output", "json", *state]
    dry = backfill("dry-run", folder, *asked)
    assert told in re.sub(r"\S*/(?=b\.csv)", "", dry.err)
    assert [one["problems"].get("BF314") for one in dry.objects] == [None, 2]
    page = project.folder / "page.html"
    backfill("report", folder / "b.yaml", "--dry-run", "-o", page, *state)
    assert "BF314" in page.read_text("utf-8")
    done = backfill("run", folder, "--target", "sandbox", *asked)
    assert told in re.sub(r"\S*/(?=b\.csv)", "", done.err)
    assert [one["problems"].get("BF314") for one in done.objects] == [None, 2]
    assert backfill("status", folder / "b.yaml", *asked).object["problems"]["BF314"] == 2
    assert "BF314" not in backfill("dry-run", folder / "b.yaml", *state).err
    assert (
        "BF314" not in backfill("dry-run", folder, "--limit", "1", *state).err
    )  # what it leaves out may identify them
    job = folder / "b.yaml"
    text = job.read_text("utf-8")
    job.write_text(text + "mask: [id]\n", encoding="utf-8")
    assert "track: id = '(masked)'" in backfill("dry-run", folder, *state).err
    job.write_text(text + "rules: {BF314: ignore}\n", encoding="utf-8")
    assert "BF314" not in backfill("dry-run", folder, *state).err
