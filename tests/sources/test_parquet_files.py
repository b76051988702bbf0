"""Parquet files that are damaged, lie, or hold what cannot be sent: refused by name, or read as they are."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest

from backfill.document import Positions
from backfill.document.nodes import Node
from backfill.errors import JobError, SourceError
from backfill.job.columns import check_columns
from backfill.job.models import Job
from backfill.prepare.rows import map_rows
from backfill.sources import inspect, resolve, stage
from tests.sources.test_parquet_values import WAYS, job_over, outcomes
from tests.support.parquet_bytes import legacy_lists
from tests.support.parquet_oracle import Bad
from tests.support.projects import backfill

EVERY_WAY = pytest.mark.parametrize("way", list(WAYS))
JOB = """\
version: 1
name: files
source: {path: rows.parquet}
%s
calls:
  - {type: track, message_key: row, userId: {value: u1}, timestamp: {value: "2024-01-01T00:00:00Z"},
     event: {value: E}, properties: {"*": {%s}, twice: {sql: %s}}, integrations: {All: false}}
"""


def sent(path: Path, way: str, folder: Path) -> list[Any]:
    """The properties of every row."""
    job = job_over(path, way)
    rows = map_rows(job, stage(job, folder), id_scope="sandbox", library_version="1", now=1_700_000_000.0)
    return [json.loads(text)["properties"] for text in rows["json"]]


@pytest.fixture
def table() -> pa.Table:
    """Rows of usual columns, a few pages long."""
    count = 500
    chance = random.Random(7)
    return pa.table({
        "v": [f"text {chance.random()}" for _ in range(count)],
        "n": [chance.randrange(2**40) for _ in range(count)],
        "d": pa.array([chance.random() for _ in range(count)]),
        "c": pa.array([chance.choice("abc") for _ in range(count)]),
    })  # fmt: skip


class TestDamage:
    """Bytes that are not what was written."""

    @pytest.mark.parametrize("way", ["plain", "where"])
    @pytest.mark.parametrize("compression", ["none", "zstd"])
    def test_checksums(self, tmp_path: Path, table: pa.Table, way: str, compression: str) -> None:
        """Where pages have checksums, a flipped bit makes no other value of any."""
        path = tmp_path / "rows.parquet"
        pq.write_table(table, path, write_page_checksum=True, compression=compression)
        sound = sent(path, way, tmp_path / "sound")
        content = path.read_bytes()
        end = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
        refused = 0
        for number in range(25):
            place = random.Random(number).randrange(4, end)
            path.write_bytes(content[:place] + bytes([content[place] ^ 1 << number % 8]) + content[place + 1 :])
            try:
                assert sent(path, way, tmp_path / f"state-{number}") == sound  # in what no value is made of
            except SourceError as error:
                assert "rows.parquet" in str(error)  # noqa: PT017
                refused += 1
        assert refused > 15

    @pytest.mark.parametrize("way", ["plain", "where"])
    @pytest.mark.parametrize("compression", ["none", "snappy"])
    def test_no_checksums(self, tmp_path: Path, table: pa.Table, way: str, compression: str) -> None:
        """Where they have none a value may be another one; but no damage is anything else than the file's."""
        path = tmp_path / "rows.parquet"
        pq.write_table(table, path, compression=compression)
        content = path.read_bytes()
        for number in range(40):
            place = random.Random(number).randrange(4, len(content) - 8)
            path.write_bytes(content[:place] + bytes([content[place] ^ 1 << number % 8]) + content[place + 1 :])
            try:
                outcomes(path, way, tmp_path / f"state-{number}")
            except (SourceError, JobError) as error:  # of a flip in a name, or a type
                assert "Traceback" not in str(error)  # noqa: PT017

    @EVERY_WAY
    def test_rows_by_the_footer(self, tmp_path: Path, way: str) -> None:
        """A footer that says another number of rows than its row groups is refused before anything is sent."""
        path = legacy_lists(tmp_path / "rows.parquet", [[1], [2, 3], []], stated=0)
        for look in (inspect, lambda job: stage(job, tmp_path / "state")):
            with pytest.raises(SourceError, match=r"rows\.parquet is damaged: its footer says 0 rows"):
                look(job_over(path, way))

    @pytest.mark.parametrize("more", [("", "", "'1'"), ("where: \"upper(v) <> ''\"", "", "n + 1")], ids=["none", "sql"])
    def test_exit_code(self, tmp_path: Path, table: pa.Table, more: tuple[str, str, str]) -> None:
        """A damaged page is the source's fault, also where an expression reads the column."""
        pq.write_table(
            table, tmp_path / "rows.parquet", compression="none", use_dictionary=False, write_page_checksum=True
        )
        content = (tmp_path / "rows.parquet").read_bytes()
        (tmp_path / "rows.parquet").write_bytes(content[:2_000] + b"\xff" * 200 + content[2_200:])
        (tmp_path / "job.yaml").write_text(JOB % more, encoding="utf-8")
        done = backfill("dry-run", tmp_path / "job.yaml")
        assert done.code == 9, done.err
        assert "rows.parquet cannot be read" in done.err

    def test_gone(self, tmp_path: Path, table: pa.Table) -> None:
        """A file that is removed after it was looked at is named."""
        path = tmp_path / "rows.parquet"
        pq.write_table(table, path)
        job = job_over(path, "plain")
        snapshot = stage(job, tmp_path / "state")
        assert snapshot.in_place
        path.unlink()
        with pytest.raises(SourceError, match=r"rows\.parquet cannot be read"):
            map_rows(job, snapshot, id_scope="sandbox", library_version="1", now=0.0)


@EVERY_WAY
def test_lists_without_a_list(tmp_path: Path, way: str) -> None:
    """A repeated group is a list, as it was before there were annotations."""
    path = legacy_lists(tmp_path / "rows.parquet", [[1, 2], [], [3]])
    assert sent(path, way, tmp_path / "state") == [
        {"id": 0, "phone": [{"number": 1}, {"number": 2}]},
        {"id": 1, "phone": []},
        {"id": 2, "phone": [{"number": 3}]},
    ]


MAP = pa.map_(pa.int32(), pa.int32())


class TestRefused:
    """Types that no snapshot holds: refused by name where the job reads them, and only there."""

    CASES: ClassVar[dict[str, Any]] = {
        "VARIANT": "SELECT 1 AS one, 123456789.987654321::VARIANT AS v",
        "JSON inside": "SELECT 1 AS one, ['{\"a\": 1.10}'::JSON] AS v",
        "decimals of 40 digits": pa.array([[1]], pa.list_(pa.decimal256(40, 2))),
        "members of the same name": pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]),
        "a member without a name": pa.StructArray.from_arrays([pa.array([1])], names=[""]),
        "a map whose keys are lists": "SELECT 1 AS one, MAP {[1]: 1} AS v",
        "a map whose keys are lists, structs": "SELECT 1 AS one, [MAP {{'a': 1}: 1}] AS v",
        "a map whose keys are lists, structs or maps": pa.array([[([(1, 2)], 3)]], pa.map_(MAP, pa.int32())),
        "more than 100 levels": None,
    }

    @pytest.fixture(params=list(CASES))
    def refused(self, request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
        """A file with such a column `v`, and what is said of it."""
        path, made = tmp_path / "rows.parquet", self.CASES[request.param]
        if isinstance(made, str):
            duckdb.connect().execute(f"COPY ({made}) TO '{path}' (FORMAT parquet)")
            return path, request.param
        if made is None:
            made = pa.array([1])
            for _ in range(101):
                made = pa.ListArray.from_arrays([0, 1], made)
        pq.write_table(pa.table({"one": [1], "v": made}), path)
        return path, request.param

    def faults(self, job: Job) -> str:
        """What is wrong with the job."""
        nowhere = Positions("job.yaml", "", root=Node(None, 0, 0, 1, 1))
        return "\n".join(fault.message for fault in check_columns(job, inspect(job).columns, nowhere))

    def test_read(self, refused: tuple[Path, str]) -> None:
        """A job that sends the column is told what it holds."""
        path, what = refused
        assert f'column "v" holds {what}' in self.faults(job_over(path, "plain"))

    @pytest.mark.parametrize("sql", ["v IS NOT NULL", "CAST(v AS VARCHAR) <> ''"])
    def test_read_by_sql(self, refused: tuple[Path, str], tmp_path: Path, sql: str) -> None:
        """So is one whose SQL reads it."""
        path, what = refused
        job = job_over(path, "plain").model_copy(update={"where": sql})
        with pytest.raises(JobError, match=f'column "v" holds {what}'):
            stage(job, tmp_path / "state")
        asks = job_over(path, "query")
        with pytest.raises(JobError, match=f'column "v" holds {what}'):
            stage(asks, tmp_path / "state")

    def test_left_out(self, refused: tuple[Path, str], tmp_path: Path) -> None:
        """The rest of the file is read."""
        path, _ = refused
        whole = job_over(path, "plain")
        call = whole.calls[0]
        assert call.properties is not None
        assert call.properties.star is not None
        star = call.properties.star.model_copy(update={"exclude": ("v",)})
        properties = call.properties.model_copy(update={"star": star})
        job = whole.model_copy(update={"calls": (call.model_copy(update={"properties": properties}),)})
        assert not self.faults(job)
        rows = map_rows(job, stage(job, tmp_path / "state"), id_scope="sandbox", library_version="1", now=0.0)
        assert [json.loads(text)["properties"] for text in rows["json"]] == [{"one": 1}]


class Keys(pe.KmsClient):  # type: ignore[misc]
    """Keys that hide nothing."""

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
        """The key as it is."""
        return key_bytes.hex().encode()

    def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
        """The key as it was."""
        return bytes.fromhex(wrapped_key.decode())


@pytest.mark.parametrize("plaintext_footer", [True, False])
@EVERY_WAY
def test_encrypted(tmp_path: Path, plaintext_footer: bool, way: str) -> None:
    """An encrypted file is called that."""
    path = tmp_path / "rows.parquet"
    config = pe.EncryptionConfiguration(
        footer_key="footer", column_keys={"column": ["v"]}, plaintext_footer=plaintext_footer
    )
    factory = pe.CryptoFactory(lambda _: Keys())
    properties = factory.file_encryption_properties(pe.KmsConnectionConfig(), config)
    data = pa.table({"v": ["a"], "w": ["b"]})
    with pq.ParquetWriter(path, data.schema, encryption_properties=properties) as writer:
        writer.write_table(data)
    with pytest.raises(SourceError, match="encrypted"):
        stage(job_over(path, way), tmp_path / "state")


@EVERY_WAY
def test_names_of_readers(tmp_path: Path, way: str) -> None:
    """Names that DuckDB's reader has for itself are names like others."""
    columns = ["file_row_number", "filename", "file_index", "rowid", "hive_partitioning"]
    pq.write_table(pa.table({name: ["x"] for name in columns}), tmp_path / "rows.parquet")
    assert sent(tmp_path / "rows.parquet", way, tmp_path / "state") == [dict.fromkeys(columns, "x")]


def test_bytes_and_shapes(tmp_path: Path) -> None:
    """What is said of bytes and of geometry works."""
    select = "SELECT 'POINT(1 2)'::GEOMETRY AS g, '\\xAB'::BLOB AS b"
    duckdb.connect().execute(f"COPY ({select}) TO '{tmp_path / 'rows.parquet'}' (FORMAT parquet)")
    (tmp_path / "job.yaml").write_text(JOB % ("", "", "'1'"), encoding="utf-8")
    refused = backfill("check", tmp_path / "job.yaml")
    assert refused.code == 2
    assert refused.err.count("cast it in SQL: hex(...) or base64(...)") == 2, refused.err
    (tmp_path / "job.yaml").write_text(JOB % ("", "exclude: [g, b]", '"hex(g) || hex(b)"'), encoding="utf-8")
    assert backfill("dry-run", tmp_path / "job.yaml").code == 0


@pytest.mark.parametrize("way", ["plain", "where"])
def test_json(tmp_path: Path, way: str) -> None:
    """JSON is sent as it stands, and is a problem where it is none."""
    texts = ['{"a": 1.10, "b": 12345678901234567890123}', "[1", "NaN", "null", None, '"x"', ""]
    values = pa.ExtensionArray.from_storage(pa.json_(), pa.array(texts))
    pq.write_table(pa.table({"v": values}), tmp_path / "rows.parquet")
    found = outcomes(tmp_path / "rows.parquet", way, tmp_path / "state")
    assert found[0] == {"a": "1.10", "b": "12345678901234567890123"}
    assert found[1] is found[2] is found[6] is Bad
    assert found[5] == "x"


def test_rows_that_are_not_read(tmp_path: Path) -> None:
    """A record with a bad value is reported with its number, its column, what is wrong and the row; others are read."""
    texts = pa.array([b"a", b"\xff", b"c"]).view(pa.string())
    pq.write_table(pa.table({"id": [1, 2, 3], "v": texts}), tmp_path / "rows.parquet")
    job = job_over(tmp_path / "rows.parquet", "plain")
    snapshot = stage(job, tmp_path / "state")
    assert (snapshot.read, snapshot.unreadable, snapshot.in_place) == (3, 1, False)
    (row,) = pq.read_table(snapshot.unreadable_file).to_pylist()
    assert (row["record"], row["code"], row["column"]) == (2, "BF009", "v")
    assert row["message"] == "v holds text that is not UTF-8"
    assert json.loads(row["original"]) == {"id": 2, "v": "\\xff"}
    assert resolve(job)[0].name == row["file"]


def test_groups_without_rows(tmp_path: Path) -> None:
    """Files without a row, and row groups without one, are read."""
    empty = pa.table({"v": pa.array([], pa.string())})
    with pq.ParquetWriter(tmp_path / "a.parquet", empty.schema) as writer:
        writer.write_table(empty)
        writer.write_table(pa.table({"v": ["x"]}))
        writer.write_table(empty)
    pq.write_table(empty, tmp_path / "b.parquet")
    for way in WAYS:
        assert sent(tmp_path / "*.parquet", way, tmp_path / way) == [{"v": "x"}]
