"""NDJSON against the standard library's json: every line is read the same, or both say that it cannot be read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from backfill.errors import SourceError
from backfill.sources import resolve
from backfill.sources.ndjson import alike as ndjson_alike
from backfill.sources.ndjson import judge as ndjson_judge
from backfill.sources.ndjson import members as ndjson_members
from backfill.sources.ndjson import reader as ndjson_reader
from backfill.sources.ndjson import records as ndjson_records
from backfill.sources.ndjson import texts as ndjson_texts
from backfill.sources.ndjson.documents import is_document
from backfill.sources.ndjson.lines import Line, lines
from backfill.sources.ndjson.reader import NdjsonReader
from backfill.sources.ndjson.texts import JsonTexts
from backfill.sources.origins import content
from backfill.sources.origins.content import unwatched
from backfill.sources.reader import Unreadable
from tests.support import oracle_ndjson
from tests.support.examples import examples
from tests.support.oracle_ndjson import Number
from tests.support.sourcing import job_over

NUMBERS = [
    "0",
    "-0",
    "-0.0",
    "1.10",
    "0.0000001",
    "1e400",
    "-1E+05",
    "1e-400",
    "9" * 41,
    "9" * 400,
    "123456789.987654321",
    "4.9e-324",
]
NO_NUMBERS = ["01", "1.", ".5", "-", "+1", "NaN", "-Infinity", "1e", "0x1F", "1_0", "\u0661"]
STRINGS = [
    '""',
    '"a"',
    '"\u00e9 \u2028 \U0001f980"',
    r'"\u0000"',
    r'"\ud83e\udd80"',
    r'"\\"',
    r'"\\\""',
    r'"\\\\"',
    r'"a\/b\n\t"',
    r'"\\ud800"',
    '"{[,:]}"',
    '" a  b\t"'.replace("\t", r"\t"),
]
NO_STRINGS = [
    r'"\ud800"',
    r'"\udc00\ud800"',
    r'"\ud800\u0041"',
    r'"\x"',
    r'"\u00g0"',
    '"\t"',
    '"\x00"',
    '"\x1f"',
    "'a'",
    '"',
]
WORDS = ["true", "false", "null"]
NO_WORDS = ["tru", "True", "None", "", "{", "[", "[1,]", "{'a':1}", '{"a" 1}', '{"a":1,}', "[1 2]", "]", "}", "/**/1"]
KEYS = ['"a"', '"b"', r'"\u0061"', '"c d"', r'"\u00e9"', '"\u00e9"', r'"q\"q"', '"x.y/~"', r'"\\"']
BAD_KEYS = ['""', r'"\u0000"', '"__bf_x"', "a", "1"]

blanks = st.sampled_from(["", "", "", " ", "\t", "  "])
scalars = st.sampled_from([*NUMBERS, *STRINGS, *WORDS])


def joined(opening: str, parts: st.SearchStrategy[list[str]], closing: str) -> st.SearchStrategy[str]:
    """Parts between brackets, with blanks."""
    return st.builds(
        lambda inner, blank: opening + blank + f"{blank},{blank}".join(inner) + blank + closing, parts, blanks
    )


def members(keys: st.SearchStrategy[str], values: st.SearchStrategy[str], size: int) -> st.SearchStrategy[list[str]]:
    """Members of an object, a key seldom twice."""
    return st.lists(st.tuples(keys, blanks, values), max_size=size, unique_by=lambda member: member[0]).map(
        lambda some: [f"{key}{blank}:{blank}{value}" for key, blank, value in some]
    )


values = st.recursive(
    scalars,
    lambda inner: (
        joined("[", st.lists(inner, max_size=3), "]")
        | joined("{", members(st.sampled_from([*KEYS, '""']), inner, 3), "}")
    ),
    max_leaves=8,
)
good_objects = joined("{", members(st.sampled_from(KEYS), values, 5), "}")
odd_objects = joined(
    "{",
    members(st.sampled_from([*KEYS, *BAD_KEYS]), values | st.sampled_from([*NO_NUMBERS, *NO_STRINGS, *NO_WORDS]), 3),
    "}",
)
around = st.builds(
    lambda before, text, behind: before + text + behind, blanks, good_objects | odd_objects | values, blanks
)
junk = st.sampled_from(["", " ", "\t ", "\x0c", "\u00a0", "{}", "{} {}", "[]", "\ufeff", "\x00"]) | st.text(max_size=6)
texts = st.one_of(around, around, around, good_objects, junk).map(str.encode)
broken = st.sampled_from([b'{"a":"\xff"}', b"\xff\xfe", b'{"a":"\xed\xa0\x80"}', b'{"a":"\xc3', b'{"a":\x00}'])
ends = st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b"\r", b"\n\n", b"\r\r\n", b"\n\r"])
files = st.builds(
    lambda mark, parts, last: mark + b"".join(text + end for text, end in parts) + last,
    st.sampled_from([b"", b"", b"\xef\xbb\xbf", b"\xef\xbb"]),
    st.lists(st.tuples(texts | broken, ends), max_size=8),
    texts,
)


@contextmanager
def sizes(size: int, cells: int) -> Iterator[None]:
    """Files read, and objects taken apart, so many bytes at a time, and batches of so many cells."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(content, "PIECE", size)
        patch.setattr(ndjson_members, "BLOCK_BYTES", size)
        patch.setattr(ndjson_records, "CHUNK_BYTES", size * 4)
        patch.setattr(ndjson_reader, "BATCH_CELLS", cells)
        yield


class Kept(list[Unreadable]):
    """Unreadable records."""

    def add(self, record: Unreadable) -> None:
        """Keep it."""
        self.append(record)


#: What the oracle calls the types of columns.
_KINDS = {pa.string(): "VARCHAR", pa.bool_(): "BOOLEAN", pa.json_(pa.string()): "JSON"}


def read(path: Path) -> tuple[pa.Table, Kept, dict[str, str]]:
    """A file's rows, its unreadable records, and the types of its columns."""
    job, kept = job_over(path), Kept()
    reader = NdjsonReader(job, resolve(job), unwatched, JsonTexts())
    table = pa.Table.from_batches(reader.batches(kept))
    return table, kept, {column.name: _KINDS[column.type] for column in reader.columns}


@settings(max_examples=examples(200))
@given(data=files, size=st.integers(1, 40), cells=st.integers(1, 60))
def test_lines_are_what_json_says(tmp_path_factory: pytest.TempPathFactory, data: bytes, size: int, cells: int) -> None:
    """Whatever bytes, cut anywhere: the same records, values, types and problems as by the standard library."""
    hold_oracle(tmp_path_factory.mktemp("lines"), data, size, cells)


def hold_oracle(folder: Path, data: bytes, size: int, cells: int) -> None:
    """Assert that the reader, which gets so many bytes at a time, makes of a file what the standard library does."""
    assume(not is_document(data))  # such as several objects in one line, and no other line
    path = folder / "rows.ndjson"
    path.write_bytes(data or b"\n")
    hold_expected(path, oracle_ndjson.records(data), size, cells)


def hold_expected(path: Path, expected: Sequence[oracle_ndjson.Record], size: int, cells: int) -> None:
    """Assert that the reader, which gets so many bytes at a time, makes those records of a file."""
    names = {name for record in expected if record.members for name in record.members}
    with sizes(size, cells):
        if not any(record.members is not None for record in expected):
            with pytest.raises(SourceError, match=r"no record|empty"):
                read(path)
            return
        table, kept, types = read(path)
    assert [(one.record, one.line, one.code) for one in kept] == [
        (one.number, one.line, one.code) for one in expected if one.code
    ]
    assert table["__bf_record"].to_pylist() == [one.number for one in expected if not one.code]
    assert set(types) == names
    for name in names:
        kind, wanted = oracle_ndjson.column(expected, name)
        found = table[name].to_pylist()
        assert types[name] == kind
        assert [back(value) for value in found] == wanted if kind == "JSON" else found == wanted


def back(text: str | None) -> Any:
    """The value of a JSON text, which has no blanks outside strings."""
    if text is None:
        return None
    assert not re.search(r"\s", re.sub(r'"(?:[^"\\]|\\.)*"', "", text))
    return oracle_ndjson.parsed(text)


#: Values of lines that are alike: as exports write them, without blanks.
JSON = [*NUMBERS, *STRINGS, *WORDS, "[]", "{}", '[1,"]",{"b":[]}]', '{"b":1.10}']
TIGHT = [*JSON, r'{"a":{"b":"\"}}']
#: What makes one line unlike the others, or no JSON.
CHANGES = [
    b"",
    b" ",
    b"\t",
    b'"',
    b"\\",
    b",",
    b":",
    b"{",
    b"}",
    b"[",
    b"]",
    b"0",
    b"e",
    b"null",
    b"\xff",
    b"}\n{",
    b"\x00",
]


@st.composite
def alike_files(draw: st.DrawFn) -> bytes:
    """Lines of the same keys in the same order, some left out, of which some bytes are then changed."""
    keys = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=4, unique=True))
    blank = draw(st.sampled_from(["", " "]))
    value = st.sampled_from([*TIGHT, *NO_STRINGS, *NO_NUMBERS] if draw(st.booleans()) else TIGHT)
    line = st.lists(st.none() | value, min_size=len(keys), max_size=len(keys)).map(
        lambda some: f",{blank}".join(
            f"{key}:{blank}{one}" for key, one in zip(keys, some, strict=True) if one is not None
        )
    )
    data = bytearray("\n".join(f"{{{each}}}" for each in draw(st.lists(line, min_size=1, max_size=12))).encode())
    for place, change in draw(st.lists(st.tuples(st.integers(0, len(data)), st.sampled_from(CHANGES)), max_size=2)):
        data[place : place + draw(st.integers(0, 1))] = change
    return bytes(data)


@settings(max_examples=examples(300))
@given(data=alike_files(), size=st.integers(8, 120), cells=st.integers(4, 60))
def test_lines_that_are_alike(tmp_path_factory: pytest.TempPathFactory, data: bytes, size: int, cells: int) -> None:
    """Lines with the same keys, and lines that nearly have them, are read as all others are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ndjson_alike, "BYTES_A_CELL", 0)
        hold_oracle(tmp_path_factory.mktemp("alike"), data, size, cells)


@pytest.mark.parametrize("odd", ['{"a":[1] ,"b":2}', '{"a":1,"b":["c"] }', '{"a":{ },"b":2}'])
def test_blanks_around_inner_values_among_lines_that_are_alike(tmp_path: Path, odd: str) -> None:
    """They are left out, as they are of every line; also where an empty line stands for a bracket in the count."""
    alike, path = '{"a":1,"b":2}\n' * 40, tmp_path / "rows.ndjson"
    path.write_text(f"{alike}{odd}\n\n{alike}")
    with sizes(400, 60):
        table, kept, _ = read(path)
    assert not kept
    assert len(table) == 81
    assert [table["a"][40].as_py(), table["b"][40].as_py()] == re.findall(
        r"[\[{].*?[\]}]|\d", odd.replace(" ", "")[1:-1]
    )


@st.composite
def elements(draw: st.DrawFn) -> list[str]:
    """Objects of the same keys in the same order, some left out, with values that are no JSON among them."""
    keys = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=3, unique=True))
    value = st.none() | st.sampled_from(draw(st.sampled_from([JSON, [*JSON, *NO_NUMBERS]])))
    some = draw(st.lists(st.lists(value, min_size=len(keys), max_size=len(keys)), min_size=1, max_size=12))
    others = draw(st.lists(st.sampled_from(["1", "[]", '"},{"', '{"a" : 1 }', '{"\\\\":"\\\\"}']), max_size=1))
    pairs = (zip(keys, values, strict=True) for values in some)
    texts = (",".join(f"{key}:{one}" for key, one in each if one is not None) for each in pairs)
    return [*(f"{{{text}}}" for text in texts), *others]


@settings(max_examples=examples(200))
@given(
    some=elements(),
    between=st.sampled_from([",", ", ", ",\n", " ,\r\n\t", "\r,\r"]),
    size=st.integers(8, 400),
    cells=st.integers(4, 60),
)
def test_elements_that_are_alike(
    tmp_path_factory: pytest.TempPathFactory, some: list[str], between: str, size: int, cells: int
) -> None:
    """An array's elements are read as the same lines are, whatever stands between them, and each has its line."""
    data = f"[{between.join(some)}]".encode()
    assume(is_document(data))
    path = tmp_path_factory.mktemp("elements") / "rows.json"
    path.write_bytes(data)
    ends = between.replace("\r\n", "\n").replace("\r", "\n").count("\n")
    records = oracle_ndjson.records("\n".join(some).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ndjson_alike, "BYTES_A_CELL", 0)
        patch.setattr(ndjson_texts, "SHAPE_BYTES", 1)  # or all would come as one piece
        patch.setattr(ndjson_texts, "is_document", lambda _: True)
        hold_expected(path, [replace(one, line=1 + ends * (one.number - 1)) for one in records], size, cells)


@settings(max_examples=examples(200))
@given(
    parts=st.lists(st.sampled_from([b"\n", b"\r", b" ", b"\t", b"x", b"yy", b"\xef", b"\xbb", b"\xbf"]), max_size=60),
    cuts=st.lists(st.integers(1, 6), max_size=30),
    limit=st.integers(1, 8),
)
def test_lines_wherever_they_are_cut(parts: list[bytes], cuts: list[int], limit: int) -> None:
    """Lines, their numbers and which are too long do not depend on where the pieces end."""
    data = b"".join(parts)
    expected = [
        (number, text if len(text) <= limit else None)
        for number, text in enumerate(re.split(rb"\r\n|\r|\n", data.removeprefix(b"\xef\xbb\xbf")), 1)
        if text.strip(b" \t")
    ]
    pieces, rest = [], data
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    found = list(lines([*pieces, rest], limit))
    assert [(line.number, line.text if line.whole else None) for line in found] == expected


def test_a_line_over_the_maximum_is_told(tmp_path: Path) -> None:
    """It is unreadable, whatever stands in it, and what is behind it is read."""
    path = tmp_path / "rows.ndjson"
    long = b'{"a":"' + b"x" * (16 * 2**20) + b'"}'
    path.write_bytes(b'{"a":"1"}\n' + long + b'\n{"a":"2"}\n' + long)
    table, kept, _ = read(path)
    assert table["a"].to_pylist() == ["1", "2"]
    assert table["__bf_record"].to_pylist() == [1, 3]
    assert [(one.record, one.line, one.code) for one in kept] == [(2, 2, "BF006"), (4, 4, "BF006")]
    assert all(one.original.startswith('{"a":"xxx') for one in kept)


def test_a_long_line_of_blanks_is_no_record() -> None:
    """However long."""
    assert list(lines([b" " * 7, b" " * 7, b"\n", b"x"], 5)) == [Line(2, b"x")]


WORDS_OF_FAULTS = [
    ('{"a":NaN}', "NaN"),
    ('{"a":[-Infinity]}', "NaN or Infinity"),
    (r'{"a":"\ud800"}', "half of a surrogate pair"),
    (r'{"a":["\\\udfff"]}', "half of a surrogate pair"),
    ('{"a":1} {"a":2}', "more than one"),
    ("[1]", "no JSON object"),
    ('{"a":1,"\\u0061":2}', "twice"),
    ('{"":1}', "without a name"),
    (r'{"\u0000":1}', "U+0000"),
    ('{"__bf_file":1}', "__bf_"),
    ('{"a":' + "[" * 1000 + "]" * 1000 + "}", "deep"),
    ('{"a":' + "[" * 100_000, "not valid JSON"),
    ('{"a":' + "[" * 100_000 + "]" * 100_000 + "}", "deep"),
]


@pytest.mark.parametrize(("line", "words"), WORDS_OF_FAULTS)
def test_what_is_wrong_is_said(tmp_path: Path, line: str, words: str) -> None:
    """A record that cannot be read says why, and those around it are read."""
    path = tmp_path / "rows.ndjson"
    path.write_text('{"a":"1"}\n' + line + '\n{"a":"2"}\n')
    table, kept, _ = read(path)
    assert table["a"].to_pylist() == ["1", "2"]
    assert [one.record for one in kept] == [2]
    assert words in kept[0].message


def test_nothing_but_bad_lines(tmp_path: Path) -> None:
    """The error is the first one's, with its place."""
    path = tmp_path / "rows.ndjson"
    path.write_text("\n{'a':1}\n{'a':2}\n")
    with pytest.raises(SourceError, match=r"line 2 of .*rows.ndjson: not valid JSON"):
        read(path)


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_as_they_stand(tmp_path: Path, number: str) -> None:
    """Alone, in lists and in objects."""
    path = tmp_path / "rows.ndjson"
    path.write_text(f'{{"n":{number},"l":[ {number} ,{number}],"o":{{"x":{number}}}}}\n')
    table, kept, _ = read(path)
    assert not kept
    assert table.select(["n", "l", "o"]).to_pylist() == [
        {"n": number, "l": f"[{number},{number}]", "o": f'{{"x":{number}}}'}
    ]
    assert json.loads(f"[{number}]", parse_int=Number, parse_float=Number) == [number]


FRAGMENTS = ['{"a":1}', "{}", '{"a":[1', "2]}", '{"x":1},{"y":2}', '{"x":1},0,{"y":2}', '{"s":"', '"}', "[]", "1", ""]


@given(st.lists(st.one_of(st.sampled_from(FRAGMENTS), scalars.map('{{"a":{}}}'.format)), min_size=1, max_size=6))
def test_lines_judged_together_are_judged_as_each_is(texts: list[str]) -> None:
    """What is taken for objects all at once is one object each; lines that are valid only side by side are not."""
    found = [text.encode() for text in texts]
    alone = [ndjson_judge.fault_of(text) is None for text in found]
    assert not ndjson_judge.are_objects(found) or all(alone)
    assert ndjson_judge.are_objects([b'{"a":1}', b"{}", b' {"b": [2]} '])


@pytest.mark.parametrize(
    "line", [b'{"a":"\xff"}', rb'{"a":"\udc00"}', rb'{"\ud800":1}', b'{"a":"\0"}', b"{}\f", b'{"a":01}']
)
def test_what_is_refused_with_others(line: bytes) -> None:
    """What parsers are lax about, within lines that are sound."""
    assert not ndjson_judge.are_objects([b"{}", line, b"{}"])
    assert ndjson_judge.fault_of(line) is not None
