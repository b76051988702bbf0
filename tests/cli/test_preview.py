"""`preview`: the first rows and no more, what cannot be read among them, and sources of no rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from backfill.sources import stage
from tests.support.projects import Project, backfill


@pytest.fixture(autouse=True)
def inside(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The project's folder is the current one: files are told from there."""
    monkeypatch.chdir(project.folder)


@pytest.mark.parametrize(
    ("source", "where"),
    [("id,email,joined,age\n", ""), ("id,email,joined,age\nu1,a@b.c,2023-05-01 10:00:00,7\n", "where: 'false'\n")],
    ids=["header only", "where false"],
)
def test_nothing_to_show(project: Project, source: str, where: str) -> None:
    """A source of no rows is told as one, with what `where` left out."""
    job = project.people(1)
    (project.folder / "people.csv").write_text(source, encoding="utf-8")
    job.write_text(job.read_text(encoding="utf-8").replace("calls:\n", f"{where}calls:\n"), encoding="utf-8")
    result = backfill("preview", job)
    assert result.code == 0, result.err
    assert "There is nothing to show" in result.err
    assert ("1 of them left out by `where`" in result.err) is bool(where)
    assert result.out == ""
    assert not project.state.exists()


def test_unreadable_records_are_told(project: Project) -> None:
    """A record that cannot be read stands among the first ones, and is told with its place."""
    job = project.people(3)
    source = project.folder / "people.csv"
    lines = source.read_text(encoding="utf-8").splitlines()
    source.write_text("\n".join([lines[0], "u9,x", *lines[1:], ""]), encoding="utf-8")
    result = backfill("preview", job, "-n", "2")
    assert result.code == 3, result.err
    assert "BF001 people.csv" in result.err
    assert '"userId": "u000001"' in result.out


@pytest.mark.parametrize(("bad", "code"), [(1, 3), (3, 0)])
def test_the_exit_code_is_of_what_is_shown(project: Project, bad: int, code: int) -> None:
    """A row that is rejected is exit 3, as for every other verb; one that is not looked at is none."""
    assert backfill("preview", project.people(5, bad=[bad]), "-n", "2").code == code


def test_preview_looks_on_until_where_lets_rows_through(project: Project) -> None:
    """Rows that `where` leaves out do not count as shown."""
    job = project.people(2_000)
    text = job.read_text(encoding="utf-8").replace("calls:\n", "where: id >= 'u001500'\ncalls:\n")
    job.write_text(text, encoding="utf-8")
    result = backfill("preview", job, "-n", "2")
    assert result.out.count("--- people.csv, record") == 2
    assert "record 1,501" in result.out


def test_preview_asks_for_few_rows(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Staging is told how many rows are wanted; with a query it is not, which is said."""
    asked: list[object] = []
    whole = stage

    def noting(*words: object, **named: object) -> object:
        asked.append(named["sample"])
        return whole(*words, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("backfill.pipeline.sample.stage", noting)
    job = project.people(100)
    assert "read whole" not in backfill("preview", job, "-n", "3").err
    text = job.read_text(encoding="utf-8").replace(
        "  timezone: UTC\n", "  timezone: UTC\n  query: SELECT * FROM source\n"
    )
    job.write_text(text, encoding="utf-8")
    assert "read whole" in backfill("preview", job, "-n", "3").err
    assert asked == [4, None]  # one more than is shown tells whether there is more


def test_preview_leaves_nothing(project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No state directory is made, and the temporary folder is empty again."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    assert backfill("preview", project.people(5)).code == 0
    assert not project.state.exists()
    assert list(scratch.iterdir()) == []


NDJSON_JOB = """version: 1
name: late
source: {path: rows.ndjson, columns: {late: number, total: number}}
where: day IS NOT NULL
defaults: {userId: user, timestamp: {column: day, format: iso8601}, integrations: {All: false}}
calls:
  - type: track
    message_key: [id]
    event: {value: Order Completed}
    properties: {x: totl, y: total, z: late, w: {sql: "unheard::INTEGER + 1"}}
"""
ROW = '{"id":"%d","user":"u%d","day":"2023-01-02T03:04:05Z","total":1}\n'


@pytest.mark.parametrize("late", [True, False])
def test_columns_that_no_record_of_the_sample_has(project: Project, *, late: bool) -> None:
    """They may come after it, so they are no fault; but they are told, with how many records were looked at."""
    job = project.folder / "late.yaml"
    job.write_text(NDJSON_JOB)
    with (project.folder / "rows.ndjson").open("w") as file:
        file.writelines(ROW % (row, row) for row in range(100_000))
        file.write(ROW.replace("}", ',"totl":1,"late":2,"unheard":3}') % (1, 1) if late else "")
    assert backfill("preview", job, "-n", "1").code == (0 if late else 2)
    result = backfill("check", job)
    assert result.code == 0, result.err
    told = " ".join(result.err.split())
    for path in ("source.columns.late", "calls[0].properties.x", "calls[0].properties.z"):
        assert f"{path}: column" in told
    assert '"unheard" not found' in told
    assert told.count("not in the first ") == 4
    assert 'did you mean "total"?' in told
    assert "properties.y" not in told


def test_columns_that_no_record_has(project: Project) -> None:
    """A source that was looked at whole lacks what it lacks."""
    job = project.folder / "late.yaml"
    job.write_text(NDJSON_JOB)
    (project.folder / "rows.ndjson").write_text(ROW % (1, 1))
    result = backfill("check", job)
    assert result.code == 2
    assert result.err.count("the source has no column") == 3
    assert "not in the first" not in result.err


def test_preview_of_ndjson_looks_on(project: Project) -> None:
    """Past the beginning that tells the columns, where `where` wants it, and in files of few records."""
    job = project.folder / "late.yaml"
    job.write_text(
        NDJSON_JOB.replace('{x: totl, y: total, z: late, w: {sql: "unheard::INTEGER + 1"}}', "{y: total}")
        .replace("day IS NOT NULL", "id = '99999'")
        .replace("late: number, ", "")
    )
    with (project.folder / "rows.ndjson").open("w") as file:
        file.writelines(ROW % (row, row) for row in range(100_000))
    result = backfill("preview", job, "-n", "1")
    assert "record 100,000" in result.out, result.err


def test_unreadable_records_behind_the_rows_are_not_shown(project: Project) -> None:
    """Of records that cannot be read those count that stand before the last row shown, here and in `check`."""
    job = project.people(1_200)
    source = project.folder / "people.csv"
    lines = source.read_text(encoding="utf-8").splitlines()
    source.write_text("\n".join([*lines[:3], "x,y", *lines[3:1_100], "y,z", *lines[1_100:]]) + "\n", encoding="utf-8")
    one, three = backfill("preview", job, "-n", "1"), backfill("preview", job, "-n", "3")
    assert "BF001" not in one.err
    assert "BF001 people.csv:4 (record 3)" in three.err.replace(f"{project.folder}/", "")
    assert "y,z" not in three.err
    assert "1 unreadable, of the first 1,001 records" in backfill("check", job).out


def test_one_record(project: Project) -> None:
    """The record of that number, wherever it is, and why it becomes no call; one that is not there is said."""
    job = project.people(40_000, bad=[35_000])
    shown = backfill("preview", job, "--record", "35001")
    assert shown.out.startswith("--- people.csv, record 35,001\n")
    assert shown.out.count("--- ") == 1
    assert "BF117" in shown.out
    assert '"userId": "u034999"' in backfill("preview", job, "--record", "35000").out
    none = backfill("preview", job, "--record", "40001")
    assert not none.out
    assert "Record 40,001 makes no row" in none.err


def test_rows_that_sql_chooses(project: Project) -> None:
    """Rows are those for which it is true, beside the job's own `where`; a fault of it is told."""
    job = project.people(3_000)
    job.write_text(job.read_text(encoding="utf-8").replace("calls:", "where: age < 80\ncalls:"), encoding="utf-8")
    shown = backfill("preview", job, "--where", "age > 78 AND id > 'u002'", "-n", "2")
    assert [line for line in shown.out.splitlines() if line.startswith("---")] == [
        "--- people.csv, record 2,060",
        "--- people.csv, record 2,150",
    ]
    faulty = backfill("preview", job, "--where", "agee > 78")
    assert faulty.code == 2
    assert "agee" in faulty.err


OBJECTS = """version: 1
name: whole
source: {path: rows.ndjson}
mask: [email, card, "no"]
calls:
  - type: track
    message_key: [id]
    userId: id
    timestamp: {column: at, format: iso8601}
    event: {sql: "'from ' || email"}
    properties: {a.b: {sql: upper(email)}, mail.of: email, list: {list: [{value: 1}, email]}, total: total}
    context: {column: card}
    integrations: {All: false}
"""


def test_masked_columns_are_not_shown(project: Project) -> None:
    """In rows, calls and problems, also by way of SQL, in lists and whole objects; unless it is asked for."""
    row = '{"id": "u1", "at": "2024-05-01T10:00:00Z", "email": "a@b.c", "card": {"nr": "4711"}, "total": 1.50, "no": 1}'
    bad = row.replace("u1", "").replace('"2024-05-01T10:00:00Z"', '"4th of June"')
    (project.folder / "rows.ndjson").write_text(f"{row}\n{bad}\n", "utf-8")
    job = project.folder / "whole.yaml"
    job.write_text(OBJECTS, "utf-8")
    told = backfill("preview", job)
    assert told.code == 3, told.err
    shown = told.out + told.err
    assert not {part for part in ("a@b.c", "A@B.C", "4711") if part in shown}, shown
    assert '"total": 1.50' in told.out
    assert '"event": "(masked)"' in told.out
    assert '"userId": "u1"' in told.out
    assert "at = '4th of June'" in told.out
    whole = backfill("preview", job, "--unmasked").out
    assert {part for part in ("a@b.c", "A@B.C", "4711") if part in whole} == {"a@b.c", "A@B.C", "4711"}
    job.write_text(OBJECTS.replace('[email, card, "no"]', "all"), "utf-8")
    everything = backfill("preview", job).out
    assert not {part for part in ("u1", "a@b.c", "4711", "1.50", "2024-05-01", "4th of June") if part in everything}
    assert '"type": "track"' in everything
