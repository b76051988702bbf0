"""DynamoDB's export to S3: items as rows with every digit, and the manifest that says what there has to be."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.errors import JobError, SourceError
from backfill.sources import inspect
from tests.sources.test_mongodb import JSON, TEXT, read
from tests.support.examples import examples
from tests.support.sourcing import job_over, staged

VALUES = {
    '{"S":"a\\u00e9\\n"}': (TEXT, "aé\n"),
    '{"N":"1.10"}': (JSON, "1.10"),
    '{"N":"-12345678901234567890.000000000000000001"}': (JSON, "-12345678901234567890.000000000000000001"),
    '{"N":"42"}': (pa.int64(), 42),
    '{"N":"12345678901234567890123456789012345678"}': (JSON, "12345678901234567890123456789012345678"),
    '{"BOOL":false}': (pa.bool_(), False),
    '{"NULL":true}': (TEXT, None),
    '{"B":"AAEC"}': (pa.binary(), b"\0\1\2"),
    '{"SS":["b","a"]}': (JSON, '["b","a"]'),
    '{"NS":["1.10","2"]}': (JSON, "[1.10,2]"),
    '{"L":[{"S":"x"},{"N":"1.0"},{"L":[]},{"M":{}}]}': (JSON, '["x",1.0,[],{}]'),
    '{"M":{"S":{"S":"x"},"M":{"M":{"N":{"N":"1"}}}}}': (JSON, '{"S":"x","M":{"N":1}}'),
}


@pytest.mark.parametrize("text", VALUES)
def test_values(tmp_path: Path, text: str) -> None:
    """What each type of attribute is."""
    (tmp_path / "rows.json").write_text(f'{{"Item":{{"id":{{"S":"a"}},"v":{text}}}}}\n')
    table, kept = read(tmp_path / "rows.json", "dynamodb")
    assert not kept
    assert (table["v"].type, table["v"].to_pylist()[0]) == VALUES[text]


def test_keys_that_look_like_marks(tmp_path: Path) -> None:
    """A key of a map may be called anything."""
    (tmp_path / "rows.json").write_text('{"Item":{"v":{"M":{"$date":{"S":"x"}}},"$oid":{"S":"y"}}}\n')
    table, _ = read(tmp_path / "rows.json", "dynamodb")
    assert json.loads(table["v"].to_pylist()[0]) == {"$date": "x"}
    assert table["$oid"].to_pylist() == ["y"]


WRONG = {
    '{"Item":{"v":{"S":5}}}': "BF009",
    '{"Item":{"v":{"N":"NaN"}}}': "BF009",
    '{"Item":{"v":{"X":"1"}}}': "BF009",
    '{"Item":{"v":{"S":"1","N":"1"}}}': "BF009",
    '{"Item":{"v":"1"}}': "BF009",
    '{"Item":{"v":{"B":"A"}}}': "BF009",
    '{"Item":{"v":{"NULL":false}}}': "BF009",
    '{"Item":{"v":{"S":"\\ud800"}}}': "BF009",
    '{"id":"plain"}': "BF009",
    '{"Keys":{"v":{"S":"1"}},"NewImage":{}}': "BF009",
    '{"Item":{"v":{"S":"1"},"v":{"S":"2"}}}': "BF005",
    '{"Item":{"v":{"S":"1"}}': "BF005",
    '{"Item":{"v":' + '{"L":[' * 900 + "]}" * 900 + "}}": "BF005",
    '{"Item":' + '{"v":' * 5_000 + "1" + "}" * 5_001: "BF005",
    '{"Item":{"v":{"N":' + "1" * 5_000 + "}}}": "BF005",
}


@pytest.mark.parametrize("text", WRONG)
def test_no_items(tmp_path: Path, text: str) -> None:
    """They cost their own line."""
    good = '{"Item":{"v":{"N":"1"}}}\n'
    (tmp_path / "rows.json").write_text(f"{good}{text}\n{good}")
    table, kept = read(tmp_path / "rows.json", "dynamodb")
    assert table["v"].to_pylist() == [1, 1]
    assert [(one.record, one.line, one.code) for one in kept] == [(2, 2, WRONG[text])]


def export(folder: Path) -> Path:
    """An export of five items in two files, as DynamoDB lays it out; returns its folder."""
    home = folder / "AWSDynamoDB" / "01693685827463-2d8752fd"
    (home / "data").mkdir(parents=True)
    entries = []
    for name, keys in (("a.json.gz", "abc"), ("b.json.gz", "de")):
        lines = "".join(json.dumps({"Item": {"id": {"S": key}, "n": {"N": "1.10"}}}) + "\n" for key in keys)
        data = gzip.compress(lines.encode(), mtime=0)
        (home / "data" / name).write_bytes(data)
        md5 = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        key = f"AWSDynamoDB/{home.name}/data/{name}"
        entries.append({"itemCount": len(keys), "md5Checksum": md5, "etag": "x-1", "dataFileS3Key": key})
    (home / "manifest-files.json").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    (home / "manifest-summary.json").write_text(json.dumps({"itemCount": 5, "outputFormat": "DYNAMODB_JSON"}))
    (home / "manifest-files.md5").write_text("eA==")
    (home / "_started").write_text("")
    return home


def test_an_export(tmp_path: Path) -> None:
    """The items of all data files, in a folder with the manifest beside them."""
    job = job_over(export(tmp_path), format="dynamodb")
    assert staged(job, tmp_path / "state").rows == [(key, "1.10") for key in "abcde"]
    assert [column.name for column in inspect(job).columns][:2] == ["id", "n"]


def damaged(home: Path, how: str) -> None:
    """Damage an export."""
    part, manifest, summary = home / "data" / "b.json.gz", home / "manifest-files.json", home / "manifest-summary.json"
    match how:
        case "is not there":
            part.unlink()
        case "another MD5":
            part.write_bytes(gzip.compress(gzip.decompress(part.read_bytes()).replace(b'"d"', b'"x"')))
        case "its manifest says 3":
            manifest.write_text(manifest.read_text().replace('"itemCount": 2', '"itemCount": 3'))
        case "not in the manifest":
            (home / "data" / "c.json.gz").write_bytes(part.read_bytes())
        case "no manifest":
            manifest.write_text("{}")
        case "damaged":
            manifest.write_text("{")
        case _:
            summary.write_text(json.dumps({"outputFormat": "ION"}))


@pytest.mark.parametrize(
    "how",
    [
        "is not there",
        "another MD5",
        "its manifest says 3",
        "not in the manifest",
        "no manifest",
        "damaged",
        "Amazon Ion",
    ],
)
def test_an_export_that_is_not_whole(tmp_path: Path, how: str) -> None:
    """What differs from the manifest is an error of the source."""
    home = export(tmp_path)
    damaged(home, how)
    with pytest.raises(SourceError, match=how):
        staged(job_over(home, format="dynamodb"), tmp_path / "state")


def test_the_manifest_alone_and_ion(tmp_path: Path) -> None:
    """Either manifest stands for the whole export; the other format is told by its first bytes."""
    home = export(tmp_path)
    for name in ("manifest-summary.json", "manifest-files.json"):
        result = staged(job_over(home / name, format="dynamodb"), tmp_path / name)
        assert result.column("id") == list("abcde")
    (home / "data" / "b.json.gz").unlink()
    with pytest.raises(SourceError, match="is not there"):
        staged(job_over(home / "manifest-files.json", format="dynamodb"), tmp_path / "state")
    (tmp_path / "x.ion").write_text('$ion_1_0 {Item:{id:"a"}}\n')
    with pytest.raises(SourceError, match="Amazon Ion"):
        staged(job_over(tmp_path / "x.ion", format="dynamodb"), tmp_path / "state")


def test_binary_inside(tmp_path: Path) -> None:
    """A column that holds binary data within other values is refused where it is read."""
    (tmp_path / "x.json").write_text('{"Item":{"id":{"S":"a"},"v":{"L":[{"B":"AAEC"}]}}}\n')
    job = job_over(tmp_path / "x.json", format="dynamodb")
    assert staged(job, tmp_path / "state").column("id") == ["a"]
    with pytest.raises(JobError, match="binary data"):
        staged(job_over(tmp_path / "x.json", format="dynamodb", sql=("v",)), tmp_path / "state2")


texts = st.text(st.characters(codec="utf-8"), max_size=4)
numbers = st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9).map(str)
attributes = st.recursive(
    st.one_of(
        texts.map(lambda one: {"S": one}),
        numbers.map(lambda one: {"N": one}),
        st.booleans().map(lambda one: {"BOOL": one}),
        st.just({"NULL": True}),
        st.lists(texts, min_size=1, max_size=3).map(lambda some: {"SS": some}),
    ),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda some: {"L": some})
        | st.dictionaries(st.sampled_from(["S", "M", "N", "$date", "a b"]), inner, max_size=3).map(
            lambda some: {"M": some}
        )
    ),
    max_leaves=6,
)


def plain(attribute: dict[str, Any]) -> Any:
    """The value of an attribute, by the documentation of its types."""
    ((kind, value),) = attribute.items()
    if kind == "M":
        return {key: plain(inner) for key, inner in value.items()}
    if kind == "L":
        return [plain(inner) for inner in value]
    return {"N": lambda: float(value), "NULL": lambda: None}.get(kind, lambda: value)()


@settings(max_examples=examples(60))
@given(rows=st.lists(attributes, min_size=1, max_size=5))
def test_made_up_items(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]) -> None:
    """Each value is what it says, at any depth."""
    path = tmp_path_factory.mktemp("rows") / "rows.json"
    path.write_text("".join(json.dumps({"Item": {"id": {"S": "x"}, "v": row}}) + "\n" for row in rows))
    table, kept = read(path, "dynamodb")
    assert not kept
    found = table["v"].to_pylist()
    assert [json.loads(one) if table["v"].type == JSON and one is not None else one for one in found] == [
        plain(row) for row in rows
    ]
