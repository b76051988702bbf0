"""JSON that SQL makes: what is no JSON, or not what the table of values says, is a problem of its row or of the job."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.errors import JobError
from backfill.job.models import Call, ColumnValue, ConstantValue, Job, ObjectSpec, SqlValue, TimestampSpec
from backfill.mapping import compile_job
from backfill.prepare.frames import snapshot_schema
from backfill.prepare.rows import map_rows
from backfill.sources import inspect
from tests.support.examples import examples
from tests.support.sourcing import job_over, staged

NOW = 1_767_225_600.0


def source(folder: Path, columns: str) -> Path:
    """A Parquet file of one row, by SQL."""
    path = folder / "rows.parquet"
    duckdb.connect().execute(f"COPY (SELECT 1 AS n, {columns}) TO '{path}' (FORMAT parquet)")
    return path


def sent(job: Job, folder: Path, value: Any) -> Any:
    """What the one row's property is sent as, or the codes of its problems."""
    call = Call(
        type="track",
        message_key=(ColumnValue(column="n"),),
        userId=ColumnValue(column="n"),
        event=ConstantValue(value="Seen"),
        timestamp=TimestampSpec(value="2024-01-01T00:00:00Z"),
        properties=ObjectSpec(members=((("p",), value),)),
    )
    job = job.model_copy(update={"calls": (call,)})
    mapped = map_rows(job, staged(job, folder).snapshot, id_scope="scope", library_version="1", now=NOW)
    (row,) = mapped.iter_rows(named=True)
    if row["state"] != "ok":
        return sorted(row["codes"])
    text = row["json"]
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} was sent"))
    before, _, rest = text.partition('"properties":{"p":')
    assert before
    value, end = json.JSONDecoder(parse_float=str, parse_int=str).raw_decode(rest)
    assert end
    return value


CASES = [
    ("to_json(CAST('nan' AS DOUBLE))", ["BF111"]),
    ("to_json([1.5, CAST('inf' AS DOUBLE)])", ["BF111"]),
    ("json_object('a', CAST('-inf' AS DOUBLE), 'b', 'nan')", ["BF111"]),
    ("{'j': CAST('{}' AS JSON), 'd': CAST('nan' AS DOUBLE)}", ["BF111"]),
    ("CAST('[1,]' AS JSON)", ["BF117"]),
    ("json_object('a', 'NaN, inf and [1,]')", {"a": "NaN, inf and [1,]"}),
    ("to_json(9007199254740993)", ["BF110"]),
    ("to_json([-9007199254740993])", ["BF110"]),
    ("json_object('a', 123456789012345678901234567890)", ["BF110"]),
    ("{'j': CAST('{}' AS JSON), 'i': 9007199254740993}", ["BF110"]),
    ("to_json(9007199254740992)", "9007199254740992"),
    ("to_json(-9007199254740992)", "-9007199254740992"),
    ("json_object('a', '9007199254740993')", {"a": "9007199254740993"}),
    ("to_json(0.12345678901234567890)", "0.12345678901234567890"),
    ("to_json(TIMESTAMP '2024-01-01 10:00:00')", ["BF131"]),
    ("json_object('a', TIMESTAMPTZ '2024-01-01 10:00:00.5+00', 'b', 1)", ["BF131"]),
    ("json_array(TIMESTAMP '2024-01-01 10:00:00')", ["BF131"]),
    ("CAST({'t': TIMESTAMP '2024-01-01 10:00:00'} AS JSON)", ["BF131"]),
    ("json_object('a', 'at 2024-01-01 10:00:00')", {"a": "at 2024-01-01 10:00:00"}),
    ("json_object('2024-01-01 10:00:00', 1)", {"2024-01-01 10:00:00": "1"}),
    ("json_object('a', DATE '2024-01-01', 'b', TIME '10:00:00')", {"a": "2024-01-01", "b": "10:00:00"}),
    ("to_json(strftime(TIMESTAMP '2024-01-01 10:00:00', '%Y-%m-%dT%H:%M:%S.%gZ'))", "2024-01-01T10:00:00.000Z"),
    ("CAST('{\"a\": 123456789012345678901234567890.10}' AS JSON)", {"a": "123456789012345678901234567890.10"}),
    ("json_extract('{\"a\": 9007199254740993}', '$.a')", "9007199254740993"),
    ("{'j': CAST('{\"a\": 1.10, \"b\": null}' AS JSON), 'x': NULL, 'y': [NULL]}",
     {"j": {"a": "1.10", "b": None}, "y": [None]}),
    ("[CAST('0.12345678901234567890' AS JSON), CAST('null' AS JSON), NULL]", ["0.12345678901234567890", None, None]),
    ("MAP {'k': CAST('[1,]' AS JSON)}", ["BF117"]),
    ("[CAST('1e400' AS JSON)]", ["BF111"]),
    ("[CAST('' || repeat('[', 1001) || repeat(']', 1001) AS JSON)]", ["BF117"]),
    ("{'j': CAST('{}' AS JSON), 't': TIMESTAMPTZ '2024-01-01 10:00:00+00'}",
     {"j": {}, "t": "2024-01-01T10:00:00.000Z"}),
    ("{'j': json_object('t', TIMESTAMP '2024-01-01 10:00:00')}", ["BF131"]),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "expected"), CASES)
@pytest.mark.parametrize("way", ["sql", "query"])
def test_json_that_sql_makes(tmp_path: Path, expression: str, expected: Any, way: str) -> None:
    """In an expression and in a query's result alike."""
    path = source(tmp_path, "2 AS x")
    if way == "sql":
        value = SqlValue(sql=f"CASE WHEN x = 2 THEN {expression} END")
        assert sent(job_over(path), tmp_path / "state", value) == expected
    else:
        job = job_over(path, query=f"SELECT n, {expression} AS j FROM source")
        assert sent(job, tmp_path / "state", ColumnValue(column="j")) == expected


def test_a_rule_can_be_lowered_where_text_only_looks_like_a_time(tmp_path: Path) -> None:
    """Text of the source may have that form; whoever knows says so."""
    job = job_over(source(tmp_path, "'2024-01-01 10:00:00' AS x")).model_copy(update={"rules": {"BF131": "ignore"}})
    assert sent(job, tmp_path / "state", SqlValue(sql="to_json({'a': x})")) == {"a": "2024-01-01 10:00:00"}


@pytest.mark.parametrize("kind", ["UNION(a INTEGER, b DOUBLE)", "VARIANT", "VARIANT[]", "STRUCT(a UNION(b INTEGER))"])
def test_types_without_an_exact_form(tmp_path: Path, kind: str) -> None:
    """Unions and variants lose digits and times on their way to JSON, so they are to be cast."""
    job = job_over(source(tmp_path, "2 AS x"), sql=(f"CAST(NULL AS {kind})",))
    (fault,) = inspect(job).faults
    assert "cast it" in fault.message


NUMBERS = st.floats() | st.integers(-(2**60), 2**60).map(float)


@settings(max_examples=examples(30), deadline=None)
@given(
    values=st.lists(NUMBERS | st.text(st.characters(exclude_categories=["Cs"]), max_size=5), min_size=1, max_size=4),
    whole=st.integers(-(2**63), 2**63 - 1),
)
def test_whatever_is_sent_is_json(tmp_path_factory: pytest.TempPathFactory, values: list[Any], whole: int) -> None:
    """Any doubles, texts and integers in one object: sent as they are, or the row says why not."""
    folder = tmp_path_factory.mktemp("json")
    path = folder / "rows.parquet"
    row = {"n": 1, "whole": whole} | {f"c{index}": value for index, value in enumerate(values)}
    pl.DataFrame([row]).write_parquet(path)
    members = ", ".join(f"'c{index}', c{index}" for index in range(len(values)))
    found = sent(job_over(path), folder / "state", SqlValue(sql=f"json_object('w', whole, {members})"))
    expected = {"BF111"} if any(isinstance(value, float) and not math.isfinite(value) for value in values) else set()
    expected |= {"BF110"} if abs(whole) > 2**53 else set()
    if isinstance(found, list):
        # A double of 16 digits or more without a fraction is told as well.
        assert expected <= set(found) <= expected | {"BF110"}
    else:
        assert not expected
        assert int(found["w"]) == whole
        for index, value in enumerate(values):
            assert (float(found[f"c{index}"]) if isinstance(value, float) else found[f"c{index}"]) == value


LONG = '{"a": 1.10, "b": 0.12345678901234567890123, "c": 12345678901234567890123, "s": "0.12345678901234567890"}'


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("j", {"a": "1.10", "b": "0.12345678901234567890123", "c": "12345678901234567890123",
               "s": "0.12345678901234567890"}),
        ("j->'b'", ["BF133"]),
        ("j->>'b'", ["BF133"]),
        ("j.b", ["BF133"]),
        ("j['b']", ["BF133"]),
        ("json_merge_patch(j, '{\"x\": 1}')", ["BF133"]),
        ("to_json({'x': j})", ["BF110", "BF133"]),
        ("(j->>'b')::DECIMAL(38, 20)", ["BF133"]),
        ("[j->'b']", ["BF133"]),
        ("CAST(j AS MAP(VARCHAR, VARCHAR))", ["BF133"]),
        ("CAST(j::VARCHAR AS JSON)->'b'", ["BF133"]),
        ("json_transform(j, '{\"b\": \"DECIMAL(38, 23)\"}')", {"b": "0.12345678901234567890123"}),
        ("CAST(j->'b' AS DOUBLE)", "0.12345678901234568"),
        ("j->'a'", "1.1"),
        ("j->>'a'", "1.1"),
        ("j->'c'", "12345678901234567890123"),
        ("j->>'s'", "0.12345678901234567890"),
        ("{'x': j->'a', 'y': j}", {"x": "1.1", "y": {"a": "1.10", "b": "0.12345678901234567890123",
                                   "c": "12345678901234567890123", "s": "0.12345678901234567890"}}),
    ],
)  # fmt: skip
def test_digits_that_sql_rounds(tmp_path: Path, expression: str, expected: Any) -> None:
    """A number out of JSON that SQL rounded is a problem of its row; one that it did not touch is none."""
    path = tmp_path / "rows.ndjson"
    path.write_text(f'{{"n": 1, "j": {LONG}}}\n')
    assert sent(job_over(path), tmp_path / "state", SqlValue(sql=expression)) == expected


@pytest.mark.parametrize(("level", "codes"), [({}, ["BF133"]), ({"BF133": "warn"}, []), ({"BF133": "ignore"}, [])])
def test_digits_that_a_query_rounds(tmp_path: Path, level: dict[str, str], codes: list[str]) -> None:
    """Rows that a query would round are left out of it and told, unless the job says that doubles will do."""
    path = tmp_path / "rows.ndjson"
    path.write_text(f'{{"n": 1, "j": {LONG}}}\n{{"n": 2, "j": {{"b": 0.5}}}}\n')
    job = job_over(path, query="SELECT n, j->'b' AS b FROM source").model_copy(update={"rules": level})
    result = staged(job, tmp_path / "state")
    assert [(row["code"], row["record"], row["column"]) for row in result.rejects] == [(code, 1, "j") for code in codes]
    assert len(result.rows) == 2 - len(codes)
    untouched = job_over(path, query="SELECT n, j FROM source")
    assert staged(untouched, tmp_path / "other").snapshot.rows == 2


def test_a_query_with_such_a_type(tmp_path: Path) -> None:
    """In a query's result as well, where a call reads the column."""
    job = job_over(source(tmp_path, "2 AS x"), query="SELECT n, CAST(x AS VARIANT) AS v FROM source")
    with pytest.raises(JobError, match="VARIANT"):
        sent(job, tmp_path / "state", ColumnValue(column="v"))


@pytest.mark.parametrize(
    ("value", "codes"),
    [
        (ColumnValue(column="j"), ["BF132"]),
        (ColumnValue(column="j", as_="text"), []),
        (SqlValue(sql="j || ''"), ["BF132"]),
    ],
)
def test_json_sent_as_text_is_warned_of(tmp_path: Path, value: Any, codes: list[str]) -> None:
    """It is sent as the text it is; `as: text` says that this is meant, and so does a rule."""
    path = source(tmp_path, "'{\"a\": 1}' AS j")
    call = Call(
        type="track",
        message_key="content",
        userId=ColumnValue(column="n"),
        timestamp=TimestampSpec(value="2024-01-01T00:00:00Z"),
        properties=ObjectSpec(members=((("p",), value),)),
    )
    job = job_over(path, where="n = 1").model_copy(update={"calls": (call,)})
    snapshot = staged(job, tmp_path / "state").snapshot
    (compiled,) = compile_job(job, snapshot, snapshot_schema(snapshot), id_scope="s", library_version="1", now=NOW)
    assert [check.code for check in compiled.checks if check.code == "BF132"] == codes
