"""NDJSON: one object a line, keys as columns, values as they stand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.errors import JobError, SourceError
from backfill.memory import STAGING_MEMORY_BYTES
from backfill.sources import inspect, resolve, stage
from backfill.sources.formats import line_of
from tests.support.examples import examples
from tests.support.sourcing import Staged, job_over, staged


def of(tmp_path: Path, data: bytes | str, **options: Any) -> Staged:
    """Stage one file of those lines."""
    path = tmp_path / "rows.ndjson"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return staged(job_over(path, **options), tmp_path / "state")


def test_numbers_keep_their_digits(tmp_path: Path) -> None:
    """41 digits, closing zeros, exponents, minus zero: as written, at every depth."""
    numbers = [
        "1.10",
        "12345678901234567890123456789012345678901",
        "1e5",
        "1E+05",
        "-0",
        "-0.0",
        "0.12345678901234567890",
        "1e400",
        "12.5",
    ]
    lines = "".join(f'{{"n": {number}, "deep": {{"list": [{number}, "1.10", "x\\"1.10"]}}}}\n' for number in numbers)
    result = of(tmp_path, lines)
    assert result.column("n") == numbers
    assert result.column("deep") == [f'{{"list":[{number},"1.10","x\\"1.10"]}}' for number in numbers]


MARKS = [
    r"\u0001",
    r"\u00011.50",
    r"\u0001\u00011.50",
    r"\"\u00011.50",
    r"\u0022\u00011.50",
    r"\\u00011.50",
    r"\u00021.50",
    r"\u0001" * 1200,
]


@pytest.mark.parametrize("mark", MARKS)
def test_numbers_beside_what_they_are_marked_with(tmp_path: Path, mark: str) -> None:
    """A line that holds the very character that marks numbers meanwhile, in keys and strings, keeps its digits too."""
    numbers = ["1.10", "12345678901234567890123456789012345678901", "-0", "1E+05"]
    lines = "".join(
        f'{{"n":{number},"t":"{mark}","{mark}":[{number},"{mark}"],"deep":{{"{mark}":"{mark}","x":[{number}]}}}}\n'
        for number in numbers
    )
    result = of(tmp_path, lines)
    plain = json.loads(f'"{mark}"')
    assert result.column("n") == numbers
    assert result.column("t") == [plain] * 4
    for name, path in ((plain, []), ("deep", ["x"])):
        for number, text in zip(numbers, result.column(name), strict=True):
            value = json.loads(text, parse_int=str, parse_float=str)
            assert (value["x"] if path else value) == ([number] if path else [number, plain])
            assert path == [] or value[plain] == plain


def test_columns_of_plain_numbers(tmp_path: Path) -> None:
    """What preparing need not look at: columns of JSON in which every value is a number without an exponent."""
    lines = '{"n":1.50,"late":1,"list":[1],"s":"1","mixed":1}\n' * 20_000
    result = of(tmp_path, lines + '{"n":-0,"late":1e400,"list":null,"mixed":"1"}\n{"n":null}\n')
    assert {column.name for column in result.snapshot.columns if column.numbers} == {"n"}
    assert result.column("n")[-2:] == ["-0", None]


def test_kinds(tmp_path: Path) -> None:
    """Strings are text, booleans booleans, anything else JSON; JSON's null is null."""
    lines = '{"t":"a","b":true,"m":"a","z":null}\n{"t":null,"b":false,"m":1}\n{"t":"\\u00e9\\n\\"","o":{"k":[]}}\n'
    result = of(tmp_path, lines)
    assert {name: result.kind(name) for name in "tbmzo"} == {
        "t": "text",
        "b": "boolean",
        "m": "json",
        "z": "text",
        "o": "json",
    }
    assert result.column("t") == ["a", None, 'é\n"']
    assert result.column("b") == [True, False, None]
    assert result.column("m") == ['"a"', "1", None]
    assert result.column("o") == [None, None, '{"k":[]}']


def test_a_key_of_the_last_record(tmp_path: Path) -> None:
    """A key first seen at the very end is a column; columns are in a fixed order."""
    lines = '{"b":1,"a":2}\n' * 5000 + '{"late":"x","B":1}\n'.replace("B", "c")
    result = of(tmp_path, lines)
    assert result.frame.columns[:4] == ["b", "a", "c", "late"]
    assert result.column("late")[-1] == "x"


def test_unreadable_lines(tmp_path: Path) -> None:
    """What is no object of strict JSON is unreadable, with its record and line; empty lines are no records."""
    bad = [
        "{bad}",
        "[1]",
        '"text"',
        "1",
        '{"a":1,"a":2}',
        '{"a":NaN}',
        '{"a":1,}',
        '{"a":1} {"a":2}',
        '{"a":"\x1f"}',
        "{'a':1}",
    ]
    lines = '{"a":"ok"}\n\n  \n' + "\n".join(bad) + '\n{"a":"NaN, Infinity ,}"}'
    result = of(tmp_path, lines)
    assert result.column("a") == ["ok", "NaN, Infinity ,}"]
    assert result.records == [1, len(bad) + 2]
    assert [(reject["record"], reject["line"]) for reject in result.rejects] == [
        (n + 2, n + 4) for n in range(len(bad))
    ]
    assert {reject["code"] for reject in result.rejects} == {"BF005"}


def test_bad_encoding_and_mixed_line_ends(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 cost their line; CRLF, LF and a byte order mark are read."""
    result = of(tmp_path, b'\xef\xbb\xbf{"a":"1"}\r\n{"a":"\xff"}\n\n{"a":"3"}\r\n')
    assert result.column("a") == ["1", "3"]
    assert result.records == [1, 3]
    assert [(reject["record"], reject["line"], reject["code"]) for reject in result.rejects] == [(2, 2, "BF004")]


def test_declared_columns(tmp_path: Path) -> None:
    """A declared column is cast from the scalar's text, whether it was a string or a number."""
    lines = '{"n":1.50,"i":"7","j":{"x":1}}\n{"n":"2.25","i":7.5,"j":"s"}\n{"n":[1],"i":null}\n'
    result = of(tmp_path, lines, columns={"n": "decimal", "i": "integer", "j": "json"})
    assert result.column("n") == ["1.50", "2.25", None]
    assert result.column("__bf_raw:n") == [None, None, "[1]"]
    assert result.column("i") == [7, None, None]
    assert result.column("j") == ['{"x":1}', '"s"', None]


def test_text_of_numbers(tmp_path: Path) -> None:
    """A number declared as text is its digits."""
    assert of(tmp_path, '{"zip":12.50}\n{"zip":"00123"}\n', columns={"zip": "text"}).column("zip") == ["12.50", "00123"]


def test_odd_keys(tmp_path: Path) -> None:
    """Keys with dots, slashes, quotes, tildes and none at all."""
    keys = ["a.b", "a/b", 'q"q', "t~1", "$", "[0]", "é"]
    line = json.dumps({key: key + "!" for key in keys})
    with pytest.raises(SourceError, match="without a name"):
        of(tmp_path, '{"":1}')
    result = of(tmp_path, line + "\n")
    assert result.rows == [tuple(key + "!" for key in keys)]


def test_no_keys_at_all(tmp_path: Path) -> None:
    """Records without keys are rows without columns, which constants can be sent of; a query has nothing to ask."""
    result = of(tmp_path, "{}\n{}\nx\n", where="1 = 1", sql=("1 + 1",))
    assert result.records == [1, 2]
    assert result.column("__bf_sql_0") == [2, 2]
    assert [reject["record"] for reject in result.rejects] == [3]
    with pytest.raises(SourceError, match="no record has any key"):
        of(tmp_path, "{}", query="SELECT 1 AS x FROM source")


def test_keys_equal_but_for_case(tmp_path: Path) -> None:
    """SQL cannot tell them apart, so they are refused."""
    with pytest.raises(JobError, match="tell apart"):
        of(tmp_path, '{"id":1}\n{"ID":2}\n')


def test_keys_that_are_data(tmp_path: Path) -> None:
    """Thousands of different keys are refused, not made columns."""
    with pytest.raises(JobError, match="different keys"):
        of(tmp_path, "".join(f'{{"k{index}":1}}\n' for index in range(5001)))


def test_several_files(tmp_path: Path) -> None:
    """The columns are those of all files; an empty one among them has no rows."""
    (tmp_path / "a.ndjson").write_text('{"x":"1"}\n{"x":2,\n')
    (tmp_path / "b.jsonl").write_text('{"y":"2"}\n')
    (tmp_path / "c.ndjson").write_text("")
    result = staged(job_over(tmp_path / "*[nl]", format="ndjson"), tmp_path / "state")
    assert result.frame.select("x", "y").rows() == [("1", None), (None, "2")]
    assert [(Path(reject["file"]).name, reject["record"]) for reject in result.rejects] == [("a.ndjson", 2)]


def test_cut_off(tmp_path: Path) -> None:
    """A truncated compressed file is an error before anything is made of it."""
    packed = zstandard.compress(b'{"a":1}\n' * 10_000)
    (tmp_path / "rows.ndjson.zst").write_bytes(packed[:-20])
    with pytest.raises(SourceError, match="truncated or corrupt"):
        stage(job_over(tmp_path / "rows.ndjson.zst"), tmp_path / "state")


def test_schema_of_a_sample(tmp_path: Path) -> None:
    """`inspect` reads the beginning only, and says so where there is more."""
    path = tmp_path / "rows.ndjson"
    path.write_text('{"a":"1"}\n{"b":tru')
    schema = inspect(job_over(path, sql=("a || 'x'",)))
    assert schema.complete
    assert [column.name for column in schema.columns][:2] == ["a", "__bf_sql_0"]
    path.write_text('{"a":"1"}\n' * 500_000 + '{"b":"1"}\n')
    schema = inspect(job_over(path))
    assert not schema.complete
    assert [column.name for column in schema.columns] == ["a"]


LATE = ['{"b":1}', '{"a":2}', '{"a":true}', '{"a":"\\u00e9","a2":null}']


@pytest.mark.parametrize("late", LATE)
def test_what_comes_after_the_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: str) -> None:
    """Columns and types are by all records, wherever they stand, and every record is read once."""
    monkeypatch.setattr("backfill.sources.ndjson.texts.HEAD_BYTES", 100)
    monkeypatch.setattr("backfill.sources.ndjson.texts.HEAD_BYTES_OF_ALL", 100)
    monkeypatch.setattr("backfill.sources.ndjson.records.CHUNK_BYTES", 300)
    monkeypatch.setattr("backfill.sources.origins.content.PIECE", 64)
    lines = [*['{"a":"x"}'] * 40, "{bad}", late, *['{"a":"y"}'] * 40]
    alone = of(tmp_path, "\n".join([late, *lines]), columns={})
    (tmp_path / "state").rename(tmp_path / "state-1")
    result = of(tmp_path, "\n".join([lines[0], *lines]), where="a IS DISTINCT FROM '0'")
    assert {name: result.kind(name) for name in ("a", *json.loads(late))} == {
        name: alone.kind(name) for name in ("a", *json.loads(late))
    }
    assert result.column("a")[1:] == alone.column("a")[1:]
    assert result.records == [*range(1, 42), *range(43, 84)]
    assert [(reject["record"], reject["line"]) for reject in result.rejects] == [(42, 42)]


def test_memory_for_long_lines(tmp_path: Path) -> None:
    """Values of 15 MB, text and JSON, go through in the memory that staging has."""
    path = tmp_path / "rows.ndjson.zst"
    text, parts = "x" * 15_000_000, ",".join(["[]"] * 3_000_000)
    with path.open("wb") as file, zstandard.ZstdCompressor(level=1).stream_writer(file) as packed:
        for row in range(30):
            value = f"[{parts}]" if row % 15 == 14 else f'"{text}"'
            packed.write(f'{{"id":{row},"text":{value}}}\n'.encode())
    snapshot = stage(job_over(path), tmp_path / "state", memory_bytes=STAGING_MEMORY_BYTES)
    assert (snapshot.rows, snapshot.unreadable) == (30, 0)


def test_a_sample_of_the_rows(tmp_path: Path) -> None:
    """Where few rows are wanted, no more than the beginning is read."""
    path = tmp_path / "rows.ndjson"
    path.write_text('{"a":"1"}\n' * 1_000_000 + '{"b":"1"}\n')
    result = staged(job_over(path), tmp_path / "state", sample=7)
    assert result.rows == [("1",)] * 7
    assert result.records == list(range(1, 8))


def test_lines(tmp_path: Path) -> None:
    """Empty lines are lines and no records."""
    path = tmp_path / "rows.ndjson"
    path.write_text('{"a":1}\n\n{"a":2}\n \n\n{"a":3}')
    job = job_over(path)
    assert line_of(resolve(job)[0], job, [1, 2, 3]) == {1: 1, 2: 3, 3: 6}


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=examples(25))
@given(
    rows=st.lists(
        st.dictionaries(st.sampled_from(["a", "b", "c d", "é"]), JSON_VALUES, max_size=4), min_size=1, max_size=12
    ),
    ascii_only=st.booleans(),
)
def test_values_come_through(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], ascii_only: bool
) -> None:
    """Whatever JSON holds, it reads back equal, exact integers and doubles included."""
    tmp_path = tmp_path_factory.mktemp("values")
    rows = [*rows, {"a": None}]
    result = of(tmp_path, "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows))

    def back(name: str, value: Any) -> Any:
        return json.loads(value) if result.kind(name) == "json" and value is not None else value

    for name in {key for row in rows for key in row}:
        assert [back(name, value) for value in result.column(name)] == [row.get(name) for row in rows]
