"""mongoexport's lines and arrays, in every version of extended JSON, and mongodump's BSON: the same rows of all."""

from __future__ import annotations

import gzip
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import bson
import pyarrow as pa
import pytest
from bson import json_util
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.errors import JobError, SourceError
from backfill.sources import resolve
from backfill.sources.formats import format_named
from backfill.sources.mongodb.extended import ExtendedError, plain
from backfill.sources.origins import content
from backfill.sources.reader import Unreadable
from tests.support.examples import examples
from tests.support.sourcing import job_over, staged

OPTIONS = CodecOptions[dict[str, Any]](
    unicode_decode_error_handler="replace", datetime_conversion=DatetimeConversion.DATETIME_MS
)
CANONICAL, RELAXED, LEGACY = (
    json_util.CANONICAL_JSON_OPTIONS,
    json_util.RELAXED_JSON_OPTIONS,
    json_util.LEGACY_JSON_OPTIONS.with_options(datetime_representation=json_util.DatetimeRepresentation.ISO8601),
)
INSTANT, TEXT, JSON = pa.timestamp("us", "UTC"), pa.string(), pa.json_(pa.string())


class Kept(list[Unreadable]):
    """Unreadable records."""

    def add(self, record: Unreadable) -> None:
        """Keep it."""
        self.append(record)


def read(path: Path, name: str) -> tuple[pa.Table, Kept]:
    """A file's rows and its unreadable records."""
    job, kept = job_over(path, format=name), Kept()
    reader = format_named(name).open(job, resolve(job))
    return pa.Table.from_batches(reader.batches(kept)), kept


def one_value(folder: Path, text: str) -> tuple[pa.DataType, Any]:
    """The type and the value of the column `v` of one record."""
    (folder / "rows.json").write_text(f'{{"_id": 1, "v": {text}}}\n')
    table, kept = read(folder / "rows.json", "mongoexport")
    assert not kept
    column = table["v"]
    return column.type, column.to_pylist()[0]


def at(*parts: int) -> datetime:
    """An instant in UTC."""
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]


ID = "5f0c1a2b3c4d5e6f70819203"
GUID = "00112233-4455-6677-8899-aabbccddeeff"
VALUES = {
    f'{{"$oid":"{ID}"}}': (TEXT, ID),
    f'{{ "$oid" : "{ID.upper()}" }}': (TEXT, ID),
    '{"$date":"2019-08-11T17:54:14.692Z"}': (INSTANT, at(2019, 8, 11, 17, 54, 14, 692_000)),
    '{"$date":"2019-08-11T17:54:14Z"}': (INSTANT, at(2019, 8, 11, 17, 54, 14)),
    '{"$date":"2019-08-11T17:54:14.6Z"}': (INSTANT, at(2019, 8, 11, 17, 54, 14, 600_000)),
    '{"$date":"2014-02-10T09:20:00.000+0530"}': (INSTANT, at(2014, 2, 10, 3, 50)),
    '{"$date":{"$numberLong":"-1"}}': (INSTANT, at(1969, 12, 31, 23, 59, 59, 999_000)),
    '{"$date":{"$numberLong":"2147483648000"}}': (INSTANT, at(2038, 1, 19, 3, 14, 8)),
    '{"$date":{"$numberLong":"-62135596800000"}}': (INSTANT, at(1, 1, 1)),
    '{"$date":-1000}': (INSTANT, at(1969, 12, 31, 23, 59, 59)),
    '{"$numberInt":"-5"}': (pa.int64(), -5),
    '{"$numberLong":"9223372036854775807"}': (pa.int64(), 2**63 - 1),
    '{"$numberLong":5}': (pa.int64(), 5),
    "12345678901": (pa.int64(), 12345678901),
    "92233720368547758070": (JSON, "92233720368547758070"),
    '{"$numberDouble":"-0.0"}': (pa.float64(), -0.0),
    '{"$numberDouble":"1E+2"}': (pa.float64(), 100.0),
    "1.5": (pa.float64(), 1.5),
    "1e999": (JSON, "1e999"),
    "0.12345678901234567890": (JSON, "0.12345678901234567890"),
    '{"$numberDecimal":"1.10"}': (JSON, "1.10"),
    '{"$numberDecimal":"0E-6176"}': (JSON, "0E-6176"),
    '{"$numberDecimal":"1234567890123456789012345678901234"}': (JSON, "1234567890123456789012345678901234"),
    '{"$binary":{"base64":"AAEC","subType":"00"}}': (pa.binary(), b"\0\1\2"),
    '{"$binary":{"subType":"80","base64":"AAEC"}}': (pa.binary(), b"\0\1\2"),
    '{"$binary":"AAEC","$type":"00"}': (pa.binary(), b"\0\1\2"),
    '{"$binary":{"base64":"ABEiM0RVZneImaq7zN3u/w==","subType":"04"}}': (TEXT, GUID),
    '{"$binary":"ABEiM0RVZneImaq7zN3u/w==","$type":"04"}': (TEXT, GUID),
    '{"$binary":{"base64":"ABEiM0RVZneImaq7zN3u/w==","subType":"03"}}': (pa.binary(), UUID(GUID).bytes),
    f'{{"$uuid":"{GUID}"}}': (TEXT, GUID),
    '{"$symbol":"a\\"b"}': (TEXT, 'a"b'),
    '{"$undefined":true}': (TEXT, None),
    f'{{"$ref":"users","$id":{{"$oid":"{ID}"}},"$db":"shop"}}': (JSON, f'{{"$ref":"users","$id":"{ID}","$db":"shop"}}'),
    '{"a":[{"$date":{"$numberLong":"0"}},{"$numberDecimal":"1.10"},{"b":{"$numberLong":"7"}}]}': (
        JSON,
        '{"a":["1970-01-01T00:00:00.000Z",1.10,{"b":7}]}',
    ),
    '"{\\"$oid\\":\\"x\\"}"': (TEXT, '{"$oid":"x"}'),
    '{"$set":{"a":1}}': (JSON, '{"$set":{"a":1}}'),
    '"a{"': (TEXT, "a{"),
    "null": (TEXT, None),
    "true": (pa.bool_(), True),
}


@pytest.mark.parametrize("text", VALUES)
def test_values(tmp_path: Path, text: str) -> None:
    """What each form of each version means."""
    assert one_value(tmp_path, text) == VALUES[text]


PROBLEMS = {
    '{"$numberDouble":"NaN"}': "NaN",
    '[{"$numberDouble":"-Infinity"}]': "Infinity",
    '{"$numberDecimal":"NaN"}': "NaN",
    '{"$timestamp":{"t":1,"i":2}}': "timestamp",
    '{"a":{"$regularExpression":{"pattern":"a{1}","options":"i"}}}': "regular expression",
    '{"$regex":"a","$options":""}': "regular expression",
    '{"$minKey":1}': "least key",
    '{"$maxKey":1}': "greatest key",
    '{"$code":"f()","$scope":{}}': "code",
    '{"$oid":"5f"}': "24 hex",
    '{"$oid":5,"x":1}': "form",
    f'{{"$oid":"{ID}","x":1}}': "form",
    '{"$date":"yesterday"}': "ISO 8601",
    '{"$date":"2019-02-30T00:00:00.000Z"}': "calendar",
    '{"$date":"2019-01-01T00:00:00.0001Z"}': "ISO 8601",
    '{"$date":{"$numberLong":"253402300800000"}}': "years",
    '{"$date":{"$numberInt":"5"}}': "form",
    '{"$numberLong":"1.5"}': "integer",
    '{"$numberDecimal":"1,5"}': "no number",
    '{"$binary":{"base64":"A","subType":"00"}}': "form",
    '{"$decimal":"1"}': "decimal",
}


@pytest.mark.parametrize("text", PROBLEMS)
def test_values_that_are_no_json(tmp_path: Path, text: str) -> None:
    """They cost their record, with the line and the reason; the others are read."""
    (tmp_path / "rows.json").write_text(f'{{"v": 1}}\n{{"v": {text}}}\n{{"v": 3}}')
    table, kept = read(tmp_path / "rows.json", "mongoexport")
    assert table["v"].to_pylist() == [1, 3]
    assert [(one.record, one.line, one.code) for one in kept] == [(2, 2, "BF009")]
    assert PROBLEMS[text] in kept[0].message


def test_mixed_columns(tmp_path: Path) -> None:
    """Numbers of several types are doubles where those hold them; binary data among other values is refused."""
    lines = ['{"a":1,"b":1,"c":{"$binary":{"base64":"AA==","subType":"00"}},"d":{"$date":"2019-01-01T00:00:00Z"}}']
    lines += ['{"a":{"$numberDouble":"2.5"},"b":9007199254740993,"c":"x","d":"y"}', '{"b":0.5}']
    (tmp_path / "rows.json").write_text("\n".join(lines))
    table, kept = read(tmp_path / "rows.json", "mongoexport")
    assert not kept
    assert (table["a"].type, table["a"].to_pylist()) == (pa.float64(), [1.0, 2.5, None])
    assert (table["b"].type, table["b"].to_pylist()) == (JSON, ["1", "9007199254740993", "0.5"])
    assert table["d"].to_pylist() == ['"2019-01-01T00:00:00.000Z"', '"y"', None]
    with pytest.raises(JobError, match="binary data"):
        staged(job_over(tmp_path / "rows.json", format="mongoexport", sql=("c",)), tmp_path / "state")


@pytest.mark.parametrize("others", [['{"a":"x"}', '{"a":"y"}'], []])
def test_binary_data_of_unreadable_records(tmp_path: Path, others: list[str]) -> None:
    """It says nothing of the column that the record before it ends with."""
    twice = '{"v":{"$binary":{"base64":"AA==","subType":"00"}},"v":1}'
    (tmp_path / "rows.json").write_text("\n".join([*others[:1], twice, *others[1:]]))
    if others:
        table, kept = read(tmp_path / "rows.json", "mongoexport")
        assert [(one.record, one.code) for one in kept] == [(2, "BF005")]
        assert table["a"].to_pylist() == ["x", "y"]
    else:
        with pytest.raises(SourceError, match=r"no record can be read.* twice"):
            read(tmp_path / "rows.json", "mongoexport")


SPELT = st.lists(
    st.sampled_from(['{"$date":"', '{"$decimal":"', '{"$binary":"', '{"$oid":"', '{"$numberLong":"', '"}', '{"', "\\"])
    | st.text('\\\\"{}$:, é\\x00', max_size=3),
    max_size=6,
).map("".join)


@settings(max_examples=examples(40))
@given(texts=st.lists(SPELT | st.dates().map(lambda day: f'{{"$date":"{day}"}}'), min_size=1, max_size=4))
def test_texts_that_spell_types(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    """A string is what it is, whatever it spells: by itself, within others, and where the job declares a column."""
    folder = tmp_path_factory.mktemp("spelt")
    records = [{"v": text, "w": text, "j": [text, {"k": text}]} for text in texts] + [
        {"w": {"$date": {"$numberLong": "0"}}}
    ]
    (folder / "lines.json").write_text("".join(f"{json.dumps(record, ensure_ascii=False)}\n" for record in records))
    (folder / "array.json").write_text(json.dumps(records))
    plain_records = [*records[:-1], {"w": datetime.fromtimestamp(0, UTC)}]
    (folder / "rows.bson").write_bytes(b"".join(map(bson.encode, plain_records)))
    for name in ("lines.json", "array.json", "rows.bson"):
        job = job_over(folder / name, format="bson" if name == "rows.bson" else "mongoexport", columns={"w": "text"})
        kept = Kept()
        table = pa.Table.from_batches(format_named(str(job.source.format)).open(job, resolve(job)).batches(kept))
        assert not kept
        assert table["v"].to_pylist() == [*texts, None]
        assert table["w"].to_pylist() == [*texts, "1970-01-01T00:00:00.000Z"]
        assert [json.loads(one) for one in table["j"].to_pylist()[:-1]] == [record["j"] for record in records[:-1]]


def test_typed_columns_in_a_job(tmp_path: Path) -> None:
    """Instants and numbers are compared as such in SQL, and declared types are cast from the plain text."""
    rows = [
        {"_id": bson.ObjectId(ID), "made": datetime(2019, 1, 1 + day, tzinfo=UTC), "n": bson.Int64(2**53 + day),
         "price": bson.Decimal128(f"{day}.10"), "due": datetime(2020, 1, 1, tzinfo=UTC)}
        for day in range(3)
    ]  # fmt: skip
    (tmp_path / "rows.bson").write_bytes(gzip.compress(b"".join(map(bson.encode, rows))))
    job = job_over(
        tmp_path / "rows.bson",
        format="bson",
        where="made > TIMESTAMPTZ '2019-01-01 12:00:00Z'",
        columns={"price": "decimal", "due": "timestamp"},
        sql=("n + 1",),
    )
    result = staged(job, tmp_path / "state")
    assert result.column("_id") == [ID] * 2
    assert result.column("__bf_sql_0") == [2**53 + 2, 2**53 + 3]
    assert [str(value) for value in result.column("price")] == ["1.10", "2.10"]
    assert result.kind("due") == result.kind("made") == "timestamp"


keys = st.sampled_from(["_id", "a", "b", "é", 'q"', "$x", "t.u"])
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(["", "x", '{"$oid":"y"}', "\\", '"', "\u2028", "2019-01-01T00:00:00.000Z"]),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**63), 2**63 - 1).map(bson.Int64),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-62_135_596_800_000, 253_402_300_799_999).map(DatetimeMS),
    st.sampled_from(["1.10", "-0", "1E+3", "0E-6176", "9" * 34]).map(bson.Decimal128),
    st.binary(min_size=12, max_size=12).map(bson.ObjectId),
    st.uuids().map(bson.Binary.from_uuid),
)
nested = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=5,
)
odd = st.sampled_from(
    [b"\0", bson.Regex("a{2}"), bson.Timestamp(1, 2), bson.MinKey(), bson.MaxKey(), float("nan"), float("inf"),
     bson.Decimal128("NaN"), DatetimeMS(2**62), bson.Code("f()"), bson.Code("f()", {"a": 1}),
     bson.DBRef("c", bson.ObjectId(ID)), bson.Binary(UUID(GUID).bytes, 3)]
)  # fmt: skip
documents = st.dictionaries(
    keys, st.one_of(nested, nested, nested, nested, odd, odd.map(lambda one: [one])), max_size=4
)


@settings(max_examples=examples(40))
@given(rows=st.lists(documents, min_size=1, max_size=6), size=st.integers(1, 60))
def test_all_exports_of_a_collection_give_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], size: int
) -> None:
    """BSON, canonical and relaxed lines, and a pretty-printed array: values, types and unreadable records."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(content, "PIECE", size)
        compare_exports(tmp_path_factory.mktemp("rows"), rows)


def compare_exports(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write the rows in every way, and read them."""
    rows = [{"_id": bson.ObjectId(ID)}, *rows]
    (folder / "rows.bson").write_bytes(b"".join(map(bson.encode, rows)))
    wanted, wanted_kept = read(folder / "rows.bson", "bson")
    for name, text in {
        "canonical": "\n".join(json_util.dumps(row, json_options=CANONICAL, ensure_ascii=False) for row in rows),
        "relaxed": "\n".join(json_util.dumps(row, json_options=RELAXED, ensure_ascii=False) for row in rows),
        "array": json_util.dumps(rows, json_options=CANONICAL, indent=2, ensure_ascii=False),
    }.items():
        (folder / name).write_text(text)
        table, kept = read(folder / name, "mongoexport")
        assert table.schema == wanted.schema
        assert table.to_pylist() == wanted.to_pylist()
        assert [(one.record, one.code) for one in kept] == [(one.record, one.code) for one in wanted_kept]


def test_the_first_version(tmp_path: Path) -> None:
    """What older programs write: dates with an offset, numbers as they are, binary data with a type beside it."""
    rows = [{"_id": bson.ObjectId(ID), "at": at(2019, 1, 1, 0, 0, 0, 5_000), "u": bson.Binary.from_uuid(UUID(GUID))}]
    (tmp_path / "rows.json").write_text("\n".join(json_util.dumps(row, json_options=LEGACY) for row in rows))
    table, kept = read(tmp_path / "rows.json", "mongoexport")
    assert not kept
    assert [list(row.values())[:3] for row in table.to_pylist()] == [[ID, at(2019, 1, 1, 0, 0, 0, 5_000), GUID]]


def test_damaged_bson(tmp_path: Path) -> None:
    """A file that is cut anywhere but between documents, or holds something else, is refused."""
    whole = b"".join(bson.encode({"_id": place, "text": "x" * place}) for place in range(10))
    ends = {sum(len(bson.encode({"_id": one, "text": "x" * one})) for one in range(count)) for count in range(11)}
    path = tmp_path / "rows.bson"
    for cut in set(range(1, len(whole))) - ends:
        path.write_bytes(whole[:cut])
        with pytest.raises(SourceError, match="truncated"):
            read(path, "bson")
    for damage in (
        b"\x6d\xe2\x99\x81" + whole,
        whole + b"\0" * 8,
        whole.replace(b"\x02text", b"\x42text", 1),
        b"{}\n" * 9,
    ):
        path.write_bytes(damage)
        with pytest.raises(SourceError, match=r"no BSON|an archive of mongodump"):
            read(path, "bson")


@pytest.mark.parametrize("size", [0x8B1F, 0x9D1F, 0x10171])
def test_documents_whose_length_looks_like_another_format(tmp_path: Path, size: int) -> None:
    """The first bytes of a file are a length: those of gzip, compress and Stata are lengths too."""
    document = bson.encode({"_id": 1, "text": ""})
    (tmp_path / "rows.bson").write_bytes(bson.encode({"_id": 1, "text": "x" * (size - len(document))}))
    table, _ = read(tmp_path / "rows.bson", "bson")
    assert table["_id"].to_pylist() == [1]


def test_odd_bson(tmp_path: Path) -> None:
    """A key that stands twice and text that is not UTF-8 cost their documents."""
    twice = bson.encode({"a": 1, "b": 2}).replace(b"b\0", b"a\0")
    bad = bson.encode({"a": "xy"}).replace(b"xy", b"\xff\xfe")
    (tmp_path / "rows.bson").write_bytes(twice + bad + bson.encode({"a": 1}))
    table, kept = read(tmp_path / "rows.bson", "bson")
    assert table["a"].to_pylist() == [1]
    assert [(one.record, one.line, one.code) for one in kept] == [(1, 0, "BF005"), (2, 0, "BF004")]


@settings(max_examples=examples(100))
@given(
    rows=st.lists(st.dictionaries(keys, scalars, max_size=3), min_size=1, max_size=4),
    change=st.tuples(st.integers(0, 10**6), st.integers(0, 2), st.binary(max_size=2)),
)
def test_changed_bytes_of_bson(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], change: tuple[int, int, bytes]
) -> None:
    """The file is refused, or has as many records as pymongo finds in it."""
    data = b"".join(map(bson.encode, rows))
    place = change[0] % len(data)
    data = data[:place] + change[2] + data[place + change[1] :]
    path = tmp_path_factory.mktemp("rows") / "rows.bson"
    path.write_bytes(data)
    try:
        table, kept = read(path, "bson")
    except SourceError:
        return
    assert table.num_rows + len(kept) == len(framed(data))
    assert table.num_rows <= len(bson.decode_all(data, OPTIONS))


def framed(data: bytes) -> list[bytes]:
    """The documents by their lengths."""
    found = []
    while data:
        size = int.from_bytes(data[:4], "little")
        found.append(data[:size])
        data = data[size:]
    return found


def test_dates_are_those_of_the_calendar(tmp_path: Path) -> None:
    """Every month from the year 1 on, as milliseconds and as text."""
    moments = [datetime(1 + 7 * place, 1 + place % 12, 1 + place % 28, tzinfo=UTC) for place in range(1_400)]
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    numbers = [{"v": {"$date": {"$numberLong": str((one - epoch) // timedelta(milliseconds=1))}}} for one in moments]
    (tmp_path / "rows.json").write_text("\n".join(map(json.dumps, numbers)))
    table, _ = read(tmp_path / "rows.json", "mongoexport")
    assert table["v"].to_pylist() == moments


pool = st.sampled_from(
    ["", "5", "-7", "1.5", "1.50", "NaN", "05", "1e5", ID, GUID, "AAEC", "ABEiM0RVZneImaq7zN3u/w==", "04", "00",
     "2019-01-01T00:00:00Z", "2019-01-01T00:00:00.12+0100", "2019-13-01T00:00:00Z", "9223372036854775808"]
)  # fmt: skip
names = st.sampled_from(
    ["oid", "date", "numberInt", "numberLong", "numberDouble", "numberDecimal", "binary", "uuid", "symbol"]
)
inner_pairs = st.dictionaries(st.sampled_from(["$numberLong", "base64", "subType", "x"]), pool, max_size=2)
wrappers = st.builds(
    lambda name, value, more: {f"${name}": value, **more},
    names,
    pool | inner_pairs,
    st.dictionaries(st.sampled_from(["$type", "x"]), pool, max_size=1),
) | st.integers(-(10**12), 10**12).map(lambda one: {"$date": one})


def by_pymongo(value: Any) -> Any:
    """A value that pymongo found, as the table of the documentation has it."""
    match value:
        case bson.ObjectId() | UUID():
            return str(value)
        case datetime():
            return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
        case bson.Decimal128():
            return float(str(value))
        case dict():
            return {key: by_pymongo(one) for key, one in value.items()}
        case list():
            return [by_pymongo(one) for one in value]
    return value


@settings(max_examples=examples(300))
@given(value=st.lists(wrappers, min_size=1, max_size=2), blanks=st.booleans())
def test_wrappers_mean_what_pymongo_says(value: list[Any], blanks: bool) -> None:
    """Whatever stands in them: the value that pymongo finds, or a problem."""
    text = json.dumps(value, separators=(" , ", " : ") if blanks else (",", ":"))
    try:
        found = plain(text.encode())
    except ExtendedError:
        return
    if b'{"$binary"' in found:
        return
    unmarked = re.sub(rb'\{"\$decimal":"([^"]*)"\}', rb"\1", re.sub(rb'\{"\$date":("[^"]*")\}', rb"\1", found))
    options = json_util.JSONOptions(tz_aware=True, uuid_representation=UuidRepresentation.STANDARD)
    assert json.loads(unmarked) == by_pymongo(json_util.loads(text, json_options=options))


def test_types_that_the_beginning_does_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A column is what all its values are, wherever the first of another type comes."""
    monkeypatch.setattr("backfill.sources.ndjson.texts.HEAD_BYTES", 2_000)
    monkeypatch.setattr("backfill.sources.ndjson.texts.HEAD_BYTES_OF_ALL", 2_000)
    monkeypatch.setattr(content, "PIECE", 2_000)
    when = datetime(2019, 1, 1, tzinfo=UTC)
    first: dict[str, Any] = {"n": 1, "big": 1, "when": when, "late": None, "text": "x", "id": bson.ObjectId(ID)}
    last = {"n": 0.5, "big": bson.Int64(2**60), "when": "never", "late": when, "text": "y", "id": bson.ObjectId(ID)}
    (tmp_path / "rows.bson").write_bytes(bson.encode(first) * 5_000 + bson.encode(last))
    result = staged(job_over(tmp_path / "rows.bson"), tmp_path / "state")
    assert result.rows[-2:] == [
        (1.0, 1, '"2019-01-01T00:00:00.000Z"', None, "x", ID),
        (0.5, 2**60, '"never"', when, "y", ID),
    ]
