"""JSON documents: records under a path, and made-up files whole and damaged, beside the standard library's reader."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.errors import JobError, SourceError
from backfill.sources import inspect, resolve
from backfill.sources.formats import line_of
from backfill.sources.ndjson.documents import Documents
from backfill.sources.ndjson.lines import Line
from backfill.sources.ndjson.records import fault_of
from backfill.sources.ndjson.scanner import is_one_value
from tests.support.examples import examples
from tests.support.oracle_ndjson import parsed
from tests.support.sourcing import job_over, staged

PAGE = """{"next": "]}", "data": {
  "other": [{"items": [1]}, "{"],
  "items": [
    {"id": "a", "n": 1.10},
    {"id": "b", "n": 12345678901234567890.00}
  ], "more": {"items": 5}}}
"""


def test_records_under_a_path(tmp_path: Path) -> None:
    """The elements of each document's array, their digits kept, numbered and with their lines."""
    (tmp_path / "1.json").write_text(PAGE)
    (tmp_path / "2.json").write_text('{"data":{"items":null}}{"data":{"items":[]}} {"data":\n{"items":{"id":"c"}}}')
    job = job_over(tmp_path / "*.json", records=("data", "items"))
    result = staged(job, tmp_path / "state")
    assert result.rows == [("a", "1.10"), ("b", "12345678901234567890.00"), ("c", None)]
    assert result.records == [1, 2, 1]
    assert line_of(resolve(job)[0], job, [1, 2]) == {1: 4, 2: 5}
    assert [column.name for column in inspect(job).columns][:2] == ["id", "n"]


def test_lines_and_documents_together(tmp_path: Path) -> None:
    """Each file is read as what it is, where the job says json of all."""
    (tmp_path / "1.ndjson").write_text('{"id":"a"}\n{"id":"b"}\n')
    (tmp_path / "2.json").write_text('{\n "id": "c"\n}')
    (tmp_path / "3.json").write_text('[{"id":"d"},{"id":"e"}]')
    assert staged(job_over(tmp_path, format="json"), tmp_path / "state").rows == [(key,) for key in "abcde"]
    with pytest.raises(JobError, match="several formats") as caught:
        inspect(job_over(tmp_path / "*.*json"))
    assert "`format: json`" in caught.value.hint


WRONG = {
    '{"data": {"other": []}}': "is not there",
    '{"data": {"items": []}}{}': "is not there",
    '{"data": {"items": 5}}': "is no array of records",
    '{"data": "x"}': "is no array of records",
    '{"data": {"items": []}}{"data": null, "errors": []}': "is no array of records",
    '{"data": [{"items": []}]}': "leads through an array",
    '[{"items": []}]': "leads through an array",
    '{"data": {"items": [], "items": [{}]}}': "stands there twice",
    '{"data": {"items": [{"a":1}]': "does not end",
    '{"data": {"items": [{"a":1}]}} x': "is no valid JSON",
    '{"data" {"items": []}}': "is no valid JSON",
    '{"data": {"items": [{"a":1}}]}': "is no valid JSON",
    "": "is empty",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_way_that_leads_nowhere(tmp_path: Path, text: str) -> None:
    """It is told by the file and the path, and nothing is read."""
    (tmp_path / "rows.json").write_text(text)
    with pytest.raises(SourceError, match=WRONG[text]):
        staged(job_over(tmp_path / "rows.json", records=("data", "items")), tmp_path / "state")


def test_a_record_that_is_too_long() -> None:
    """Only its beginning is kept, wherever it is cut, and the next ones are read."""
    text = json.dumps([{"a": 1}, {"a": "x" * 50_000}, {"a": 2}], indent=1).encode()
    for size in (1_000, len(text)):
        found = list(Documents("x", limit=20_000).records(pieces(text, size)))
        assert [(line.number, line.whole) for line in found] == [(2, True), (5, False), (8, True)]
        assert len(found[1].text) < 10_000


def test_the_beginning_of_an_array_in_one_line(tmp_path: Path) -> None:
    """A look at the columns does not go on to the end, and an end that is not reached is no damage."""
    path = tmp_path / "rows.json"
    path.write_text("[" + ",".join(f'{{"id": "{place:09}", "text": "{"x" * 100}"}}' for place in range(60_000)) + "]")
    seen = inspect(job_over(path))
    assert not seen.complete
    assert 0 < seen.records < 40_000


def test_a_first_record_beyond_the_beginning(tmp_path: Path) -> None:
    """A look at the columns goes on to it, be it large or behind much else."""
    path, large = tmp_path / "rows.json", "x" * 5_000_000
    path.write_text(f'[{{"id": "a", "text": "{large}"}}, {{"id": "b", "more": "{large}"}}]')
    assert [column.name for column in inspect(job_over(path)).columns][:2] == ["id", "text"]
    path.write_text(f'{{"other": "{large}", "rows": [{{"id": "a"}}]}}')
    assert inspect(job_over(path, records=("rows",))).columns[0].name == "id"


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    """The bytes, so many at once."""
    return (data[at : at + size] for at in range(0, len(data), size))


keys = st.sampled_from(["a", "b", "data", "items", 'q"', "\\", "é{"])
values = st.recursive(
    st.sampled_from([0, -1.5, 1e30, True, None, "", "x", '"', "\\", '\\"', "],[", "{", "é\n", "\u2028", 10**30]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(keys, values, max_size=3)
layouts = st.sampled_from([None, 0, 1, "\t"])
wrapped = st.dictionaries(st.sampled_from(["a", "é{"]), values, max_size=2)


def laid_out(value: Any, layout: Any, *, ascii_only: bool) -> str:
    """The value as one of many programs writes it."""
    return json.dumps(value, indent=layout, ensure_ascii=ascii_only)


@settings(max_examples=examples(200))
@given(
    documents=st.lists(st.tuples(wrapped, wrapped, st.lists(objects | values, max_size=4), wrapped), max_size=3),
    layout=layouts,
    ascii_only=st.booleans(),
    between=st.sampled_from(["", "\n", " \r\n\t"]),
    size=st.integers(1, 40),
)
def test_documents_are_read_as_the_standard_library_reads_them(
    documents: list[Any], layout: Any, ascii_only: bool, between: str, size: int
) -> None:
    """Arrays and paths, in whatever layout and pieces: the same values in the same order."""
    wanted = [record for _, _, records, _ in documents for record in records]
    plain = [laid_out(records, layout, ascii_only=ascii_only) for _, _, records, _ in documents]
    found = read(between.join(plain).encode(), size)
    assert [json.loads(line.text) for line in found] == wanted
    nested = [{**one, "data": {**two, "items": records}, **behind} for one, two, records, behind in documents]
    text = between.join(laid_out(each, layout, ascii_only=ascii_only) for each in nested)
    found = read(text.encode(), size, ("data", "items"))
    assert [json.loads(line.text) for line in found] == wanted


def read(data: bytes, size: int, path: tuple[str, ...] = ()) -> list[Line]:
    """The records' texts."""
    return list(Documents("x", path).records(pieces(data, size)))


noise = st.sampled_from(["", ",", "{", "}", "[", "]", '"', "\\", ":", "x", "0", " ", "\n", '""', "NaN", "\x00"])


@settings(max_examples=examples(400))
@given(
    records=st.lists(objects, min_size=1, max_size=5),
    layout=layouts,
    change=st.tuples(st.integers(0, 10**6), st.integers(0, 3), noise),
    cut=st.none() | st.integers(0, 10**6),
    size=st.integers(1, 40),
)
def test_damage_costs_a_record_or_the_file(
    records: list[Any], layout: Any, change: tuple[int, int, str], cut: int | None, size: int
) -> None:
    """Never a record that is lost or made up without a word, whatever byte is changed and wherever the file is cut."""
    text = json.dumps(records, indent=layout)
    at = change[0] % len(text)
    text = text[:at] + change[2] + text[at + change[1] :]
    text = text if cut is None else text[: cut % (len(text) + 1)]
    try:
        lines = read(text.encode(), size)
        faults = [fault_of(line.text) for line in lines]
        if not all(fault is None or is_one_value(line.text) for line, fault in zip(lines, faults, strict=True)):
            return
    except SourceError:
        with pytest.raises(ValueError):  # noqa: PT011 (whatever it says)
            documents_of(text)
        return
    try:
        expected = documents_of(text)
    except ValueError:
        assert any(faults)
        good = [json.loads(line.text) for line, fault in zip(lines, faults, strict=True) if fault is None]
        assert len(lines) == len(records)
        assert all(value in records for value in good)
    else:
        assert [parsed(line.text.decode()) for line in lines] == expected


def documents_of(text: str) -> list[Any]:
    """The records of documents one behind the other, by the standard library; raises ValueError."""
    decoder, at, found = json.JSONDecoder(), 0, list[Any]()
    while text[at:].strip(" \t\r\n"):
        at += len(text[at:]) - len(text[at:].lstrip(" \t\r\n"))
        if text[at] not in "[{":
            raise ValueError(text)
        value, end = decoder.raw_decode(text, at)
        records = parsed(text[at:end])
        found += list(records) if isinstance(value, list) else [records]
        at = end
    return found
