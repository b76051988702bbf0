"""Nested values: deep and wide ones cost what they hold, not twice as much a level."""

from __future__ import annotations

import json
from functools import reduce
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from backfill import encode
from backfill.mapping.template import BoundValue, Facts, ObjectTemplate, constant, joined
from backfill.records import Kind


def text(values: list[Any]) -> list[Any]:
    """The JSON that values encode to, read again."""
    frame = pl.DataFrame({"v": pl.Series(pa.array(values))})  # pyarrow sees all values before it says what they are
    found = encode.nested(pl.col("v"), frame.schema["v"], encode.AS_THEY_ARE)
    return [None if each is None else json.loads(each) for each in frame.select(found.text)["v"]]


def within(value: Any, levels: str) -> Any:
    """The value within lists (l) and structs (s), the last one outermost."""
    for level in levels:
        value = [value] if level == "l" else {"n": value}
    return value


@pytest.mark.parametrize("levels", ["s" * 100, "l" * 100, "ls" * 50], ids=["structs", "lists", "both"])
def test_deep(levels: str) -> None:
    """A hundred levels, and nulls at the bottom: a member is left out at every level, an element stays."""
    assert text([within(1, levels)]) == [within(1, levels)]
    if "l" in levels:
        assert text([within(1, levels), within(None, levels)])[1] is not None
    else:
        assert text([within(1, levels), within(None, levels)])[1] is None


def test_wide() -> None:
    """1,024 leaves in four levels."""
    value: Any = 7
    for _ in range(5):
        value = {f"m{place}": value for place in range(4)}
    assert text([value]) == [value]


def test_shapes() -> None:
    """Empty lists, null lists, null elements and structs that hold nothing."""
    values = [
        {"l": [1, None], "s": {"x": None, "y": [{"z": None}, None, {"z": 2}]}},
        {"l": [], "s": None},
        None,
        {"l": None, "s": {"x": "1", "y": []}},
    ]
    wanted = [
        {"l": [1, None], "s": {"y": [{}, None, {"z": 2}]}},
        {"l": []},
        None,
        {"s": {"x": "1", "y": []}},
    ]
    assert text(values) == wanted
    assert text([[[{"a": each}], None, []] for each in values]) == [
        [[{"a": each} if each else {}], None, []] for each in wanted
    ]


def objects(node: ObjectTemplate, frame: pl.DataFrame) -> list[object]:
    """The objects of the frame's rows."""
    members = joined(node.parts(Facts()), skip_nulls=True).alias("t")
    texts = frame.select("v", members)["t"]
    return [json.loads("{" + text.removeprefix(",") + "}") for text in texts]


@pytest.mark.parametrize("levels", [1, 2, 40])
def test_a_name_of_many_levels(levels: int) -> None:
    """Forty levels are as many as a job may have."""
    value = pl.col("v")
    node = ObjectTemplate()
    path = [f"n{level}" for level in range(levels)]
    node.put([*path, "v"], BoundValue(encode.string(value), value, Kind.TEXT))
    node.put(["c", *path], constant(7))
    within = reduce(lambda inner, name: {name: inner}, reversed(path), 7)
    for values in (["x", None, "y"], [None], []):
        wanted = [
            ({path[0]: reduce(lambda inner, name: {name: inner}, reversed([*path[1:], "v"]), value)} if value else {})
            | {"c": within}
            for value in values
        ]
        assert objects(node, pl.DataFrame({"v": values}, {"v": pl.String})) == wanted


def test_what_cannot_be_sent_is_shown() -> None:
    """Shown, a value stands where what is sent has the mark of a problem, as JSON that can be read again."""
    instants = pl.Series("v", [[0, 2**62, None]], pl.List(pl.Int64)).cast(pl.List(pl.Datetime("us", "UTC")))
    cases = [
        (pl.Series("v", [[1.0, float("nan"), float("-inf"), None]]), [1.0, "NaN", "-inf", None]),
        (pl.Series("v", [[2**53 + 1, 7, None]]), [2**53 + 1, 7, None]),
        (pl.Series("v", [{"a": [float("inf")]}]), {"a": ["inf"]}),
        (pl.Series("v", [[0, 2**31 - 2]], pl.List(pl.Int32)).cast(pl.List(pl.Date)), ["1970-01-01", str(2**31 - 2)]),
        (pl.Series("v", [[2**31 - 1]], pl.List(pl.Int32)).cast(pl.List(pl.Date)), ["infinity"]),
        (instants, ["1970-01-01T00:00:00.000Z", str(2**62), None]),
    ]
    for values, wanted in cases:
        found = encode.nested(pl.col("v"), values.dtype, encode.AS_THEY_ARE)
        (text,) = values.to_frame().select(found.text)["v"]
        assert json.loads(text) == wanted
