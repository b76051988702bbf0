"""The quick ways of preparing, each against the plain one: strings, memory read in place, columns added in groups."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.errors import BackfillError
from backfill.limits import Limits
from backfill.mapping.calls import grouped
from backfill.mapping.template import Escapes, escapes_in, joined, string_parts
from backfill.pack import Packer
from backfill.prepare.shard import Batches
from backfill.prepare.text_bytes import id_keys
from backfill.records import CALL_RECORD
from backfill.wire import HEAD

TEXTS = st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"])) | st.text('a"\\\n\x1f é'))


@given(TEXTS)
def test_strings_are_escaped_however_little_needs_it(texts: list[str | None]) -> None:
    """Whatever is found in the texts, and whatever more might be, they are written as `json.dumps` writes them."""
    frame = pl.DataFrame({"x": texts}, schema={"x": pl.String})
    expected = [None if text is None else json.dumps(text, ensure_ascii=False) for text in texts]
    for escapes in {escapes_in(frame["x"]), Escapes.ANY}:
        made = frame.select(joined(string_parts(pl.col("x"), escapes))).to_series().to_list()
        assert made == expected


@pytest.mark.parametrize("code", range(0x80))
def test_every_character_is_told(code: int) -> None:
    """Among harmless texts one character is found if JSON must escape it; quotes alone are told apart."""
    text = chr(code)
    harmless = json.dumps(text, ensure_ascii=False) == f'"{text}"'
    expected = Escapes.NONE if harmless else Escapes.QUOTES if text == '"' else Escapes.ANY
    assert escapes_in(pl.Series(["né", None, "", text, "x" * 40])) is expected
    # Of a slice only what is in it counts.
    assert escapes_in(pl.Series([text, "né", "x" * 40]).slice(1)) is Escapes.NONE


class Shelf:
    """Keeps what it is handed."""

    def __init__(self) -> None:
        self.batches: list[tuple[bytes, int]] = []

    def add(self, plain: memoryview, calls: int) -> None:
        """Copy the batch: its memory is not ours."""
        self.batches.append((bytes(plain), calls))

    def finish(self, calls: bytes, rejects: Iterable[pl.DataFrame] | None) -> tuple[tuple[()], int, str, str]:
        """Nothing."""
        return (), 0, "", ""


@pytest.mark.parametrize("every", [1, 2, 3, 700])
@pytest.mark.parametrize("frame_rows", [1, 37, 5_000])
def test_batches_hold_the_calls_wherever_they_lie(every: int, frame_rows: int) -> None:
    """Of frames from which calls were left out, in several chunks, sliced: each call stands once, in order."""
    rows = 100 if frame_rows == 1 else 5_000
    texts = [f'{{"number":{number},"pad":"{"é" * (number % 50)}"}}' for number in range(rows)]
    frame = pl.DataFrame(
        {"row": pl.int_range(rows, dtype=pl.UInt32, eager=True), "json": [f"{text}," for text in texts]}
    ).with_columns(call=pl.lit(0, pl.UInt8))
    shelf = Shelf()
    batches = Batches(shelf, Packer(Limits(body_bytes=9_000)))
    taken = []
    for low in range(0, rows, frame_rows):
        piece = frame.slice(low, frame_rows)
        piece = pl.concat([piece.head(5), piece.slice(5)], rechunk=False).filter(pl.col("row") % every == 0)
        batches.push(piece, np.zeros((len(piece), 16), np.uint8))
        taken += [texts[row] for row in piece["row"]]
    records = np.frombuffer(batches.finish(), CALL_RECORD)
    assert [call for plain, _ in shelf.batches for call in json.loads(plain + b"]}")["batch"]] == list(
        map(json.loads, taken)
    )
    assert b",".join(plain.removeprefix(HEAD) for plain, _ in shelf.batches) == ",".join(taken).encode()
    assert sum(calls for _, calls in shelf.batches) == len(taken)
    assert records["bytes"].tolist() == [len(text.encode()) for text in taken]


@pytest.mark.parametrize("text", ['{"number":NaN}', '{"numbers":[1,]}', '{"number":"1}', "{numbers: 123}"])
def test_no_body_is_kept_that_is_no_json(text: str) -> None:
    """Whatever the checks of values let through, a body that is no JSON ends the preparing."""
    calls = pl.DataFrame({"row": [0], "json": [f"{text},"], "call": [0]})
    shelf = Shelf()
    batches = Batches(shelf, Packer(Limits()))
    batches.push(calls, np.zeros((1, 16), np.uint8), parsed=True)
    batches.push(calls.clear(), np.zeros((0, 16), np.uint8))
    with pytest.raises(BackfillError, match="no JSON"):
        batches.finish()
    assert not shelf.batches


@given(st.lists(st.uuids(), max_size=50))
def test_the_bytes_of_uuids(ids: list[uuid.UUID]) -> None:
    """The sixteen bytes of a UUID are its own."""
    texts = pl.Series([str(each) for each in ids], dtype=pl.String)
    expected = [each.bytes for each in ids]
    assert [row.tobytes() for row in id_keys(texts, given=False)] == expected
    assert [row.tobytes() for row in id_keys(texts, given=True)] == expected


def test_columns_are_added_in_groups() -> None:
    """A group reads none of its own columns, and all columns come in their order."""
    a, b = pl.col("x").alias("a"), pl.col("x").alias("b")
    c, d = (pl.col("a") + pl.col("b")).alias("c"), (pl.col("c") + 1).alias("d")
    names = [[column.meta.output_name() for column in group] for group in grouped([a, b, c, d])]
    assert names == [["a", "b"], ["c"], ["d"]]
    assert grouped([]) == ()
