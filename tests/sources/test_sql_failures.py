"""An expression that fails on a row costs that row and no other, as DuckDB says where it is asked of each row alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.errors import JobError
from backfill.job.models import Call, ColumnValue, ConstantValue, ObjectSpec, SqlValue, TimestampSpec
from backfill.mapping import compile_job
from backfill.prepare.frames import snapshot_schema
from backfill.prepare.rows import map_rows
from tests.support.examples import examples
from tests.support.sourcing import job_over, staged

EXPRESSIONS = [
    "CAST(v AS INTEGER)",
    "CAST(v AS INTEGER) + CAST(v AS INTEGER)",
    "CAST(v AS INTEGER) IN (1, 2)",
    "CAST(v AS INTEGER) IN (1, 2, 3, 4, 5, 6, 7, 8, 9)",
    "CAST(v AS INTEGER) BETWEEN 1 AND 3",
    "CASE WHEN CAST(v AS INTEGER) = 1 THEN 1 WHEN CAST(v AS INTEGER) = 2 THEN 2 END",
    "CASE WHEN v = 'x' THEN 'no' ELSE CAST(CAST(v AS INTEGER) AS VARCHAR) END",
    "coalesce(TRY_CAST(v AS INTEGER), CAST(w AS INTEGER))",
    "list_transform([v, w], lambda each: CAST(each AS INTEGER))",
    "{'a': CAST(v AS INTEGER), 'b': [w]}",
    "strptime(v, '%d')",
    "CAST(v AS DATE)",
    "year(CAST('2024-01-0' || v AS DATE))",
    "json_extract_string(v, '$.a')",
    "9223372036854775807 + CAST(w AS BIGINT)",
    "CAST(v AS DECIMAL(3, 2))",
    "regexp_extract('abc', v)",
    "chr(CAST(w AS INTEGER) - 3)",
    "CAST(v AS BOOLEAN)",
    "v::UUID",
    "v || w",
    "nullif(v, 'x')",
]
TEXTS = st.sampled_from(["1", "2", "9", "x", "", "(", "300", "2024-01-01", "{", "t", "99999999999"]) | st.none()
NOW = 1_767_225_600.0


def alone(expression: str, row: tuple[str | None, str | None]) -> tuple[bool, Any]:
    """Whether the expression fails on a row, and what it gives, asked of that row and nothing else."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("PRAGMA disable_optimizer")  # which knows a lone row's values, and reasons with them
        connection.execute("CREATE TABLE source AS SELECT $1::VARCHAR AS v, $2::VARCHAR AS w", list(row))
        try:
            return False, connection.execute(f"SELECT CAST(({expression}) AS VARCHAR) FROM source").fetchone()
        except duckdb.Error:
            return True, None


def write(path: Path, rows: list[tuple[str | None, str | None]]) -> Path:
    """The rows as NDJSON or Parquet, with their number."""
    members = [{"n": number, "v": v, "w": w} for number, (v, w) in enumerate(rows, 1)]
    if path.suffix == ".parquet":
        pl.DataFrame(members, schema={"n": pl.Int64, "v": pl.String, "w": pl.String}).write_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in members))
    return path


@settings(max_examples=examples(15), deadline=None)
@given(
    rows=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=6),
    expressions=st.lists(st.sampled_from(EXPRESSIONS), min_size=1, max_size=3, unique=True),
    suffix=st.sampled_from(["ndjson", "parquet"]),
    query=st.booleans(),
)
def test_each_row_for_itself(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str | None, str | None]],
    expressions: list[str],
    suffix: str,
    query: bool,
) -> None:
    """Several expressions in one staging fail on just the rows, and give just the values, that each has alone."""
    folder = tmp_path_factory.mktemp("rows")
    path = write(folder / f"rows.{suffix}", rows)
    columns = {} if suffix == "parquet" else {"v": "text", "w": "text"}
    asked = tuple(f"CAST(({each}) AS VARCHAR)" for each in expressions)
    options = {"query": "SELECT * FROM source"} if query else {}
    result = staged(job_over(path, columns=columns, sql=asked, **options), folder / "state")
    for index, expression in enumerate(expressions):
        expected = [alone(expression, row) for row in rows]
        name = f"__bf_sql_{index}"
        assert result.column(f"__bf_failed:{name}") == [failed for failed, _ in expected]
        assert result.column(name) == [None if found is None else found[0] for _, found in expected]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_where(tmp_path: Path, expression: str) -> None:
    """A row that `where` fails on is kept for prepare to reject; the others are kept or left out as they say."""
    rows = [("1", "2"), ("x", "0"), (None, "1"), ("300", "x"), ("(", "2")]
    path = write(tmp_path / "rows.parquet", rows)
    where = f"coalesce(CAST(({expression}) AS VARCHAR) <> '1', true)"
    expected = [alone(where, row) for row in rows]
    result = staged(job_over(path, where=where), tmp_path / "state")
    kept = [number for number, (failed, found) in enumerate(expected) if failed or found == ("true",)]
    assert result.column("n") == [number + 1 for number in kept]
    assert result.column("__bf_where_failed") == [expected[number][0] for number in kept]


def codes(tmp_path: Path, rows: list[tuple[str | None, str | None]], **fields: Any) -> list[Any]:
    """Of each row what is sent of it, or the codes of its problems; `where` is the job's, other fields the call's."""
    where = fields.pop("where", None)
    path = write(tmp_path / "rows.parquet", rows)
    call = {
        "type": "track",
        "message_key": (ColumnValue(column="n"),),
        "userId": ColumnValue(column="n"),
        "event": ConstantValue(value="Seen"),
        "timestamp": TimestampSpec(value="2024-01-01T00:00:00Z"),
    }
    job = job_over(path, where=where).model_copy(update={"calls": (Call(**(call | fields)),)})
    result = staged(job, tmp_path / "state")
    mapped = map_rows(job, result.snapshot, id_scope="scope", library_version="1", now=NOW)
    found = {row["row"]: row for row in mapped.iter_rows(named=True)}
    return [
        json.loads(row["json"]) if row["state"] == "ok" else row["codes"] or row["state"]
        for row in (found[number] for number in sorted(found))
    ]


ROWS = [("1", "2"), ("x", "0"), (None, None)]


def test_a_value_that_fails_rejects_its_row(tmp_path: Path) -> None:
    """BF130 for the row; a null is a null."""
    properties = ObjectSpec(members=((("p",), SqlValue(sql="CAST(v AS INTEGER)")),))
    first, second, third = codes(tmp_path, ROWS, properties=properties)
    assert first["properties"] == {"p": 1}
    assert second == ["BF130"]
    assert third["properties"] == {}


def test_omit(tmp_path: Path) -> None:
    """With `on_bad: omit` the value is left out, and the row is sent."""
    properties = ObjectSpec(members=((("p",), SqlValue(sql="CAST(v AS INTEGER)", on_bad="omit")),))
    assert [row["properties"] for row in codes(tmp_path, ROWS, properties=properties)] == [{"p": 1}, {}, {}]


@pytest.mark.parametrize(
    ("fields", "second"),
    [
        ({"when": "CAST(v AS INTEGER) = 1"}, ["BF130"]),
        ({"where": "CAST(v AS INTEGER) = 1"}, ["BF130"]),
        ({"timestamp": TimestampSpec(sql="make_timestamp(CAST(v AS BIGINT)) AT TIME ZONE 'UTC'")}, ["BF130"]),
        ({"userId": SqlValue(sql="CAST(CAST(v AS INTEGER) AS VARCHAR)")}, ["BF101", "BF130"]),
    ],
)
def test_everywhere(tmp_path: Path, fields: dict[str, Any], second: list[str]) -> None:
    """In conditions, times and ids alike."""
    found = codes(tmp_path, ROWS[:2], **fields)
    assert isinstance(found[0], dict)
    assert sorted(found[1]) == second


def test_what_is_shown(tmp_path: Path) -> None:
    """A problem shows what the expression read, and nothing is read for it where nothing failed."""
    for name, rows, shown in (("some", ROWS, ["v=x"]), ("none", [("1", "2")], [])):
        folder = tmp_path / name
        folder.mkdir()
        job = job_over(write(folder / "rows.parquet", rows), sql=("CAST(v AS INTEGER)",))
        named = job.calls[0].model_copy(update={"userId": ColumnValue(column="n"), "message_key": "content"})
        job = job.model_copy(update={"calls": (named,)})
        result = staged(job, folder / "state")
        schema = snapshot_schema(result.snapshot)
        (call,) = compile_job(job, result.snapshot, schema, id_scope="scope", library_version="1", now=NOW)
        checks = [check for check in call.checks if check.code == "BF130"]
        assert [result.frame.filter(check.mask).select(check.shown).item() for check in checks] == shown
        assert ("v" in call.reads) == bool(shown)


def test_a_query_that_fails_is_the_jobs(tmp_path: Path) -> None:
    """Of a query nobody can say which rows are missing."""
    path = write(tmp_path / "rows.parquet", ROWS)
    with pytest.raises(JobError, match=r"source\.query fails: .*Could not convert"):
        staged(job_over(path, query="SELECT CAST(v AS INTEGER) AS v FROM source"), tmp_path / "state")


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("CAST(v AS INTEGER)", "Could not convert string '...' to INT32"),
        ("9223372036854775807 + w", "Overflow in addition of INT64"),
        ("CAST(v AS DATE)", "invalid date field format: '...'"),
    ],
)
@pytest.mark.parametrize("way", ["expression", "where", "query"])
def test_why_an_expression_fails(tmp_path: Path, expression: str, reason: str, way: str) -> None:
    """DuckDB's reason is told of the first row, without the values of that row."""
    path = tmp_path / "rows.parquet"
    duckdb.connect().execute(f"COPY (SELECT 'x1' AS v, 1::BIGINT AS w) TO '{path}' (FORMAT parquet)")
    condition = f"coalesce(CAST({expression} AS VARCHAR), '') <> ''"
    source = {
        "expression": {"sql": (expression,)},
        "where": {"where": condition},
        "query": {"sql": (expression,), "query": "SELECT * FROM source"},
    }[way]
    columns = staged(job_over(path, **source), tmp_path / "state").snapshot.columns
    (said,) = [column.reason for column in columns if column.failed]
    assert reason in said
    assert "x1" not in said
