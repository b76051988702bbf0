"""`reconcile`: what was taken away, doubled, moved or added in a destination is found, each call, and no other."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import polars as pl
import pytest
import sqlglot
from sqlglot import exp

from backfill.reconcile.calls import Standing
from backfill.reconcile.compare import Comparison
from backfill.reconcile.partitions import CALL, NO_PLACE, NO_TIME, ROW, with_ids
from backfill.reconcile.result import Reconciled
from backfill.sandbox import FaultScript, Sandbox
from tests.support.pages import REPOSITORY, blocks
from tests.support.postgres import Postgres
from tests.support.projects import Project, Result, backfill

ROWS, BAD = 8_000, 7
MISSING, DOUBLED, SHIFTED = range(500, 700), range(3_000, 3_060), range(5_000, 5_050)


@dataclass
class Sent:
    """A finished run, and what a warehouse that is right has of it."""

    project: Project
    job: Path
    rows: pl.DataFrame  # in plan order

    def reconcile(self, rows: pl.DataFrame | None = None, *options: str | Path, name: str = "rows.parquet") -> Result:
        """Compare with these rows, as a file of that name."""
        file = self.project.folder / name
        if rows is not None:
            getattr(rows, {"csv": "write_csv", "parquet": "write_parquet"}[name.rpartition(".")[2]])(file)
        return backfill("reconcile", self.job, "--against", file, "--output", "json", *options)


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Sent:
    """The run, of which the sandbox has each call but one that the checks rejected."""
    project = Project(tmp_path_factory.mktemp("reconcile"))
    job = project.people(ROWS, bad=[BAD])
    folder = project.folder / "store"
    with Sandbox(folder, keep_calls=None) as sandbox, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGMENT_WRITE_KEY", "a-key")
        live = ("--target", "segment", "--endpoint", sandbox.endpoint, "--yes", "--rate", "unlimited")
        assert backfill("run", job, *live, "--keep-spool").code == 3
    with closing(sqlite3.connect(folder / "sandbox.sqlite3")) as store:
        found = store.execute("SELECT message_id, json ->> 'userId', original_timestamp FROM calls").fetchall()
    rows = pl.DataFrame(found, schema=["id", "user_id", "original_timestamp"], orient="row").sort("user_id")
    instant = pl.col("original_timestamp").str.to_datetime(time_zone="UTC")
    received = pl.lit(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    rows = rows.with_columns(original_timestamp=instant, received_at=received, sent_at=received, event=pl.lit("Seen"))
    assert len(rows) == ROWS - 1
    return Sent(project, job, rows)


def test_each_that_is_wrong(sent: Sent, tmp_path: Path) -> None:
    """Each of those removed, doubled, shifted, and of other senders; by id, by event and day, in any order of rows."""
    rows = sent.rows.with_row_index("n")
    moved = pl.col("original_timestamp") + pl.duration(hours=5)
    rows = rows.with_columns(
        original_timestamp=pl.when(pl.col("n").is_in(SHIFTED)).then(moved).otherwise(pl.col("original_timestamp"))
    ).filter(~pl.col("n").is_in(MISSING))
    doubles = rows.filter(pl.col("n").is_in(DOUBLED))
    others = rows.head(3).with_columns(id="node-next-" + pl.col("n").cast(pl.String), event=pl.lit("Live"))
    rows = pl.concat([rows, doubles, doubles, others]).sample(fraction=1, shuffle=True, seed=5)
    file = tmp_path / "missing.txt"
    result = sent.reconcile(rows, "--missing", file)
    found = result.object
    assert result.code == 3
    assert file.read_text("utf-8").splitlines() == sent.rows["id"][list(MISSING)].to_list()
    counts = found["counts"]
    assert (counts["missing"], counts["doubled"], counts["surplus_rows"]) == (200, 60, 120)
    assert (counts["shifted"], counts["unknown_rows"], counts["late"]) == (50, 3, 0)
    assert (counts["delivered"], counts["there"], counts["dates_compared"]) == (ROWS - 1, ROWS - 201, ROWS - 201)
    assert (found["shifts"], found["cause"]) == ([{"shift_ms": 5 * 3_600_000, "calls": 50}], "time_zone")
    assert found["unknown_by_event"] == {"Live": 3}
    listed = {kind: {one["message_id"] for one in some} for kind, some in found["listed"].items()}
    for kind, places in (("doubled", DOUBLED), ("shifted", SHIFTED)):
        assert listed[kind] == set(sent.rows["id"][list(places)].head(20))
    assert listed["unknown"] == set(others["id"])
    days = sent.rows["original_timestamp"].dt.date().cast(pl.String)
    by_day = {one["day"]: one for one in found["by_event_and_day"]}
    for kind, places in (("missing", MISSING), ("doubled", DOUBLED), ("shifted", SHIFTED)):
        expected = dict(days[list(places)].value_counts().rows())
        assert {day: one[kind] for day, one in by_day.items() if one[kind]} == expected


def test_all_there(sent: Sent) -> None:
    """The sandbox's own store, as docs/proof.md reads it: every call once on its date; a finished run's too."""
    options = ("--table", "calls", "--timestamp", "timestamp", "--received-at", "received_ms", "--event", "type")
    store = sent.project.folder / "store" / "sandbox.sqlite3"
    result = backfill("reconcile", sent.job, "--against", store, "--output", "json", *options)
    assert (result.code, result.object["all_there"]) == (0, True)
    assert result.object["counts"]["dates_compared"] == ROWS - 1
    text = backfill("reconcile", sent.job, "--against", store, *options).out
    assert "every delivered call is there once, on its date" in text
    assert max(len(line) for line in text.splitlines() if str(store) not in line) <= 80


def test_on_the_page_of_the_run(sent: Sent, tmp_path: Path) -> None:
    """`report` shows what was found, escaped, where it is of that run; what is no such result is refused."""
    rows = sent.rows.tail(-5)
    found = sent.reconcile(pl.concat([rows, rows.head(2)]))
    told = tmp_path / "told.json"
    told.write_text(found.out.replace('"identify"', '"<img src=x>"'), "utf-8")
    page = tmp_path / "page.html"
    assert backfill("report", sent.job, "-o", page, "--reconciled", told).code == 0
    text = page.read_text("utf-8")
    assert "5 missing, 2 doubled." in text
    assert "<th>&lt;img src=x&gt;</th>" in text
    assert f'<td class="n">{ROWS - 1:,}</td><td class="n">5</td><td class="n">2</td><td class="n">0</td>' in text
    assert "<img" not in text
    assert backfill("report", sent.job, "-o", page, "--force").code == 0
    assert "What the destination holds" not in page.read_text("utf-8")
    for wrong, words in (
        (json.dumps(found.object | {"run_id": "other-run"}), "is of other-run, not of people-segment"),
        (json.dumps({"run_id": found.object["run_id"]}), "is no result of reconcile"),
        ("[]", "is no result of reconcile"),
        ("no JSON", "is no result of reconcile"),
    ):
        told.write_text(wrong, "utf-8")
        refused = backfill("report", sent.job, "-o", page, "--force", "--reconciled", told)
        assert (refused.code, words in refused.err) == (2, True), refused.err


def test_dates_as_text(sent: Sent) -> None:
    """Times without a zone are those of --timezone; what all shifts have in common is named."""
    local = pl.col("original_timestamp").dt.convert_time_zone("Europe/Berlin").dt.to_string("%d.%m.%Y %H:%M:%S")
    rows = sent.rows.with_columns(original_timestamp=local)
    assert sent.reconcile(rows, "--timezone", "Europe/Berlin", name="rows.csv").code == 0
    found = sent.reconcile(rows, name="rows.csv").object
    assert (found["counts"]["shifted"], found["cause"]) == (ROWS - 1, "time_zone")
    assert any("taken for UTC: original_timestamp" in note for note in found["notes"])
    for times, cause in (
        (pl.col("received_at"), "dated_as_received"),
        (pl.col("original_timestamp") + pl.duration(minutes=7), "sent_at"),
        (
            pl.col("original_timestamp") + pl.duration(hours=pl.col("original_timestamp").dt.day() % 2 + 1),
            "time_zone_with_summer",
        ),
    ):
        moved = sent.rows.with_columns(timestamp=times).drop("original_timestamp")
        assert sent.reconcile(moved).object["cause"] == cause
    near = sent.rows.with_columns(timestamp=pl.col("original_timestamp") + pl.duration(seconds=90))
    assert sent.reconcile(near).code == 0
    assert sent.reconcile(near, "--timestamp", "timestamp").code == 0
    assert sent.reconcile(near, "--timestamp", "timestamp", "--tolerance", "1m").code == 3


def test_late_and_odd_rows(sent: Sent) -> None:
    """What came long after it was sent, rows without an id, times that are none."""
    early = sent.rows.head(4).with_columns(sent_at=pl.col("received_at") - timedelta(hours=2))
    rows = pl.concat([early, sent.rows.tail(-4)])
    assert sent.reconcile(rows).object["counts"]["late"] == 4
    assert sent.reconcile(rows, "--late", "3h").object["counts"]["late"] == 0
    odd = sent.rows.head(2).with_columns(id=pl.Series([None, ""], dtype=pl.String))
    result = sent.reconcile(pl.concat([sent.rows, odd]))
    counts = result.object["counts"]
    assert (result.code, counts["without_id"], counts["unknown_rows"], counts["doubled"]) == (0, 2, 0, 0)
    text = pl.col("original_timestamp").dt.to_string("%Y-%m-%dT%H:%M:%SZ")
    broken = sent.rows.with_row_index("n").with_columns(
        original_timestamp=pl.when(pl.col("n") == 3_000).then(pl.lit("soon")).otherwise(text)
    )
    found = sent.reconcile(broken, name="rows.csv").object
    assert (found["bad_times"], found["counts"]["dates_compared"]) == ({"original_timestamp": 1}, ROWS - 2)


def test_in_doubt_earlier_and_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls in doubt are there or not; those of another generation are its own; without bytes ids alone count."""
    monkeypatch.setenv("SEGMENT_WRITE_KEY", "a-key")
    project = Project(tmp_path)
    job = project.people(50)
    with Sandbox(tmp_path / "store", faults=FaultScript.parse(["status=503,first=1"])) as sandbox:
        live = ("--target", "segment", "--endpoint", sandbox.endpoint, "--yes")
        assert backfill("run", job, *live, "--attempts", "1").code == 5
        nothing = tmp_path / "nothing.csv"
        nothing.write_text("id\nsomebody's\n", "utf-8")
        doubted = backfill("reconcile", job, "--against", nothing, "--output", "json")
        counts = doubted.object["counts"]
        assert (doubted.code, counts["in_doubt_missing"], counts["missing"], counts["unknown_rows"]) == (3, 10, 0, 1)
        assert backfill("resume", "people", "--state-dir", project.state, "--yes").code == 0
        job.write_text(job.read_text("utf-8").replace("name: people", "name: people\ngeneration: 2"), "utf-8")
        assert backfill("run", job, *live).code == 0
    store = (tmp_path / "store" / "sandbox.sqlite3", "--table", "calls")
    both = backfill("reconcile", job, "--against", *store, "--output", "json").object
    assert both["counts"]["there"] == 50
    assert (list(both["other_runs"].values()), both["counts"]["unknown_rows"]) == ([50], 0)
    project.rows(51)  # the source is another now, and the bytes were let go
    ids = backfill("reconcile", job, "--against", *store, "--output", "json")
    assert (ids.code, ids.object["counts"]["there"], ids.object["counts"]["dates_compared"]) == (0, 50, 0)
    assert any("dates and events of calls are not known" in note for note in ids.object["notes"])


def test_ids_of_the_sources_own(tmp_path: Path) -> None:
    """They are named while the calls can be made again; then they are counted alone, which is said."""
    project = Project(tmp_path)
    nothing = project.people(1, bad=[0], name="nothing")
    assert backfill("run", nothing, "--target", "sandbox").code == 3
    job = project.people(5)
    job.write_text(job.read_text("utf-8").replace("message_key: [id]", "message_id: email"), "utf-8")
    assert backfill("run", job, "--target", "sandbox").code == 0
    other = project.people(3, name="other")
    assert backfill("run", other, "--target", "sandbox").code == 0
    (tmp_path / "there.csv").write_text("messageId\n0@example.org\n2@example.org\n3@EXAMPLE.org\n", "utf-8")
    command = ("reconcile", job, "--against", tmp_path / "there.csv", "--missing", tmp_path / "missing.csv", "--force")
    missing = ["1@example.org", "3@example.org", "4@example.org"]
    found = backfill(*command)
    assert "The ids of 3 missing calls" in found.err
    assert (tmp_path / "missing.csv").read_text("utf-8").split() == missing
    store = (project.state / "sandbox" / "sandbox.sqlite3", "--table", "calls")
    beside = backfill("reconcile", job, "--against", *store).out
    assert "3 there, delivered by other-sandbox-g1-" in beside
    assert "unknown" not in beside
    assert "it has delivered nothing" in backfill("reconcile", nothing, "--against", *store).out
    project.rows(6)
    found = backfill(*command)
    assert found.code == 3
    assert "The ids of 0 missing calls" in found.err
    assert "3 missing calls have ids of the source's own that are not kept" in " ".join(found.out.split())
    assert (tmp_path / "missing.csv").read_text("utf-8") == ""
    assert max(map(len, found.out.replace(str(tmp_path), "").splitlines())) <= 80


@pytest.mark.parametrize("seed", range(8))
def test_against_an_oracle(seed: int, tmp_path: Path) -> None:
    """Any calls and rows, also of ids that have a half in common, come to what dictionaries of Python come to."""
    random = Random(seed)
    pool = [bytes([random.randrange(3)] * 8 + [random.randrange(60)] * 8) for _ in range(150)]
    calls: list[tuple[bytes, int, int]] = []  # id, standing, time
    own = random.sample(sorted(set(pool)), 50)
    calls += [(identity, random.randrange(4), random.choice([NO_TIME, 0, 10_000])) for identity in own]
    calls += [(random.choice(pool), Standing.OTHER_RUN + random.randrange(2), NO_TIME) for _ in range(30)]
    rows = [(random.choice(pool), random.choice([NO_TIME, 0, 10_000])) for _ in range(100)]
    result = Reconciled(status=None, source="")  # type: ignore[arg-type]
    comparison = Comparison(tmp_path, result, None, 1_000)

    def ids(of: list[Any]) -> Any:
        return np.frombuffer(b"".join(one[0] for one in of), np.uint8).reshape(-1, 16)

    places = [number if number < len(own) else NO_PLACE for number in range(len(calls))]
    standing, times = [one[1] for one in calls], [one[2] for one in calls]
    comparison.calls.add(with_ids(ids(calls), CALL, place=places, time=times, standing=standing))
    comparison.rows.add(with_ids(ids(rows), ROW, row=range(len(rows)), time=[one[1] for one in rows]))
    comparison.calls.finish()
    comparison.rows.finish()
    comparison.compare(len(own), ["one", "two"], lambda: None)

    first: dict[bytes, tuple[int, int]] = {}
    for identity, each, time in sorted(calls, key=lambda one: one[1]):
        first.setdefault(identity, (each, time))
    there = {identity: [time for one, time in rows if one == identity] for identity in first}
    delivered = [identity for identity, (each, _) in first.items() if each == Standing.DELIVERED]
    sent = [identity for identity, (each, _) in first.items() if each <= Standing.IN_DOUBT]
    moved = [
        identity
        for identity in sent
        if any(NO_TIME not in (time, first[identity][1]) and time != first[identity][1] for time in there[identity])
    ]
    missing = {identity for identity in delivered if not there[identity]}
    found = [place for some in comparison.missing() for place in some.tolist()]
    assert found == [place for place, identity in enumerate(own) if identity in missing]
    unsure = {one for one, (each, _) in first.items() if each == Standing.IN_DOUBT and not there[one]}
    absent = [place for place, identity in enumerate(own) if identity in missing | unsure]
    assert [*comparison.absent(0, 20), *(comparison.absent(20, len(own)) + 20)] == absent
    counts = result.counts
    assert counts["doubled"] == sum(len(there[identity]) > 1 for identity in sent)
    assert counts["shifted"] == len(moved) == sum(result.shifts.values())
    assert counts["unknown_rows"] == sum(identity not in first for identity, _ in rows)
    assert counts["in_doubt_there"] + counts["there"] == sum(bool(there[identity]) for identity in sent)
    for number, name in enumerate(("one", "two"), Standing.OTHER_RUN):
        assert result.other_runs[name] == sum(bool(there[each]) for each, one in first.items() if one[0] == number)


def test_what_cannot_be_compared(sent: Sent, tmp_path: Path) -> None:
    """No ids, no such column, a password, no such file: each with its exit code, and what to do."""
    no_ids = sent.reconcile(sent.rows.select("user_id"))
    assert no_ids.code == 2
    assert "say it with --message-id; there are: user_id" in no_ids.err
    assert sent.reconcile(sent.rows, "--event", "nix").code == 2
    secret = backfill("reconcile", sent.job, "--against", "postgresql://ada:hush@127.0.0.1/dwh", "--table", "t")
    assert secret.code == 2
    assert "hush" not in secret.out + secret.err
    assert backfill("reconcile", sent.job, "--against", tmp_path / "nothing.parquet").code == 9
    (tmp_path / "bad.parquet").write_bytes(b"PAR1nothing")
    assert backfill("reconcile", sent.job, "--against", tmp_path / "bad.parquet").code == 9
    no_source = tmp_path / "x.yaml"
    no_source.write_text("source: {path: x.csv, colums: 1}\n", "utf-8")
    assert backfill("reconcile", sent.job, "--against", no_source).code == 2


#: A warehouse as Segment makes it: one table a type, and of tracks one more for each event.
SCHEMA = """\
CREATE SCHEMA segment;
CREATE TABLE segment.identifies (id varchar, user_id varchar, received_at timestamptz, sent_at timestamptz,
    original_timestamp timestamptz, "timestamp" timestamptz, uuid_ts timestamptz);
CREATE TABLE segment.tracks (LIKE segment.identifies, event varchar, event_text varchar);
CREATE TABLE segment.pages (LIKE segment.identifies, name varchar);
CREATE TABLE segment.order_completed (LIKE segment.tracks);
"""


@pytest.fixture
def warehouse(sent: Sent, postgres: Postgres) -> str:
    """It, with the run's calls but for three."""
    rows = sent.rows.tail(-3).select("id", "user_id", "received_at", "sent_at", "original_timestamp")
    table = ", ".join(f"('{one[0]}', '{one[1]}', '{one[2]}', '{one[3]}', '{one[4]}')" for one in rows.rows())
    columns = "id, user_id, received_at, sent_at, original_timestamp"
    live = f"INSERT INTO segment.tracks ({columns}, event_text) VALUES ('live-1', 'u', now(), now(), now(), 'Live');"
    return postgres.url(
        postgres.new_database(f"{SCHEMA} INSERT INTO segment.identifies ({columns}) VALUES {table}; {live}")
    )


def test_segments_warehouse(sent: Sent, warehouse: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The query of docs/proof.md over Segment's schema in a real PostgreSQL."""
    (query,) = [block.text for block in blocks(REPOSITORY / "docs" / "proof.md") if block.language == "sql"]
    monkeypatch.setenv("WAREHOUSE", warehouse)
    options = ("--query", query, "--output", "json")
    found = backfill("reconcile", sent.job, "--against", "${WAREHOUSE}", *options)
    assert found.code == 3, found.err
    assert [one["message_id"] for one in found.object["listed"]["missing"]] == sent.rows["id"].head(3).to_list()
    assert found.object["counts"]["shifted"] == 0
    assert found.object["counts"]["dates_compared"] == ROWS - 4
    assert found.object["unknown_by_event"] == {"Live": 1}
    assert json.dumps(found.object["columns"]).count("original_timestamp") == 1


@pytest.mark.parametrize("dialect", ["snowflake", "bigquery", "redshift"])
def test_segments_warehouse_elsewhere(dialect: str) -> None:
    """The query of docs/proof.md is one statement of the warehouses, too, in which no server of ours could run it."""
    (query,) = [block.text for block in blocks(REPOSITORY / "docs" / "proof.md") if block.language == "sql"]
    (statement,) = sqlglot.parse(query, read=dialect)
    assert isinstance(statement, exp.Union)
    selects = list(statement.find_all(exp.Select))
    assert {tuple(select.named_selects[:4]) for select in selects} == {
        ("id", "received_at", "sent_at", "original_timestamp")
    }
    assert {table.sql() for table in statement.find_all(exp.Table)} >= {"segment.tracks", "segment.identifies"}
    assert {len(select.selects) for select in selects} == {5}
