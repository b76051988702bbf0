"""What expressions and validator find of a tracking plan together is what the validator finds of each whole call."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.job.models import Call, ColumnValue, ConstantValue, Job, ObjectSpec, ObjectValue, Source, TimestampSpec
from backfill.mapping import compile_job
from backfill.prepare.evaluate import Evaluated, evaluate
from backfill.prepare.frames import ROW_COLUMN
from backfill.records import Column, Kind, Snapshot
from backfill.tracking import TrackingPlan
from backfill.tracking.describe import code_of
from backfill.tracking.schemas import compile_schema, violations
from tests.support.examples import examples

ENDS = ["a\nb", "a\rb", "a\u2028b", "a\u00a0b"]
INSTANTS = [datetime(2024, 2, 29, 12, 0, 0, 1234, UTC), datetime(1, 1, 1, tzinfo=UTC)]
NESTED = pl.Struct({"a": pl.Int64, "b": pl.String})
LIST = pl.List(pl.Int64)
#: Column -> its kind, its type, some values.
COLUMNS: dict[str, tuple[Kind, Any, list[Any]]] = {
    "text": (Kind.TEXT, pl.String, ["", "abc", "ABC", "Zoë", "\U0001f600\U0001f600", 'q"\\', "12", "٣", *ENDS]),
    "number": (Kind.NUMBER, pl.Float64, [0.0, -0.0, 2.0, 2.5, 1e300, -1.5, 0.1, 1e-9]),
    "small": (Kind.NUMBER, pl.Float32, [0.1, 2.0, 16777216.0]),
    "whole": (Kind.INTEGER, pl.Int64, [0, 1, 2, -7, 2**53]),
    "amount": (Kind.DECIMAL, pl.Decimal(12, 2), [Decimal("2.00"), Decimal("0.10"), Decimal("-3.50")]),
    "flag": (Kind.BOOLEAN, pl.Boolean, [True, False]),
    "day": (Kind.DATE, pl.Date, [date(2024, 2, 29), date(1, 1, 1)]),
    "at": (Kind.TIMESTAMP, pl.Datetime("us", "UTC"), INSTANTS),
    "json": (Kind.JSON, pl.String, ["1", '"abc"', '{"a": 1}', "[1, 2]", "true", "2.0"]),
    "object": (Kind.JSON, pl.String, ['{"a": 1}', "{}", '{"b": "x", "text": 3}', '{"c": null}']),
    "struct": (Kind.NESTED, NESTED, [{"a": 1, "b": "x"}, {"a": None, "b": None}]),
    "list": (Kind.NESTED, LIST, [[], [1, 2], [None]]),
}  # fmt: skip
DESCRIBED = (*(Column(name, kind) for name, (kind, _, _) in COLUMNS.items()), Column("event", Kind.TEXT))
SNAPSHOT = Snapshot((), DESCRIBED, (), 0, 0, 0, in_place=False)
SCHEMA = {name: pl.Series(dtype=dtype).dtype for name, (_, dtype, _) in COLUMNS.items()} | {"event": pl.String()}
ERRORS = dict.fromkeys(("BF140", "BF141", "BF142", "BF143", "BF144"), "error")
TYPES = ("string", "number", "integer", "boolean", "object", "array", "null")
CONSTANTS: dict[str, Any] = {"fixed": 1, "said": "abc", "shaped": {"a": [1]}, "nothing": None}
PATTERNS = [
    "^[A-Z]+$", "b", r"^\d+$", r"\w", "^.$", "^$", "a|B", "(?:ab)?c", "[^a-z]", r"\.", "^[0-9]{2}$", r"[\w.-]+",
    r"\s", r"^\p{L}+$", "(?=a)", r"\u0061", "[+--]", r"^[^@\s]+$", ".b", r"[\d]{1,2}", r"\bab", r"\D",
]  # fmt: skip
json_values = st.sampled_from(
    ["abc", "", "12", 0, 2, 2.0, 2.5, -7, 0.1, True, False, None, "2024-02-29", [1, 2], {"a": 1}]
)
keywords = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(TYPES) | st.lists(st.sampled_from(TYPES), min_size=1, max_size=3, unique=True),
        "enum": st.lists(json_values, min_size=1, max_size=4),
        "const": json_values,
        "minimum": st.sampled_from([0, 2, 0.1, -1.5, 2**60]),
        "maximum": st.sampled_from([0, 2, 0.1, 2**53]),
        "exclusiveMinimum": st.sampled_from([0, 2]),
        "exclusiveMaximum": st.sampled_from([2, 0.1]),
        "multipleOf": st.sampled_from([2, 0.1]),
        "minLength": st.integers(0, 4),
        "maxLength": st.integers(0, 4),
        "pattern": st.sampled_from(PATTERNS),
        "format": st.sampled_from(["date-time", "date", "email", "nothing-known"]),
        "description": st.just("words"),
        "not": st.sampled_from([{"type": "null"}, {"const": "abc"}, {"minimum": 1}]),
        "anyOf": st.just([{"type": "string"}, {"maximum": 1}]),
        "properties": st.just({"a": {"type": "string"}}),
        "items": st.just({"type": "integer"}),
        "minProperties": st.just(1),
    },
)
leaves = st.booleans() | keywords
names = st.sampled_from([*COLUMNS, *CONSTANTS, "other", "kept", "inner"])
cells = st.fixed_dictionaries({name: st.none() | st.sampled_from(each) for name, (_, _, each) in COLUMNS.items()})


@st.composite
def objects(draw: st.DrawFn, *, deep: bool = True) -> dict[str, Any]:
    """A schema of an object of some members."""
    schema: dict[str, Any] = {"properties": draw(st.dictionaries(names, leaves, max_size=5))}
    if deep and draw(st.booleans()):
        schema["properties"]["inner"] = draw(objects(deep=False))
    schema |= draw(
        st.fixed_dictionaries(
            {},
            optional={
                "type": st.sampled_from(["object", "object", "string"]),
                "required": st.lists(names, max_size=3, unique=True),
                "additionalProperties": st.sampled_from([True, False, False, {"type": "string"}]),
                "patternProperties": st.just({"^t": {"minLength": 3}}),
                "maxProperties": st.just(3),
                "propertyNames": st.just({"pattern": "^[a-z]+$"}),
                "if": st.just({"required": ["text"]}),
                "then": st.just({"required": ["number"]}),
            },
        )
    )
    return schema


@st.composite
def calls(draw: st.DrawFn) -> dict[str, Any]:
    """A schema of a whole call."""
    schema: dict[str, Any] = {"type": "object", "properties": {"properties": draw(objects()), "context": {}}}
    schema["properties"] |= draw(st.fixed_dictionaries({}, optional={"userId": keywords, "timestamp": keywords}))
    schema |= draw(
        st.fixed_dictionaries(
            {},
            optional={
                "required": st.just(["userId", "anonymousId", "receivedAt"]),
                "definitions": st.just({"x": {"type": "string"}}),
                "allOf": st.sampled_from([[{"required": ["groupId", "sentAt"]}], [{"$ref": "#/definitions/x"}]]),
            },
        )
    )
    if "$ref" in json.dumps(schema):
        schema["definitions"] = {"x": {"required": ["userId"]}}
    return schema


def member(name: str) -> Any:
    """The value of a property."""
    if name == "inner":
        return ObjectValue(
            object=ObjectSpec(members=(*((((each,), member(each))) for each in ("text", "number", "fixed")),))
        )
    if name in CONSTANTS:
        return ConstantValue(value=CONSTANTS[name])
    if name in ("kept", "other"):
        return ColumnValue(column="text" if name == "kept" else "number", nulls="keep")
    return ColumnValue(column=name)


def job_of(tracking: TrackingPlan | None, members: list[str], *, whole: bool, event: str | None) -> Job:
    """A job of a track call with those properties, over a column of objects where `whole`."""
    spec = ObjectSpec(
        column=ColumnValue(column="object") if whole else None,
        members=tuple(((name,), member(name)) for name in members),
    )
    call = Call(
        type="track", message_key="content", userId=ConstantValue(value="u1"), properties=spec,
        timestamp=TimestampSpec(value="2024-02-29T12:00:00Z"),
        event=ColumnValue(column="event") if event is None else ConstantValue(value=event),
    )  # fmt: skip
    return Job(
        version=1, name="test", source=Source(path=("a.csv",)), calls=(call,), rules=ERRORS, tracking=tracking
    )  # fmt: skip


def evaluated(job: Job, frame: pl.DataFrame) -> Evaluated:
    """What becomes of the rows."""
    (call,) = compile_job(job, SNAPSHOT, SCHEMA, id_scope="s", library_version="1", now=1.8e9)
    return evaluate(call, frame, 32_000)


def wanted(schema: dict[str, Any], text: str, *, unplanned: bool) -> set[tuple[str, str]]:
    """Code and path of what the validator finds in a whole call, and of properties that are not in the plan."""
    value = json.loads(text.removesuffix(","))
    broken = [one for one in violations(compile_schema(schema), schema, value) if not one.is_added_later]
    found = {(code_of(one.keyword), ".".join(map(str, one.path))) for one in broken}
    inner = schema["properties"]["properties"]
    listed = inner["properties"]
    others = "patternProperties" in inner or inner.get("additionalProperties")
    if unplanned and listed and not others:
        found |= {("BF141", f"properties.{name}") for name in value["properties"] if name not in listed}
    return found


def test_objects_that_allow_nothing() -> None:
    """Each property is told by its own path, also where the schema lists none; `false` stays what it is."""
    schema = {"properties": {"a": {"additionalProperties": False}, "additionalProperties": False}}
    value = {"a": {"x": 1, "y": {}}, "additionalProperties": {"z": 1}}
    found = [(one.path, one.keyword) for one in violations(compile_schema(schema), schema, value)]
    of_a = [(("a", "x"), "additionalProperties"), (("a", "y"), "additionalProperties")]
    assert found == [*of_a, (("additionalProperties",), "falseSchema")]


@given(
    schema=calls(),
    common=st.none() | calls(),
    members=st.lists(names, unique=True, max_size=6),
    rows=st.lists(cells, min_size=1, max_size=4),
    whole=st.booleans(),
    event=st.sampled_from([None, "Seen", "Unseen"]),
)  # fmt: skip
@settings(max_examples=examples(25), deadline=None)
def test_verdicts(
    schema: Any, common: Any, members: list[str], rows: list[Any], whole: bool, event: str | None
) -> None:
    """Each violation of each call, by code and path, and no other; calls without one are sent as without a plan."""
    if whole:
        rows = [{**row, "object": row["object"] or "{}"} for row in rows]
        members = [name for name in members if name != "object"]
    frame = pl.DataFrame(rows, schema={name: dtype for name, (_, dtype, _) in COLUMNS.items()}, strict=True)
    events = ["Seen" if place % 2 else "Other" for place in range(len(rows))]
    frame = frame.with_columns(pl.Series("event", events), pl.int_range(len(rows), dtype=pl.UInt32).alias(ROW_COLUMN))
    rules: dict[str, Any] = {"track": {"Seen": {"1": schema}}} | ({"common": {"": {"1": common}}} if common else {})
    judged = evaluated(job_of(TrackingPlan(rules), members, whole=whole, event=event), frame)
    plain = evaluated(job_of(None, members, whole=whole, event=event), frame)
    expected: dict[int, set[tuple[str, str]]] = {}
    for row, text in plain.calls.select("row", "json").iter_rows():
        name = events[row] if event is None else event
        found = wanted(schema, text, unplanned=True) if name == "Seen" else {("BF140", "event")}
        expected[row] = found | (wanted(common, text, unplanned=False) if common else set())
    made: dict[int, set[tuple[str, str]]] = {row: set() for row in expected}
    for row, code, column in judged.problems.select("row", "code", "column").iter_rows():
        if code in ERRORS:
            made[row].add((code, column.partition(" (column")[0]))
    assert made == expected
    sent = [row for row, found in expected.items() if not found]
    assert judged.calls["row"].to_list() == sent
    assert judged.calls["json"].to_list() == plain.calls.filter(pl.col("row").is_in(sent))["json"].to_list()
