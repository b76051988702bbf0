"""Files called NDJSON that are arrays, pretty-printed or concatenated JSON: read as what they are, or refused whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.errors import SourceError
from backfill.sources import resolve
from backfill.sources.formats import line_of
from backfill.sources.ndjson import judge as ndjson_judge
from backfill.sources.ndjson import texts as ndjson_texts
from backfill.sources.ndjson.documents import is_document
from backfill.sources.ndjson.texts import JsonTexts
from tests.sources.test_ndjson_lines import good_objects, read, sizes, values
from tests.support import oracle_ndjson
from tests.support.examples import examples
from tests.support.sourcing import job_over

ROWS = [{"id": "a", "n": 1.5, "o": {"x": [1, 2]}}, {"id": "b", "n": 2, "o": {}}, {"id": "c", "n": -0.0, "o": {"x": []}}]
SHAPES = {
    "array on one line": json.dumps(ROWS),
    "array, pretty": json.dumps(ROWS, indent=2),
    "array, an object a line": "[\n" + ",\n".join(map(json.dumps, ROWS)) + "\n]\n",
    "array, commas before": "[" + "\n,".join(map(json.dumps, ROWS)) + "]",
    "arrays": "".join(json.dumps([row], indent=1) + "\n" for row in ROWS),
    "objects, pretty": "\n".join(json.dumps(row, indent=2) for row in ROWS),
    "objects, pretty, CRLF": "\r\n".join(json.dumps(row, indent=2).replace("\n", "\r\n") for row in ROWS),
    "objects, pretty, CR": "\r".join(json.dumps(row, indent=2).replace("\n", "\r") for row in ROWS),
    "objects on one line": "".join(map(json.dumps, ROWS)),
    "with a mark": "\ufeff" + json.dumps(ROWS, indent=2),
    "with blanks": "\n\n  " + json.dumps(ROWS, indent="\t") + "\n \n",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(tmp_path: Path, shape: str) -> None:
    """The records are the array's elements, or the values one behind the other."""
    path = tmp_path / "rows.json"
    path.write_bytes(SHAPES[shape].encode())
    table, kept, _ = read(path)
    assert not kept
    assert table["id"].to_pylist() == ["a", "b", "c"]
    assert table["n"].to_pylist() == ["1.5", "2", "-0.0"]
    assert table["o"].to_pylist() == ['{"x":[1,2]}', "{}", '{"x":[]}']
    assert table["__bf_record"].to_pylist() == [1, 2, 3]


def test_an_element_that_is_nested_too_deep(tmp_path: Path) -> None:
    """It is told as such, and costs itself alone."""
    path = tmp_path / "rows.json"
    deep = "[" * 1_100 + "]" * 1_100
    path.write_text(f'[{{"a": {deep}}}, {{"a": 1}}]')
    table, kept, _ = read(path)
    assert table["__bf_record"].to_pylist() == [2]
    assert [one.message for one in kept] == ["nested more than 1,000 deep"]


def test_elements_are_judged_as_lines_are(tmp_path: Path) -> None:
    """What is no good object is one unreadable record, with the line it begins in."""
    path = tmp_path / "rows.json"
    path.write_text('[\n {"a": "1"},\n 2,\n {"a": NaN},\n {"a": 1, "a": 2},\n\n {"a": "\\ud800"},\n {"a":\n "5"}\n]')
    table, kept, _ = read(path)
    assert table["a"].to_pylist() == ["1", "5"]
    assert table["__bf_record"].to_pylist() == [1, 6]
    assert [(one.record, one.line, one.code) for one in kept] == [
        (2, 3, "BF005"),
        (3, 4, "BF005"),
        (4, 5, "BF005"),
        (5, 7, "BF005"),
    ]
    job = job_over(path)
    assert line_of(resolve(job)[0], job, [1, 6]) == {1: 2, 6: 8}


def test_an_element_over_several_lines_among_others(tmp_path: Path) -> None:
    """Elements that are alike, one of which holds line ends, are as many records, each with its line."""
    path = tmp_path / "rows.json"
    rows = [f'{{"id":"{place:04}","city":"Boston"}}' for place in range(200)]
    rows[150] = '{"id":\n"0150","city":\n"Boston"}'
    path.write_bytes(f"[{','.join(rows)}]".encode())
    with sizes(2_000, 1_000), pytest.MonkeyPatch.context() as patch:
        patch.setattr(ndjson_texts, "SHAPE_BYTES", 1_000)
        table, kept, _ = read(path)
    assert not kept
    assert table["id"].to_pylist() == [f"{place:04}" for place in range(200)]
    job = job_over(path)
    assert line_of(resolve(job)[0], job, [151, 152]) == {151: 1, 152: 3}


DAMAGED = {
    "cut off": json.dumps(ROWS, indent=2)[:-3],
    "without its end": "[" + json.dumps(ROWS[0]),
    "a comma too many": '[{"a":1},\n]',
    "no comma": '[{"a":1}\n{"a":2}]',
    "a quote too few": json.dumps(ROWS, indent=2).replace('"b"', 'b"'),
    "quotes too few": json.dumps(ROWS).replace('"b"', 'b"').replace('"c"', 'c"'),
    "quotes too many": json.dumps(ROWS).replace('"a"', '"a""').replace('"c"', '"c""'),
    "brackets crossed": '[{"a":[1}, {"b":2]}]',
    "a comma before": '[,{"a":1}]',
    "two commas": '[{"a":1},,{"a":2}]',
    "the wrong end": '[{"a":1}}',
    "words between documents": '{"a":\n1}\nand\n{"a":\n2}',
    "a comma between documents": '{"a":\n1},\n{"a":\n2}',
    "behind it": json.dumps(ROWS, indent=2) + "\n]",
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_documents_are_refused(tmp_path: Path, damage: str) -> None:
    """As a whole, by name, where it is not known which text is a record: there is no line to begin anew at."""
    path = tmp_path / "rows.json"
    path.write_text(DAMAGED[damage])
    with pytest.raises(SourceError, match=r"rows\.json is a JSON document.* line \d"):
        read(path)


@pytest.mark.parametrize(
    ("bad", "code"), [(b'{"a": "\xff"}', "BF004"), (b'{"a": b, "c": [01, +1]}', "BF005"), (b'{"a": "\t\x01"}', "BF005")]
)
def test_a_damaged_element(tmp_path: Path, bad: bytes, code: str) -> None:
    """It costs itself alone where its strings and brackets are in order."""
    path = tmp_path / "rows.json"
    path.write_bytes(b'[{"a":"1"},\n' + bad + b',\n{"a":"3"}]')
    table, kept, _ = read(path)
    assert table["a"].to_pylist() == ["1", "3"]
    assert [(one.record, one.line, one.code) for one in kept] == [(2, 2, code)]


LINES = [
    '{"a":1}\n[\n',
    '{"a":1,\n{"a":2}\n{"a":3}\n{"a":4}\n{"a":5}\n{"a":6}\n',
    '{"a":[1,\n{"a":2}\n{"a":3}\n{"a":4}\n{"a":5}\n{"a":6}\n',
    '[1]\n{"a":1}\n',
    '["a"]\n["b"]\n',
    '[1 2]\n{"a":1}\n',
    '{"a":1}',
    '{"a":1} {"a":2}\n{"a":3}\n',
    "{bad}\n{}\n",
    "\n\n",
    "x",
]


@pytest.mark.parametrize("text", LINES)
def test_lines_stay_lines(text: str) -> None:
    """A damaged line, an array in a line of its own: not the whole file's shape."""
    assert not is_document(text.encode())


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    """The bytes, so many at once."""
    return (data[at : at + size] for at in range(0, len(data), size))


@settings(max_examples=examples(150))
@given(
    objects=st.lists(good_objects, min_size=1, max_size=6),
    between=st.sampled_from([",", ",\n", " ,\r\n"]),
    size=st.integers(1, 30),
)
def test_arrays_wherever_they_are_cut(objects: list[str], between: str, size: int) -> None:
    """Every element comes out as it stands, however few bytes are read at once."""
    data = f"[{between.join(objects)}]\n".encode()
    found = list(JsonTexts().within(pieces(data, size), "x").records)
    assert [line.text.decode() for line in found] == [text.strip(" \t") for text in objects]
    ends = between.count("\n")
    assert [line.number for line in found] == [1 + ends * place for place in range(len(objects))]


def is_valid(text: str) -> bool:
    """By the standard library."""
    try:
        oracle_ndjson.parsed(text)
    except ValueError:
        return False
    return True


BRACKETS = ["{", "}", "[", "]", ",", ":", " ", "[]"]
TOKENS = [*BRACKETS, '"a"', '"b\\n"', "1", "-1.5e3", "true", "null", '"a":1,', "1,", '"a",', "01"]
wrapped = st.sampled_from(["%s", '{"k":[%s]}', "{%s}", '{"k":%s}'])


@settings(max_examples=examples(1500))
@given(text=st.lists(st.sampled_from(TOKENS), max_size=9).map("".join) | values, around=wrapped)
def test_the_exact_look(text: str, around: str) -> None:
    """Line by line without orjson, which long lines never see: the standard library says the same."""
    line = around % text
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ndjson_judge, "MAX_BUILT_BYTES", 0)
        found = ndjson_judge.fault_of(line.encode())
    fault: Any = None if found is None else found[1]
    good = is_valid(line)
    assert (fault in (None, ndjson_judge.NO_OBJECT, ndjson_judge.HALF_PAIR)) == good
    if good and fault is not ndjson_judge.HALF_PAIR:
        assert (fault is None) == line.lstrip().startswith("{")
    assert fault is None or not ndjson_judge.are_objects([line.encode()])


SPREAD = {
    '{"a":0}\n{\n  "a": 1\n}\n': (2, 4),
    '{}\n{\n  "a": 1\n}\n{\n  "a": 2\n}\n': (2, 4),
    '{"a":0}\r\n{"b": {"}": [\r\n1,\r\n{"c":"[\\""}]}}\r\n': (2, 4),
    '{"a":0}\n{"a":[1,\n{"a":2}\n{\n"a":\n2\n}\n': (4, 7),
    '{"a":0}\n{"a":1\n\n,"b":2}\n{"a":3}': (2, 4),
}


@pytest.mark.parametrize("text", SPREAD)
def test_a_record_over_several_lines_behind_others(tmp_path: Path, text: str) -> None:
    """It tells that the file is not one object a line, and is refused by name rather than told line by line."""
    path = tmp_path / "rows.ndjson"
    path.write_bytes(text.encode())
    first, last = SPREAD[text]
    with pytest.raises(SourceError, match=rf"rows\.ndjson is not .* line {first} goes on to line {last}"):
        read(path)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":0}\n{"a":1,\n{"a":2}\n}\n{"a":3}\n',
        '{"a":0}\n{"a":[\n{"a":2}\n{"a":2}\n]}\n{"a":3}\n',
        '{"a":0}\n{"b":"\nx"}\n{"a":3}\n',
        '{"a":0}\n{bad}\n{"a":3}\n{',
    ],
)
def test_damaged_lines_are_told_one_by_one(tmp_path: Path, text: str) -> None:
    """Where they make no object together, the others are read."""
    path = tmp_path / "rows.ndjson"
    path.write_text(text)
    table, kept, _ = read(path)
    assert table["a"].to_pylist()[0] == "0"
    assert "3" in table["a"].to_pylist()
    assert {one.code for one in kept} == {"BF005"}


@pytest.mark.parametrize("first", ["{\n ", "[\n {", '{"n": 1,\n\n '])
@pytest.mark.parametrize(
    "value", ['"' + "x" * 1_500_000 + '"', "[" + "1.25," * 300_000 + "3]", '"' + "\\u00e9" * 300_000 + '"']
)
def test_a_large_first_record_over_few_lines(tmp_path: Path, first: str, value: str) -> None:
    """What of the file tells its shape ends within it."""
    path = tmp_path / "rows.json"
    path.write_text(f'{first}"id": "a", "v": {value}\n}}' + (', {"id": "b"}]' if first[0] == "[" else '\n{"id": "b"}'))
    table, kept, _ = read(path)
    assert not kept
    assert table["id"].to_pylist() == ["a", "b"]
