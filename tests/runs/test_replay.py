"""Mended rejects: the very calls that a run of the mended source would have sent, each once, in a run of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.support.projects import KEY, Project, Result, backfill
from tests.support.stand_ins.server import Asked, Said, StandIn
from tests.support.waiting import until

TRACK = "{type: track, event: {value: E}, userId: id, timestamp: TIME, integrations: {All: false}, REST}"
TIME = '{column: at, format: "%Y-%m-%d %H:%M:%S"}'
HEADER = "id,at,total,call,run\n"


@dataclass(frozen=True)
class Case:
    """A job, its source with faults, and what mends it: texts and what they become."""

    source: str  # of the job file
    calls: str
    write: Callable[[Path, bool], object]  # writes the source, mended or not
    mend: tuple[tuple[str, str], ...]
    more: str = ""  # of the job file
    suffix: str = "csv"


def text_file(name: str, text: str, mend: tuple[tuple[str, str], ...]) -> Callable[[Path, bool], object]:
    """A writer of a text file."""

    def write(folder: Path, mended: bool) -> None:
        found = text
        for bad, good in mend if mended else ():
            found = found.replace(bad, good)
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(found, "utf-8")

    return write


def track(rest: str, time: str = TIME) -> str:
    """A track call."""
    return f"  - {TRACK.replace('TIME', time).replace('REST', rest)}\n"


def typed_file(folder: Path, mended: bool, nanoseconds: int = 0) -> None:
    """Parquet with a column of each kind; a NaN is its fault."""
    rows = 4
    pl.DataFrame(
        {
            "id": [f"u{row}" for row in range(rows)],
            "count": [2**52 + row for row in range(rows)],
            "share": [0.5, float("nan") if not mended else 2.25, 1e22, 0.1],
            "price": pl.Series([Decimal(f"{row}.10") for row in range(rows)], dtype=pl.Decimal(12, 2)),
            "day": [date(2024, 1, 1 + row) for row in range(rows)],
            "at": [datetime(2024, 7, 1, 10, row, 3, 123456) for row in range(rows)],  # noqa: DTZ001
            "seen": [datetime(2024, 7, 1, 10, row, tzinfo=UTC) for row in range(rows)],
            "nano": pl.Series([1_719_828_000_123_456_000 + nanoseconds] * rows).cast(pl.Datetime("ns")),
            "small": pl.Series([0.1, 2.5, 3e-7, 1e20], dtype=pl.Float32),
            "yes": [True, False, None, True],
            "name": ["Ünï", "", None, "12"],
        }
    ).write_parquet(folder / "rows.parquet")


def lists_file(folder: Path, mended: bool) -> None:
    """Parquet with lists of texts."""
    at = ["2024-05-02 10:00:00" if mended else "never", "2024-05-01 10:00:00"]
    pl.DataFrame({"id": ["u1", "u2"], "at": at, "items": [["a", "12"], ["c"]]}).write_parquet(folder / "rows.parquet")


ROWS = (
    HEADER + 'u1,2024-05-01 10:00:00,1.5,phone,x\nu2,never,2.50,"a, b",\nu3,2024-05-03 10:00:00,bad,mail,""\nu4,,4,,\n'
)
MEND = (("never", "2024-05-02 10:00:00"), (",bad,", ",3.5,"), ("u4,,4", "u4,2024-05-04 10:00:00,4"))
DATED = ROWS.replace("u4,,", "u4,2024-05-04 10:00:00,")
DIALECT = DATED.replace(', b"', '"').replace(",bad,", ",3,").replace(",", ";").replace("phone", "NA")
CUT = HEADER + "u1,2024-05-01 10:00:00,1,a,b\nu2,cut\nu3,never,2,a,b\n"
NUMBER = "columns: {total: number}"
BOTH = track('message_key: [id, at], label: one, when: "id <> \'u9\'", properties: {"*": {}}') + track(
    'message_key: [id], label: two, properties: {total: total, in.side: {object: {"*": {exclude: [at]}}}}',
    '{value: "2024-01-01T00:00:00Z"}',
)
CASES = {
    **{
        f"two calls, own columns of such names, {suffix}": Case(
            f"{{path: rows.csv, timezone: UTC, {NUMBER}}}", BOTH, text_file("rows.csv", ROWS, MEND), MEND,
            "where: id <> 'u1'", suffix,
        )
        for suffix in ("csv", "parquet", "ndjson")
    },
    "by record": Case(
        f'{{path: "in/*.csv", timezone: UTC, {NUMBER}}}', track("message_key: row, properties: {total: total}"),
        text_file("in/rows.csv", ROWS, MEND), MEND,
    ),
    "by content": Case(
        f"{{path: rows.csv, timezone: America/New_York, {NUMBER}}}",
        track("message_key: content, properties: {t: total}"),
        text_file("rows.csv", ROWS, MEND), MEND,
    ),
    "nulls and a dialect": Case(
        f'{{path: rows.csv, timezone: UTC, {NUMBER}, csv: {{delimiter: ";", null_values: [NA]}}}}',
        track('message_key: [id], properties: {"*": {}}'),
        text_file("rows.csv", DIALECT, MEND[:1]),
        MEND[:1],
    ),
    "records that could not be read": Case(
        "{path: rows.csv, timezone: UTC}",
        track('message_key: [id], when: "id <> \'u9\'", properties: {total: total}'),
        text_file("rows.csv", CUT, (("u2,cut", "u2,2024-05-02 10:00:00,2,c,d"), MEND[0])),
        (('"u2,cut",,,,,', ",u2,2024-05-02 10:00:00,2,c,d"), MEND[0]), "where: id <> 'u8'",
    ),
    "a query": Case(
        '{path: rows.csv, timezone: UTC, query: "SELECT id, \\"at\\", count(*) AS n FROM source GROUP BY ALL"}',
        track('message_key: [id, n], properties: {"*": {}}'),
        text_file("rows.csv", DATED, MEND[:1]), MEND[:1],
    ),
    "an explosion": Case(
        "{path: rows.parquet, timezone: UTC}",
        track("message_key: [id], properties: {sku: items, place: items_position}"),
        lists_file, MEND[:1], "explode: items",
    ),
    "the newest": Case(
        "{path: rows.csv, timezone: UTC, columns: {n: integer}}", track('message_key: [id], properties: {"*": {}}'),
        text_file("rows.csv", "id,at,n\nu1,never,1\nu1,2024-05-01 10:00:00,0\n", MEND[:1]), MEND[:1],
        "latest: {by: [id], on: n}",
    ),
    "types of the source": Case(
        "{path: rows.parquet, timezone: America/New_York}",
        track('message_key: [id, count, price, day, at, seen, nano], properties: {"*": {}}', "at"),
        typed_file, (("NaN", "2.25"),),
    ),
}  # fmt: skip


@dataclass
class Bench:
    """A folder with a job, and a target that keeps what it is sent."""

    folder: Path
    there: StandIn

    @property
    def job(self) -> Path:
        """The job file."""
        return self.folder / "job.yaml"

    def write(self, case: Case, *, mended: bool) -> None:
        """Job, source and target."""
        self.folder.mkdir(exist_ok=True)
        head = f"version: 1\nname: replayed\nsource: {case.source}\n{case.more}\n"
        self.job.write_text(f"{head}calls:\n{case.calls}", "utf-8")
        profile = f"{{kind: segment, endpoint: '{self.there.url}', rate: unlimited}}"
        (self.folder / "targets.yaml").write_text(f"version: 1\ntargets:\n  prod: {profile}\n", "utf-8")
        case.write(self.folder, mended)

    @property
    def state(self) -> tuple[str, Path]:
        """The option that names the state directory."""
        return "--state-dir", self.folder / ".backfill"

    def run(self, *words: str | Path) -> Result:
        """Run the job."""
        return backfill("run", self.job, "--target", "prod", "--yes", "--output", "json", *words)

    def calls(self, since: int = 0) -> list[dict[str, Any]]:
        """The calls that were sent, by their ids."""
        sent = [call for asked in self.there.asked[since:] for call in json.loads(asked.body)["batch"]]
        return sorted(sent, key=lambda call: str(call["messageId"]))

    def export(self, case: Case) -> Path:
        """The rejects, mended in the export."""
        file = self.folder / f"mended.{case.suffix}"
        assert backfill("rejects", self.job, "--export", file, "--force").code == 0
        if case.suffix == "parquet":
            frame = pl.read_parquet(file)
            for bad, good in case.mend:
                rows = {"never": "at", ",bad,": "total"}
                if bad in rows:
                    at = rows[bad]
                    frame = frame.with_columns(pl.col(at).replace(bad.strip(","), good.strip(",")))
            frame = frame.with_columns(pl.col("at").fill_null("2024-05-04 10:00:00"))
            frame.write_parquet(file)
            return file
        text = file.read_text("utf-8")
        for bad, good in case.mend:
            text = text.replace(bad, good)
        if case.suffix == "ndjson":
            text = text.replace('"total":"bad"', '"total":"3.5"')
            text = text.replace('"id":"u4","at":null', '"id":"u4","at":"2024-05-04 10:00:00"')
        file.write_text(text, "utf-8")
        return file


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A target."""
    monkeypatch.setenv("SEGMENT_WRITE_KEY", KEY)
    with StandIn(lambda _: Said(body='{"success": true}')) as running:
        yield running


def accounts(status: dict[str, Any]) -> dict[str, int]:
    """What a run's status tells of it and its replays together, once it is seen to add up."""
    told = status["with_replays"]
    parts = ("delivered", "delivered_by_replays", "duplicate", "already_delivered", "in_doubt", "pending")
    assert told["adds_up"]
    assert told["planned"] + told["unreadable"] == sum(told[name] for name in parts) + told["still_rejected"]
    assert (told["planned"], told["delivered"]) == (status["calls"]["planned"], status["calls"]["delivered"])
    return {"still_rejected": told["still_rejected"], "sent": told["delivered"] + told["delivered_by_replays"]}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_calls_are_those_of_a_mended_source(tmp_path: Path, there: StandIn, case: Case) -> None:
    """Run and replay together send what one run of the mended source does, each call once, ids and bytes."""
    bench, whole = Bench(tmp_path / "one", there), Bench(tmp_path / "two", there)
    bench.write(case, mended=False)
    first = bench.run()
    assert first.code == 3, first.err
    export = bench.export(case)
    second = bench.run("--replay-rejects", export)
    assert second.code == 0, second.err
    sent, asked = bench.calls(), len(there.asked)
    again = bench.run("--replay-rejects", export)
    assert (again.code, len(there.asked)) == (0, asked), again.err
    run_id = first.object["run_id"]
    status = backfill("status", run_id, *bench.state, "--output", "json").object
    assert accounts(status) == {"still_rejected": 0, "sent": len({call["messageId"] for call in sent})}
    whole.write(case, mended=True)
    assert whole.run().code == 0
    assert sent == whole.calls(asked)
    counts = second.object["calls"]
    assert counts["delivered"] == first.object["calls"]["rejected"] or first.object["rows"]["unreadable"]
    assert second.object["run_id"].startswith(f"{first.object['run_id']}-replay-")


PLAIN = Case(
    "{path: rows.csv, timezone: UTC}",
    track("message_key: [id], properties: {total: total}"),
    text_file("rows.csv", ROWS, MEND),
    MEND,
)


@pytest.fixture
def bench(tmp_path: Path, there: StandIn) -> Bench:
    """A run with rejects."""
    one = Bench(tmp_path / "one", there)
    one.write(PLAIN, mended=False)
    assert one.run().code == 3
    return one


def test_what_a_replay_delivered_is_left_out_later(bench: Bench) -> None:
    """The source is mended as well: nothing is sent twice, and the parent's accounts stay what they were."""
    export = bench.export(PLAIN)
    half = export.read_text("utf-8").replace("2024-05-04 10:00:00", "never")
    export.write_text(half, "utf-8")
    assert bench.run("--replay-rejects", export).code == 3
    status = backfill("status", "--state-dir", bench.folder / ".backfill", "--output", "json").objects
    assert {(one["calls"]["delivered"], one["calls"]["rejected"]) for one in status} == {(2, 2), (1, 1)}
    run_id = next(one["run_id"] for one in status if "-replay-" not in one["run_id"])
    asked = ("status", run_id, *bench.state, "--output", "json")
    assert accounts(backfill(*asked).object) == {"still_rejected": 1, "sent": 3}
    export.write_text(half.replace("never", "2024-05-04 10:00:00"), "utf-8")  # mended once more: another run
    again = bench.run("--replay-rejects", export).object["calls"]
    assert (again["delivered"], again["already_delivered"]) == (1, 1)
    assert accounts(backfill(*asked).object) == {"still_rejected": 0, "sent": 4}
    told = "together: of 4 planned 2 delivered by the run, 2 delivered by replays."
    for verb in ("status", "rejects"):
        assert told in backfill(verb, run_id, *bench.state).err
    page = bench.folder / "page.html"
    assert backfill("report", run_id, "-o", page, *bench.state).code == 0
    assert "calls, with those of the replays: planned + unreadable = delivered" in page.read_text("utf-8")
    PLAIN.write(bench.folder, True)
    last = bench.run("--only-new").object["calls"]
    assert (last["delivered"], last["already_delivered"]) == (0, 4)
    assert backfill(*asked).object["with_replays"] is None  # they were of the run before
    asked = ("status", f"{run_id}~1", *bench.state, "--output", "json")
    assert accounts(backfill(*asked).object) == {"still_rejected": 0, "sent": 4}
    ids = [call["messageId"] for call in bench.calls()]
    assert len(ids) == len(set(ids)) == 4


def test_it_is_rehearsed_and_told(bench: Bench) -> None:
    """A dry run of it has the same plan; `status` of the run names its replays, and `resume` goes on with one."""
    export = bench.export(PLAIN)
    dry = backfill("dry-run", bench.job, "--target", "prod", "--replay-rejects", export, "--output", "json")
    assert (dry.code, dry.object["calls"]["planned"]) == (0, 2), dry.err
    told = backfill("dry-run", bench.job, "--target", "prod", "--replay-rejects", export)
    assert f"--plan {dry.object['plan']['id']} --target prod --replay-rejects" in " ".join(told.out.split())
    assert bench.run("--plan", dry.object["plan"]["id"]).code == 6
    sent = bench.run("--replay-rejects", export, "--canary", "--plan", dry.object["plan"]["id"])
    assert sent.code == 0, sent.err
    told = backfill("status", sent.object["run_id"].partition("-replay-")[0], "--state-dir", bench.folder / ".backfill")
    assert told.code == 0
    assert f"Mended rejects of it are {sent.object['run_id']}: no row was rejected; rows: 2 read" in told.err
    told = backfill("status", sent.object["run_id"].partition("-replay-")[0], *bench.state, "--output", "json")
    assert told.object["replays"] == [sent.object["run_id"]]


@pytest.mark.parametrize("name", ["by record", "types of the source", "nulls and a dialect"])
def test_its_calls_are_shown(tmp_path: Path, there: StandIn, name: str) -> None:
    """Of run and dry run, as they were sent; the file's name and digest say why where they cannot be."""
    bench = Bench(tmp_path / "one", there)
    bench.write(CASES[name], mended=False)
    first = bench.run().object["run_id"]
    export, before = bench.export(CASES[name]), len(there.asked)
    assert backfill("dry-run", bench.job, "--target", "prod", "--replay-rejects", export).code == 0
    run_id = bench.run("--replay-rejects", export).object["run_id"]
    sent = bench.calls(before)
    digest = run_id.rpartition("-")[2]
    dry = next(path.name for path in (bench.folder / ".backfill").glob(f"dry-runs/runs/*-replay-{digest}"))
    for shown in (run_id, dry):
        told = backfill("calls", shown, *bench.state, "-o", "ndjson")
        assert (told.code, sorted(told.objects, key=lambda call: str(call["messageId"]))) == (0, sent), told.err
    told = backfill("calls", bench.job, "-o", "ndjson")
    assert told.code == 0, told.err
    assert f"of {first}, in" in " ".join(told.err.split())
    moved = export.rename(export.with_name("moved.csv"))
    assert "the mended rejects, is no longer there" in " ".join(backfill("calls", run_id, *bench.state).err.split())
    export.write_bytes(moved.read_bytes() + b"\n")
    told = backfill("calls", run_id, *bench.state)
    assert (told.code, "the mended rejects, was changed" in " ".join(told.err.split())) == (6, True), told.err


def test_a_dry_run_of_it_leaves_the_job_its_own(bench: Bench) -> None:
    """The job's last dry run stays the last one, and is what `diff` compares."""
    export = bench.export(PLAIN)
    assert backfill("dry-run", bench.job, "--target", "prod").code == 3
    kept = bench.job.read_text("utf-8")
    bench.job.write_text(kept.replace("event: {value: E}", "event: {value: F}"), "utf-8")
    assert backfill("dry-run", bench.job, "--target", "prod").code == 3
    bench.job.write_text(kept, "utf-8")
    assert backfill("dry-run", bench.job, "--target", "prod", "--replay-rejects", export).code == 0
    told = backfill("diff", bench.job, "--output", "json")
    assert told.code == 0, told.err
    assert (told.object["calls"]["changed"], told.object["calls"]["added"]) == (2, 0), told.object


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (lambda text: text.replace("replayed-segment", "other-segment"), 2, "it has rejects of other-segment-g1-"),
        (lambda text: text.replace("file,", "wrong,", 1), 2, "has no column"),
        (lambda text: "", 9, "cannot be read"),
    ],
)
def test_files_that_are_no_export(bench: Bench, change: Callable[[str], str], code: int, said: str) -> None:
    """Nothing is sent of them, and nothing is begun."""
    export, asked = bench.export(PLAIN), len(bench.there.asked)
    export.write_text(change(export.read_text("utf-8")), "utf-8")
    result = bench.run("--replay-rejects", export)
    assert (result.code, len(bench.there.asked)) == (code, asked), result.err
    assert said in result.err
    assert len(list((bench.folder / ".backfill" / "runs").iterdir())) == 1


def test_runs_that_have_no_replay(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """None to that target, another scope of ids, a name that no export has, several jobs."""
    export = bench.export(PLAIN)
    nowhere = backfill("run", bench.job, "--target", "sandbox", "--replay-rejects", export)
    assert (nowhere.code, "there is no run replayed-sandbox-g1-" in nowhere.err) == (2, True)
    other = export.rename(export.with_suffix(".txt"))
    assert "is no export by its name" in bench.run("--replay-rejects", other).err
    export = other.rename(export)
    second = bench.folder / "second.yaml"
    second.write_text(bench.job.read_text("utf-8").replace("name: replayed", "name: second"), "utf-8")
    assert "is for one job" in bench.run("--replay-rejects", export, second).err
    monkeypatch.setenv("SEGMENT_WRITE_KEY", "anotherKey")
    scope = bench.run("--replay-rejects", export)
    assert (scope.code, "id_scope" in scope.err) == (6, True)


def test_a_run_that_is_not_over(tmp_path: Path, there: StandIn) -> None:
    """It is finished first: what it has still to send might be of the same ids."""
    one = Bench(tmp_path / "one", there)
    rows = "".join(f"v{row},2024-05-01 10:00:00,1,,\n" for row in range(30))
    case = Case(PLAIN.source, PLAIN.calls, text_file("rows.csv", ROWS + rows, MEND), MEND)
    one.write(case, mended=False)
    assert one.run("--canary").code == 5
    export = tmp_path / "out.csv"
    assert backfill("rejects", one.job, "--export", export).code == 0
    result = one.run("--replay-rejects", export)
    assert (result.code, "`backfill resume" in result.err) == (2, True)


LINES = '{"id":"u1","at":"never","total":12}\n{"id":"u2","at":"2024-05-01 10:00:00","total":"12"}\n'
LISTS = '{"id":"u1","at":"never","total":["12",12]}\n'


@pytest.mark.parametrize(
    ("source", "lines", "more"),
    [
        ("{path: rows.ndjson, timezone: UTC}", LINES, ""),
        ("{path: rows.ndjson, timezone: UTC, columns: {total: json}}", LINES, ""),
        ("{path: rows.ndjson, timezone: UTC, columns: {total: json}}", LISTS, "explode: total"),
    ],
)
def test_json_whose_types_the_export_does_not_tell(
    tmp_path: Path, there: StandIn, source: str, lines: str, more: str
) -> None:
    """The text 12 and the number are one in the export: it is refused, with the way on."""
    one = Bench(tmp_path / "one", there)
    case = Case(source, PLAIN.calls, text_file("rows.ndjson", lines, MEND), MEND[:1], more)
    one.write(case, mended=False)
    assert one.run().code == 3
    result = one.run("--replay-rejects", one.export(case))
    assert (result.code, "what the values of total were" in result.err) == (2, True), result.err


def test_json_that_is_declared_otherwise(tmp_path: Path, there: StandIn) -> None:
    """An integer is one, however it was written."""
    one = Bench(tmp_path / "one", there)
    source = "{path: rows.ndjson, timezone: UTC, columns: {total: integer}}"
    one.write(Case(source, PLAIN.calls, text_file("rows.ndjson", LINES, MEND), MEND[:1]), mended=False)
    assert one.run().code == 3
    export = one.export(PLAIN)
    assert one.run("--replay-rejects", export).code == 0
    assert {call["properties"]["total"] for call in one.calls()} == {12}


def test_nested_values_are_refused(tmp_path: Path, there: StandIn) -> None:
    """A wall clock inside of one would be sent as an instant."""
    one = Bench(tmp_path / "one", there)
    case = Case(
        "{path: rows.parquet, timezone: UTC}", track('message_key: [id], properties: {"*": {}}'), lists_file, ()
    )
    one.write(case, mended=False)
    assert one.run().code == 3
    result = one.run("--replay-rejects", one.export(case))
    assert (result.code, "what the values of items were" in result.err) == (2, True), result.err


def test_nanoseconds_are_refused(tmp_path: Path, there: StandIn) -> None:
    """What is read from text has microseconds, and a message key would be another."""
    one, case = Bench(tmp_path / "one", there), CASES["types of the source"]
    one.write(case, mended=False)
    typed_file(one.folder, mended=False, nanoseconds=789)
    assert one.run().code == 3
    result = one.run("--replay-rejects", one.export(case))
    assert (result.code, "finer than microseconds" in result.err) == (2, True), result.err


def test_a_replay_that_is_killed_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL while its second batch is under way: the same command sends the rest, under the same ids and bytes."""
    monkeypatch.setenv("SEGMENT_WRITE_KEY", KEY)
    rows = HEADER + "".join(f"v{row},never,{row},,\n" for row in range(30)) + "u1,2024-05-01 10:00:00,1,,\n"
    case = Case(PLAIN.source, PLAIN.calls, text_file("rows.csv", rows, MEND), MEND[:1])
    killed: list[int] = []

    def answer(_: Asked) -> Said:
        if process is not None and len(there.asked) == first + 2:
            process.kill()
            killed.append(process.wait())
        return Said(body='{"success": true}')

    process = None
    with StandIn(answer) as there:
        one = Bench(tmp_path / "one", there)
        one.write(case, mended=False)
        assert one.run().code == 3
        export, first = one.export(case), len(there.asked)
        words = ["run", one.job, "--target", "prod", "--yes", "--replay-rejects", export]
        process = Project(one.folder, {"SEGMENT_WRITE_KEY": KEY}).process(*words)
        assert process.wait(60) == -9
        until(lambda: killed)
        process = None
        status = one.run("--replay-rejects", export)
        assert (status.code, status.object["calls"]["delivered"]) == (0, 30), status.err
        sent = one.calls()
    bodies = {json.dumps(call) for call in sent}
    assert len({call["messageId"] for call in sent}) == len(bodies) == 31
    assert len(sent) > 31  # what was in doubt came again


def test_a_call_of_several_problems_is_one_line(tmp_path: Path, there: StandIn) -> None:
    """One bad cell that is read in several places is mended once, and nobody is said to be missing for it."""
    one = Bench(tmp_path / "one", there)
    mend = ((",bad,", ",3.5,"),)
    calls = track("message_key: [at], properties: {total: total, half: {sql: total / 2}}")
    calls = calls.replace("userId: id", "userId: {sql: \"'u' || total\"}")
    case = Case(f"{{path: rows.csv, timezone: UTC, {NUMBER}}}", calls, text_file("rows.csv", DATED, ()), mend)
    one.write(case, mended=False)
    first = one.run().object
    assert (first["calls"]["rejected"], first["problems"]) == (2, {"BF117": 3, "BF202": 1})
    export = one.export(case)
    lines = pl.read_csv(export, infer_schema=False)
    assert lines["code"].to_list() == ["BF202", "BF117"]
    assert lines["message"][1].endswith("(also BF117 of total, BF117 of total / 2)")
    second = one.run("--replay-rejects", export).object["calls"]
    assert (second["planned"], second["delivered"], second["rejected"]) == (2, 1, 1)
