"""Jobs with a tracking plan, from the command line: what is told, rejected, counted, refused."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.projects import Result, backfill

PLAN: dict[str, Any] = {
    "rules": [
        {
            "type": "TRACK", "key": "Order Completed", "version": 1,
            "jsonSchema": {
                "type": "object",
                "properties": {
                    "properties": {
                        "type": "object",
                        "properties": {
                            "total": {"type": "number", "minimum": 0},
                            "currency": {"enum": ["USD", "EUR"]},
                            "items": {"type": "array", "items": {"type": "object", "required": ["sku"]}},
                        },
                        "required": ["total"],
                    }
                },
            },
        },
        {
            "type": "TRACK", "key": "Signed Up", "version": 1,
            "jsonSchema": {"properties": {"properties": {"properties": {"email": {"format": "email"}},
                                                         "additionalProperties": False}}},
        },
        {"type": "COMMON", "key": None, "version": 1, "jsonSchema": {"required": ["userId", "receivedAt"]}},
    ]
}  # fmt: skip
ROWS = """\
id,event,user,total,currency,items,email
1,Order Completed,u1,10.5,USD,"[{""sku"": ""a""}]",
2,Order Completed,u2,-1,usd,"[{""name"": ""b""}]",
3,Order Completed,u3,,USD,,
4,order completed,u4,1,USD,,
5,Signed Up,u5,,,,nobody
6,Signed Up,u6,,,,ada@example.org
7,Order Placed,,1,USD,,
8,Order Placed,,1,USD,,
"""
JOB = """\
version: 1
name: planned
source: {path: rows.csv, columns: {total: number, items: json}}
tracking_plan: plan.json
calls:
  - type: track
    message_key: id
    userId: user
    anonymousId: {value: somebody}
    timestamp: {value: "2024-01-01T00:00:00Z"}
    event: event
    properties: {total: total, currency: currency, items: items, email: email}
    integrations: {All: false}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the job, its rows and its plan."""
    (tmp_path / "rows.csv").write_text(ROWS, "utf-8")
    write_plan(tmp_path, PLAN)
    write_job(tmp_path)
    return tmp_path


def write_plan(folder: Path, plan: Any) -> None:
    """Write the tracking plan."""
    (folder / "plan.json").write_text(json.dumps(plan), "utf-8")


def write_job(folder: Path, *changes: tuple[str, str], more: str = "") -> Path:
    """Write the job, each of the texts replaced by the one beside it."""
    text = JOB
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "job.yaml"
    path.write_text(text + more, "utf-8")
    return path


def dry_run(folder: Path) -> Result:
    """A dry run of the job."""
    return backfill("dry-run", folder / "job.yaml", "--output", "json")


def test_violations_are_warnings(folder: Path) -> None:
    """Each is counted, and told with its event, its path, what is wanted and what to do; nothing is rejected."""
    result = dry_run(folder)
    assert result.code == 0
    assert result.object["problems"] == {"BF140": 3, "BF142": 4, "BF144": 3}
    assert result.object["calls"]["pending"] == 8
    for line in (
        "rows.csv:5 (record 4): track: event = 'order completed'",
        "rows.csv:8 (record 7): track: event = 'Order Placed'",
        "rows.csv:3 (record 2): track: minimum 0 in 'Order Completed': properties.total = '-1.0'",
        "track: one of \"USD\", \"EUR\" in 'Order Completed': properties.currency = 'usd'",
        "rows.csv:3 (record 2): track: in 'Order Completed': properties.items.0.sku (column items)",
        "rows.csv:4 (record 3): track: in 'Order Completed': properties.total",
        "rows.csv:6 (record 5): track: format email in 'Signed Up': properties.email = 'nobody'",
        "rows.csv:8 (record 7): track: by the common schema: userId",
    ):
        assert line in result.err, result.err


def test_unplanned_events_and_properties_are_named(folder: Path) -> None:
    """The plan names each with its calls: in the JSON, in the terminal and on the page; where all is planned, none."""
    (folder / "rows.csv").write_text(ROWS.replace(",USD,,\n4", ",USD,,x@example.org\n4"), "utf-8")
    page = folder / "report.html"
    result = backfill("dry-run", folder / "job.yaml", "--output", "json", "--report", page)
    assert result.object["plan"]["tracking_plan"] == {
        "unplanned_events": [
            {"call": "track", "event": "Order Placed", "calls": 2},
            {"call": "track", "event": "order completed", "calls": 1},
        ],
        "unplanned_properties": [{"call": "track", "event": "Order Completed", "property": "email", "calls": 1}],
        "exact": True,
    }
    told = backfill("dry-run", folder / "job.yaml").out
    assert "  unplanned 2 events not in the tracking plan\n" in told
    assert "    Order Placed: 2 calls\n" in told
    assert "    email in 'Order Completed': 1 call\n" in told
    html = page.read_text("utf-8")
    assert "<td>Order Placed</td><td>(the event)</td>" in html
    assert "<td>Order Completed</td><td>email</td>" in html
    assert "one of &#34;USD&#34;, &#34;EUR&#34; in" in html
    write_job(folder, ("tracking_plan: plan.json\n", ""))
    assert dry_run(folder).object["plan"]["tracking_plan"] is None


def test_rules_reject_what_breaks_the_plan(folder: Path) -> None:
    """Each code is raised on its own; check, preview and dry-run judge alike, and rejects name the violation."""
    write_job(folder, more="rules: {BF140: error, BF142: error, BF144: ignore}\n")
    result = dry_run(folder)
    assert result.code == 3
    assert result.object["problems"] == {"BF140": 3, "BF142": 4}
    assert result.object["calls"]["rejected"] == 5
    assert backfill("check", folder / "job.yaml").code == 3
    shown = backfill("preview", folder / "job.yaml", "-n", "8").out
    assert shown.count("track: rejected") == 5
    run = backfill("run", folder / "job.yaml", "--target", "sandbox")
    assert run.code == 3
    proof = backfill("verify", "planned", "--state-dir", folder / ".backfill", "--output", "json")
    assert proof.code == 0, proof.out + proof.err  # by the validator alone, call by call
    listed = backfill("rejects", "--state-dir", folder / ".backfill").out
    assert "event that the tracking plan does not have" in listed
    assert "property that the tracking plan requires is missing: in 'Order Completed'" in listed


def test_what_a_plan_wants_before_a_row_is_read(folder: Path) -> None:
    """The job's constant event, its properties and those that are required are held against the plan by the file."""
    write_job(folder, ("event: event", "event: {value: Order Complete}"))
    said = backfill("check", folder / "job.yaml").err
    assert 'job.yaml:11:12: calls[0].event: "Order Complete" is not in the tracking plan' in " ".join(said.split())
    assert 'did you mean "Order Completed"?' in said
    write_job(folder, ("event: event", "event: {value: Order Completed}"), ("{total: total,", "{totl: total,"))
    said = backfill("check", folder / "job.yaml").err
    assert 'calls[0].properties: the tracking plan requires "total", and nothing maps it' in said
    assert 'calls[0].properties.totl: "totl" is not in the tracking plan\n    Hint: did you mean "total"?' in said
    assert 'calls[0].properties.email: "email" is not in the tracking plan' in said
    rows = "id,user,a,b\n" + "".join(f"{number},u,x,y\n" for number in range(9))
    (folder / "rows.csv").write_text(rows, "utf-8")
    write_job(
        folder,
        ("event: event", "event: {value: Signed Up}"),
        ("columns: {total: number, items: json}", "format: csv"),
        ("{total: total, currency: currency, items: items, email: email}", "{a: a, b: b, email: user}"),
    )
    check = backfill("check", folder / "job.yaml")
    assert check.out.endswith("job.yaml: planned: no errors in its 9 records\n")
    assert [check.err.count(f'"{name}" is not in the tracking plan') for name in "ab"] == [1, 1]
    assert check.err.count("it has") == 1
    assert "does not have: 18\n    named above, by line of the job file\n" in check.err
    assert "record 1): track: `additionalProperties`" not in check.err
    dry = backfill("dry-run", folder / "job.yaml", "--report", folder / "plan.html")
    assert "does not have: 18\n    named above, by line of the job file\n" in dry.err
    assert "by value: properties.a" not in dry.err
    assert '<td>properties.a</td><td class="n">' not in (folder / "plan.html").read_text("utf-8")


def test_whole_objects(folder: Path) -> None:
    """Properties that come from a column as one object are judged as those that are mapped one by one."""
    rows = [{"id": "1", "p": {"total": 1}}, {"id": "2", "p": {"total": "x", "more": 1, "items": [{}]}}]
    (folder / "rows.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    write_job(
        folder,
        ("rows.csv, columns: {total: number, items: json}", "rows.ndjson, columns: {p: json}"),
        ("userId: user", "userId: id"),
        ("event: event", "event: {value: Order Completed}"),
        ("{total: total, currency: currency, items: items, email: email}", "{column: p}"),
    )
    result = dry_run(folder)
    assert result.object["problems"] == {"BF141": 1, "BF142": 1, "BF143": 1, "BF301": 1}, result.err
    assert "number is wanted in 'Order Completed': properties.total (column p) = 'x'" in result.err
    assert "in 'Order Completed': properties.more (column p) = '1'" in result.err


def test_masked_columns_are_not_shown(folder: Path) -> None:
    """Neither by expressions nor by the validator, nor the names of events that come from such a column."""
    write_job(folder, more="mask: [email, currency, event]\n")
    told = dry_run(folder).err
    assert "properties.currency = '(masked)'" in told
    assert "properties.email = '(masked)'" in told
    for value in ("nobody", "usd", "order completed", "Order Placed", "Order Completed", "Signed Up"):
        assert value not in told


@pytest.mark.parametrize("reference", [False, True])
def test_objects_that_hold_masked_columns_are_not_shown(folder: Path, *, reference: bool) -> None:
    """Nor is the value of an object that a masked column was put into, or that comes from one, by any member's name."""
    (folder / "rows.csv").write_text(
        'id,event,user,total,currency,items,email\n1,A,u1,1,SECRET,"{""x"": ""HIDDEN""}",\n'
    )
    inner = {"maxProperties": 0, "additionalProperties": {"type": "integer"}}
    schema: dict[str, Any] = {"properties": {"properties": inner, "context": {"additionalProperties": inner}}}
    if reference:
        schema |= {"properties": {"properties": {"$ref": "#/definitions/x"}}, "definitions": {"x": inner}}
    write_plan(folder, {"rules": [{"type": "TRACK", "key": "A", "version": 1, "jsonSchema": schema}]})
    old = "properties: {total: total, currency: currency, items: items, email: email}"
    for new in ("properties: {note: currency, total: total}", "properties: {column: items, note: currency}"):
        write_job(folder, (old, new), more="mask: [currency, items]\n")
        result = dry_run(folder)
        assert result.object["problems"]["BF144"] >= 1
        assert [word for word in ("SECRET", "HIDDEN") if word in result.out + result.err] == []


def test_pages_and_people(folder: Path) -> None:
    """Pages are judged by the rule of their name, others by the one without; identify calls by their traits."""
    schema = {"properties": {"properties": {"properties": {"total": {}}, "required": ["total"]}}}
    rules = [
        {"type": "PAGE", "key": "Signed Up", "version": 1, "jsonSchema": schema},
        {"type": "PAGE", "key": None, "version": 1, "jsonSchema": {"properties": {"properties": {"maxProperties": 0}}}},
        {"type": "IDENTIFY", "key": "", "version": 1,
         "jsonSchema": {"properties": {"traits": {"properties": {"plan": {"type": "number"}}}}}},
    ]  # fmt: skip
    write_plan(folder, {"rules": rules})
    identify = """\
  - type: identify
    message_key: id
    userId: id
    timestamp: {value: "2024-01-01T00:00:00Z"}
    traits: {plan: currency, email: email}
    integrations: {All: false}
"""
    page = (("type: track", "type: page"), ("event: event", "name: event"))
    write_job(folder, *page, ("items: items, email: email}", "email: email}"), more=identify)
    result = dry_run(folder)
    # Two pages of the name lack a total and have an email, six others have properties; traits: 5 of text, 2 unplanned.
    assert result.object["problems"] == {"BF141": 4, "BF142": 2, "BF143": 6, "BF144": 6}, result.err


def test_a_changed_plan_is_named(folder: Path) -> None:
    """A run of a plan that was dry-run under other rules ends with exit 6, and says which keyword of which event."""
    planned = dry_run(folder).object["plan"]["id"]
    changed = json.loads(json.dumps(PLAN))
    changed["rules"][0]["jsonSchema"]["properties"]["properties"]["properties"]["total"]["minimum"] = 1
    again = json.loads(json.dumps(PLAN))
    again["rules"][0]["jsonSchema"]["properties"]["properties"] |= {"description": "of no matter", "title": "either"}
    write_plan(folder, changed)
    run = backfill("run", folder / "job.yaml", "--plan", planned, "--target", "sandbox")
    assert run.code == 6
    assert "tracking plan.track.Order Completed.1.properties.properties.properties.total.minimum was changed" in run.err
    write_plan(folder, again)
    assert backfill("run", folder / "job.yaml", "--plan", planned, "--target", "sandbox").code == 0
    (folder / "plan.json").unlink()  # what was sent is still known
    assert backfill("calls", "--state-dir", folder / ".backfill", "planned", "--limit", "1").code == 0


def test_faults_of_the_plan(folder: Path) -> None:
    """All of them are told at once, at the job's field, with exit 2; a library that is missing by its extra."""
    write_plan(folder, {"rules": [{"type": "TRAK", "jsonSchema": {}}, {"type": "TRACK", "key": "a"}]})
    result = backfill("check", folder / "job.yaml")
    assert result.code == 2
    assert "plan.json#/rules/0/type 'TRAK' is no type of rule" in " ".join(result.err.split())
    assert "plan.json#/rules/1 has no `jsonSchema`" in " ".join(result.err.split())


def test_the_library_is_an_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the job is refused with the extra's name."""
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    result = backfill("check", folder / "job.yaml")
    assert result.code == 2
    assert "backfill[protocols]" in result.err


def test_the_page_holds(repository: Path, tmp_path: Path) -> None:
    """The job of docs/tracking-plans.md is one, judged by the sample's plan."""
    page = (repository / "docs" / "tracking-plans.md").read_text("utf-8")
    (job,) = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "job.yaml").write_text(job, "utf-8")
    sample = repository / "sample_data" / "recipes" / "tracking-plan" / "plan.json"
    (tmp_path / "plan.json").write_bytes(sample.read_bytes())
    (tmp_path / "orders.csv").write_text(
        "order_id,customer_id,ordered_at,total,currency\n1,u1,2024-01-01T00:00:00Z,,usd\n", "utf-8"
    )
    result = backfill("dry-run", tmp_path / "job.yaml", "--output", "json")
    assert result.code == 3, result.err
    assert result.object["problems"] == {"BF142": 1, "BF144": 1}
