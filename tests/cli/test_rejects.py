"""The command line: `rejects`, as a table and as a file that is mended and read again."""

from __future__ import annotations

import re

import polars as pl
import pytest

from backfill.report.lines import LINES_FILE
from tests.support.endpoints import faulty
from tests.support.projects import Project, backfill
from tests.support.summaries import identities_hold


@pytest.mark.parametrize("suffix", ["csv", "parquet", "ndjson"])
def test_rejects_export(project: Project, suffix: str) -> None:
    """Rejected and unreadable rows with reason, place and original columns, by the suffix of the file."""
    job = project.people(50, bad=[7])
    source = project.folder / "people.csv"
    source.write_text(source.read_text(encoding="utf-8") + "u9,x\n", encoding="utf-8")
    backfill("run", job, "--target", "sandbox")
    file = project.folder / f"rejects.{suffix}"
    assert backfill("rejects", "--state-dir", project.state, "--export", file).code == 0
    read = {"csv": pl.read_csv, "parquet": pl.read_parquet, "ndjson": pl.read_ndjson}[suffix]
    rejects = read(file)
    assert rejects["code"].to_list() == ["BF001", "BF117"]
    assert rejects["record"].to_list() == [51, 8]
    assert rejects["line"].to_list() == [52, 9]
    assert rejects["age"].to_list() == [None, "old"]
    assert [None if text is None else text.strip() for text in rejects["original"]] == ["u9,x", None]


def test_rejects_know_their_lines_without_the_source(project: Project) -> None:
    """Lines that were told once are told again, when the source is gone and the job another; an export, too."""
    job = project.people(30, bad=[7])
    backfill("run", job, "--target", "sandbox")
    (project.folder / "people.csv").unlink()
    job.unlink()
    assert "people.csv:9 (record 8)" in backfill("rejects", "--state-dir", project.state).out
    file = project.folder / "rejects.parquet"
    assert backfill("rejects", "--state-dir", project.state, "--export", file).code == 0
    assert pl.read_parquet(file)["line"].to_list() == [9]


@pytest.mark.parametrize(
    "kept",
    [
        "[]",
        "1",
        "null",
        '{"people.csv": [9]}',
        '{"people.csv": {"8": [9]}}',
        '{"people.csv": {"8": 1e400}}',
        "{",
        "\udcff",
    ],
)
def test_rejects_with_odd_kept_lines(project: Project, kept: str) -> None:
    """Lines that were kept in another shape than ours are looked up again."""
    backfill("run", project.people(30, bad=[7]), "--target", "sandbox")
    (file,) = project.state.glob(f"runs/*/{LINES_FILE}")
    file.write_text(kept, encoding="utf-8", errors="surrogateescape")
    export = project.folder / "rejects.parquet"
    assert backfill("rejects", "--state-dir", project.state, "--export", export).code == 0
    assert pl.read_parquet(export)["line"].to_list() == [9]
    assert "people.csv:9 (record 8)" in backfill("rejects", "--state-dir", project.state).out


def test_rejects_behind_the_first_records(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of records far from the beginning of their file are looked up when they are listed."""
    monkeypatch.setattr("backfill.report.listing.NEAR_RECORDS", 1)
    backfill("run", project.people(30, bad=range(10, 20)), "--target", "sandbox")
    lines = backfill("rejects", "--state-dir", project.state).out.splitlines()[1:]
    assert [line.split()[1].rpartition(":")[2] for line in lines] == [str(line) for line in range(12, 22)]


@pytest.mark.parametrize("verb", ["run", "dry-run"])
def test_duplicates_are_listed(project: Project, verb: str) -> None:
    """Each row whose call another one made, by its place, with the record it equals; apart from what was rejected."""
    rows = [f"u{n},u{n}@example.com,2023-05-01 10:00:00,{n}" for n in range(40)]
    job = project.people(1)
    header, _ = (project.folder / "people.csv").read_text(encoding="utf-8").splitlines()
    (project.folder / "people.csv").unlink()
    job.write_text(job.read_text(encoding="utf-8").replace("path: people.csv", "path: part-*.csv"), encoding="utf-8")
    parts = {"a": [*rows[:20], rows[7]], "b": ["bad,line", rows[3], *rows[20:], rows[30], f"{rows[39]}9"]}
    for name, lines in parts.items():
        (project.folder / f"part-{name}.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    ended = backfill(verb, job, "--target", "sandbox", "--output", "json").object
    assert (ended["calls"]["duplicate"], ended["calls"]["rejected"]) == (3, 1)
    of_dry = ["--dry-run"] if verb == "dry-run" else []
    listed = re.sub(r"\S*/(?=part-)", "", backfill("rejects", job, "--duplicates", *of_dry).out).splitlines()[1:]
    assert [line.strip() for line in listed] == [
        "duplicate part-a.csv:22 (record 21): identify: the same call as record 8 makes, which is sent",
        "duplicate part-b.csv:3 (record 2): identify: the same call as record 4 of part-a.csv makes, which is sent",
        "duplicate part-b.csv:24 (record 23): identify: the same call as record 13 makes, which is sent",
    ]
    assert "duplicate part" not in backfill("rejects", job, *of_dry).out
    file = project.folder / "duplicates.parquet"
    told = backfill("rejects", job, "--duplicates", "--export", file, *of_dry)
    assert "3 duplicates written" in told.err
    assert pl.read_parquet(file).select("code", "line").rows() == [("duplicate", n) for n in (22, 3, 24)]
    for kept in project.state.rglob("duplicates.parquet"):
        kept.unlink()
    assert "which rows they are is lost" in backfill("rejects", job, "--duplicates", *of_dry).err


def test_rejects_export_can_be_a_source(project: Project) -> None:
    """What is exported, mended and run as a job of another name arrives; columns of the row keep their names."""
    source, job = project.folder / "orders.csv", project.folder / "orders.yaml"
    source.write_text("code,at,total\na1,2023-05-01,1.10\na2,2023-05-02,much\n", encoding="utf-8")
    text = (
        "version: 1\nname: orders\nsource: {path: orders.csv, timezone: UTC, columns: {at: date, total: decimal}}\n"
        "calls:\n  - {type: track, message_key: [code], userId: code, event: {value: Ordered}, timestamp: at,"
        " properties: {total: total}}\n"
    )
    job.write_text(text, encoding="utf-8")
    assert backfill("run", job, "--target", "sandbox").code == 3
    file = project.folder / "rejects.csv"
    assert backfill("rejects", "--state-dir", project.state, "--export", file).code == 0
    rejects = pl.read_csv(file, infer_schema=False)
    assert rejects.select("reject_code", "call", "code", "total").rows() == [("BF117", "track", "a2", "much")]
    rejects.with_columns(total=pl.lit("2.50")).write_csv(file)
    mended = project.folder / "mended.yaml"
    mended.write_text(text.replace("name: orders", "name: mended").replace("orders.csv", "rejects.csv"))
    assert backfill("run", mended, "--target", "sandbox").code == 0


def test_rejects_export_tells_nulls_from_empty_texts(project: Project) -> None:
    """Whatever stood for null in the source, in the export it is an empty field, and an empty text is quoted."""
    source, job = project.folder / "orders.csv", project.folder / "orders.yaml"
    source.write_text('code;at;total;a;b;c\na1;2023-05-01;much;NA;;"NA"\n', encoding="utf-8")
    setting = ', csv: {delimiter: ";", null_values: [NA]}'
    text = (
        f"version: 1\nname: orders\nsource: {{path: orders.csv{setting}, columns: {{at: date, total: decimal}},"
        " timezone: UTC}\ncalls:\n  - {type: track, message_key: [code], userId: code, event: {value: Ordered},"
        " timestamp: at, properties: {total: total, a: a, b: b, c: c}}\n"
    )
    job.write_text(text, encoding="utf-8")
    assert backfill("run", job, "--target", "sandbox").code == 3
    file = project.folder / "rejects.csv"
    assert backfill("rejects", "--state-dir", project.state, "--export", file).code == 0
    exported = file.read_text(encoding="utf-8")
    assert exported.endswith(',a1,2023-05-01,much,,"",NA\n'), exported
    copy = text.replace("name: orders", "name: mended").replace("orders.csv", "rejects.csv").replace(setting, "")
    mended = project.folder / "mended.yaml"
    mended.write_text(copy, encoding="utf-8")
    file.write_text(exported.replace("01,much,", "01,2.50,"), encoding="utf-8")
    shown = " ".join(backfill("preview", mended).out.split())
    assert '"properties": { "total": 2.50, "b": "", "c": "NA" }' in shown


def test_rejects_export_keeps_every_digit(project: Project) -> None:
    """Numbers of typed sources are exported digit for digit, also inside what is nested."""
    pl.DataFrame(
        {"id": [1, 2], "at": ["2023-05-01", "never"], "total": ["748.30", "0.10"], "items": [[1, 2], [30, 40]]}
    ).with_columns(pl.col("total").cast(pl.Decimal(20, 2))).write_parquet(project.folder / "orders.parquet")
    job = project.folder / "orders.yaml"
    job.write_text(
        "version: 1\nname: orders\nsource: {path: orders.parquet, timezone: UTC}\ncalls:\n  - {type: track,"
        " message_key: [id], userId: id, event: {value: Ordered}, timestamp: {column: at, format: '%Y-%m-%d'},"
        " properties: {total: total, items: items}}\n",
        encoding="utf-8",
    )
    assert backfill("run", job, "--target", "sandbox").code == 3
    file = project.folder / "rejects.parquet"
    assert backfill("rejects", "--state-dir", project.state, "--export", file).code == 0
    (row,) = pl.read_parquet(file).select("id", "total", "items").rows()
    assert row == ("2", "0.10", "[30,40]")
    assert '"total": 748.30' in backfill("preview", job, "-n", "1").out


def test_rejects_prefers_the_run(project: Project) -> None:
    """The beginning of an id that a dry run and a run share means the run."""
    job = project.people(20, bad=[7])
    backfill("dry-run", job)
    alone = backfill("status", "people", "--state-dir", project.state)
    assert alone.out.startswith("DRY RUN")
    assert "There are dry runs: people-dry" in backfill("status", "--state-dir", project.state).err
    backfill("run", job, "--target", "sandbox")
    assert backfill("rejects", "people", "--state-dir", project.state).out.startswith("people-sandbox")


def test_rows_of_a_query(project: Project) -> None:
    """With a query a rejected call is told by its row of the query, never by a line of the file."""
    job = project.people(20, bad=[])
    text = job.read_text(encoding="utf-8").replace(
        "  timezone: UTC\n", "  timezone: UTC\n  query: SELECT * FROM source ORDER BY id DESC\n"
    )
    job.write_text(text.replace("userId: id", "userId: {sql: \"CASE WHEN id = 'u000004' THEN '' ELSE id END\"}"))
    result = backfill("run", job, "--target", "sandbox")
    assert result.code == 3, result.err
    assert "    row 16 of the query: identify" in result.err
    assert "people.csv:" not in result.err
    file = project.folder / "rejects.parquet"
    assert backfill("rejects", "--state-dir", project.state, "--export", file).code == 0
    assert pl.read_parquet(file).select("file", "record", "line").row(0) == ("the query", 16, 0)
    assert "--- row 1 of the query" in backfill("preview", job, "-n", "1").out


def test_rejects_table(project: Project) -> None:
    """The table names the place and the value; another suffix is refused with those there are."""
    backfill("run", project.people(50, bad=[7]), "--target", "sandbox")
    table = backfill("rejects", "--state-dir", project.state)
    assert "BF117" in table.out
    assert "old" in table.out
    bad = backfill("rejects", "--state-dir", project.state, "--export", project.folder / "rejects.xlsx")
    assert bad.code == 2
    assert ".parquet" in bad.err


def test_rejects_of_the_target(project: Project, key: str) -> None:
    """A call that the target refuses is rejected with its answer; its row is exported like any other reject."""
    job = project.people(3000, bad=[7])
    with faulty("status=400,holding=234@") as sandbox:
        options = ["--target", "segment", "--endpoint", sandbox.endpoint, "--yes", "--rate", "unlimited"]
        result = backfill("run", job, *options, "--concurrency", "1", "--output", "json")
        held = set(sandbox.ids())
    assert result.code == 3
    refused = result.object["calls"]["rejected"] - 1
    assert refused == 3
    assert identities_hold(result.object)
    assert f"refused by the target: {refused:,} calls: 400" in result.err
    file = project.folder / "rejects.parquet"
    assert backfill("rejects", "--state-dir", project.state, "--export", file).code == 0
    rejects = pl.read_parquet(file).filter(pl.col("code") == "HTTP400")
    assert len(rejects) == refused
    assert not held & set(rejects["message_id"])
    assert len(held) + refused == 2999
    first = rejects.row(0, named=True)
    assert first["line"] == first["record"] + 1
    assert first["id"] == f"u{first['record'] - 1:06}"


@pytest.mark.parametrize(("bad", "told"), [(20, "` lists them"), (120, " --export rejects.csv` writes them all")])
def test_the_hint_shows_the_rejects_that_are_left(
    project: Project, monkeypatch: pytest.MonkeyPatch, bad: int, told: str
) -> None:
    """What is named shows all: a list of a run's rejects ends after a hundred, an export has them."""
    monkeypatch.chdir(project.folder)
    result = backfill("dry-run", project.people(200, bad=list(range(bad))))
    named = re.search(rf"and {bad - 5} more: `backfill (rejects [^`]*){re.escape(told[told.index('`') :])}", result.err)
    assert named, result.err
    assert told in result.err
    listed = backfill(*named[1].split())
    assert listed.code == 0
    assert "more" not in listed.out
    if bad > 100:
        assert (project.folder / "rejects.csv").read_text(encoding="utf-8").count("BF117") == bad
