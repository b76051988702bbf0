"""The jobs that are tortured: each takes another way through stage, prepare and deliver."""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import polars as pl

HEAD = "version: 1\nname: {name}\nsource:\n"
IDENTIFY = """\
  - type: identify
    message_key: [id]
    userId: id
    timestamp: {column: joined, format: "%Y-%m-%d %H:%M:%S"}
    traits: {text: text, age: age}
    integrations: {All: false}
"""
#: Long enough that few rows make several batches.
TEXT = "once upon a time, " * 40


@dataclass(frozen=True)
class Case:
    """One job: how its files are made, and what `run` is told of it."""

    name: str
    make: Callable[[Path, str, int], Path]  # folder, name, rows -> job file
    rows: int
    options: tuple[str, ...] = ()
    code: int = 0  # the exit code of an undisturbed run

    def job(self, folder: Path) -> Path:
        """Write source and job file into the folder; returns the job file."""
        return self.make(folder, self.name, self.rows)


def _people(rows: int, *, bad: int = 0, text: str = TEXT) -> list[dict[str, object]]:
    """So many people; every `bad`-th has an age that is no number."""
    return [
        {
            "id": f"u{row:06}",
            "joined": f"2023-05-{1 + row % 28:02} 10:00:00",
            "age": "old" if bad and row % bad == 5 else row % 90,
            "text": f"{row} {text}",
        }
        for row in range(rows)
    ]


def _csv(path: Path, rows: list[dict[str, object]]) -> None:
    lines = [",".join(rows[0]), *(",".join(f'"{value}"' for value in row.values()) for row in rows)]
    text = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(text, 1) if path.suffix == ".gz" else text)


def csv_with_sql(folder: Path, name: str, rows: int, text: str = TEXT) -> Path:
    """A gzipped CSV; SQL leaves rows out and computes a trait; some ages are no numbers, one record is unreadable."""
    source = folder / f"{name}.csv.gz"
    people = _people(rows, bad=97, text=text)
    _csv(source, people)
    broken = gzip.decompress(source.read_bytes()) + b'"one field too few"\n'
    source.write_bytes(gzip.compress(broken, 1))
    job = folder / f"{name}.yaml"
    traits = 'traits: {text: text, age: age, decade: {sql: "age // 10"}}'
    job.write_text(
        HEAD.format(name=name)
        + f"  path: {source.name}\n  timezone: UTC\n  columns: {{age: integer}}\n"
        + "where: id <> 'u000003'\ncalls:\n"
        + IDENTIFY.replace("traits: {text: text, age: age}", traits),
        encoding="utf-8",
    )
    return job


def short_csv_with_sql(folder: Path, name: str, rows: int) -> Path:
    """The same with short texts: several shards."""
    return csv_with_sql(folder, name, rows, "once")


def parquet_in_place(folder: Path, name: str, rows: int) -> Path:
    """Parquet without SQL: read where it is."""
    pl.DataFrame(_people(rows)).write_parquet(folder / f"{name}.parquet")
    job = folder / f"{name}.yaml"
    body = f"  path: {name}.parquet\n  timezone: UTC\ncalls:\n{IDENTIFY}"
    job.write_text(HEAD.format(name=name) + body, encoding="utf-8")
    return job


def two_calls_a_row(folder: Path, name: str, rows: int) -> Path:
    """NDJSON; of each row an identify call, of every second one a track call; some ids occur twice."""
    people = _people(rows)
    people += people[:7]
    lines = [json.dumps(person) for person in people]
    (folder / f"{name}.ndjson").write_text("\n".join(lines) + "\n", encoding="utf-8")
    job = folder / f"{name}.yaml"
    track = """\
  - type: track
    when: age % 2 = 0
    message_key: [id]
    userId: id
    event: {value: Came of Age}
    timestamp: {column: joined, format: "%Y-%m-%d %H:%M:%S"}
    properties: {age: age}
    integrations: {All: false}
"""
    body = f"  path: {name}.ndjson\n  timezone: UTC\n  columns: {{age: integer}}\ncalls:\n{IDENTIFY}{track}"
    job.write_text(HEAD.format(name=name) + body, encoding="utf-8")
    return job


def from_database(folder: Path, name: str, rows: int) -> Path:
    """A query of SQLite, frozen once."""
    with closing(sqlite3.connect(folder / f"{name}.db")) as connection, connection:
        connection.execute("CREATE TABLE people (id TEXT, joined TEXT, age INTEGER, text TEXT)")
        connection.executemany("INSERT INTO people VALUES (:id, :joined, :age, :text)", _people(rows))
    job = folder / f"{name}.yaml"
    query = f"  database: sqlite:///{name}.db\n  query: SELECT * FROM people WHERE age < 80 ORDER BY id\n"
    query += "  timezone: UTC\n"
    job.write_text(HEAD.format(name=name) + query + f"calls:\n{IDENTIFY}", encoding="utf-8")
    return job


CSV = Case("csv", csv_with_sql, 2_600, ("--no-gzip",), code=3)
PARQUET = Case("parquet", parquet_in_place, 2_600, ("--gzip",))
TWO = Case("two", two_calls_a_row, 2_600, ("--gzip", "--keep-spool"))
DATABASE = Case("database", from_database, 3_000, ("--no-gzip", "--keep-spool"))
#: More than one shard.
SHARDS = Case("shards", short_csv_with_sql, 70_000, ("--gzip",), code=3)
CASES = (CSV, PARQUET, TWO, DATABASE)
