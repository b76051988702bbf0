"""The columnar code against the second one of `backfill.verify`, on rows and jobs that hypothesis makes up.

Equal text, but that objects for which a JSON column is put together with other members are compared as parsed.
"""

import itertools
import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill import encode, identity, prepare
from backfill.job.models import ConstantValue, ListValue, ObjectSpec, ObjectValue, Star, TimestampSpec
from backfill.records import FILE_COLUMN, RECORD_COLUMN, Column, Kind, Snapshot, SnapshotPart, SourceFile
from backfill.verify.local_times import LocalTimes
from tests.support import oracle_cases as cases
from tests.support.examples import examples
from tests.support.oracle_cases import call_of, column, compare, expression, job_of
from tests.support.oracle_made_rows import DESCRIBED, OWN, edge_rows, tables
from tests.support.oracle_times import localised

EDGE_ROWS = edge_rows()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples."""
    return tmp_path_factory.mktemp("oracle")


def keep_only(*names: str) -> Star:
    """`"*"` for a few columns."""
    return Star(exclude=tuple(name for name in OWN if name not in names))


@settings(max_examples=examples(40))
@given(job=cases.jobs, rows=tables(), frame_rows=st.sampled_from([1, 2, 4]))
def test_columnar_code_agrees_with_the_recipe(
    folder: Path, job: Any, rows: list[dict[str, Any]], frame_rows: int
) -> None:
    """States, codes, warnings, ids and JSON of all calls are those of the recipe, whatever the size of a frame."""
    compare(job, rows, folder, frame_rows)


@pytest.mark.parametrize("on_bad", ["omit", "reject"])
@pytest.mark.parametrize("text", ['{"n": 1e400}', '{"n": [1E+309, "x"]}', "[1]", "{ }", '{"a": null}', "null", None])
def test_a_whole_object_that_is_bad(folder: Path, text: str | None, on_bad: str) -> None:
    """An object that comes from a column alone is left out, or the call is rejected for it."""
    whole = ObjectSpec(column=column("payload", None, "omit", on_bad))
    compare(job_of([call_of(properties=whole)]), [EDGE_ROWS[0] | {"payload": text}], folder)


@pytest.mark.parametrize("on_bad", ["omit", "reject"])
@pytest.mark.parametrize("name", [*OWN, "total / declared"])
def test_each_column_in_each_form(folder: Path, name: str, on_bad: str) -> None:
    """A column of every kind as a member: as it is, as text, as number, nulls left out and kept."""
    forms = [(as_, nulls) for as_ in (None, "text", "number") for nulls in ("omit", "keep")]
    make = expression if name not in DESCRIBED else lambda *form: column(name, *form)
    members = tuple((("/".join(map(str, form)),), make(*form, on_bad)) for form in forms)
    compare(job_of([call_of(properties=ObjectSpec(members=members))]), EDGE_ROWS, folder)


NOT_SCALAR = (Kind.NESTED, Kind.NULL)
SCALARS = [name for name in OWN if DESCRIBED[name].kind not in NOT_SCALAR]


@pytest.mark.parametrize("name", SCALARS)
def test_each_column_as_id_name_and_key(folder: Path, name: str) -> None:
    """A column of every kind as each id and name, and (but for floats, which no key may hold) as a key."""
    said = column(name)
    calls = [
        call_of(userId=said, label="a"),
        call_of(userId=None, anonymousId=said, label="b"),
        call_of(type="group", event=None, groupId=said, label="c"),
        call_of(type="alias", event=None, previousId=said, label="d"),
        call_of(event=said, label="e"),
        call_of(type="page", event=None, name=said, category=said, label="f"),
        call_of(message_key=None, message_id=said, label="g"),
    ]
    if DESCRIBED[name].kind is not Kind.NUMBER:
        calls.append(call_of(message_key=(said, ConstantValue(value="")), label="h"))
    compare(job_of(calls), EDGE_ROWS, folder)


@pytest.mark.parametrize("nonexistent", [None, "error", "shift_forward"])
@pytest.mark.parametrize("ambiguous", [None, "earliest", "latest", "error"])
def test_each_policy(folder: Path, ambiguous: Any, nonexistent: Any) -> None:
    """Timestamps of every kind of column, by every policy, in the source's zone and in the call's own."""
    names = [name for name in OWN if DESCRIBED[name].kind in (Kind.TIMESTAMP, Kind.DATE)]
    calls = []
    for name, zone in itertools.product(names, [None, "Europe/London"]):
        spec = TimestampSpec(column=name, timezone=zone, ambiguous=ambiguous, nonexistent=nonexistent)
        calls.append(call_of(timestamp=spec, label=f"{name} {zone}"))
    compare(job_of(calls), EDGE_ROWS, folder)


EPOCHS = {
    "epoch_s": [0, -1, 1_700_000_000, 2**31 - 1, 253_402_300_799, 253_402_300_800, 2**62],
    "epoch_ms": [0, -1, 1_700_000_000_123, 253_402_300_799_999, 253_402_300_800_000, -(2**62)],
    "epoch_us": [0, -1, 1_700_000_000_123_456, 253_402_300_799_999_999, 253_402_300_800_000_000],
    "epoch_ns": [0, -1, 999, 1_700_000_000_123_456_789, 2**63 - 1, -(2**63)],
}


@pytest.mark.parametrize("unit", EPOCHS)
def test_each_epoch(folder: Path, unit: str) -> None:
    """Epochs in integers of 32 and 64 bits, signed or not, in decimals, in text, in JSON; to the last digit."""
    numbers = EPOCHS[unit]
    texts = [*map(str, numbers), "", "x", "1e5", "0x10", "1.5.2", "-0.0000001", "1.9999999999", "null"]
    rows: list[dict[str, Any]] = [{"integer": number} for number in numbers]
    rows += [{"unsigned": number} for number in numbers if number >= 0]
    rows += [{'q"uo\\te é': number} for number in (0, 1, -1, 1_700_000_000, 2**31 - 1, -(2**31))]
    rows += [{"text": text} for text in texts]
    rows += [{"json": text} for text in texts if text]
    rows += [{"digits": text} for text in ("1700000000", "1700000000.5", "-0.0000001", "0.9999999")]
    rows += [
        {"number": number} for number in (0.5, 1.7e9, -0.25, -1e-9, 0.9999999, 1.1, float("nan"), float("inf"), 1e300)
    ]
    names = ["integer", "unsigned", 'q"uo\\te é', "text", "json", "digits", "number"]
    specs = [TimestampSpec(column=name, format=unit) for name in names]
    compare(job_of([call_of(timestamp=spec, label=str(spec.column)) for spec in specs]), rows, folder)


OBJECTS = {
    "star": ObjectSpec(star=Star()),
    "star beside a member of the same name": ObjectSpec(
        members=((("text",), ConstantValue(value=1)), (("total",), expression(on_bad="omit"))),
        star=keep_only("text", "boolean"),
    ),
    "star beside columns named deep inside": ObjectSpec(
        members=((("a", "b"), ListValue(list=(ObjectValue(object=ObjectSpec(members=((("x",), column("text")),))),))),),
        star=keep_only("text", "boolean"),
    ),
    "star inside an object": ObjectSpec(
        members=((("a",), ObjectValue(object=ObjectSpec(star=keep_only("text", "boolean")))),)
    ),
    "a list keeps its nulls": ObjectSpec(
        members=(
            (
                ("list",),
                ListValue(
                    list=(column("text"), column("integer", None, "omit", "omit"), ConstantValue(value=None)),
                ),
            ),
            (("empty",), ListValue(list=())),
        )
    ),
    "a list keeps its empty objects": ObjectSpec(
        members=(
            (
                ("list",),
                ListValue(
                    list=(
                        ObjectValue(object=ObjectSpec(members=((("a",), column("text")),))),
                        ObjectValue(
                            object=ObjectSpec(
                                members=((("a",), ConstantValue(value=1)), (("b", "c"), column("boolean")))
                            )
                        ),
                        ObjectValue(object=ObjectSpec(column=column("payload"))),
                    )
                ),
            ),
        )
    ),
    "an emptied object is left out": ObjectSpec(
        members=(
            (("object",), ObjectValue(object=ObjectSpec(members=((("a",), column("text")),)))),
            (("dotted", "a"), column("text")),
            (("dotted", "b"), column("boolean")),
        )
    ),
    "constants": ObjectSpec(
        members=(
            (
                ("object",),
                ConstantValue(value={"a": {"b": None, "c": 10**40}, "d": [None, {"x": None}], "é": "\x00\x7f"}),
            ),
            (("null",), ConstantValue(value=None)),
            (("",), ConstantValue(value="")),
        )
    ),
    "a whole struct": ObjectSpec(column=column("address")),
    "a whole struct, overridden": ObjectSpec(
        column=column("address"), members=((("zip",), column("text")), (("new",), ConstantValue(value=1)))
    ),
    "a whole struct, a member blanked": ObjectSpec(
        column=column("address"), members=((("zip",), ConstantValue(value=None)),)
    ),
    "a whole struct, a member deep inside overridden": ObjectSpec(
        column=column("address"), members=((("inner", "z"), column("boolean")),)
    ),
    "whole JSON": ObjectSpec(column=column("payload")),
    "whole JSON that may be no object": ObjectSpec(column=column("json")),
    "whole JSON, overridden": ObjectSpec(
        column=column("payload"), members=((("city",), column("boolean")), (("new",), ConstantValue(value=1)))
    ),
    "whole JSON, overridden by an object": ObjectSpec(
        column=column("payload"),
        members=((("a",), ObjectValue(object=ObjectSpec(members=((("k",), ConstantValue(value=1)),)))),),
    ),
    "whole JSON, a member blanked": ObjectSpec(
        column=column("payload"), members=((("city",), ConstantValue(value=None)),)
    ),
    "whole JSON, a null kept": ObjectSpec(
        column=column("payload"), members=((("city",), column("boolean", None, "keep")),)
    ),
    "whole JSON, a member deep inside overridden": ObjectSpec(
        column=column("payload"), members=((("a", "z"), ConstantValue(value="new")),)
    ),
    "whole JSON inside an object": ObjectSpec(
        members=((("object",), ObjectValue(object=ObjectSpec(column=column("payload")))),)
    ),
    "money": ObjectSpec(
        members=(
            (("revenue",), column("text")),
            (("price",), column("integer", "text", "omit", "omit")),
            (("value",), column("revenue", "number", "omit", "omit")),
            (("quantity",), ConstantValue(value="5")),
            (("total", "total"), column("text")),
        )
    ),
}
PAYLOADS = [
    '{"a": {"z": 1, "y": [1, null]}, "city": "x", "é": 12345678901234567890123456789012345678901}',
    '{"a": [1], "city": null}',
    ' { "city" : 1.10 , "\\u00e9" : "\\ud83e\\udd8a" } ',
    "{}",
    "[1]",
    "null",
    None,
]


@pytest.mark.parametrize("where", ["properties", "context"])
@pytest.mark.parametrize("name", OBJECTS)
def test_each_kind_of_object(folder: Path, name: str, where: str) -> None:
    """Members, lists, objects, `"*"`, whole columns and what overrides them."""
    job = job_of([call_of(**{where: OBJECTS[name]}, userId=column("plain"))])
    compare(job, EDGE_ROWS + [{"plain": "u1", "payload": text} for text in PAYLOADS], folder)


@pytest.mark.parametrize("key", ["content", "row"])
def test_key_words(folder: Path, key: str) -> None:
    """`content` and `row` as keys, with and without a context of the job's own."""
    own = ObjectSpec(members=((("app",), column("text")),))
    properties = ObjectSpec(members=((("n",), column("number", None, "omit", "omit")), (("t",), column("text"))))
    calls = [
        call_of(message_key=key, properties=properties, label="bare"),
        call_of(message_key=key, properties=properties, context=own, integrations={"All": False}, label="dressed"),
    ]
    compare(job_of(calls), EDGE_ROWS, folder)


def test_sizes(folder: Path) -> None:
    """The limits of a call in bytes, of its members and of a group's id, one below and one above each."""
    many = [ObjectSpec(members=tuple(((f"k{n}",), column("boolean")) for n in range(count))) for count in (300, 301)]
    calls = [call_of(properties=spec, label=f"many {n}") for n, spec in enumerate(many)]
    calls += [
        call_of(type="identify", event=None, traits=many[1], label="traits"),
        call_of(properties=ObjectSpec(members=((("t",), column("text")),)), label="text"),
        call_of(properties=ObjectSpec(column=column("payload")), label="whole"),
    ]
    calls += [
        call_of(type="group", event=None, groupId=ConstantValue(value="g" * size), label=f"group {size}")
        for size in (500, 501)
    ]
    around = [(letter, size) for letter in "xé" for size in range(31_775 // len(letter.encode()), 31_800)]
    rows: list[dict[str, Any]] = [{"boolean": True}, {"boolean": None}]
    rows += [{"text": letter * size} for letter, size in around if 31_775 <= size * len(letter.encode()) <= 31_790]
    rows += [{"payload": json.dumps({f"k{n}": n for n in range(count)})} for count in (300, 301)]
    compare(job_of(calls), rows, folder)


def test_very_many_members(folder: Path) -> None:
    """Beyond 10,000 properties a call is rejected for that, whatever its size."""
    vast = ObjectSpec(members=tuple(((f"k{n}",), column("boolean")) for n in range(10_001)))
    compare(job_of([call_of(properties=vast)]), [{"boolean": True}], folder)


def test_an_instant_that_no_calendar_has(folder: Path) -> None:
    """A Parquet timestamp in the year 33658 (seconds taken for milliseconds, say) never becomes a date in JSON."""
    path = folder / "far.parquet"
    pl.DataFrame({"at": pl.Series([10**18, None]).cast(pl.Datetime("us", "UTC"))}).write_parquet(path)
    file = SourceFile(str(path), "far.parquet", "far.parquet", 1, "", 1, 1, 1)
    columns = (Column("at", Kind.TIMESTAMP),)
    snapshot = Snapshot((SnapshotPart(path, 2),), columns, (file,), 2, 0, 0, in_place=True)
    member = ObjectSpec(members=((("at",), column("at")),))
    job = job_of([call_of(properties=member)], {"BF204": "ignore"})
    frame = prepare.map_rows(job, snapshot, id_scope="s", library_version="1", now=1.8e9)
    assert frame["state"].to_list() == ["rejected", "ok"]
    assert frame["codes"].to_list() == [["BF202"], []]


def test_records_of_several_files(folder: Path) -> None:
    """The key `row` says the file that a staged row came from, and its record number there, gaps and all."""
    staged = pl.DataFrame(
        {"text": ["a", "b", "c"], FILE_COLUMN: [0, 0, 1], RECORD_COLUMN: [1, 5, 2]},
        schema={"text": pl.String, FILE_COLUMN: pl.UInt32, RECORD_COLUMN: pl.UInt64},
    )
    parts = []
    for number, part in enumerate([staged[:2], staged[2:]]):
        path = folder / f"part{number}.parquet"
        part.write_parquet(path)
        parts.append(SnapshotPart(path, len(part)))
    columns = (Column("text", Kind.TEXT), Column(FILE_COLUMN, Kind.INTEGER), Column(RECORD_COLUMN, Kind.INTEGER))
    files = tuple(SourceFile(f"/x/{name}", name, name, 1, "", 1, 1, 1) for name in ("2023/a.csv", "2024/é.csv"))
    snapshot = Snapshot(tuple(parts), columns, files, 3, 0, 0, in_place=False)
    for frame_rows in (1, 3):
        frame = prepare.map_rows(
            job_of([call_of()]), snapshot, id_scope="s", library_version="1", now=2e9, frame_rows=frame_rows
        )
        space = identity.namespace("s", "job é", "track", 3)
        keys = [("2023/a.csv", "1"), ("2023/a.csv", "5"), ("2024/é.csv", "2")]
        assert frame["message_id"].to_list() == [identity.message_id(space, key) for key in keys]


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1), st.sampled_from([pl.Float64, pl.Float32])
)
def test_floats_read_back_shortest(values: list[float], dtype: type[pl.DataType]) -> None:
    """The JSON text of a finite float reads back as the same one, and is no longer than Python's shortest form."""
    series = pl.Series("x", values).cast(dtype, strict=False)
    series = series.filter(series.is_finite())
    texts = series.to_frame().select(encode.encode(pl.col("x"), Kind.NUMBER, dtype(), encode.AS_THEY_ARE).text)
    for value, text in zip(series.to_list(), texts.to_series().to_list(), strict=True):
        again = pl.Series([json.loads(text)], dtype=pl.Float64).cast(dtype).item()
        assert again == value
        assert math.copysign(1, again) == math.copysign(1, value)
        assert dtype is pl.Float32 or len(text) <= len(repr(value)) + 2  # 0.00001 for 1e-05


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_strings_are_escaped_as_json_is(texts: list[str]) -> None:
    """Text of any script, with any control character, is written as `json.dumps` writes it."""
    frame = pl.DataFrame({"x": texts}, schema={"x": pl.String})
    made = frame.select(encode.string(pl.col("x"))).to_series().to_list()
    assert made == [json.dumps(text, ensure_ascii=False) for text in texts]


def test_every_control_character() -> None:
    """All that JSON must escape, and the neighbours that it need not."""
    texts = [chr(code) for code in (*range(0xA0), 0x2028, 0x2029, 0xFEFF, 0xFFFE, 0xFFFF, 0x1F600, 0x10FFFF)]
    frame = pl.DataFrame({"x": texts}, schema={"x": pl.String})
    made = frame.select(encode.string(pl.col("x"))).to_series().to_list()
    assert made == [json.dumps(text, ensure_ascii=False) for text in texts]


def test_the_oracle_knows_the_calendar() -> None:
    """Its clockwork, and that of the recipe, on an hour that never was and one that was twice."""
    gap, twice = datetime(2024, 3, 10, 2, 30), datetime(2024, 11, 3, 1, 30)  # noqa: DTZ001
    assert localised(gap, cases.ZONE, "error", "error") == (None, {"BF206"})
    assert localised(gap, cases.ZONE, "error", "shift_forward") == (datetime(2024, 3, 10, 7), set())  # noqa: DTZ001
    assert localised(twice, cases.ZONE, "error", "error") == (None, {"BF205"})
    assert localised(twice, cases.ZONE, "earliest", "error") == (datetime(2024, 11, 3, 5, 30), set())  # noqa: DTZ001
    assert localised(twice, cases.ZONE, "latest", "error") == (datetime(2024, 11, 3, 6, 30), set())  # noqa: DTZ001
    seconds = (gap - datetime(1970, 1, 1)).total_seconds()  # noqa: DTZ001
    shifted, code = LocalTimes(cases.ZONE, "error", "shift_forward").instant(int(seconds) * 10**9)
    assert (shifted, code) == (int(datetime(2024, 3, 10, 7, tzinfo=UTC).timestamp()) * 10**9, "")


@pytest.mark.parametrize("twin", [(), ("a.b",)])
def test_a_bad_part_of_a_key_is_not_missing(folder: Path, twin: tuple[str, ...]) -> None:
    """A value that is null only since it does not fit is told as that; one that is null or left out, as null."""
    raw = "__bf_raw:declared"
    rows = cases.frame_of([{"declared": None, raw: "x"}, {"declared": None}, {"declared": 1, raw: "1"}]).to_dicts()

    def codes(on_bad: str) -> list[tuple[str, ...]]:
        key = (column("declared", on_bad=on_bad), *map(column, twin))
        made = cases.mapped(job_of([call_of(message_key=key)]), cases.snapshot_of(rows, folder), 5)
        return [tuple(sorted(set(found.codes))) for _, _, found in made]

    second = ("BF112",) if twin else ()
    assert codes("omit") == [("BF112",), ("BF112",), second]
    assert codes("reject") == [(*second, "BF117"), ("BF112",), second]
