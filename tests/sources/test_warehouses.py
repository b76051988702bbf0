"""docs/exports.md: each source there reads files written exactly as that warehouse writes them."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import bson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from bson import json_util

from backfill.errors import SourceError
from backfill.job import load_job
from backfill.job.models import Job
from backfill.sources import inspect, resolve, stage
from tests.support.sourcing import staged

FRACTION, WHOLE = datetime(2024, 1, 2, 3, 4, 5, 123456), datetime(2024, 1, 2, 3, 4, 5)  # noqa: DTZ001 (wall clocks)
BIG = 9007199254740993
#: What is in the warehouse.
ROWS = [
    (1, "a,b|c", 'say "hi"', "12.50", FRACTION),
    (2, "it's", "C:\\dir\\new", None, WHOLE),
    (3, "", None, "0.10", None),
    (BIG, "two\nlines", "tab\there\\N", "100.00", FRACTION),
]
MILLIS = [(*row[:4], row[4] and row[4].replace(microsecond=row[4].microsecond // 1000 * 1000)) for row in ROWS]
SECONDS = [(*row[:4], row[4] and WHOLE) for row in ROWS]

REDSHIFT_CSV = (
    (
        b"id,name,note,total,ordered_at\n"
        b'1,"a,b|c","say ""hi""",12.50,2024-01-02 03:04:05.123456\n'
        b"2,it's,C:\\dir\\new,\\N,2024-01-02 03:04:05\n"
    ),
    (
        b"id,name,note,total,ordered_at\n"
        b"3,,\\N,0.10,\\N\n"
        b'9007199254740993,"two\nlines",tab\there\\N,100.00,2024-01-02 03:04:05.123456\n'
    ),
)
REDSHIFT_PARTS = {f"orders_000{part}_part_00.gz": gzip.compress(text) for part, text in enumerate(REDSHIFT_CSV)}
REDSHIFT_ESCAPE = (
    (
        b"id|name|note|total|ordered_at\n"
        b'1|a,b\\|c|say "hi"|12.50|2024-01-02 03:04:05.123456\n'
        b"2|it's|C:\\\\dir\\\\new|\\N|2024-01-02 03:04:05\n"
    ),
    (
        b"id|name|note|total|ordered_at\n"
        b"3||\\N|0.10|\\N\n"
        b"9007199254740993|two\\\nlines|tab\there\\\\N|100.00|2024-01-02 03:04:05.123456\n"
    ),
)
REDSHIFT_QUOTED = (
    b'"id"|"name"|"note"|"total"|"ordered_at"\n'
    b'"1"|"a,b\\|c"|"say \\"hi\\""|"12.50"|"2024-01-02 03:04:05.123456"\n'
    b'"2"|"it\\\'s"|"C:\\\\dir\\\\new"|\\N|"2024-01-02 03:04:05"\n'
    b'"3"|""|\\N|"0.10"|\\N\n'
    b'"9007199254740993"|"two\\\nlines"|"tab\there\\\\N"|"100.00"|"2024-01-02 03:04:05.123456"\n'
)
SNOWFLAKE = (
    (
        b'"ID","NAME","NOTE","TOTAL","ORDERED_AT"\n'
        b'1,"a,b|c","say ""hi""",12.50,"2024-01-02 03:04:05.123 Z"\n'
        b'2,"it\'s","C:\\dir\\new",,"2024-01-02 03:04:05.000 Z"\n'
    ),
    (
        b'"ID","NAME","NOTE","TOTAL","ORDERED_AT"\n'
        b'3,"",,0.10,\n9007199254740993,"two\nlines","tab\there\\N",100.00,"2024-01-01 22:04:05.123 -0500"\n'
    ),
)
SNOWFLAKE_DEFAULT = (
    b'"ID","NAME","NOTE","TOTAL","ORDERED_AT"\n'
    b'1,"a,b|c","say ""hi""",12.50,2024-01-02 03:04:05.123\n'
    b'2,"it\'s","C:\\dir\\new",\\\\N,2024-01-02 03:04:05.000\n'
    b'3,"",\\N,0.10,\\\\N\n9007199254740993,"two\nlines","tab\there\\N",100.00,2024-01-02 03:04:05.123\n'
)
BIGQUERY_CSV = (
    (
        b"id,name,note,total,ordered_at\n"
        b'1,"a,b|c","say ""hi""",12.5,2024-01-02 03:04:05.123456 UTC\n'
        b"2,it's,C:\\dir\\new,,2024-01-02 03:04:05 UTC\n"
    ),
    (
        b'id,name,note,total,ordered_at\n3,"",,0.1,\n'
        b'9007199254740993,"two\nlines",tab\there\\N,100,2024-01-02 03:04:05.123456 UTC\n'
    ),
)
CLICKHOUSE_CSV = (
    b'"id","name","note","total","ordered_at"\n'
    b'1,"a,b|c","say ""hi""",12.5,"2024-01-02 03:04:05"\n'
    b'2,"it\'s","C:\\dir\\new",\\N,"2024-01-02 03:04:05"\n'
    b'3,"",\\N,0.1,\\N\n'
    b'9007199254740993,"two\nlines","tab\there\\N",100,"2024-01-02 03:04:05"\n'
)
CLICKHOUSE_TSV = (
    b"id\tname\tnote\ttotal\tordered_at\n"
    b'1\ta,b|c\tsay "hi"\t12.5\t2024-01-02 03:04:05\n'
    b"2\tit\\'s\tC:\\\\dir\\\\new\t\\N\t2024-01-02 03:04:05\n"
    b"3\t\t\\N\t0.1\t\\N\n"
    b"9007199254740993\ttwo\\nlines\ttab\\there\\\\N\t100\t2024-01-02 03:04:05\n"
)


def documents() -> list[dict[str, Any]]:
    """The rows as MongoDB holds them."""
    return [
        {
            "id": bson.Int64(key), "name": name, "note": note,
            "total": total and bson.Decimal128(total), "ordered_at": time and time.replace(tzinfo=UTC),
        }
        for key, name, note, total, time in ROWS
    ]  # fmt: skip


def dynamodb_export() -> dict[str, bytes]:
    """The files of an export."""
    items = [
        {
            "id": {"N": str(key)}, "name": {"S": name}, "note": {"S": note} if note is not None else {"NULL": True},
            **({"total": {"N": total}} if total else {}),
            **({"ordered_at": {"S": f"{time.isoformat()}Z"}} if time else {}),
        }
        for key, name, note, total, time in ROWS
    ]  # fmt: skip
    data = gzip.compress("".join(json.dumps({"Item": item}) + "\n" for item in items).encode())
    md5 = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
    entry = {"itemCount": len(items), "md5Checksum": md5, "dataFileS3Key": "AWSDynamoDB/0169-2d/data/a.json.gz"}
    return {
        "orders/data/a.json.gz": data,
        "orders/manifest-files.json": json.dumps(entry).encode() + b"\n",
        "orders/manifest-files.md5": b"eA==",
        "orders/manifest-summary.json": json.dumps({"itemCount": 4, "outputFormat": "DYNAMODB_JSON"}).encode(),
    }


SPARK = (
    (
        b"id,name,note,total,ordered_at\n"
        b'1,"a,b|c","say ""hi""",12.50,2024-01-02T03:04:05.123Z\n'
        b"2,it's,C:\\dir\\new,,2024-01-02T03:04:05.000Z\n"
    ),
    (
        b'id,name,note,total,ordered_at\n3,"",,0.10,\n'
        b'9007199254740993,"two\nlines",tab\there\\N,100.00,2024-01-02T03:04:05.123Z\n'
    ),
)
ATHENA_CSV = (
    b'"id","name","note","total","ordered_at"\n'
    b'"1","a,b|c","say ""hi""","12.50","2024-01-02 03:04:05.123"\n'
    b'"2","it\'s","C:\\dir\\new",,"2024-01-02 03:04:05.000"\n'
    b'"3","",,"0.10",\n'
    b'"9007199254740993","two\nlines","tab\there\\N","100.00","2024-01-02 03:04:05.123"\n'
)


def manifest() -> bytes:
    """As MANIFEST VERBOSE writes it."""
    entries = [
        {"url": f"s3://bucket/orders/{name}", "meta": {"content_length": len(content), "record_count": 2}}
        for name, content in REDSHIFT_PARTS.items()
    ]
    schema = {"elements": [{"name": "id", "type": {"base": "bigint"}}]}
    return json.dumps({"entries": entries, "schema": schema, "author": {"name": "Amazon Redshift"}}).encode()


def objects(*, big_as_text: bool, nulls: bool, time: str, upper: bool = False) -> bytes:
    """The rows as lines of JSON."""
    lines = []
    for number, name, note, total, at in ROWS:
        written = (
            (f"{at:%Y-%m-%d %H:%M:%S}" + (f".{at.microsecond:06}" if "f" in time and at.microsecond else ""))
            if at
            else None
        )
        if at and "3" in time:
            written = f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03}"
        found: dict[str, Any] = {
            "id": str(number) if big_as_text else number,
            "name": name,
            "note": note,
            "total": total if big_as_text or total is None else float(total),
            "ordered_at": written and written + time.strip("f3"),
        }
        found = {key.upper() if upper else key: value for key, value in found.items() if nulls or value is not None}
        lines.append(json.dumps(found, ensure_ascii=False, separators=(",", ":")))
    return "\n".join([*lines, ""]).encode()


def parquet(rows: list[tuple[Any, ...]]) -> bytes:
    """Rows of a partition."""
    target = io.BytesIO()
    pq.write_table(pa.table({"id": [row[0] for row in rows], "name": [row[1] for row in rows]}), target)
    return target.getvalue()


HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
ATHENA = "20240103_040506_00007_abcde_0b7c9a54-7c1f-4d3e-9f7c-2f0f6b3a1c11"
#: Heading of the page -> the files, and the rows that are read.
EXPORTS: dict[str, tuple[dict[str, bytes], list[tuple[Any, ...]]]] = {
    "Redshift, CSV": (
        {"orders/orders_manifest": manifest()} | {f"orders/{k}": v for k, v in REDSHIFT_PARTS.items()},
        ROWS,
    ),
    "Redshift, text with ESCAPE": ({f"orders/orders_00{n}": text for n, text in enumerate(REDSHIFT_ESCAPE)}, ROWS),
    "Redshift, text with ESCAPE and ADDQUOTES": ({"orders/orders_0000_part_00": REDSHIFT_QUOTED}, ROWS),
    "Snowflake, CSV": (
        {f"orders/data_0_{n}_0.csv.gz": gzip.compress(text) for n, text in enumerate(SNOWFLAKE)},
        MILLIS,
    ),
    "Snowflake, CSV by its defaults": ({"orders/data_0_0_0.csv.gz": gzip.compress(SNOWFLAKE_DEFAULT)}, MILLIS),
    "Snowflake, JSON": (
        {"orders/data_0_0_0.json.gz": gzip.compress(objects(big_as_text=False, nulls=True, time="3 Z", upper=True))},
        MILLIS,
    ),
    "BigQuery, CSV": (
        {f"orders/x-{n:012}.csv.gz": gzip.compress(text) for n, text in enumerate(BIGQUERY_CSV)},
        ROWS,
    ),
    "BigQuery, NDJSON": (
        {"orders/x-000000000000.json.gz": gzip.compress(objects(big_as_text=True, nulls=False, time="f UTC"))},
        ROWS,
    ),
    "ClickHouse, CSVWithNames": ({"orders.csv.zst": zstandard.compress(CLICKHOUSE_CSV)}, SECONDS),
    "ClickHouse, TabSeparatedWithNames": ({"orders.tsv.gz": gzip.compress(CLICKHOUSE_TSV)}, SECONDS),
    "ClickHouse, JSONEachRow": ({"orders.jsonl": objects(big_as_text=True, nulls=True, time="")}, SECONDS),
    "Athena, Parquet by partitions": (
        {f"orders/dt=2024-01-02/{ATHENA}": parquet(ROWS[:3]), f"orders/dt={HIVE_NULL}/{ATHENA}": parquet(ROWS[3:])},
        [],
    ),
    "Athena, JSON by partitions": (
        {
            f"orders/dt=2024-01-02/{ATHENA}.gz": gzip.compress(objects(big_as_text=False, nulls=False, time="3")),
            f"orders/dt={HIVE_NULL}/{ATHENA}.gz": gzip.compress(objects(big_as_text=False, nulls=False, time="3")),
        },
        [],
    ),
    "Athena, the result of a query": (
        {"results/3f2c.csv": ATHENA_CSV, "results/3f2c.csv.metadata": b"\x0a\x08"},
        MILLIS,
    ),
}
EXPORTS |= {
    "MongoDB, mongodump": (
        {"dump/shop/orders.bson.gz": gzip.compress(b"".join(map(bson.encode, documents())))},
        MILLIS,
    ),
    "MongoDB, mongoexport": (
        {"orders.json": "\n".join(map(json_util.dumps, documents())).encode()},
        MILLIS,
    ),
    "DynamoDB, export to S3": (dynamodb_export(), ROWS),
    "Spark, CSV": (
        {
            f"orders/part-0000{n}-5b1f0c3e-6f0e-4a68-9a52-0d7b0e6f5b6e-c000.csv.gz": gzip.compress(text)
            for n, text in enumerate(SPARK)
        }
        | {"orders/_SUCCESS": b"", "orders/.part-00000-5b1f0c3e-c000.csv.gz.crc": b"crc\x00"},
        MILLIS,
    ),
}
CALLS = """
calls:
  - {type: track, event: {value: x}, userId: {value: u}, message_key: row, timestamp: {value: "2024-01-01T00:00:00Z"}}
"""


def sources(repository: Path) -> Iterator[tuple[str, str]]:
    """The page's sections, each with its `source`."""
    text = (repository / "docs" / "exports.md").read_text(encoding="utf-8")
    for heading, body in re.findall(r"^### (.+)\n((?:(?!^##).*\n)+)", text, re.MULTILINE):
        for block in re.findall(r"```yaml\n(.*?)```", body, re.DOTALL):
            yield heading, block


def job_of(folder: Path, repository: Path, heading: str) -> Job:
    """The files of a section in a folder, and its job."""
    for name, content in EXPORTS[heading][0].items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    path = folder / "job.yaml"
    path.write_text(f"version: 1\nname: orders\n{dict(sources(repository))[heading]}{CALLS}", encoding="utf-8")
    return load_job(path)


def test_every_section_is_tested(repository: Path) -> None:
    """The page and the table above have the same exports."""
    assert [heading for heading, _ in sources(repository)] == list(EXPORTS)


@pytest.mark.parametrize("heading", EXPORTS)
def test_what_a_warehouse_writes(tmp_path: Path, repository: Path, heading: str) -> None:
    """Text, nulls, empty texts, big integers, decimals and times are what they were in the warehouse."""
    job = job_of(tmp_path, repository, heading)
    found = staged(job, tmp_path / "state")
    assert found.rejects == []
    assert {name.casefold() for name in job.source.columns} <= {
        column.name.casefold() for column in inspect(job).columns
    }
    if "partitions" in heading:
        assert {str(day) for day in found.column("dt")} == {"2024-01-02", "None"}
        assert found.column("id")[-1] == BIG
        return
    names = {name.casefold(): name for name in found.frame.columns}
    rows = found.frame.select(names[name] for name in ("id", "name", "note", "total", "ordered_at")).rows()
    wanted = EXPORTS[heading][1]
    assert [row[:3] for row in rows] == [row[:3] for row in wanted]
    assert [row[3] and Decimal(row[3]) for row in rows] == [row[3] and Decimal(row[3]) for row in wanted]
    assert [row[4] and row[4].replace(tzinfo=None) for row in rows] == [row[4] for row in wanted]


def test_an_unload_that_is_not_whole(tmp_path: Path, repository: Path) -> None:
    """A file of the manifest that is missing, or of another size, is found before anything is read."""
    job = job_of(tmp_path, repository, "Redshift, CSV")
    assert [file.key for file in resolve(job)] == list(REDSHIFT_PARTS)
    part = tmp_path / "orders" / next(iter(REDSHIFT_PARTS))
    whole = part.read_bytes()
    part.write_bytes(gzip.compress(REDSHIFT_CSV[1]))
    for said in ("manifest says", "which is not beside it"):
        with pytest.raises(SourceError, match=said):
            stage(job, tmp_path / "state")
        part.unlink(missing_ok=True)
    part.write_bytes(whole)
    both = job.model_copy(update={"source": job.source.model_copy(update={"path": ("orders/*",)})})
    assert [file.key for file in resolve(both)] == list(REDSHIFT_PARTS)


def test_a_manifest_by_folders(tmp_path: Path, repository: Path) -> None:
    """PARTITION BY: the end of a URL that is there is the file."""
    job = job_of(tmp_path, repository, "Redshift, CSV")
    (tmp_path / "orders" / "y=1").mkdir()
    name = next(iter(REDSHIFT_PARTS))
    (tmp_path / "orders" / name).rename(tmp_path / "orders" / "y=1" / name)
    entries = {"entries": [{"url": f"s3://bucket/far/y=1/{name}", "mandatory": True}]}
    (tmp_path / "orders" / "orders_manifest").write_text(json.dumps(entries), encoding="utf-8")
    (file,) = resolve(job)
    assert file.key == f"y=1/{name}"
    assert staged(job, tmp_path / "state").column("y") == ["1", "1"]
