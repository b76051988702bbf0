"""Parquet: in place where it can stay, else staged with nothing lost on the way."""

from __future__ import annotations

from datetime import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backfill.errors import JobError, SourceError
from backfill.job.models import TimestampSpec
from backfill.records import LONG_INTEGER_MEMBER
from backfill.sources import inspect, stage
from tests.support.sourcing import Staged, job_over, staged


def written(path: Path, select: str, options: str = "") -> Path:
    """A Parquet file of a DuckDB query."""
    duckdb.connect().execute(f"COPY ({select}) TO '{path}' (FORMAT parquet{options})")
    return path


def of(tmp_path: Path, select: str, **options: Any) -> Staged:
    """Stage one file made by that query."""
    return staged(job_over(written(tmp_path / "rows.parquet", select), **options), tmp_path / "state")


def test_in_place(tmp_path: Path) -> None:
    """A job without SQL reads the files where they are, in byte order of their names."""
    for name in ("b", "a"):
        written(tmp_path / f"{name}.parquet", f"SELECT '{name}' AS x, i FROM range(3) t(i)")
    result = staged(job_over(tmp_path / "*.parquet"), tmp_path / "state")
    assert result.snapshot.in_place
    assert [part.path for part in result.snapshot.parts] == [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    assert result.column("x") == list("aaabbb")
    assert result.records == [1, 2, 3, 1, 2, 3]


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("'5feceb66-ffc8-46f3-9d95-786c6d696c79'::UUID", "text", "5feceb66-ffc8-46f3-9d95-786c6d696c79"),
        ("'a'::ENUM ('a', 'b')", "text", "a"),
        ("18446744073709551615::UBIGINT", "integer", 2**64 - 1),
        ("12.50::DECIMAL(10, 2)", "decimal", Decimal("12.50")),
        ("INTERVAL 1 DAY", "interval", "1 day"),
        ("'\\x00ab'::BLOB", "binary", b"\x00ab"),
        ("""'{"a":1.10}'::JSON""", "json", '{"a":1.10}'),
        ("{'a': 1, 'b': [NULL, 2]}", "nested", {"a": 1, "b": [None, 2]}),
        (
            "{'u': '5feceb66-ffc8-46f3-9d95-786c6d696c79'::UUID}",
            "nested",
            {"u": "5feceb66-ffc8-46f3-9d95-786c6d696c79"},
        ),
        ("'10:00:00+02'::TIMETZ", "time", time(8)),
    ],
)
def test_types(tmp_path: Path, value: str, kind: str, expected: Any) -> None:
    """Every type has its kind, in place and staged; what Parquet readers alter is made text."""
    path = written(tmp_path / "rows.parquet", f"SELECT {value} AS c, 1 AS one")
    staged_by_sql = staged(job_over(path, where="one = 1"), tmp_path / "state")
    assert (staged_by_sql.kind("c"), staged_by_sql.column("c")) == (kind, [expected])
    plain = staged(job_over(path), tmp_path / "plain")
    assert (plain.kind("c"), plain.column("c")) == (kind, [expected])


def test_long_integers_of_sql(tmp_path: Path) -> None:
    """Sums are HUGEINT, which Parquet would round: they stay exact, also inside nested values."""
    result = of(
        tmp_path, "SELECT 9223372036854775807 AS big", sql=("big::HUGEINT + 1", "[big::HUGEINT * 2, 2::HUGEINT]")
    )
    assert result.kind("__bf_sql_0") == "integer"
    assert [int(value) for value in result.column("__bf_sql_0")] == [2**63]
    assert [int(value[LONG_INTEGER_MEMBER]) for value in result.column("__bf_sql_1")[0]] == [2**64 - 2, 2]


def test_zones(tmp_path: Path) -> None:
    """Timestamps with a zone are instants, those without are wall clocks, also when SQL makes them."""
    select = "SELECT TIMESTAMP '2024-01-01 00:00:00' AS wall, TIMESTAMPTZ '2024-01-01 00:00:00+00' AS instant"
    result = of(tmp_path, select, sql=("wall + INTERVAL 1 HOUR", "instant + INTERVAL 1 HOUR"))
    zones = {column.name: column.zone.value for column in result.snapshot.columns if column.kind == "timestamp"}
    assert zones == {"wall": "naive", "instant": "utc", "__bf_sql_0": "naive", "__bf_sql_1": "utc"}


def test_text_is_cast(tmp_path: Path) -> None:
    """Text columns of Parquet can be declared, and times be read from them; other columns cannot."""
    result = of(
        tmp_path,
        "SELECT '12.50' AS t, '2024-01-01' AS d, 5 AS n",
        columns={"t": "decimal"},
        timestamp=TimestampSpec(column="d", format="%Y-%m-%d"),
    )
    assert result.column("t") == ["12.50"]
    assert result.column("__bf_time_0")[0].year == 2024
    with pytest.raises(JobError, match="cannot be declared"):
        of(tmp_path, "SELECT 5 AS n", columns={"n": "number"})


def test_large_row_groups_are_staged(tmp_path: Path) -> None:
    """A row group too large to be walked in slices is written anew."""
    path = tmp_path / "rows.parquet"
    pl.DataFrame({"i": pl.int_range(300_000, eager=True)}).write_parquet(path, row_group_size=300_000)
    result = staged(job_over(path), tmp_path / "state")
    assert not result.snapshot.in_place
    assert result.column("i") == list(range(300_000))
    assert result.records[-1] == 300_000


@pytest.mark.parametrize("other", ["SELECT 1 AS x", "SELECT 'a' AS y", "SELECT 'a' AS x, 1 AS z"])
def test_files_that_differ(tmp_path: Path, other: str) -> None:
    """A file with other columns or types than the first is named."""
    written(tmp_path / "a.parquet", "SELECT 'a' AS x")
    written(tmp_path / "b.parquet", other)
    with pytest.raises(SourceError, match=r"b\.parquet"):
        stage(job_over(tmp_path), tmp_path / "state")


@pytest.mark.parametrize("damage", ["footer", "magic", "text"])
def test_damaged(tmp_path: Path, damage: str) -> None:
    """A damaged file is an error of the source, for `inspect` as well."""
    path = written(tmp_path / "rows.parquet", "SELECT i FROM range(1000) t(i)")
    data = path.read_bytes()
    path.write_bytes({"footer": data[:-200], "magic": data[:-4] + b"XXXX", "text": b"a,b\n1,2\n"}[damage])
    for look in (lambda: stage(job_over(path), tmp_path / "state"), lambda: inspect(job_over(path))):
        with pytest.raises(SourceError, match=r"rows\.parquet"):
            look()


def test_changed_while_read(tmp_path: Path) -> None:
    """A file that changes under staging is refused."""
    path = written(tmp_path / "rows.parquet", "SELECT i FROM range(1000) t(i)")

    def meddle(rows: int, size: int) -> None:
        with path.open("ab") as file:
            file.write(b"x")

    with pytest.raises(SourceError, match="changed"):
        stage(job_over(path), tmp_path / "state", progress=meddle)


NAMES = pa.dictionary(pa.int8(), pa.string())


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([{"a": "q"}, {"a": "r"}, None, {"a": None}], pa.struct([("a", NAMES)])),
        ([["q"], [], None, ["r", "q"]], pa.list_(NAMES)),
        ([{"q": "r"}, {"r": "q"}, None, {"s": "r"}], pa.map_(NAMES, NAMES)),
        ([[{"a": ["q"]}], [{"a": ["r", "s"]}]] * 2, pa.list_(pa.struct([("a", pa.large_list(NAMES))]))),
    ],
    ids=["struct", "list", "map", "deeper"],
)
def test_dictionaries_in_nested_values(tmp_path: Path, values: list[Any], kind: pa.DataType) -> None:
    """Batches span row groups, each of which has a dictionary of its own; the other columns are what they were."""
    made = [list(value.items()) if value and pa.types.is_map(kind) else value for value in values]
    flat, days = pa.array(["q", "r", "q", "s"], NAMES), pa.array([1, 2, 3, 4], pa.timestamp("s", "Europe/Berlin"))
    table = pa.table({"x": pa.array(made, kind), "flat": flat, "days": days})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    rows = staged(job_over(tmp_path / "a.parquet"), tmp_path / "snapshot")
    assert rows.column("x") == values
    assert rows.column("flat") == ["q", "r", "q", "s"]
    assert (rows.kind("flat"), rows.kind("days")) == ("text", "timestamp")


@pytest.mark.parametrize("where", [None, "true"], ids=["in place", "staged"])
@pytest.mark.parametrize("look", [stage, lambda job, _: inspect(job)], ids=["run", "check"])
@pytest.mark.parametrize(
    ("columns", "message"),
    [({}, "a.parquet has no columns"), ({"\0a": [1], "b": [2]}, "the name of a column holds U\\+0000")],
    ids=["none", "NUL"],
)
def test_columns_that_cannot_be(
    tmp_path: Path, columns: dict[str, list[int]], message: str, look: Any, where: str | None
) -> None:
    """A file without columns, and a name that no program behind can hold, are refused by name."""
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(SourceError, match=message):
        look(job_over(tmp_path / "a.parquet", where=where), tmp_path / "snapshot")


STRUCT = pa.struct([("a", pa.int64()), ("b", pa.list_(pa.string()))])


@pytest.mark.parametrize("union", [None, "by_name"])
@pytest.mark.parametrize("first", ["null", "typed"])
@pytest.mark.parametrize(
    ("empty", "typed"),
    [
        (pa.array([None]), pa.array([7])),
        (pa.array([None]), pa.array(["x"])),
        (pa.array([None]), pa.array(["x"]).dictionary_encode()),
        (pa.array([None]), pa.array(["{}"], pa.json_())),
        (pa.array([None]), pa.array([bytes(16)], pa.uuid())),
        (pa.array([None]), pa.array([time(1)])),
        (pa.array([None]), pa.array([Decimal("1.50")])),
        (pa.array([None]), pa.array([Decimal("1.50")], pa.decimal256(50, 2))),
        (pa.array([None]), pa.array([{"a": 1, "b": ["x"]}], STRUCT)),
        (pa.array([[]], pa.list_(pa.null())), pa.array([[1]])),
        (pa.array([[None]], pa.list_(pa.null())), pa.array([[{"a": 1, "b": []}]], pa.list_(STRUCT))),
        (pa.array([{"a": None, "b": []}]), pa.array([{"a": 1, "b": ["x"]}], STRUCT)),
        (
            pa.array([[("k", None)]], pa.map_(pa.string(), pa.null())),
            pa.array([[("k", 1)]], pa.map_("string", "int64")),
        ),
    ],
    ids=lambda values: str(values.type),
)
def test_files_without_values(tmp_path: Path, empty: pa.Array, typed: pa.Array, first: str, union: Any) -> None:
    """A column that is null in the whole of a file has no type there: it takes that of the other files."""
    pq.write_table(pa.table({"x": empty, "n": [1]}), tmp_path / f"{1 if first == 'null' else 3}.parquet")
    pq.write_table(pa.table({"x": typed, "n": [2]}), tmp_path / "2.parquet")
    alone = staged(job_over(tmp_path / "2.parquet", where="true"), tmp_path / "alone")
    rows = staged(job_over(tmp_path / "*.parquet", union=union), tmp_path / "snapshot")
    assert rows.kind("x") == alone.kind("x")
    found = dict(zip(rows.column("n"), rows.column("x"), strict=True))
    assert found[2] == alone.column("x")[0]
    assert found[1] == (dict(empty[0].as_py()) if pa.types.is_map(empty.type) else empty[0].as_py())


def test_types_that_differ_beside_null(tmp_path: Path) -> None:
    """A file without values between two that differ hides nothing."""
    for place, value in enumerate([1, None, "x"]):
        pq.write_table(pa.table({"x": [value]}), tmp_path / f"{place}.parquet")
    with pytest.raises(SourceError, match=r"2\.parquet differs from .*0\.parquet: the column x is string here, int64"):
        staged(job_over(tmp_path / "*.parquet"), tmp_path / "snapshot")
