"""Every type that DuckDB has, in the result of a query: it goes on exactly, or the job is told the cast to write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from backfill.records import Kind
from backfill.sources.sql.duckdb_types import kind_of, without_form
from tests.support.projects import backfill
from tests.support.sourcing import job_over, staged

#: A value of each type by DuckDB's own name of it, and what is sent of it; None: JSON has no form for it.
VALUES: dict[str, tuple[str, Any]] = {
    "ARRAY": ("[1, 2]::INTEGER[2]", [1, 2]),
    "BIGINT": ("1::BIGINT", 1),
    "BIGNUM": (f"'{7**60}'::BIGNUM", str(7**60)),
    "BIT": ("'0101'::BIT", "0101"),
    "BLOB": ("'ab'::BLOB", None),
    "BOOLEAN": ("true", True),
    "DATE": ("DATE '2024-01-02'", "2024-01-02"),
    "DECIMAL": ("1.5::DECIMAL(18, 2)", 1.5),
    "DOUBLE": ("1.5::DOUBLE", 1.5),
    "ENUM": ("'a'::ENUM('a', 'b')", "a"),
    "FLOAT": ("1.5::FLOAT", 1.5),
    "GEOMETRY": ("'POINT(1 2)'::GEOMETRY", None),
    "HUGEINT": ("9007199254740991::HUGEINT", 9007199254740991),
    "INTEGER": ("1", 1),
    "INTERVAL": ("INTERVAL 3 DAY", None),
    "LIST": ("[1, 2]", [1, 2]),
    "MAP": ("MAP {'a': 1}", {"a": 1}),
    "NULL": ("NULL", ()),  # null, or nothing at all
    "SMALLINT": ("1::SMALLINT", 1),
    "STRUCT": ("{'a': 1}", {"a": 1}),
    "TIME": ("TIME '10:00:01'", "10:00:01"),
    "TIME WITH TIME ZONE": ("TIMETZ '10:00:01+02'", "10:00:01+02"),
    "TIMESTAMP": ("TIMESTAMP '2024-01-02 03:04:05'", "2024-01-02T03:04:05.000Z"),
    "TIMESTAMP WITH TIME ZONE": ("TIMESTAMPTZ '2024-01-02 03:04:05Z'", "2024-01-02T03:04:05.000Z"),
    "TIMESTAMPTZ_NS": ("'2024-01-02 03:04:05Z'::TIMESTAMPTZ_NS", "2024-01-02T03:04:05.000Z"),
    "TIMESTAMP_MS": ("TIMESTAMP_MS '2024-01-02 03:04:05'", "2024-01-02T03:04:05.000Z"),
    "TIMESTAMP_NS": ("TIMESTAMP_NS '2024-01-02 03:04:05'", "2024-01-02T03:04:05.000Z"),
    "TIMESTAMP_S": ("TIMESTAMP_S '2024-01-02 03:04:05'", "2024-01-02T03:04:05.000Z"),
    "TIME_NS": ("'10:00:01'::TIME_NS", "10:00:01"),
    "TINYINT": ("1::TINYINT", 1),
    "TUPLE": ("row(1, 'a')", None),
    "TYPE": ("NULL::TYPE", None),
    "UBIGINT": ("9007199254740991::UBIGINT", 9007199254740991),
    "UHUGEINT": ("1::UHUGEINT", 1),
    "UINTEGER": ("1::UINTEGER", 1),
    "UNION": ("union_value(k := 1)", None),
    "USMALLINT": ("1::USMALLINT", 1),
    "UTINYINT": ("1::UTINYINT", 1),
    "UUID": ("UUID '7b4a1d1e-0000-4000-8000-000000000001'", "7b4a1d1e-0000-4000-8000-000000000001"),
    "VARCHAR": ("'x'", "x"),
    "VARIANT": ("{'a': 1}::VARIANT", None),
    "JSON": ("""'{"a": [1]}'::JSON""", {"a": [1]}),
}
#: Where such a value may stand, as SQL and as JSON of it.
WRAPS: dict[str, tuple[str, Any]] = {
    "alone": ("{}", lambda value: value),
    "list": ("[{}]", lambda value: [value]),
    "struct": ("{{'k': {}}}", lambda value: {"k": value}),
    "deep": ("[MAP {{'k': {{'q': {}}}}}]", lambda value: [{"k": {"q": value}}]),
}
JOB = """\
version: 1
name: types
source: {{path: rows.parquet, timezone: UTC, query: {query}}}
calls:
  - {{type: track, event: {{value: Seen}}, userId: {{value: u1}}, message_key: [id], integrations: {{All: false}},
     timestamp: {{value: "2024-01-01T00:00:00Z"}}, properties: {properties}}}
"""


def columns() -> dict[str, tuple[str, Any, duckdb.sqltypes.DuckDBPyType]]:
    """Of each combination that this DuckDB has: its SQL, what is sent, its type."""
    connection = duckdb.connect()
    names = connection.sql("SELECT DISTINCT logical_type FROM duckdb_types() WHERE database_name = 'system'").fetchall()
    known = {name for (name,) in names} | {"JSON"}
    assert known <= VALUES.keys(), "a new type: say here what becomes of it"
    found = {}
    for name in sorted(known):
        value, sent = VALUES[name]
        for place, (wrap, as_json) in WRAPS.items():
            sql = wrap.format(value)
            column = f"{name.lower()} {place}".replace(" ", "_")
            given = sent if sent is None or sent == () else as_json(sent)
            found[column] = (sql, given, connection.sql(f"SELECT {sql}").types[0])
    return found


def write_job(folder: Path, columns: dict[str, str], properties: str) -> Path:
    """A job whose query over a Parquet file with JSON gives these columns."""
    duckdb.sql(f"""COPY (SELECT i AS id, '{{"a": [1]}}'::JSON AS j, MAP {{'a': i}} AS m, INTERVAL (i) DAY AS iv
        FROM range(2) t(i)) TO '{folder / "rows.parquet"}'""")
    named = "".join(f', {sql} AS "{name}"' for name, sql in columns.items())
    job = folder / "job.yaml"
    job.write_text(JOB.format(query=json.dumps(f"SELECT id, j, m, iv{named} FROM source"), properties=properties))
    return job


def test_what_json_has_is_sent_and_the_rest_harms_nobody(tmp_path: Path) -> None:
    """Each type alone and nested: its value is that of the table; those of no use to JSON may stand beside."""
    all_of_them = {name: each for name, each in columns().items() if not without_form(each[2])}
    sendable = {name: sent for name, (_, sent, _) in all_of_them.items() if sent is not None}
    assert {kind_of(all_of_them[name][2]) for name in all_of_them.keys() - sendable.keys()} == {
        Kind.BINARY,
        Kind.INTERVAL,
    }
    members = ", ".join(f'"{name}": "{name}"' for name in sendable)
    failing = """sql: "CAST(CASE WHEN id = 1 THEN 'x' ELSE '1' END AS INTEGER)" """
    job = write_job(
        tmp_path, {name: sql for name, (sql, _, _) in all_of_them.items()}, f"{{{members}, j: {{{failing}}}}}"
    )
    assert backfill("check", job).code == 0
    shown = backfill("preview", job).out
    call = shown[shown.index("\n  track") :]
    made = json.JSONDecoder().raw_decode(call[call.index("{") :])[0]["properties"]
    assert made.pop("j") == 1
    told = {name: sent for name, sent in made.items() if not name.startswith("null_")}
    assert told == {name: sent for name, sent in sendable.items() if not name.startswith("null_")}
    planned = backfill("dry-run", job, "--output", "json")
    assert (planned.code, planned.object["calls"]["pending"], planned.object["calls"]["rejected"]) == (3, 1, 1)


@pytest.mark.parametrize("name", [name for name, each in columns().items() if without_form(each[2]) or each[1] is None])
def test_what_json_has_not_is_told_with_its_column_and_a_cast(tmp_path: Path, name: str) -> None:
    """A union, a variant, a tuple, and whatever a later DuckDB has: a fault of the job, in every verb the same."""
    job = write_job(tmp_path, {name: columns()[name][0]}, f"{{p: {name}}}")
    for verb in ("check", "preview", "dry-run"):
        found = backfill(verb, job)
        assert (found.code, name in found.err, "cast it in" in found.err) == (2, True, True), found.err


def test_a_query_over_a_dump_sees_the_types_that_its_tables_declare(tmp_path: Path) -> None:
    """Times and decimals of a dump are no text to a query, though the job declares nothing of them."""
    (tmp_path / "dump.sql").write_text(
        "-- MySQL dump 10.13  Distrib 8.0.36\n"
        "CREATE TABLE `orders` (`id` int NOT NULL, `ordered` datetime, `total` decimal(50,2));\n"
        "INSERT INTO `orders` VALUES (1,'2024-01-02 03:04:05',12.50),(2,NULL,0.10);\n-- Dump completed\n"
    )
    query = "SELECT id, ordered + INTERVAL 1 DAY AS ordered, total * 2 AS total FROM source WHERE id = 1"
    job = job_over(tmp_path / "dump.sql", format="mysqldump", table="orders", query=query, timezone="UTC")
    made = staged(job, tmp_path / "staged")
    assert made.snapshot.unreadable == 0
    one, at, total = made.rows[0]
    assert (one, at.isoformat(), total) == (1, "2024-01-03T03:04:05+00:00", 25)
