"""Numbers read as epochs: those of another unit come out in 1970, and are told with the unit that was meant."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backfill.prepare.hints import hint_of
from tests.support.projects import backfill

CALL = """\
calls:
  - {{type: track, message_key: [id], userId: {{value: u1}}, timestamp: {timestamp}, event: {{value: E}},
     properties: {{a: {{column: at, on_bad: {on_bad}}}}}, integrations: {{All: false}}}}
"""
SECONDS = 1_601_412_131
#: By format: values that come out in 1970, and values that do not.
VALUES = {
    "epoch_s": ([0, 44_197, 31_535_999], [SECONDS, 31_536_000]),
    "epoch_ms": ([0, SECONDS], [SECONDS * 10**3]),
    "epoch_us": ([SECONDS * 10**3], [SECONDS * 10**6]),
    "epoch_ns": ([SECONDS * 10**6, 999], [SECONDS * 10**9]),
}


def job_in(folder: Path, source: str, timestamp: str, *, rules: str = "{}", on_bad: str = "reject") -> Path:
    """A job over `data.csv` or `data.parquet`."""
    path = folder / "job.yaml"
    text = f"version: 1\nname: epochs\nrules: {rules}\nsource: {{{source}}}\n"
    path.write_text(text + CALL.format(timestamp=timestamp, on_bad=on_bad), "utf-8")
    return path


@pytest.mark.parametrize("way", ["undeclared", "declared", "parquet", "staged parquet", "ndjson", "sql"])
def test_each_way_to_an_epoch(tmp_path: Path, way: str) -> None:
    """Whatever the file, and wherever the format is stated: values in 1970 are told, others are not."""
    for unit, (early, good) in VALUES.items():
        folder = tmp_path / unit
        folder.mkdir()
        rows = [{"id": str(number), "at": value} for number, value in enumerate([*early, *good])]
        stated = f"{{column: at, format: {unit}}}"
        if way in ("undeclared", "declared", "sql"):
            text = "".join(f"{row['id']},{row['at']}\n" for row in rows)
            (folder / "data.csv").write_text(f"id,at\n{text}", "utf-8")
            declared = f", columns: {{at: {{type: timestamp, format: {unit}}}}}"
            source = "path: data.csv" + ("" if way == "undeclared" else declared)
            stated = {"undeclared": stated, "declared": "at", "sql": """{sql: '"at" + INTERVAL 1 SECOND'}"""}[way]
        elif way == "ndjson":
            (folder / "data.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
            source = "path: data.ndjson"
        else:
            pq.write_table(pa.Table.from_pylist(rows), folder / "data.parquet")
            source = "path: data.parquet" + (", query: FROM source" if way == "staged parquet" else "")
        result = backfill("dry-run", job_in(folder, source, stated, on_bad="omit"), "--output", "json").object
        assert result["calls"]["rejected"] == len(early), unit
        assert result["problems"].pop("BF207") >= len(early)
        assert set(result["problems"]) <= {"BF110"}  # the property, as a number


def test_a_job_may_let_1970_be(tmp_path: Path) -> None:
    """The rule may be lowered, and ignored."""
    (tmp_path / "data.csv").write_text("id,at\n1,5\n", "utf-8")
    source, stated = "path: data.csv", "{column: at, format: epoch_s}"
    warned = backfill("dry-run", job_in(tmp_path, source, stated, rules="{BF207: warn}"), "--output", "json")
    assert (warned.code, warned.object["problems"]) == (0, {"BF207": 1})
    ignored = backfill("dry-run", job_in(tmp_path, source, stated, rules="{BF207: ignore}"), "--output", "json")
    assert (ignored.code, ignored.object["problems"]) == (0, {})


def test_a_property_may_be_left_out(tmp_path: Path) -> None:
    """A declared epoch in a property is judged as well; `on_bad: omit` leaves it out, a lowered rule lets it be."""
    (tmp_path / "data.csv").write_text("id,at\n1,5\n2,1600000000\n", "utf-8")
    source = "path: data.csv, columns: {at: {type: timestamp, format: epoch_s}}"
    stated = "{value: '2024-01-01T00:00:00Z'}"
    rejected = backfill("dry-run", job_in(tmp_path, source, stated), "--output", "json").object
    assert (rejected["calls"]["rejected"], rejected["problems"]) == (1, {"BF207": 1})
    for rules, wanted in (("{}", None), ("{BF207: warn}", "1970-01-01T00:00:05.000Z")):
        job = job_in(tmp_path, source, stated, on_bad="omit", rules=rules)
        shown = (
            backfill("preview", job, "--output", "json")
            if wanted == ""
            else backfill("dry-run", job, "--output", "json")
        )
        assert (shown.code, shown.object["problems"]) == (0, {"BF207": 1})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("1601412131", "as epoch_s 1601412131 is of 2020-09-29: state `format: epoch_s`"),
        ("1601412131.25", "as epoch_s 1601412131.25 is of 2020-09-29"),
        ("1601412131000", "`format: epoch_ms`"),
        ("1601412131000000", "`format: epoch_us`"),
        ("1601412131000000000", "`format: epoch_ns`"),
        ("44197.5", "as a spreadsheet's serial day 44197.5 is of 2021-01-01"),
        ("44197", "state `format: excel`"),
        ("0", "0 stands for no time"),
        ("5", "check the unit"),
        ("", "check the unit"),
        ("1e999999", "check the unit"),
        ("NaN", "check the unit"),
    ],
)
def test_the_hint_names_the_unit(value: str, words: str) -> None:
    """The unit that makes a likely date of the value is named, or what else the value may be."""
    assert words in hint_of("BF207", "at", value)
    if words.endswith("`"):  # in the future, or beyond every calendar, it is of another unit as well
        assert words in hint_of("BF204", "at", value)
        assert words in hint_of("BF202", "at", value)


def test_the_serial_hint_works(tmp_path: Path) -> None:
    """The format that a spreadsheet's serial day is answered with reads it."""
    (tmp_path / "data.csv").write_text("id,at\n1,44197.5\n", "utf-8")
    first = backfill("dry-run", job_in(tmp_path, "path: data.csv", "{column: at, format: epoch_s}"))
    assert first.code == 3
    assert "state `format: excel`, and a `timezone`" in first.err
    at = "{column: at, format: excel, timezone: UTC}"
    second = backfill("dry-run", job_in(tmp_path, "path: data.csv", at), "--output", "json")
    assert second.code == 0, second.err
    assert second.object["dates"] == {"track": {"earliest": "2021-01-01", "latest": "2021-01-01"}}


def test_the_range_of_dates(tmp_path: Path) -> None:
    """A dry run says from when to when its calls are, as text and in JSON; calls that are not sent do not count."""
    (tmp_path / "data.csv").write_text("id,at\n1,1600000000\n2,1700000000\n3,5\n", "utf-8")
    job = job_in(tmp_path, "path: data.csv", "{column: at, format: epoch_s}")
    assert "dated     track 2020-09-13 to 2023-11-14" in backfill("dry-run", job).out
    wanted = {"track": {"earliest": "2020-09-13", "latest": "2023-11-14"}}
    assert backfill("dry-run", job, "--output", "json").object["dates"] == wanted
    assert backfill("run", job, "--target", "sandbox", "--output", "json").object["dates"] == wanted
    assert backfill("status", "--state-dir", tmp_path / ".backfill", "--output", "json").object["dates"] == wanted
