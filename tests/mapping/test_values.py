"""Values of Parquet and text that other tools write, from the file to the JSON of the call."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill import encode
from backfill.ledger import LedgerReader
from backfill.spool import Spool
from tests.prepare.test_prepare import as_batch
from tests.support.projects import Project, backfill

CALL = """\
calls:
  - {type: track, message_key: [id], userId: {value: u1}, timestamp: {value: "2024-01-01T00:00:00Z"},
     event: {value: E}, properties: %s, integrations: {All: false}}
"""


MAP = pa.map_(pa.string(), pa.int64())
TABLE = pa.table(
    {
        "id": ["1", "2", "3"],
        "map": pa.array([[("a", 1), ('q"', None)], [], None], MAP),
        "maps": pa.array([[[("k", 2)], [], None], None, []], pa.list_(MAP)),
        "dated": pa.array([[(17897, True)], None, None], pa.map_(pa.date32(), pa.bool_())),
        "category": pa.array(["é", None, 'x"y']).dictionary_encode(),
        "at": pa.array([1_600_000_000_123_456_789, None, 0], pa.timestamp("ns", "UTC")),
    }
)
WANTED = [
    {"id": "1", "map": {"a": 1}, "maps": [{"k": 2}, {}, None], "dated": {"2019-01-01": True}, "category": "é",
     "at": "2020-09-13T12:26:40.123Z"},
    {"id": "2"},
    {"id": "3", "maps": [], "category": 'x"y', "at": "1970-01-01T00:00:00.000Z"},
]  # fmt: skip


@pytest.mark.parametrize("where", ["", ", query: FROM source"])
def test_maps_categories_and_nanoseconds(tmp_path: Path, where: str) -> None:
    """What pandas and Spark write arrives the same, read in place or staged."""
    pq.write_table(TABLE, tmp_path / "a.parquet")
    job = tmp_path / "job.yaml"
    job.write_text(f"version: 1\nname: values\nsource: {{path: a.parquet{where}}}\n" + CALL % '{"*": {}}', "utf-8")
    result = backfill("run", job, "--target", "sandbox", "--output", "json", "--keep-spool")
    assert result.code == 0, result.err
    assert sent(tmp_path) == WANTED


def sent(folder: Path) -> list[dict[str, Any]]:
    """The properties of every call in the spool of the only run, in order."""
    return [call["properties"] for body in bodies(folder) for call in json.loads(body + b"]}")["batch"]]


def bodies(folder: Path) -> list[bytes]:
    """The batches in the spool of the only run, in order."""
    (path,) = (folder / ".backfill" / "runs").glob("*/ledger.sqlite3")
    spool = Spool(path.parent / "spool")
    with LedgerReader(path) as reader:
        return [spool.plain(as_batch(shard, batch)) for shard in reader.shards().values() for batch in shard.batches]


def test_digits_of_other_scripts_are_no_digits(tmp_path: Path) -> None:
    """Arabic digits inside a number are a problem of the row; they never reach the wire unquoted."""
    (tmp_path / "a.csv").write_text("id,x,n\n1,1.٣,1\n2,5,٣\n3,2.5,7\n4,3e1٢,8\n", "utf-8")
    job = tmp_path / "job.yaml"
    mapped = "{x: {column: x, as: number}, n: {column: n, as: text}}"
    source = "{path: a.csv, columns: {n: integer}}"
    job.write_text(f"version: 1\nname: digits\nsource: {source}\n" + CALL % mapped, "utf-8")
    result = backfill("run", job, "--target", "sandbox", "--output", "json", "--keep-spool")
    assert result.code == 3, result.err
    assert result.object["problems"] == {"BF117": 3}
    assert sent(tmp_path) == [{"x": 2.5, "n": "7"}]


@pytest.mark.parametrize("call", ["unnest([1, 2])", "generate_subscripts([1], 1)"])
@pytest.mark.parametrize("place", ["where", "sql"])
def test_an_expression_keeps_a_row_one_row(tmp_path: Path, call: str, place: str) -> None:
    """Functions that make several rows of one, or none, are job errors outside of `query`."""
    Project(tmp_path).rows(3)
    where = f"where: {call} > 0\n" if place == "where" else ""
    mapped = f"{{v: {{sql: '{call}'}}}}" if place == "sql" else "{}"
    job = tmp_path / "job.yaml"
    job.write_text(f"version: 1\nname: rows\nsource: {{path: people.csv}}\n{where}" + CALL % mapped, "utf-8")
    result = backfill("check", job)
    assert result.code == 2
    assert "other than one row" in result.err


def test_dates_that_no_calendar_has(tmp_path: Path) -> None:
    """A date of the year 10183 is a problem of the row, alone and in a list; it is never written with a plus sign."""
    far = pa.array([3_000_000, 0, None], pa.date32())
    lists = pa.array([[0], [3_000_000], None], pa.list_(pa.date32()))
    pq.write_table(pa.table({"id": ["1", "2", "3"], "day": far, "days": lists}), tmp_path / "a.parquet")
    job = tmp_path / "job.yaml"
    job.write_text("version: 1\nname: far\nsource: {path: a.parquet}\n" + CALL % '{"*": {}}', "utf-8")
    result = backfill("run", job, "--target", "sandbox", "--output", "json", "--keep-spool")
    assert result.object["problems"] == {"BF202": 2, "BF302": 1}  # `id` is a column of the warehouse
    assert sent(tmp_path) == [{"id": "3"}]


WHOLE = pa.table(
    {
        "id": ["1", "2", "3", "4"],
        "map": pa.array([[("a", 1), ("b", 2)], [], None, [("b", None)]], MAP),
    }
)


@pytest.mark.parametrize("query", ["", ", query: FROM source"])
@pytest.mark.parametrize(
    ("properties", "wanted"),
    [
        ("map", [{"a": 1, "b": 2}, {}, {}, {}]),
        ("{column: {column: map, exclude: [a]}}", [{"b": 2}, {}, {}, {}]),
        ("{column: map, b: {value: x}}", [{"a": 1, "b": "x"}, {"b": "x"}, {"b": "x"}, {"b": "x"}]),
    ],
)
def test_a_map_as_a_whole_object(tmp_path: Path, properties: str, wanted: list[Any], query: str) -> None:
    """A map is an object like a struct: `check` and the run agree, members are overridden and excluded."""
    pq.write_table(WHOLE, tmp_path / "a.parquet")
    job = tmp_path / "job.yaml"
    job.write_text(f"version: 1\nname: maps\nsource: {{path: a.parquet{query}}}\n" + CALL % properties, "utf-8")
    assert backfill("check", job).code == 0
    result = backfill("run", job, "--target", "sandbox", "--output", "json", "--keep-spool")
    assert result.code == 0, result.err
    assert sent(tmp_path) == wanted


def test_an_exclusion_adds_nothing(tmp_path: Path) -> None:
    """What is not there to be excluded, or overridden with nothing, does not become an empty object, at any depth."""
    whole: list[Any] = [
        {"x": 1},
        {"a": 5},
        {"a": {"b": 1, "c": 2}},
        {"a": {}},
        {"a": {"b/c~d'": {"e": 1, "f": 2}}},
        None,
    ]
    rows = [{"id": str(number), "whole": value, "none": None} for number, value in enumerate(whole)]
    (tmp_path / "a.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    job = tmp_path / "job.yaml"
    mapped = """{column: {column: whole, exclude: [a.b, "a.b/c~d'.e"]}, n.o: none}"""
    job.write_text("version: 1\nname: none\nsource: {path: a.ndjson}\n" + CALL % mapped, "utf-8")
    result = backfill("run", job, "--target", "sandbox", "--output", "json", "--keep-spool")
    assert result.code == 0, result.err
    assert sent(tmp_path) == [{"x": 1}, {"a": 5}, {"a": {"c": 2}}, {"a": {}}, {"a": {"b/c~d'": {"f": 2}}}, {}]


#: A JSON object with numbers that other writers print anew, and with what numbers could be taken for.
EXACT = (
    '{"f":0.12345678901234567890123,"h":1.10,"i":12345678901234567890123,"e":[1e5,-0,-0.0,{"x":2.50,"y":"3.10"}],'
    '"k\\u0001\\u0001":"\\u0001\\u00011.10","s":"\\"1.10\\\\","t":[true,null,7]}'
)


@pytest.mark.parametrize(
    ("properties", "wanted"),
    [
        ("{column: p}", EXACT),
        ("{column: p, new: q}", EXACT[:-1] + ',"new":"v"}'),
        ("{column: {column: p, exclude: [z, y.z]}}", EXACT),
        ("{column: {column: p, exclude: [f]}}", "{" + EXACT[EXACT.index('"h"') :]),
        ("{column: p, e.f: n}", EXACT[: EXACT.index(',"e"')] + EXACT[EXACT.index(',"k') : -1] + ',"e":{"f":1.50}}'),
    ],
)
def test_a_whole_object_keeps_every_digit(tmp_path: Path, properties: str, wanted: str) -> None:
    """Whatever is put over a JSON object or taken out of it, all else goes out as it is written."""
    source = f'{{"id":"1","p":{EXACT},"q":"v","n":1.50}}\n'
    (tmp_path / "a.ndjson").write_text(source, "utf-8")
    job = tmp_path / "job.yaml"
    job.write_text("version: 1\nname: exact\nsource: {path: a.ndjson}\n" + CALL % properties, "utf-8")
    result = backfill("run", job, "--target", "sandbox", "--output", "json", "--keep-spool")
    assert result.code == 0, result.err
    (body,) = bodies(tmp_path)
    assert f'"properties":{wanted},'.encode() in body


@pytest.mark.parametrize("form", ["parquet", "ndjson"])
def test_members_of_whole_objects_are_excluded(tmp_path: Path, form: str) -> None:
    """`exclude` takes members out of structs and JSON objects alike, at any depth; what is not there is no matter."""
    whole = [{"a": 1, "b": {"c": 2, "d": 3}, "e.f": 4}, {"a": 5, "b": {"c": 6, "d": None}, "e.f": None}]
    rows = [{"id": str(number), "whole": value} for number, value in enumerate(whole)]
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    else:
        (tmp_path / "a.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    job = tmp_path / "job.yaml"
    mapped = r"{column: {column: whole, exclude: [a, b.c, 'e\.f', z]}}"
    job.write_text(f"version: 1\nname: less\nsource: {{path: a.{form}}}\n" + CALL % mapped, "utf-8")
    result = backfill("run", job, "--target", "sandbox", "--output", "json", "--keep-spool")
    assert result.code == 0, result.err
    assert sent(tmp_path) == [{"b": {"d": 3}}, {} if form == "parquet" else {"b": {"d": None}}]


def test_a_number_out_of_json(tmp_path: Path) -> None:
    """`as: number` of JSON takes numbers and strings that are numbers, as of text; anything else is a problem."""
    values = ["2", 3, 1.5, "+4", None, "x", "", "[1]", [1], {}, True, "true", 2**53 + 1, 0.25]
    rows = [{"id": str(number), "n": value} for number, value in enumerate(values)]
    (tmp_path / "a.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    job = tmp_path / "job.yaml"
    job.write_text(
        "version: 1\nname: numbers\nsource: {path: a.ndjson}\n" + CALL % "{n: {column: n, as: number}}", "utf-8"
    )
    result = backfill("run", job, "--target", "sandbox", "--output", "json", "--keep-spool")
    assert json.loads(result.out)["problems"] == {"BF110": 1, "BF117": 7}
    assert sent(tmp_path) == [{"n": 2}, {"n": 3}, {"n": 1.5}, {"n": 4}, {}, {"n": 0.25}]


@pytest.mark.parametrize("query", ["", ', query: "SELECT id, j::JSON AS j FROM source"'])
@pytest.mark.parametrize(
    "properties", ["{j: j}", "{column: j}", "{column: j, more: {value: 1}}", '{j: {sql: "j::JSON"}}']
)
def test_json_that_is_nested_too_deep(tmp_path: Path, properties: str, query: str) -> None:
    """As in NDJSON, a thousand levels are sent and more are a problem of their row; strings have no levels."""

    def nested(levels: int) -> str:
        return '{"a":' + "[" * (levels - 1) + '"' + "[{" * 600 + '"' + "]" * (levels - 1) + "}"

    cells = [nested(levels) for levels in (1_001, 999, 1_021, 1_000)]
    cells.append('{"a":[' + ",".join(["[[1]]"] * 600) + "]}")
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "j"), *((str(number), cell) for number, cell in enumerate(cells))])
    job = tmp_path / "job.yaml"
    source = f"{{path: a.csv, columns: {{j: json}}{query}}}"
    job.write_text(f"version: 1\nname: deep\nsource: {source}\n" + CALL % properties, "utf-8")
    result = backfill("run", job, "--target", "sandbox", "--output", "json", "--keep-spool")
    assert json.loads(result.out)["problems"] == {"BF117": 2}, result.err
    (body,) = bodies(tmp_path)
    assert body.count(b'"messageId"') == 3
    for place in (1, 3, 4):
        end = ',"more":1},' if "more" in properties else "}"
        assert f":{cells[place].removesuffix('}')}{end}".encode() in body


@pytest.mark.parametrize("levels", [21, 22])
def test_a_call_that_is_nested_too_deep(tmp_path: Path, levels: int) -> None:
    """With the names around it, JSON within its own limit can be too deep for those who read the body."""
    cell = "[" * 1_000 + "]" * 1_000
    (tmp_path / "a.csv").write_text(f"id,j\n1,[]\n2,{cell}\n", "utf-8")
    name = ".".join("abcdefghijklmnopqrstuvwxyz"[:levels])
    job = tmp_path / "job.yaml"
    source = "{path: a.csv, columns: {j: json}}"
    job.write_text(f"version: 1\nname: deep\nsource: {source}\n" + CALL % f"{{{name}: j}}", "utf-8")
    result = backfill("run", job, "--target", "sandbox", "--output", "json")
    assert json.loads(result.out)["problems"] == ({} if levels == 21 else {"BF117": 1}), result.err


def test_what_problems_say_of_a_value(tmp_path: Path) -> None:
    """What does not fit is told with what was wanted, and a bad result of SQL as itself."""
    (tmp_path / "a.csv").write_text("id,n,m\n1,x,2\n2,2,0\n3,1,y\n4,1,2\n", "utf-8")
    job = tmp_path / "job.yaml"
    source = "{path: a.csv, columns: {n: integer, m: number}}"
    properties = "{n: n, q: {sql: 'n / m'}}"
    job.write_text(f"version: 1\nname: said\nsource: {source}\n" + CALL % properties, "utf-8")
    said = backfill("dry-run", job, "--target", "sandbox").err
    assert "BF117 (error) value does not fit its type: 3" in said
    assert "track: it is declared as integer: n = 'x'" in said
    assert "track: n is declared as integer, m is declared as number: n / m = 'y'" in said
    assert "BF111 (error) number that is not finite: 1" in said
    assert "track: n / m = 'inf'" in said


def test_problems_inside_nested_values_show_the_values(tmp_path: Path) -> None:
    """A problem, and the row of a rejected call, show what stands in the column."""
    values = {"id": ["1", "2"], "x": [[1.0, float("nan")], [2.0]], "y": [{"n": 2**53 + 1}, {"n": 1}]}
    pq.write_table(pa.table(values), tmp_path / "a.parquet")
    job = tmp_path / "job.yaml"
    job.write_text("version: 1\nname: shown\nsource: {path: a.parquet}\n" + CALL % '{"*": {}}', "utf-8")
    result = backfill("run", job, "--target", "sandbox", "--output", "json")
    assert json.loads(result.out)["problems"] == {"BF110": 1, "BF111": 1, "BF302": 1}
    assert backfill("rejects", "--state-dir", tmp_path / ".backfill", "--export", tmp_path / "bad.csv").code == 0
    exported = (tmp_path / "bad.csv").read_text("utf-8").replace('""', '"')
    for text in ('[1.0,"NaN"]', '{"n":9007199254740993}'):
        assert text in result.err
        assert text in exported


WORDS = ["true", "null", "false", "nul", "1\n", "{}", '"1"', "NaN"]


@given(st.one_of(st.from_regex(r"[-+0-9.eE]{0,8}"), st.sampled_from(WORDS)))
def test_plain_json_is_a_number_or_a_word(text: str) -> None:
    """What is placed in a body without parsing it again is JSON of one number or word."""
    (plain,) = pl.DataFrame({"text": [text]}).select(encode.is_plain(pl.col("text"))).to_series()
    if plain:
        assert not isinstance(json.loads(text), str | list | dict)
        assert text == text.strip()
