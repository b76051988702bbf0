"""Arrow, ORC and Avro: their types by the table of values, files cut anywhere, and what is refused."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.dataset as ds  # type: ignore[import-untyped]
import pytest
from pyarrow import orc

from backfill.errors import SourceError, UsageError
from backfill.sources import inspect
from tests.support.sourcing import Staged, job_over, staged

ROWS = 3_000


def stage(path: Path, **options: Any) -> Staged:
    """What staging makes of a file."""
    return staged(job_over(path, **options), path.parent / "state")


def avro(schema: Any, values: list[Any], codec: str = "null") -> bytes:
    """A file of one column."""
    file = io.BytesIO()
    record = {"type": "record", "name": "row", "fields": [{"name": "v", "type": schema}]}
    fastavro.writer(file, record, [{"v": value} for value in values], codec=codec)
    return file.getvalue()


def logical(kind: str, name: str, **more: Any) -> dict[str, Any]:
    """A logical type."""
    return {"type": kind, "logicalType": name, **more}


TREE = {
    "type": "record",
    "name": "tree",
    "fields": [{"name": "v", "type": "int"}, {"name": "kids", "type": {"type": "array", "items": "tree"}}],
}
LOCAL = dt.datetime.fromisoformat("2024-01-02T03:04:05.006")
LONGEST = Decimal("-123456789012345678901234567890123456789012345.67")
#: Avro's type, a value of it, and what is staged of it; the text where it becomes JSON.
AVRO = [
    (["null", "long"], 9007199254740993, 9007199254740993),
    ("boolean", True, True),
    ("double", 0.1, 0.1),
    ({"type": "enum", "name": "e", "symbols": ["A", "B"]}, "B", "B"),
    (logical("int", "date"), dt.date(9999, 12, 31), dt.date(9999, 12, 31)),
    (logical("int", "time-millis"), dt.time(23, 59, 59, 5000), dt.time(23, 59, 59, 5000)),
    (logical("long", "time-micros"), dt.time(0, 0, 0, 7), dt.time(0, 0, 0, 7)),
    (
        logical("long", "timestamp-micros"),
        dt.datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=dt.UTC),
        dt.datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=dt.UTC),
    ),
    (
        logical("long", "local-timestamp-millis"),
        LOCAL,
        LOCAL,
    ),
    (logical("bytes", "decimal", precision=10, scale=2), Decimal("1.10"), Decimal("1.10")),
    (logical("string", "uuid"), "8d9b7e0c-7d3f-4c39-9d0a-3d8a6b6f0f0a", "8d9b7e0c-7d3f-4c39-9d0a-3d8a6b6f0f0a"),
    ({"type": "array", "items": ["null", "long"]}, [1, None], [1, None]),
    ({"type": "error", "name": "x", "fields": [{"name": "m", "type": "string"}]}, {"m": "a"}, {"m": "a"}),
    (
        {"type": "record", "name": "q", "fields": [{"name": "z", "type": ["null", "string"]}]},
        {"z": "x"},
        {"z": "x"},
    ),
    (logical("bytes", "decimal", precision=50, scale=2), LONGEST, str(LONGEST)),
    (["null", "string", "long"], 9007199254740993, "9007199254740993"),
    (["null", "string", "long"], "9", '"9"'),
    (TREE, {"v": 1, "kids": [{"v": 2, "kids": []}]}, '{"v":1,"kids":[{"v":2,"kids":[]}]}'),
]


@pytest.mark.parametrize(("schema", "value", "expected"), AVRO)
def test_avro_types(tmp_path: Path, schema: Any, value: Any, expected: Any) -> None:
    """Each type arrives as the table of values says."""
    path = tmp_path / "rows.avro"
    path.write_bytes(avro(schema, [value]))
    found = stage(path)
    (column,) = (name for name in found.frame.columns if not name.startswith("__bf_"))
    (got,) = found.frame[column].to_list()
    assert (got.replace(" ", "") if isinstance(got, str) else got) == expected
    assert inspect(job_over(path)).columns[0].kind == found.snapshot.columns[0].kind


def test_avro_map(tmp_path: Path) -> None:
    """A map is a map."""
    path = tmp_path / "rows.avro"
    path.write_bytes(avro({"type": "map", "values": "long"}, [{"a": 1, "b": 2}]))
    assert stage(path).column("v") == [{"a": 1, "b": 2}]


def test_avro_nan_among_several_types(tmp_path: Path) -> None:
    """A NaN that JSON cannot say is no valid JSON of its row, never null."""
    path = tmp_path / "rows.avro"
    path.write_bytes(avro(["null", "string", "double"], [float("nan"), 1.5]))
    found = stage(path)
    assert found.column("v") == [None, "1.5"]
    assert found.column("__bf_raw:v") == ["NaN", None]


@pytest.mark.parametrize(
    "schema",
    [
        ["null", "bytes", "string"],
        ["null", "string", logical("long", "timestamp-micros")],
    ],
)
def test_avro_types_that_cannot_be_json(tmp_path: Path, schema: Any) -> None:
    """Several types of which JSON has not all: the column is refused, the others can be read."""
    path = tmp_path / "rows.avro"
    path.write_bytes(avro(schema, ["x"]))
    found = stage(path)
    assert found.snapshot.columns[0].refused == "a union of types that JSON has not"


def test_avro_decimals_beyond_their_precision(tmp_path: Path) -> None:
    """The schema is named as what is wrong, not the file as corrupt."""
    path = tmp_path / "rows.avro"
    kind = {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}
    path.write_bytes(avro(kind, [number.to_bytes(4, "big") for number in (9_999, 10_000)]))
    with pytest.raises(SourceError, match="more digits than the precision that its schema says"):
        stage(path)
    path.write_bytes(avro(kind, [(9_999).to_bytes(4, "big")]))
    assert [str(one) for one in stage(path).column("v")] == ["99.99"]


def test_avro_without_records(tmp_path: Path) -> None:
    """A file of numbers is no table."""
    file = io.BytesIO()
    fastavro.writer(file, "long", [1, 2])
    (tmp_path / "rows.avro").write_bytes(file.getvalue())
    with pytest.raises(SourceError, match="holds no records"):
        stage(tmp_path / "rows.avro")


def test_missing_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library, the error names the extra."""
    (tmp_path / "rows.avro").write_bytes(avro("long", [1]))
    monkeypatch.setitem(sys.modules, "fastavro", None)
    with pytest.raises(UsageError) as raised:
        stage(tmp_path / "rows.avro")
    assert "backfill[avro]" in raised.value.hint


def _table() -> pa.Table:
    numbers = pa.array(range(ROWS), pa.int64())
    return pa.table({"id": numbers, "text": numbers.cast(pa.string())})


def _arrow(path: Path) -> None:
    with pa.ipc.new_file(path, _table().schema) as to:
        to.write_table(_table(), max_chunksize=100)


def _stream(path: Path) -> None:
    with pa.ipc.new_stream(path, _table().schema) as to:
        to.write_table(_table(), max_chunksize=100)


def _orc(path: Path) -> None:
    orc.write_table(_table(), str(path))


def _avro(path: Path) -> None:
    fields = [{"name": "id", "type": "long"}, {"name": "text", "type": "string"}]
    with path.open("wb") as to:
        rows = ({"id": number, "text": str(number)} for number in range(ROWS))
        fastavro.writer(to, {"type": "record", "name": "row", "fields": fields}, rows, sync_interval=1_000)


FILES = {"rows.arrow": _arrow, "rows.arrows": _stream, "rows.orc": _orc, "rows.avro": _avro}


@pytest.mark.parametrize("name", FILES)
def test_cut_anywhere(tmp_path: Path, name: str) -> None:
    """A file cut at each tenth of it, and behind its first batch, is refused; whole it has all rows."""
    FILES[name](tmp_path / name)
    assert stage(tmp_path / name).snapshot.rows == ROWS
    whole = (tmp_path / name).read_bytes()
    for tenth in range(1, 10):
        (tmp_path / name).write_bytes(whole[: len(whole) * tenth // 10])
        with pytest.raises(SourceError):
            stage(tmp_path / name)
    (tmp_path / name).write_bytes(whole[:-1])
    with pytest.raises(SourceError):
        stage(tmp_path / name)


def test_stream_cut_between_batches(tmp_path: Path) -> None:
    """A stream that lacks whole batches at its end, and its mark with them, is refused: pyarrow takes it for whole."""
    first = io.BytesIO()
    with pa.ipc.new_stream(first, _table().schema) as to:
        to.write_table(_table().slice(0, 100))
        cut = first.tell()
    (tmp_path / "rows.arrows").write_bytes(first.getvalue()[:cut])
    with pa.ipc.open_stream(tmp_path / "rows.arrows") as reader:
        assert reader.read_all().num_rows == 100
    with pytest.raises(SourceError, match="truncated"):
        stage(tmp_path / "rows.arrows")


def test_stream_with_zeros_behind_its_mark(tmp_path: Path) -> None:
    """They are padding, as behind gzip; anything else is not, nor are zeros in place of a mark that was lost."""
    path = tmp_path / "rows.arrows"
    _stream(path)
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(2 << 20))
    assert stage(path).snapshot.rows == ROWS
    for content in (whole + bytes(2 << 20) + b"1", whole[:-8] + bytes(2 << 20), whole + whole):
        path.write_bytes(content)
        with pytest.raises(SourceError, match="truncated or corrupt"):
            stage(path)


def test_avro_cut_in_the_count_of_a_block(tmp_path: Path) -> None:
    """A file that ends within the first number of a block is refused: fastavro takes it for whole."""
    _avro(tmp_path / "rows.avro")
    whole = (tmp_path / "rows.avro").read_bytes()
    (tmp_path / "rows.avro").write_bytes(whole + b"\x80")
    with pytest.raises(SourceError, match="truncated"):
        stage(tmp_path / "rows.avro")


def test_orc_instants_out_of_range(tmp_path: Path) -> None:
    """An instant that pyarrow cannot give is an error that says what to do, not another instant."""
    table = pa.table({"at": pa.array([253402300799000000], pa.timestamp("us"))})
    orc.write_table(table, str(tmp_path / "rows.orc"))
    with pytest.raises(SourceError, match="out of range") as raised:
        stage(tmp_path / "rows.orc")
    assert "null" in raised.value.hint


@pytest.mark.parametrize(("point", "light"), [("", True), ("", False), (".", True)])
def test_orc_of_many_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, *, light: bool) -> None:
    """Stripes put together of groups of columns hold the file's values, as do those that are scanned: the heavy ones.

    Where readers may buffer next to nothing, sixteen columns are a group.
    """
    again = ROWS // 6
    kinds: dict[str, pa.Array] = {
        "number": pa.array([1, None, 3] * again),
        "text": pa.array([hashlib.sha512(b"%d" % row).hexdigest() if row % 7 else None for row in range(3 * again)]),
        "at": pa.array([0, None, 10**15] * again, pa.timestamp("us", "UTC")),
        "list": pa.array([[1, 2], None, []] * again, pa.list_(pa.int64())),
        "struct": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}] * again),
    }
    table = pa.table({f"{name}{point}{number}": kinds[name] for number in range(10) for name in kinds})
    path = tmp_path / "rows.orc"
    with orc.ORCWriter(str(path), compression="zstd", stripe_size=1) as writer:
        for _ in range(2):
            writer.write(table)
    assert orc.ORCFile(str(path)).nstripes > 1
    monkeypatch.setattr("backfill.sources.orc._BUFFER_BYTES", 0)
    if not light:
        monkeypatch.setattr("backfill.sources.orc._STRIPE_BYTES", 0)
    scans: list[Any] = []
    dataset = ds.dataset
    monkeypatch.setattr(ds, "dataset", lambda *given, **named: scans.append(given) or dataset(*given, **named))
    found = stage(path)
    assert bool(scans) == (bool(point) or not light)
    for name in table.schema.names:
        assert found.column(name) == 2 * table[name].to_pylist(), name


def test_files_of_one_source_agree(tmp_path: Path) -> None:
    """Files of two types for one name are refused by that name."""
    for name, kind in (("a.arrow", pa.int64()), ("b.arrow", pa.string())):
        table = pa.table({"v": pa.array([1]).cast(kind)})
        with pa.ipc.new_file(tmp_path / name, table.schema) as to:
            to.write_table(table)
    with pytest.raises(SourceError, match="the column v is string here, int64 there"):
        staged(job_over(tmp_path), tmp_path.parent / "state")


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary(), pa.list_(pa.int64())])
def test_offsets_that_lead_astray(tmp_path: Path, kind: pa.DataType) -> None:
    """A damaged offset refuses the file of Arrow: to follow it would read the memory of others."""
    value = [1, 2] if pa.types.is_list(kind) else b"ab"
    table = pa.table({"v": pa.array([value] * ROWS, kind)})
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    content = (tmp_path / "a.arrow").read_bytes()
    width = 8 if pa.types.is_large_string(kind) else 4
    good = (2_000).to_bytes(width, "little")
    (tmp_path / "a.arrow").write_bytes(content.replace(good, (2**30).to_bytes(width, "little"), 1))
    with pytest.raises(SourceError, match="is damaged"):
        stage(tmp_path / "a.arrow")
